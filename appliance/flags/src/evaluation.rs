//! Asking a document about a flag.

use serde_json::{Map, Value, json};

use crate::document::{Document, Flag, Kind, State};
use crate::item::Item;
use crate::run::Run;
use crate::{CONTEXT_BYTES, CONTEXT_VALUES, DEPTH};

/// The answer about one flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The variant's name; none where the program's own default applies, and after an error.
    pub variant: Option<String>,
    /// The variant's value; null where there is no variant.
    pub value: Value,
    /// Why this variant.
    pub reason: Reason,
    /// What went wrong, with [`Reason::Error`] only.
    pub error: Option<EvaluationError>,
}

/// Why a variant was chosen, in OpenFeature's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The flag has no targeting: everyone gets its default.
    Static,
    /// Its targeting chose nothing, or it has neither targeting nor default.
    Default,
    /// Its targeting chose this variant.
    TargetingMatch,
    /// The flag is switched off.
    Disabled,
    /// See the error.
    Error,
}

impl Reason {
    /// The word that OpenFeature uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Disabled => "DISABLED",
            Self::Error => "ERROR",
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: one line with value, cause and cure.
    pub message: String,
}

/// OpenFeature's codes, as far as flagd uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The document has no such flag.
    FlagNotFound,
    /// The rule could not be evaluated within its bounds.
    ParseError,
    /// The flag's values are of another type than asked for.
    TypeMismatch,
    /// The context is deeper or larger than allowed.
    InvalidContext,
    /// The rule chose a variant that the flag does not have.
    General,
}

impl ErrorCode {
    /// The word that OpenFeature uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::ParseError => "PARSE_ERROR",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::InvalidContext => "INVALID_CONTEXT",
            Self::General => "GENERAL",
        }
    }
}

impl Evaluation {
    fn error(code: ErrorCode, message: impl Into<String>) -> Self {
        let error = Some(EvaluationError { code, message: message.into() });
        Self { variant: None, value: Value::Null, reason: Reason::Error, error }
    }

    fn of(flag: &Flag, variant: Option<&str>, reason: Reason) -> Self {
        let value = variant.and_then(|name| flag.variants().get(name));
        let value = value.cloned().unwrap_or_default();
        Self { variant: variant.map(str::to_owned), value, reason, error: None }
    }
}

impl Document {
    /// The variant of `flag` for this context at `now_s` seconds since 1970. The context's `targetingKey` is who asks;
    /// rules also see `$flagd.flagKey` and `$flagd.timestamp`, whatever the context says of them.
    #[must_use]
    pub fn evaluate(&self, flag: &str, context: &Map<String, Value>, now_s: u64) -> Evaluation {
        let Some(found) = self.flag(flag) else {
            let message = format!("{}: there is no such flag; ask for one of the document", crate::error::shown(flag));
            return Evaluation::error(ErrorCode::FlagNotFound, message);
        };
        let default = || found.default_variant();
        if found.state() == State::Disabled {
            return Evaluation::of(found, None, Reason::Disabled);
        }
        let Some(rule) = found.rule() else {
            let reason = if default().is_some() { Reason::Static } else { Reason::Default };
            return Evaluation::of(found, default(), reason);
        };
        if let Err(message) = bounded(context) {
            return Evaluation::error(ErrorCode::InvalidContext, message);
        }
        let mut whole = context.clone();
        whole.insert("$flagd".to_owned(), json!({ "flagKey": flag, "timestamp": now_s }));
        let mut run = Run::new(Item::Object(&whole));
        let chosen = match run.evaluate(rule) {
            Ok(Item::Null) => return Evaluation::of(found, default(), Reason::Default),
            // flagd writes what was chosen as JSON, where an empty list is no empty text.
            Ok(chosen @ (Item::Array(_) | Item::List(_))) if chosen.elements().next().is_none() => Ok("[]".to_owned()),
            Ok(chosen) => run.text(&chosen).map(std::borrow::Cow::into_owned),
            Err(stop) => Err(stop),
        };
        match chosen {
            Ok(name) if found.variants().contains_key(&name) => {
                Evaluation::of(found, Some(&name), Reason::TargetingMatch)
            }
            Ok(name) => {
                let message = format!(
                    "{}: the rule chose a variant that the flag does not have; add it, or change the rule",
                    crate::error::shown(&name)
                );
                Evaluation::error(ErrorCode::General, message)
            }
            Err(stop) => Evaluation::error(ErrorCode::ParseError, format!("{}: {stop}", crate::error::shown(flag))),
        }
    }

    /// The same for a program that expects values of this type: any other is an error.
    #[must_use]
    pub fn evaluate_as(&self, kind: Kind, flag: &str, context: &Map<String, Value>, now_s: u64) -> Evaluation {
        let evaluation = self.evaluate(flag, context, now_s);
        match self.flag(flag) {
            Some(found) if evaluation.variant.is_some() && found.kind() != kind => {
                let (has, asked) = (found.kind().as_str(), kind.as_str());
                let message =
                    format!("{}: its values are {has}s, not {asked}s; ask for {has}s", crate::error::shown(flag));
                Evaluation::error(ErrorCode::TypeMismatch, message)
            }
            _ => evaluation,
        }
    }
}

/// Refuses a context that is too deep or too large, without following it deeper than allowed.
fn bounded(context: &Map<String, Value>) -> Result<(), String> {
    let (mut values, mut bytes) = (0_usize, 0_usize);
    let mut open: Vec<(&Value, usize)> = Vec::new();
    let mut enter = |name: &str, value: &Value| {
        values += 1;
        bytes += name.len() + value.as_str().map_or(0, str::len);
        if values > CONTEXT_VALUES {
            return Err(format!("context: it has more than {CONTEXT_VALUES} values; send what the rule looks at"));
        }
        if bytes > CONTEXT_BYTES {
            return Err(format!("context: it has more than {CONTEXT_BYTES} bytes; send what the rule looks at"));
        }
        Ok(())
    };
    for (name, value) in context {
        enter(name, value)?;
        open.push((value, 1));
    }
    while let Some((value, depth)) = open.pop() {
        if depth > DEPTH {
            return Err(format!("context: it is deeper than {DEPTH} levels; send what the rule looks at"));
        }
        match value {
            Value::Array(items) => {
                for item in items {
                    enter("", item)?;
                    open.push((item, depth + 1));
                }
            }
            Value::Object(object) => {
                for (name, item) in object {
                    enter(name, item)?;
                    open.push((item, depth + 1));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
