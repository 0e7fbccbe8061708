//! What went wrong, in the three parts that a person needs: the value, the cause and the cure.

use serde::{Deserialize, Serialize};

/// One refused value. Its text is always one line: `VALUE: cause; cure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {}; {}", one_line(.value), one_line(.cause), one_line(.cure))]
pub struct Problem {
    /// What was given, as it was written.
    pub value: String,
    /// Why it cannot be used.
    pub cause: String,
    /// What to do instead.
    pub cure: String,
}

impl Problem {
    /// A problem from its three parts.
    pub fn new(value: impl Into<String>, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { value: value.into(), cause: cause.into(), cure: cure.into() }
    }
}

impl From<weir_appliance_experiment::Refusal> for Problem {
    fn from(refusal: weir_appliance_experiment::Refusal) -> Self {
        let weir_appliance_experiment::Refusal { value, cause, cure } = refusal;
        Self { value, cause, cure }
    }
}

/// The text in one harmless line of at most 200 letters, as [`one_line`](weir_appliance_flags::one_line) makes it.
pub fn one_line(text: &str) -> String {
    weir_appliance_flags::one_line(text, 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_whatever_the_value() {
        let problem = Problem::new("a\nb\u{1b}[31m", "it has\ttwo lines", "write one");
        assert_eq!(problem.to_string(), "a b [31m: it has two lines; write one");
        let turned = Problem::new("eth\u{202e}0", "no such interface", "name one").to_string();
        assert_eq!(turned, "eth\u{fffd}0: no such interface; name one", "what is shown is what is there");
        assert_eq!(Problem::new("", "empty", "write a name").to_string(), "\"\": empty; write a name");
        assert!(Problem::new("x".repeat(5000), "long", "shorten").to_string().chars().count() < 300);
    }
}
