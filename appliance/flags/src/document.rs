//! A document in flagd's schema, parsed once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::FlagError;
use crate::rule::{Compiler, Rule};
use crate::{DOCUMENT_BYTES, FLAGS, NAME_BYTES, json};

/// Flags with the evaluators that their rules share. Equal documents have equal text: [`Document::to_json`].
#[derive(Clone, Debug)]
pub struct Document {
    flags: BTreeMap<String, Flag>,
    evaluators: Map<String, Value>,
    metadata: Map<String, Value>,
    schema: Option<String>,
}

/// One flag.
#[derive(Clone, Debug)]
pub struct Flag {
    state: State,
    kind: Kind,
    variants: Map<String, Value>,
    default: Option<String>,
    targeting: Option<(Value, Rule)>,
    metadata: Map<String, Value>,
}

/// Whether a flag is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers.
    Enabled,
    /// Everyone who asks keeps the default of the program.
    Disabled,
}

/// The type that all values of a flag have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` and `false`.
    Boolean,
    /// Texts.
    String,
    /// Numbers that JavaScript can count: whole ones up to 2^53 - 1.
    Number,
    /// Objects.
    Object,
}

impl Kind {
    /// The schema's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Number => "number",
            Self::Object => "object",
        }
    }

    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(_) => Some(Self::Boolean),
            Value::String(_) => Some(Self::String),
            Value::Number(_) => Some(Self::Number),
            Value::Object(_) => Some(Self::Object),
            Value::Null | Value::Array(_) => None,
        }
    }
}

impl State {
    /// The schema's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
        }
    }
}

impl Flag {
    /// Whether it is in use.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The type of its values.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its variants by name; there is at least one.
    #[must_use]
    pub fn variants(&self) -> &Map<String, Value> {
        &self.variants
    }

    /// The variant of everyone whom the targeting leaves alone; without one the program's own default applies.
    #[must_use]
    pub fn default_variant(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// The targeting rule as it was written.
    #[must_use]
    pub fn targeting(&self) -> Option<&Value> {
        self.targeting.as_ref().map(|(written, _)| written)
    }

    /// What else was written about it: booleans, numbers and texts.
    #[must_use]
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    pub(crate) fn rule(&self) -> Option<&Rule> {
        self.targeting.as_ref().map(|(_, rule)| rule)
    }

    fn to_value(&self) -> Value {
        let mut flag = Map::new();
        flag.insert("state".to_owned(), self.state.as_str().into());
        flag.insert("variants".to_owned(), Value::Object(self.variants.clone()));
        flag.insert("defaultVariant".to_owned(), self.default.clone().into());
        if let Some(written) = self.targeting() {
            flag.insert("targeting".to_owned(), written.clone());
        }
        if !self.metadata.is_empty() {
            flag.insert("metadata".to_owned(), Value::Object(self.metadata.clone()));
        }
        Value::Object(flag)
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

impl Document {
    /// Parses a document and compiles every rule in it.
    ///
    /// # Errors
    /// The first thing that flagd's schema or the limits do not allow, with flag, value, cause and cure.
    pub fn parse(text: &str) -> Result<Self, FlagError> {
        const KEYS: [&str; 4] = ["$schema", "flags", "$evaluators", "metadata"];
        let mut whole = object(json::read(text)?, "the document", "write {\"flags\": {…}}")?;
        known_keys(&whole, &KEYS, "write one of: flags, $evaluators, metadata, $schema")?;
        let mut part = |key: &str| match whole.remove(key) {
            Some(part) => object(part, key, "write an object by name").map(Some),
            None => Ok(None),
        };
        let flags = part("flags")?.ok_or_else(|| {
            FlagError::new("flags", "the document has none", "write {\"flags\": {…}}; it may be empty")
        })?;
        let evaluators = part("$evaluators")?.unwrap_or_default();
        let metadata = part("metadata")?.unwrap_or_default();
        let schema = match whole.remove("$schema") {
            Some(Value::String(schema)) => Some(schema),
            Some(other) => return Err(FlagError::new(other.to_string(), "$schema is a text", "write its address")),
            None => None,
        };
        if flags.len() > FLAGS {
            let cause = format!("a document has at most {FLAGS} flags");
            return Err(FlagError::new(format!("{} flags", flags.len()), cause, "split it into several documents"));
        }
        check_metadata(&metadata)?;
        evaluators.keys().try_for_each(|name| check_name(name, "an evaluator's name"))?;
        let mut compiler = Compiler::new(&evaluators)?;
        let flags = flags
            .into_iter()
            .map(|(name, written)| match flag(&name, written, &mut compiler) {
                Ok(flag) => Ok((name, flag)),
                Err(error) => Err(error.in_flag(&name)),
            })
            .collect::<Result<_, _>>()?;
        let document = Self { flags, evaluators, metadata, schema };
        // Numbers may be longer in the normal form; what is written must be readable again.
        let length = document.to_json().len();
        if length > DOCUMENT_BYTES {
            let cause = format!("in its normal form a document has at most {DOCUMENT_BYTES} bytes");
            return Err(FlagError::new(format!("{length} bytes"), cause, "split it into several documents"));
        }
        Ok(document)
    }

    /// The document in its normal form: one line, keys in order, defaults written out. It parses to an equal document.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut whole = Map::new();
        if let Some(schema) = &self.schema {
            whole.insert("$schema".to_owned(), schema.clone().into());
        }
        if !self.evaluators.is_empty() {
            whole.insert("$evaluators".to_owned(), Value::Object(self.evaluators.clone()));
        }
        if !self.metadata.is_empty() {
            whole.insert("metadata".to_owned(), Value::Object(self.metadata.clone()));
        }
        let flags = self.flags.iter().map(|(name, flag)| (name.clone(), flag.to_value())).collect();
        whole.insert("flags".to_owned(), Value::Object(flags));
        Value::Object(whole).to_string()
    }

    /// The flags by name, in order.
    pub fn flags(&self) -> impl Iterator<Item = (&str, &Flag)> {
        self.flags.iter().map(|(name, flag)| (name.as_str(), flag))
    }

    /// One flag.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&Flag> {
        self.flags.get(name)
    }

    /// What was written about all flags together: booleans, numbers and texts.
    #[must_use]
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }
}

fn flag(name: &str, written: Value, compiler: &mut Compiler<'_>) -> Result<Flag, FlagError> {
    const KEYS: [&str; 5] = ["state", "variants", "defaultVariant", "targeting", "metadata"];
    check_name(name, "a flag's name")?;
    let mut written = object(written, "the flag", "write {\"state\": …, \"variants\": {…}}")?;
    known_keys(&written, &KEYS, "write one of: state, variants, defaultVariant, targeting, metadata")?;
    let state = match written.remove("state") {
        Some(Value::String(state)) if state == "ENABLED" => State::Enabled,
        Some(Value::String(state)) if state == "DISABLED" => State::Disabled,
        Some(other) => {
            return Err(FlagError::new(other.to_string(), "this is not a state", "write \"ENABLED\" or \"DISABLED\""));
        }
        None => return Err(FlagError::new("state", "it is missing", "write \"ENABLED\" or \"DISABLED\"")),
    };
    let variants = written.remove("variants").unwrap_or_default();
    let variants = object(variants, "variants", "write an object with a value for each variant")?;
    let kind = kind_of(&variants)?;
    let default = match written.remove("defaultVariant") {
        None | Some(Value::Null) => None,
        Some(Value::String(default)) if variants.contains_key(&default) => Some(default),
        Some(other) => {
            let cure = "name one of the variants, or write null for the program's own default";
            return Err(FlagError::new(other.to_string(), "defaultVariant is none of the variants", cure));
        }
    };
    let targeting = match written.remove("targeting") {
        None | Some(Value::Null) => None,
        Some(Value::Object(rule)) if rule.is_empty() => None,
        Some(rule @ Value::Object(_)) => {
            let compiled = compiler.compile(&rule)?;
            Some((rule, compiled))
        }
        Some(other) => {
            return Err(FlagError::new(other.to_string(), "targeting is a rule", "write {\"OPERATOR\": […]}"));
        }
    };
    let metadata = match written.remove("metadata") {
        None => Map::new(),
        Some(metadata) => object(metadata, "metadata", "write an object")?,
    };
    check_metadata(&metadata)?;
    Ok(Flag { state, kind, variants, default, targeting, metadata })
}

/// The type that all variants have.
fn kind_of(variants: &Map<String, Value>) -> Result<Kind, FlagError> {
    /// The largest whole number that JavaScript can count: 2^53 - 1.
    const COUNTABLE: f64 = 9_007_199_254_740_991.0;
    let mut kind = None;
    for (name, value) in variants {
        check_name(name, "a variant's name")?;
        let Some(own) = Kind::of(value) else {
            let cause = format!(
                "the value of variant {} is neither boolean, text, number nor object",
                crate::error::shown(name)
            );
            return Err(FlagError::new(value.to_string(), cause, "put it into an object"));
        };
        if value.as_f64().is_some_and(|number| number.abs() > COUNTABLE) {
            return Err(FlagError::new(value.to_string(), "numbers end at 2^53 - 1", "write it as a text"));
        }
        let all = *kind.get_or_insert(own);
        if all != own {
            let cause = format!("this is a {}, an earlier variant is a {}", own.as_str(), all.as_str());
            return Err(FlagError::new(value.to_string(), cause, "give all variants values of one type"));
        }
    }
    kind.ok_or_else(|| FlagError::new("variants", "there is none", "write at least one variant with its value"))
}

fn object(value: Value, what: &str, cure: &'static str) -> Result<Map<String, Value>, FlagError> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Err(FlagError::new(what, "it is missing", cure)),
        other => Err(FlagError::new(other.to_string(), format!("{what} is not an object"), cure)),
    }
}

fn known_keys(object: &Map<String, Value>, known: &[&str], cure: &'static str) -> Result<(), FlagError> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(FlagError::new(key, "there is no such key", cure)),
        None => Ok(()),
    }
}

fn check_name(name: &str, what: &str) -> Result<(), FlagError> {
    if (1..=NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(FlagError::new(name, format!("{what} has 1 to {NAME_BYTES} bytes"), "choose another name"))
}

fn check_metadata(metadata: &Map<String, Value>) -> Result<(), FlagError> {
    for (name, value) in metadata {
        check_name(name, "a metadata key")?;
        if !(value.is_boolean() || value.is_number() || value.is_string()) {
            let cause = format!("metadata {} is neither boolean, number nor text", crate::error::shown(name));
            return Err(FlagError::new(value.to_string(), cause, "write one of these, or leave it out"));
        }
    }
    Ok(())
}
