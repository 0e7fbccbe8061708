//! A configuration as paths and values, to be shown and compared: `rules[telemetry].share` is `5%`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::tree::{self, Node, Place, Value};
use super::{Config, ResourceSpec};

/// Keys of the file that change while weir runs. All others are read when it starts: sockets are bound, memory is
/// taken, processes are started by them.
const LIVE: [&str; 7] = ["rules", "flags", "program_flags", "agents", "services", "preservation", "management"];
/// What of a feature changes while weir runs as well: the ends of the paths of its cap and of its worker.
const LIVE_OF_FEATURE: [&str; 2] = [".send_mbit", ".run"];

/// What features may use changes while weir runs, but for what holds them to their memory: groups are made at the start.
const LIVE_RESOURCES: [&str; 2] = ["resources.features.", "resources.borrow"];

/// A value that two configurations disagree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where it is: `rules[telemetry].share`.
    pub path: String,
    /// What it was; absent if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it becomes; absent if it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether it can change while weir runs.
    pub live: bool,
}

/// Whether the value at a path can change while weir runs.
fn is_live(path: &str) -> bool {
    path.starts_with("features.") && LIVE_OF_FEATURE.iter().any(|end| path.ends_with(end))
        || LIVE_RESOURCES.iter().any(|start| path.starts_with(start))
        || LIVE
            .iter()
            .any(|key| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', ' ', '.'])))
}

impl Config {
    /// Every value by its path, defaults included.
    #[must_use]
    pub fn values(&self) -> Vec<(String, String)> {
        let tree = tree::read(0, &self.to_yaml());
        let mut found = Vec::new();
        // What `to_yaml` writes can be read.
        if let Ok(tree) = tree {
            walk(&tree, "", &mut |path, value, _| found.push((path.to_owned(), value)));
        }
        found
    }

    /// What has to change for this configuration to become `next`, by path.
    #[must_use]
    pub fn differences(&self, next: &Self) -> Vec<Difference> {
        let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (self.values().into_iter().collect(), next.values().into_iter().collect());
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let differs = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
        let mut found: Vec<Difference> = differs
            .map(|path| Difference {
                path: path.clone(),
                before: before.get(path).cloned(),
                after: after.get(path).cloned(),
                live: is_live(path),
            })
            .collect();
        let order =
            |config: &Self| config.rules.iter().map(|rule| rule.name.to_string()).collect::<Vec<_>>().join(", ");
        let (before, after) = (order(self), order(next));
        let same_rules = found.iter().all(|difference| !difference.path.ends_with("].name"));
        if same_rules && before != after {
            let path = "rules in order".to_owned();
            found.push(Difference { path, before: Some(before), after: Some(after), live: true });
        }
        found
    }

    /// This configuration with what can change live taken from `next`.
    #[must_use]
    pub fn with_live_part_of(&self, next: &Self) -> Self {
        let mut features = self.features.clone();
        for (name, spec) in &mut features {
            let next = next.features.get(name).cloned().unwrap_or_default();
            (spec.send_mbit, spec.run) = (next.send_mbit, next.run);
        }
        let resources = ResourceSpec { memory_limit: self.resources.memory_limit, ..next.resources.clone() };
        Self {
            features,
            resources,
            rules: next.rules.clone(),
            flags: next.flags.clone(),
            program_flags: next.program_flags.clone(),
            agents: next.agents.clone(),
            services: next.services.clone(),
            preservation: next.preservation,
            management: next.management.clone(),
            ..self.clone()
        }
    }
}

/// Where each value of a tree stands, by path.
pub(super) fn places(tree: &Node) -> BTreeMap<String, Place> {
    let mut places = BTreeMap::new();
    walk(tree, "", &mut |path, _, place| {
        places.insert(path.to_owned(), place);
    });
    places
}

/// A mark of what is written in a tree (FNV-1a, 64 bits, over paths and values in their order). It tells an edited file
/// from an unedited one; nothing is protected by it.
pub(super) fn mark(tree: &Node) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = 0xcbf2_9ce4_8422_2325;
    walk(tree, "", &mut |path, value, _| hash = format!("{path}\0{value}\0").bytes().fold(hash, step));
    format!("{hash:016x}")
}

/// Visits every scalar, and every list of scalars as one value.
fn walk(node: &Node, path: &str, visit: &mut impl FnMut(&str, String, Place)) {
    match &node.value {
        Value::Empty => {}
        Value::Scalar(text) => visit(path, text.clone(), node.place),
        Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Scalar(_))) => {
            // A list of items that is empty has nothing to show; a missing one says the same.
            if !items.is_empty() {
                let texts = items.iter().filter_map(|item| match &item.value {
                    Value::Scalar(text) => Some(text.as_str()),
                    _ => None,
                });
                visit(path, format!("[{}]", texts.collect::<Vec<_>>().join(", ")), node.place);
            }
        }
        Value::List(items) => {
            let list = path.rsplit('.').next().unwrap_or(path);
            for (place, item) in items.iter().enumerate() {
                walk(item, &format!("{path}[{}]", item.title(list, place + 1)), visit);
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                walk(value, &format!("{path}{dot}{key}"), visit);
            }
        }
    }
}
