//! Why a document is refused.

/// One refused value. Its text is always one line: `flag NAME: VALUE: cause; cure`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {}; {}", place(.flag.as_ref()), shown(.value), shown(.cause), .cure)]
pub struct FlagError {
    /// The flag it is in, if it is in one.
    pub flag: Option<String>,
    /// What was given, as it was written, shortened.
    pub value: String,
    /// Why it cannot be used.
    pub cause: String,
    /// What to do instead.
    pub cure: &'static str,
}

impl FlagError {
    pub(crate) fn new(value: impl Into<String>, cause: impl Into<String>, cure: &'static str) -> Self {
        Self { flag: None, value: value.into(), cause: cause.into(), cure }
    }

    /// The same, in this flag.
    pub(crate) fn in_flag(self, name: &str) -> Self {
        Self { flag: Some(name.to_owned()), ..self }
    }
}

fn place(flag: Option<&String>) -> String {
    flag.map(|name| format!("flag {}: ", shown(name))).unwrap_or_default()
}

/// The text without control characters and at most 120 letters long, so that no value breaks the line.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    let mut line: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_whatever_the_value() {
        let error = FlagError::new("a\nb", "two\nlines", "write one").in_flag("x\u{1b}[1m");
        assert_eq!(error.to_string(), "flag x [1m: a b: two lines; write one");
        assert!(FlagError::new("x".repeat(9000), "long", "shorten").to_string().chars().count() < 200);
    }
}
