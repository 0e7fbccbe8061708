//! Which instructions the features' inner loops run with: the widest the processor has, or what the environment says.

use weir_appliance_control::message::{Check, CheckState};
use weir_features_streaming::Settings;
use weir_features_streaming::simd::{Simd, SimdError, VARIABLE};

/// The streaming feature's settings, with the set that is to be used.
///
/// # Errors
/// The environment names a set that is not known or that the processor lacks.
pub(crate) fn settings() -> Result<Settings, SimdError> {
    Ok(Settings { simd: chosen()?, ..Settings::default() })
}

/// The set that is to be used; children inherit the environment, so all processes agree.
///
/// # Errors
/// The environment names a set that is not known or that the processor lacks.
pub(crate) fn chosen() -> Result<Simd, SimdError> {
    Simd::chosen(word().as_deref())
}

fn word() -> Option<String> {
    std::env::var_os(VARIABLE).map(|word| word.to_string_lossy().into_owned())
}

/// The doctor's line.
pub(crate) fn check() -> Check {
    judged(word().as_deref())
}

fn judged(word: Option<&str>) -> Check {
    let names: Vec<&str> = Simd::available().into_iter().map(Simd::name).collect();
    let here = format!("the processor has {}", names.join(", "));
    let name = "instructions".to_owned();
    match Simd::chosen(word) {
        Ok(simd) => {
            let widest = simd == Simd::best();
            let why = if word.is_some() { format!("{VARIABLE} says so") } else { "the widest".to_owned() };
            Check {
                name,
                state: if widest { CheckState::Good } else { CheckState::Less },
                found: format!("{}: {why}; {here}", simd.name()),
                because: None,
                cure: (!widest).then(|| format!("take {VARIABLE} out of the environment")),
            }
        }
        Err(error) => Check { name, state: CheckState::Bad, found: here, because: Some(error.to_string()), cure: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_says_which_instructions_and_why() {
        let best = judged(None);
        assert_eq!(best.state, CheckState::Good);
        assert!(best.found.starts_with(Simd::best().name()), "{best:?}");
        let forced = judged(Some("scalar"));
        assert!(forced.found.starts_with("scalar: WEIR_SIMD says so"), "{forced:?}");
        assert_eq!(forced.state == CheckState::Good, Simd::best() == Simd::Scalar);
        let wrong = judged(Some("mmx"));
        assert_eq!(wrong.state, CheckState::Bad);
        assert!(wrong.because.is_some_and(|text| text.contains("WEIR_SIMD=mmx")));
    }
}
