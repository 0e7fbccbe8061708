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

/// The text in one harmless line, short enough to stand in a sentence.
pub(crate) fn shown(text: &str) -> String {
    one_line(text, 120)
}

/// The text as [`plain`] has its letters, and at most `longest` of them, so that no value breaks the line or the terminal. An
/// empty one is shown as `""`.
#[must_use]
pub fn one_line(text: &str, longest: usize) -> String {
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    let mut line: String = text.chars().take(longest).map(plain).collect();
    if text.chars().nth(longest).is_some() {
        line.push('…');
    }
    line
}

/// A letter as it is shown to people: a space for one that moves the cursor, `�` for one that is not seen itself and changes how
/// others are seen or compared (Unicode 15, [UAX 9](https://www.unicode.org/reports/tr9/) and
/// [TR 36](https://www.unicode.org/reports/tr36/)): directions, marks of no width, separators of lines, annotations, tags.
#[must_use]
pub const fn plain(letter: char) -> char {
    match letter {
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => ' ',
        '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => char::REPLACEMENT_CHARACTER,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_whatever_the_value() {
        let error = FlagError::new("a\nb", "two\nlines", "write one").in_flag("x\u{1b}[1m");
        assert_eq!(error.to_string(), "flag x [1m: a b: two lines; write one");
        let turned = FlagError::new("new\u{202e}dlo\u{200b}\u{2028}", "two\nlines", "write one");
        assert_eq!(turned.to_string(), "new\u{fffd}dlo\u{fffd}\u{fffd}: two lines; write one");
        assert!("Größe 5 µs → 東京 🦀".chars().all(|letter| plain(letter) == letter));
        assert!(FlagError::new("x".repeat(9000), "long", "shorten").to_string().chars().count() < 200);
    }
}
