//! A YAML text as a tree whose every value knows its place: for overlays, for differences, and to say where a value
//! comes from. What the keys mean is not known here.

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::{ConfigError, raw};

/// Where a value stands: the number of its layer, line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) layer: usize,
    pub(super) line: u64,
    pub(super) column: u64,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing is written, or null.
    Empty,
    /// What is written, without quotes.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Reads a text that [`raw::read`] takes.
pub(super) fn read(layer: usize, text: &str) -> Result<Node, ConfigError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_aliases: 0 },
        merge_keys: serde_saphyr::MergeKeyPolicy::AsOrdinary,
        with_snippet: false,
    };
    raw::read(text)?;
    let empty = Node { value: Value::Empty, place: Place { layer, line: 1, column: 1 } };
    let read: Option<Spanned<Written>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| ConfigError::from_yaml(text, &error))?;
    Ok(read.map_or(empty, |written| node(layer, text, written)))
}

fn node(layer: usize, text: &str, written: Spanned<Written>) -> Node {
    let location = written.referenced;
    let place = Place { layer, line: location.line().max(1), column: location.column().max(1) };
    let value = match written.value {
        Written::Empty => Value::Empty,
        Written::Text(text) => Value::Scalar(text),
        // A number is kept as it is written: 010 and 1e3 are judged by who knows what they shall be.
        Written::Other(read) => {
            let span = location.span();
            let bytes = span.byte_offset().zip(span.byte_len());
            let source = bytes.and_then(|(from, length)| text.get(from as usize..(from + length) as usize));
            Value::Scalar(source.map_or(read, |source| source.trim().to_owned()))
        }
        Written::List(items) => Value::List(items.into_iter().map(|item| node(layer, text, item)).collect()),
        Written::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key, node(layer, text, value))).collect())
        }
    };
    Node { value, place }
}

impl Node {
    /// The value under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// What an item of a list is called: by its name, its number, or its place.
    pub(super) fn title(&self, list: &str, place: usize) -> String {
        let named = ["name", "id"].iter().find_map(|key| match self.get(key).map(|node| &node.value) {
            Some(Value::Scalar(text)) => Some(text.clone()),
            _ => None,
        });
        // A rule without a name gets this one.
        named.unwrap_or_else(|| if list == "rules" { format!("rule-{place}") } else { format!("#{place}") })
    }
}

/// What serde reads, before it has a place.
enum Written {
    Empty,
    Text(String),
    Other(String),
    List(Vec<Spanned<Written>>),
    Map(Vec<(String, Spanned<Written>)>),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Written;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(Written::Empty)
    }

    fn visit_none<E>(self) -> Result<Written, E> {
        Ok(Written::Empty)
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Written, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Written, E> {
        Ok(Written::Other(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Written, E> {
        Ok(Written::Other(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Written, E> {
        Ok(Written::Other(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Written, E> {
        Ok(Written::Other(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Written, E> {
        Ok(Written::Other(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Written, E> {
        Ok(Written::Other(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Written, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Written::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Written, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Written::Map(map))
    }
}
