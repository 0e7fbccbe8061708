//! Which instructions the inner loops run with: AVX-512, AVX2 or what every processor of this kind has.
//!
//! A vector loop is written once and compiled for both wider sets; beside it stands the loop for one word at a time, and
//! tests hold all of them to equal answers. The choice is made once, when a feature is made, and is a value from then on:
//! nothing is detected for an event or a frame.

#[cfg(target_arch = "x86_64")]
use fearless_simd::{
    Level,
    x86::{Avx2, Avx512},
};

/// Name of the environment's word that forces a set of instructions: `scalar`, `avx2` or `avx512`.
pub const VARIABLE: &str = "WEIR_SIMD";

/// A set of instructions that this processor has.
///
/// A value of a vector set is its own proof that the processor has it: it comes from a detection only.
#[derive(Clone, Copy, Debug, Default)]
pub enum Simd {
    /// What the compiler may assume of every processor of this architecture: SSE2 on x86-64.
    #[default]
    Scalar,
    /// 32 bytes at a time: x86-64-v3.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 64 bytes at a time, with masks and leading zeros: the set that Ice Lake and Zen 4 brought.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// Why a set of instructions cannot be had by its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimdError {
    /// No set has this name.
    #[error("{VARIABLE}={0} names no set of instructions; write scalar, avx2 or avx512, or leave it away for the best")]
    Unknown(String),
    /// The processor lacks it.
    #[error("{VARIABLE}={0}: this processor does not have it; leave it away, the best it has is {best}", best = Simd::best().name())]
    Missing(&'static str),
}

impl Simd {
    /// Names of all sets, the widest last.
    pub const NAMES: [&'static str; 3] = ["scalar", "avx2", "avx512"];

    /// The widest set that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::available().last().copied().unwrap_or_default()
    }

    /// Every set that this processor has, the widest last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let level = Level::new();
            let wider = [level.as_avx2().map(Self::Avx2), level.as_avx512().map(Self::Avx512)];
            std::iter::once(Self::Scalar).chain(wider.into_iter().flatten()).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Scalar]
    }

    /// What a person asked for: the set of this name, or the widest without one.
    ///
    /// # Errors
    /// The name is none of [`Simd::NAMES`], or the processor lacks the set.
    pub fn chosen(name: Option<&str>) -> Result<Self, SimdError> {
        name.map_or_else(|| Ok(Self::best()), |name| Self::among(&Self::available(), name))
    }

    /// The set of this name, if it is one of `available`; never another one in its place.
    fn among(available: &[Self], name: &str) -> Result<Self, SimdError> {
        let known = Self::NAMES.into_iter().find(|known| *known == name);
        let known = known.ok_or_else(|| SimdError::Unknown(name.to_owned()))?;
        available.iter().copied().find(|simd| simd.name() == known).ok_or(SimdError::Missing(known))
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => Self::NAMES[0],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Self::NAMES[1],
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Self::NAMES[2],
        }
    }
}

/// Runs an inner loop: the scalar expression, or the vector expression compiled for the set's instructions, in which
/// `$lanes` is the token that makes vectors. What the latter calls has to be `#[inline(always)]`: what is not inlined keeps
/// the instructions of every processor.
macro_rules! with_lanes {
    ($simd:expr, $scalar:expr, $lanes:ident => $vector:expr) => {
        match $simd {
            $crate::simd::Simd::Scalar => $scalar,
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Simd::Avx2($lanes) => {
                use fearless_simd::Simd as _;
                $lanes.vectorize(
                    #[inline(always)]
                    || $vector,
                )
            }
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Simd::Avx512($lanes) => {
                use fearless_simd::Simd as _;
                $lanes.vectorize(
                    #[inline(always)]
                    || $vector,
                )
            }
        }
    };
}
pub(crate) use with_lanes;

impl PartialEq for Simd {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Simd {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_the_processor_lacks_is_refused_and_not_lowered() {
        let narrow = [Simd::Scalar];
        assert_eq!(Simd::among(&narrow, "scalar"), Ok(Simd::Scalar));
        for name in ["avx2", "avx512"] {
            let Err(error) = Simd::among(&narrow, name) else { panic!("{name} was given") };
            assert_eq!(error, SimdError::Missing(name));
            let text = error.to_string();
            assert!(text.starts_with(&format!("WEIR_SIMD={name}: this processor does not have it")), "{text}");
            assert!(text.ends_with(&format!("the best it has is {}", Simd::best().name())), "{text}");
        }
        assert_eq!(Simd::among(&narrow, "AVX2"), Err(SimdError::Unknown("AVX2".to_owned())));
    }
}
