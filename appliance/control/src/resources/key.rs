//! Kinds and names.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MAX_NAME_BYTES, StoreError};

/// What a resource is. The numbers stand in the file: they are never given to another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    /// Where base messages go.
    Agents = 1,
    /// Which frames go where.
    Rules = 2,
    /// Shares of the flows no rule took.
    Flags = 3,
    /// Models.
    Models = 4,
    /// Experiments.
    Experiments = 5,
    /// Who may call.
    Tokens = 6,
    /// Everything else, by name.
    Settings = 7,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Agents, Self::Rules, Self::Flags, Self::Models, Self::Experiments, Self::Tokens, Self::Settings];

    /// The word, as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Rules => "rules",
            Self::Flags => "flags",
            Self::Models => "models",
            Self::Experiments => "experiments",
            Self::Tokens => "tokens",
            Self::Settings => "settings",
        }
    }

    /// The kind of a number in the file.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A resource's place: its kind and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: Kind,
    name: String,
}

impl Key {
    /// A key.
    ///
    /// # Errors
    /// The name is empty, longer than [`MAX_NAME_BYTES`], or contains a control character.
    pub fn new(kind: Kind, name: impl Into<String>) -> Result<Self, StoreError> {
        let name = name.into();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(StoreError::invalid(
                name,
                format!("a name has 1 to {MAX_NAME_BYTES} bytes and no control character"),
                "choose another name",
            ));
        }
        Ok(Self { kind, name })
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// `rules/telemetry`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}
