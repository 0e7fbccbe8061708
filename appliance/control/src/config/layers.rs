//! Overlays: one file for all boxes, and a second with what differs in development, staging or production.
//!
//! Keys are merged one by one and a value in a later layer replaces an earlier one; so are the items of a list that have
//! a `name` or an `id`, new ones behind the others. A list of anything else is replaced as a whole. A key whose value is
//! null is as if no layer had it: its default is back.

use std::fmt::Write as _;

use super::tree::{self, Node, Place, Value};
use super::write::quoted;
use super::{Config, ConfigError, flat};
use crate::problem::one_line;

/// One file of a layered configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layer {
    /// The file, as messages name it.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// A refused configuration of several files. One line: `FILE:LINE:COLUMN: VALUE: cause; cure`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{error}", one_line(file))]
pub struct LayerError {
    /// The file.
    pub file: String,
    /// What is wrong with it, and where.
    pub error: ConfigError,
}

/// A configuration, and where each of its values comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Layered {
    config: Config,
    names: Vec<String>,
    origins: std::collections::BTreeMap<String, Place>,
    mark: String,
}

impl Layered {
    /// Reads the layers, the base first. Each must be a good file in itself as far as its keys go; what they make
    /// together is judged as one.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line, column, value, cause and cure.
    pub fn read(layers: &[Layer]) -> Result<Self, LayerError> {
        let names: Vec<String> = layers.iter().map(|layer| layer.name.clone()).collect();
        let named = |layer: usize, error| LayerError { file: names.get(layer).cloned().unwrap_or_default(), error };
        let mut merged = None;
        for (number, layer) in layers.iter().enumerate() {
            let node = tree::read(number, &layer.text).map_err(|error| named(number, error))?;
            merged = Some(match merged {
                None => node,
                Some(below) => laid_over(below, node),
            });
        }
        let Some(merged) = merged else {
            return Ok(Self {
                config: Config::default(),
                names,
                origins: std::collections::BTreeMap::new(),
                mark: String::new(),
            });
        };
        let config = match layers {
            [only] => Config::parse(&only.text).map_err(|error| named(0, error))?,
            _ => together(&merged).map_err(|(layer, error)| named(layer, error))?,
        };
        let (origins, mark) = (flat::places(&merged), flat::mark(&merged));
        Ok(Self { config, names, origins, mark })
    }

    /// What the layers make together.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the layers make together.
    #[must_use]
    pub fn into_config(self) -> Config {
        self.config
    }

    /// A mark of what is written: the same for the same words, whatever the comments, the layout and the defaults.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Where the value at a path comes from: `prod.yaml:3:12`, or `default`.
    #[must_use]
    pub fn origin(&self, path: &str) -> String {
        let Some(place) = self.origins.get(path) else { return "default".to_owned() };
        let file = self.names.get(place.layer).map(String::as_str).unwrap_or_default();
        format!("{file}:{}:{}", place.line, place.column)
    }
}

fn laid_over(below: Node, above: Node) -> Node {
    let place = above.place;
    match (below.value, above.value) {
        (Value::Map(below), Value::Map(above)) => {
            let mut entries = below;
            for (key, value) in above {
                let at = entries.iter().position(|(name, _)| *name == key);
                match (at, &value.value) {
                    (Some(at), Value::Empty) => drop(entries.remove(at)),
                    (None, Value::Empty) => {}
                    (Some(at), _) => {
                        let (name, below) = entries.remove(at);
                        entries.insert(at, (name, laid_over(below, value)));
                    }
                    (None, _) => entries.push((key, value)),
                }
            }
            Node { value: Value::Map(entries), place }
        }
        (Value::List(below), Value::List(above)) if is_titled(&below) && is_titled(&above) => {
            let mut items = below;
            for item in above {
                let title = item.title("", 0);
                match items.iter().position(|below| below.title("", 0) == title) {
                    Some(at) => {
                        let below = items.remove(at);
                        items.insert(at, laid_over(below, item));
                    }
                    None => items.push(item),
                }
            }
            Node { value: Value::List(items), place }
        }
        // An overlay without a word changes nothing.
        (below, Value::Empty) => Node { value: below, place },
        (_, above) => Node { value: above, place },
    }
}

/// Whether every item of a list has a name or a number.
fn is_titled(items: &[Node]) -> bool {
    items.iter().all(|item| !item.title("", 0).starts_with('#'))
}

/// Judges the merged tree: it is written as one text, a value a line, and an error there is traced to where that line
/// comes from.
fn together(merged: &Node) -> Result<Config, (usize, ConfigError)> {
    let mut text = String::new();
    let mut places = Vec::new();
    write(&mut text, &mut places, merged, 0);
    Config::parse(&text).map_err(|error| {
        let line = usize::try_from(error.line).unwrap_or(usize::MAX).saturating_sub(1);
        let place = places.get(line).or(places.last()).copied().unwrap_or_default();
        (place.layer, ConfigError { line: place.line.max(1), column: place.column.max(1), ..error })
    })
}

/// Writes a map's entries or a list's items, each on lines of its own, and the place that each line comes from.
fn write(text: &mut String, places: &mut Vec<Place>, node: &Node, depth: usize) {
    let entries: Vec<(String, &Node)> = match &node.value {
        Value::Map(entries) => entries.iter().map(|(key, value)| (format!("{}:", quoted(key)), value)).collect(),
        Value::List(items) => items.iter().map(|item| ("-".to_owned(), item)).collect(),
        Value::Empty | Value::Scalar(_) => Vec::new(),
    };
    for (head, value) in entries {
        let scalar = match &value.value {
            Value::Scalar(scalar) => quoted(scalar),
            Value::Empty => "null".to_owned(),
            Value::List(items) if items.is_empty() => "[]".to_owned(),
            Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Value::List(_) | Value::Map(_) => String::new(),
        };
        let _ = writeln!(text, "{}{head} {scalar}", "  ".repeat(depth)); // writing to a String cannot fail
        places.push(value.place);
        if scalar.is_empty() {
            write(text, places, value, depth + 1);
        }
    }
}
