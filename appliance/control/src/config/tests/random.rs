//! Random files: none may panic, every refusal has three parts, and what is taken reads back.

use proptest::prelude::*;

use super::super::*;
use super::good::WHOLE;

/// One edit of a text, at a place counted in characters.
#[derive(Clone, Debug)]
enum Edit {
    Delete(usize, usize),
    Insert(usize, String),
    Repeat(usize, usize),
    Truncate(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("  ".to_owned()),
        Just(": ".to_owned()),
        Just("- ".to_owned()),
        Just("{".to_owned()),
        Just("]".to_owned()),
        Just("\"".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just("!!int ".to_owned()),
        Just("99999999999999999999".to_owned()),
        "\\PC{0,4}",
        any::<char>().prop_map(String::from),
    ];
    let edit = prop_oneof![
        (any::<usize>(), 1..20usize).prop_map(|(at, count)| Edit::Delete(at, count)),
        (any::<usize>(), piece).prop_map(|(at, text)| Edit::Insert(at, text)),
        (any::<usize>(), 1..60usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
        any::<usize>().prop_map(Edit::Truncate),
    ];
    prop::collection::vec(edit, 1..5)
}

fn apply(text: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for edit in edits {
        let place = |at: usize| at % (chars.len() + 1);
        match edit {
            Edit::Delete(at, count) => {
                let at = place(*at);
                let end = (at + count).min(chars.len());
                chars.drain(at..end);
            }
            Edit::Insert(at, text) => {
                let at = place(*at);
                chars.splice(at..at, text.chars());
            }
            Edit::Repeat(at, count) => {
                let at = place(*at);
                let again: Vec<char> = chars.iter().skip(at).take(*count).copied().collect();
                chars.splice(at..at, again);
            }
            Edit::Truncate(at) => chars.truncate(place(*at)),
        }
    }
    chars.into_iter().collect()
}

fn promises(text: &str) -> Result<(), TestCaseError> {
    match Config::parse(text) {
        Ok(config) => {
            let again = config.to_yaml();
            prop_assert_eq!(Config::parse(&again), Ok(config), "{}", again);
        }
        Err(error) => {
            let line = error.to_string();
            prop_assert!(!line.contains(char::is_control), "{:?}", line);
            let parts = [&error.problem.value, &error.problem.cause, &error.problem.cure];
            prop_assert!(parts[1..].iter().all(|part| !part.is_empty()), "{}", line);
            // One line more than the text has is where its end is.
            prop_assert!(
                error.line >= 1 && error.column >= 1 && error.line <= text.lines().count() as u64 + 2,
                "{}",
                line
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_file_never_panics(edits in edits()) {
        promises(&apply(WHOLE, &edits))?;
    }

    #[test]
    fn a_mutated_file_under_a_mutated_overlay_never_panics(below in edits(), above in edits()) {
        let layer = |name: &str, text: String| Layer { name: name.to_owned(), text };
        let file = apply(WHOLE, &below);
        let alone = Layered::read(&[layer("weir.yaml", file.clone())]);
        prop_assert_eq!(alone.is_ok(), Config::parse(&file).is_ok());
        let overlay = apply("memory: {rx_ring: 4096}\nrules:\n  - {name: telemetry, share: 5%}\n", &above);
        let lines = file.lines().count().max(overlay.lines().count()) as u64;
        if let Err(error) = Layered::read(&[layer("weir.yaml", file), layer("prod.yaml", overlay)]) {
            let line = error.to_string();
            prop_assert!(!line.contains(char::is_control), "{:?}", line);
            prop_assert!(["weir.yaml", "prod.yaml"].contains(&error.file.as_str()), "{}", line);
            prop_assert!(error.error.line >= 1 && error.error.line <= lines + 2, "{}", line);
        }
    }

    #[test]
    fn random_text_never_panics(text in "\\PC{0,60}") {
        promises(&text)?;
    }
}
