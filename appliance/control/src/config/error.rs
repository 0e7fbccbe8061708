//! What is wrong with a configuration, and where.

use serde_saphyr::{Error, Location};

use crate::problem::{Problem, one_line};

/// A refused configuration. Its text is one line: `LINE:COLUMN: VALUE: cause; cure`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {problem}")]
pub struct ConfigError {
    /// Line of the value, from 1.
    pub line: u64,
    /// Column of the value in characters, from 1.
    pub column: u64,
    /// Value, cause and cure.
    pub problem: Problem,
}

impl ConfigError {
    /// A problem at a place of the file.
    pub(super) fn at(location: Location, problem: Problem) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1), problem }
    }

    /// What the YAML library refused: unreadable YAML, an unknown or repeated or missing key, the wrong kind of value.
    pub(super) fn from_yaml(text: &str, error: &Error) -> Self {
        let error = error.without_snippet();
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let here = || word_at(text, location);
        let list = |names: &[&str]| names.join(", ");
        let problem = match error {
            Error::SerdeUnknownField { field, expected, .. } => {
                Problem::new(field, "no such key here", format!("remove it or use one of: {}", list(expected)))
            }
            Error::DuplicateMappingKey { key, .. } => {
                let key = key.clone().unwrap_or_else(here);
                Problem::new(key, "this key stands twice", "keep one of the two")
            }
            Error::SerdeInvalidType { .. } | Error::SerdeInvalidValue { .. } => Problem::new(
                here(),
                "this is the wrong kind of value",
                "see the example in the documentation of this key",
            ),
            Error::Unexpected { expected, .. } => {
                Problem::new(here(), "this is the wrong kind of value", format!("write {} here", in_words(expected)))
            }
            Error::NullIntoString { .. } => {
                Problem::new(here(), "there is no value here", "write one, in quotes if it is the word null")
            }
            Error::Eof { .. } => Problem::new(here(), "the text ends too early", "finish the entry"),
            Error::MultipleDocuments { .. } => Problem::new(
                here(),
                "a second document starts here",
                "keep one document: remove `---` and what follows it",
            ),
            Error::Budget { .. } => Problem::new(
                here(),
                "the text is too deep, too long or repeats too much",
                "write it without anchors and shorter",
            ),
            // What remains is YAML that cannot be read; the library's own words are the best cause.
            other => {
                let full = other.render();
                let cause = full.split(" at line ").next().unwrap_or(&full);
                Problem::new(
                    here(),
                    format!("this is not readable YAML: {}", one_line(cause)),
                    "check indentation, quotes and brackets",
                )
            }
        };
        Self::at(location, problem)
    }
}

/// What the YAML library expected, in the words of people who do not write parsers.
fn in_words(expected: &str) -> &str {
    match expected {
        "mapping start" => "keys and values, `{key: value}` or one a line,",
        "sequence start" => "a list, `[first, second]` or `- item` lines,",
        "string scalar" => "one value",
        other => other,
    }
}

/// The value that stands at a place of the text, for messages: up to where it ends if it is a scalar, else its start;
/// `end of text` behind the last.
fn word_at(text: &str, location: Location) -> String {
    let line = usize::try_from(location.line().saturating_sub(1)).unwrap_or(usize::MAX);
    let column = usize::try_from(location.column().saturating_sub(1)).unwrap_or(usize::MAX);
    let rest: String = text.lines().nth(line).unwrap_or_default().chars().skip(column).take(40).collect();
    let is_collection = rest.starts_with(['[', '{']);
    let end = rest.find([',', ']', '}']).filter(|_| !is_collection).unwrap_or(rest.len());
    match rest.get(..end).unwrap_or_default().trim() {
        "" if rest.trim().is_empty() => "end of text".to_owned(),
        "" => rest.chars().take(1).collect(),
        word => word.to_owned(),
    }
}
