//! The configuration as resources, and back. Rules, agents and flags are resources of their own, the rest is one setting
//! in the words of the file: a section that the file gets one day is stored without a line here.

use std::collections::BTreeMap;

use super::{AgentSpec, Config, ConfigError, FlagSpec, RuleSpec, Run};
use crate::name::RuleName;
use crate::problem::Problem;
use crate::resources::{Entry, Key, Kind, StoreError};
use crate::taker::FeatureName;

/// Kinds of the resources that a configuration is made of. Of the settings only those named here belong to it.
pub const KINDS: [Kind; 4] = [Kind::Rules, Kind::Flags, Kind::Agents, Kind::Settings];

/// Names of the rules, first match first.
const ORDER: &str = "rule-order";

/// Beginning of the name of the setting that says what becomes of a feature's worker; none where it runs. Each is of its
/// own, so that its last change says who stopped the feature and why.
const RUN: &str = "run-";

/// Resources that are no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// One of them does not read.
    #[error("{key}: it cannot be read: {cause}; it was written by another version of weir: use that one, or roll back")]
    Unreadable {
        /// Which.
        key: String,
        /// Why.
        cause: String,
    },
    /// The rest of the configuration is refused.
    #[error("settings/config:{0}")]
    Refused(#[from] ConfigError),
    /// Together they are refused.
    #[error(transparent)]
    Judged(#[from] Problem),
    /// A name is none.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Config {
    /// Name of the setting that is everything but rules, flags, agents and services.
    pub const REST_RESOURCE: &str = "config";
    /// Name of the setting that is all services: they name agents, so they are read when those are there.
    pub const SERVICES_RESOURCE: &str = "services";
    /// Name of the setting that is the flags which programs ask.
    pub const PROGRAM_FLAGS_RESOURCE: &str = "program-flags";

    /// Whether a resource is part of a configuration.
    #[must_use]
    pub fn is_made_of(key: &Key) -> bool {
        match key.kind() {
            Kind::Rules | Kind::Flags | Kind::Agents => true,
            Kind::Settings => {
                let own = [Self::REST_RESOURCE, ORDER, Self::SERVICES_RESOURCE, Self::PROGRAM_FLAGS_RESOURCE];
                own.contains(&key.name()) || key.name().starts_with(RUN)
            }
            Kind::Models | Kind::Experiments | Kind::Tokens => false,
        }
    }

    /// Name of the setting that says what becomes of a feature's worker.
    #[must_use]
    pub fn run_resource(feature: FeatureName) -> String {
        format!("{RUN}{feature}")
    }

    /// The resources that this configuration is.
    ///
    /// # Errors
    /// A name or a value is longer than a store takes.
    pub fn to_resources(&self) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        let json = |key: &Key, value: serde_json::Result<Vec<u8>>| {
            value.map_err(|error| StoreError::invalid(key.to_string(), error.to_string(), "report this"))
        };
        let mut resources = Vec::new();
        let mut put = |kind, name: String, value: serde_json::Result<Vec<u8>>| {
            let key = Key::new(kind, name)?;
            let value = json(&key, value)?;
            resources.push((key, value));
            Ok::<_, StoreError>(())
        };
        for rule in &self.rules {
            put(Kind::Rules, rule.name.to_string(), serde_json::to_vec(rule))?;
        }
        for agent in &self.agents {
            put(Kind::Agents, agent.id.to_string(), serde_json::to_vec(agent))?;
        }
        for flag in &self.flags {
            put(Kind::Flags, flag.name.to_string(), serde_json::to_vec(flag))?;
        }
        let order: Vec<&RuleName> = self.rules.iter().map(|rule| &rule.name).collect();
        put(Kind::Settings, ORDER.to_owned(), serde_json::to_vec(&order))?;
        put(Kind::Settings, Self::SERVICES_RESOURCE.to_owned(), serde_json::to_vec(&self.services))?;
        if let Some(flags) = &self.program_flags {
            put(Kind::Settings, Self::PROGRAM_FLAGS_RESOURCE.to_owned(), serde_json::to_vec(flags.as_str()))?;
        }
        let mut features = self.features.clone();
        for (name, spec) in &mut features {
            let run = std::mem::take(&mut spec.run);
            if run != Run::Started {
                put(Kind::Settings, Self::run_resource(*name), serde_json::to_vec(&run))?;
            }
        }
        let rest = Self {
            features,
            rules: Vec::new(),
            flags: Vec::new(),
            program_flags: None,
            agents: Vec::new(),
            services: Vec::new(),
            ..self.clone()
        };
        put(Kind::Settings, Self::REST_RESOURCE.to_owned(), Ok(rest.to_yaml().into_bytes()))?;
        Ok(resources)
    }

    /// The configuration that these resources are, judged as a file is. `None` if there is none among them.
    ///
    /// # Errors
    /// One does not read, or together they are refused.
    pub fn from_resources(entries: &[Entry]) -> Result<Option<Self>, StoredError> {
        let found =
            |name: &str| entries.iter().find(|entry| entry.key.kind() == Kind::Settings && entry.key.name() == name);
        let Some(rest) = found(Self::REST_RESOURCE) else { return Ok(None) };
        let text = std::str::from_utf8(&rest.value).map_err(|error| unreadable(rest, &error))?;
        let mut config = Self::parse(text)?;
        let order: Vec<RuleName> = found(ORDER).map(read).transpose()?.unwrap_or_default();
        let place: BTreeMap<&RuleName, usize> = order.iter().zip(0..).collect();
        config.rules = all::<RuleSpec>(entries, Kind::Rules)?;
        config.rules.sort_by_key(|rule| place.get(&rule.name).copied().unwrap_or(usize::MAX));
        config.flags = all::<FlagSpec>(entries, Kind::Flags)?;
        config.flags.sort_by(|one, other| one.name.cmp(&other.name));
        config.agents = all::<AgentSpec>(entries, Kind::Agents)?;
        config.agents.sort_by_key(|agent| agent.id);
        for entry in entries.iter().filter(|entry| entry.key.kind() == Kind::Settings) {
            // A feature that this build does not have has no worker either.
            let feature = entry.key.name().strip_prefix(RUN).and_then(|name| name.parse::<FeatureName>().ok());
            if let Some(spec) = feature.and_then(|name| config.features.get_mut(&name)) {
                spec.run = read(entry)?;
            }
        }
        config.services = found(Self::SERVICES_RESOURCE).map(read).transpose()?.unwrap_or_default();
        let flags: Option<String> = found(Self::PROGRAM_FLAGS_RESOURCE).map(read).transpose()?;
        config.program_flags = flags.map(|text| text.parse()).transpose()?;
        Ok(Some(config.judged()?))
    }
}

fn unreadable(entry: &Entry, cause: &dyn std::fmt::Display) -> StoredError {
    StoredError::Unreadable { key: entry.key.to_string(), cause: cause.to_string() }
}

fn read<T: serde::de::DeserializeOwned>(entry: &Entry) -> Result<T, StoredError> {
    serde_json::from_slice(&entry.value).map_err(|error| unreadable(entry, &error))
}

/// All resources of a kind, by name.
fn all<T: serde::de::DeserializeOwned>(entries: &[Entry], kind: Kind) -> Result<Vec<T>, StoredError> {
    entries.iter().filter(|entry| entry.key.kind() == kind).map(read).collect()
}
