//! Values while a rule runs: borrowed from the document or the context where they can be, shared where they were made.

use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::{Map, Value};

/// A value. Cloning one never copies text or lists.
#[derive(Clone, Debug)]
pub(crate) enum Item<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a str),
    Made(Rc<str>),
    Array(&'a [Value]),
    List(Rc<List<'a>>),
    Object(&'a Map<String, Value>),
}

/// A list that a rule made.
#[derive(Debug)]
pub(crate) struct List<'a> {
    pub(crate) items: Vec<Item<'a>>,
    /// Lists in lists: bounded, because they are walked and freed level by level.
    pub(crate) depth: usize,
}

/// A longer text is no number, whatever is in it: reading one costs no steps, so it must be short.
const NUMBER_BYTES: usize = 1024;

/// Whole numbers stay whole while they can.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

impl<'a> From<&'a Value> for Item<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.into()),
            Value::String(text) => Self::Text(text),
            Value::Array(list) => Self::Array(list),
            Value::Object(object) => Self::Object(object),
        }
    }
}

impl From<&serde_json::Number> for Number {
    fn from(number: &serde_json::Number) -> Self {
        let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        whole.map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Int)
    }
}

impl<'a> Item<'a> {
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Made(text) => Some(text),
            _ => None,
        }
    }

    /// How many elements, if it is a list.
    pub(crate) fn length(&self) -> Option<usize> {
        match self {
            Self::Array(list) => Some(list.len()),
            Self::List(list) => Some(list.items.len()),
            _ => None,
        }
    }

    /// The element of a list.
    pub(crate) fn element(&self, at: usize) -> Option<Item<'a>> {
        match self {
            Self::Array(list) => list.get(at).map(Item::from),
            Self::List(list) => list.items.get(at).cloned(),
            _ => None,
        }
    }

    /// The elements of a list; nothing else has any.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Item<'a>> {
        (0..self.length().unwrap_or(0)).filter_map(|at| self.element(at))
    }

    /// What one step of a path leads to: a key of an object, a place or `length` of a list or a text.
    pub(crate) fn child(&self, step: &str) -> Option<Item<'a>> {
        if let Self::Object(object) = self {
            return object.get(step).map(Item::from);
        }
        let letters = self.as_text();
        if step == "length" {
            let length = letters.map(|text| text.chars().count()).or_else(|| self.length())?;
            return Some(Self::Number(Number::Int(length as i128)));
        }
        // Places are written as numbers are: `01` and `+1` are none.
        let at = step.parse::<usize>().ok().filter(|at| at.to_string() == step)?;
        match letters {
            Some(text) => text.chars().nth(at).map(|letter| Self::Made(letter.to_string().into())),
            None => self.element(at),
        }
    }

    /// Whether a condition with this value holds: JSON Logic's rule, by which an empty list is false.
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(Number::Int(number)) => *number != 0,
            Self::Number(Number::Float(number)) => *number != 0.0 && !number.is_nan(),
            Self::Text(_) | Self::Made(_) => self.as_text().is_some_and(|text| !text.is_empty()),
            Self::Array(_) | Self::List(_) => self.length().is_some_and(|length| length > 0),
            Self::Object(_) => true,
        }
    }

    /// The number that this counts as; not a number where it counts as none.
    pub(crate) fn number(&self) -> Number {
        match self {
            Self::Null => Number::Int(0),
            Self::Bool(value) => Number::Int(i128::from(*value)),
            Self::Number(number) => *number,
            Self::Text(_) | Self::Made(_) => self.as_text().map_or(Number::NAN, Number::read),
            Self::Array(_) | Self::List(_) => match self.length() {
                Some(0) => Number::Int(0),
                Some(1) => self.element(0).map_or(Number::NAN, |only| only.number()),
                _ => Number::NAN,
            },
            Self::Object(_) => Number::NAN,
        }
    }
}

impl Number {
    pub(crate) const NAN: Self = Self::Float(f64::NAN);

    /// A decimal number with white space around it. An empty text, `inf` and `nan` are none.
    fn read(text: &str) -> Self {
        if text.len() > NUMBER_BYTES {
            return Self::NAN;
        }
        let text = text.trim();
        let plain = text.bytes().all(|letter| letter.is_ascii_digit() || b"+-.eE".contains(&letter));
        if !plain {
            return Self::NAN;
        }
        let whole = text.parse::<i64>().map(|number| Self::Int(number.into()));
        whole.unwrap_or_else(|_| text.parse().map_or(Self::NAN, Self::Float))
    }

    pub(crate) fn float(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// The whole number that this is, if it is one.
    pub(crate) fn whole(self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(number),
            // Beyond 2^100 nobody counts; the conversion below is exact.
            Self::Float(number) => (number.fract() == 0.0 && number.abs() < 2_f64.powi(100)).then_some(number as i128),
        }
    }

    /// The order of two numbers; none with what is not a number.
    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        match (self.whole(), other.whole()) {
            (Some(one), Some(two)) => Some(one.cmp(&two)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }

    /// Whole numbers by one way while it has an answer, else both as floating point by the other.
    pub(crate) fn with(
        self,
        other: Self,
        whole: impl Fn(i128, i128) -> Option<i128>,
        float: impl Fn(f64, f64) -> f64,
    ) -> Self {
        if let (Self::Int(one), Self::Int(two)) = (self, other)
            && let Some(number) = whole(one, two)
        {
            return Self::Int(number);
        }
        Self::Float(float(self.float(), other.float()))
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.whole(), self) {
            (Some(number), _) => write!(to, "{number}"),
            (None, Self::Float(number)) => write!(to, "{number}"),
            (None, Self::Int(number)) => write!(to, "{number}"),
        }
    }
}
