//! The file as it is written: every value still text, with its place. Only [`super::build`] sees this.
//!
//! A key that must be there is an `Option` here too: the YAML library would report its absence at the last key it read,
//! and people look for it where the item starts.

use std::collections::HashMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{ConfigError, MAX_FILE_BYTES};
use crate::problem::Problem;

/// A scalar as it is written, and where.
pub(super) type Text = Spanned<String>;
/// A list, and where it starts.
pub(super) type List<T> = Spanned<Vec<Spanned<T>>>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) interfaces: Option<List<Interface>>,
    pub(super) memory: Option<Memory>,
    pub(super) cores: Option<Cores>,
    pub(super) resources: Option<Resources>,
    pub(super) wait: Option<Text>,
    pub(super) features: Option<HashMap<Text, Option<Feature>>>,
    pub(super) rules: Option<List<Rule>>,
    pub(super) flags: Option<List<Flag>>,
    pub(super) program_flags: Option<Text>,
    pub(super) agents: Option<List<Agent>>,
    pub(super) services: Option<List<Service>>,
    pub(super) log: Option<Log>,
    pub(super) tcp: Option<Tcp>,
    pub(super) supervise: Option<Supervise>,
    pub(super) preservation: Option<Preservation>,
    pub(super) control: Option<Control>,
    pub(super) management: Option<Management>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interface {
    pub(super) name: Option<Text>,
    pub(super) queues: Option<Text>,
    pub(super) mode: Option<Text>,
    pub(super) placement: Option<Spanned<Placement>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Placement {
    pub(super) strength: Option<Text>,
    pub(super) channels: Option<Text>,
    pub(super) rss: Option<Text>,
    pub(super) irqs: Option<Text>,
    pub(super) threaded_napi: Option<Text>,
    pub(super) napi_cores: Option<Text>,
    pub(super) busy_poll: Option<BusyPoll>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BusyPoll {
    pub(super) usecs: Option<Text>,
    pub(super) budget: Option<Text>,
    pub(super) defer_hard_irqs: Option<Text>,
    pub(super) flush_timeout_us: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    pub(super) frame_size: Option<Text>,
    pub(super) rx_ring: Option<Text>,
    pub(super) hugepages: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cores {
    pub(super) critical: Option<Text>,
    pub(super) batch: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resources {
    pub(super) memory_limit: Option<Text>,
    pub(super) borrow: Option<Text>,
    pub(super) features: Option<HashMap<Text, Option<FeatureResources>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FeatureResources {
    pub(super) cores: Option<FeatureCores>,
    pub(super) memory: Option<Text>,
    pub(super) cpu_weight: Option<Text>,
    pub(super) class: Option<Text>,
    pub(super) accelerator: Option<Spanned<AcceleratorUse>>,
    pub(super) borrow: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeatureCores {
    pub(super) critical: Option<Text>,
    pub(super) batch: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AcceleratorUse {
    pub(super) name: Option<Text>,
    pub(super) share: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Feature {
    pub(super) enabled: Option<Text>,
    pub(super) wait: Option<Text>,
    pub(super) send_mbit: Option<Text>,
    pub(super) run: Option<Text>,
    pub(super) program: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    pub(super) name: Option<Text>,
    #[serde(rename = "match")]
    pub(super) matches: Option<Text>,
    pub(super) action: Option<Text>,
    pub(super) to: Option<List<String>>,
    pub(super) share: Option<Text>,
    pub(super) durable: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Flag {
    pub(super) name: Option<Text>,
    pub(super) state: Option<Text>,
    pub(super) to: Option<List<String>>,
    pub(super) share: Option<Text>,
    #[serde(rename = "match")]
    pub(super) matches: Option<Text>,
    pub(super) requires: Option<List<String>>,
    pub(super) variants: Option<List<Variant>>,
    pub(super) schedule: Option<List<Step>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    pub(super) name: Option<Text>,
    pub(super) to: Option<List<String>>,
    pub(super) weight: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) at: Option<Text>,
    pub(super) share: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agent {
    pub(super) id: Option<Text>,
    pub(super) address: Option<Text>,
    pub(super) mac: Option<Text>,
    pub(super) interface: Option<Text>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Text>,
    pub(super) weight: Option<Text>,
    pub(super) modality: Option<Text>,
    pub(super) draining: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) name: Option<Text>,
    pub(super) address: Option<Text>,
    pub(super) protocol: Option<Text>,
    pub(super) port: Option<Text>,
    pub(super) agents: Option<List<String>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Text>,
    pub(super) encapsulation: Option<Text>,
    pub(super) source: Option<Text>,
    pub(super) health: Option<Spanned<Health>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    pub(super) check: Option<Text>,
    pub(super) port: Option<Text>,
    pub(super) ask: Option<Text>,
    pub(super) answer: Option<Text>,
    pub(super) every_ms: Option<Text>,
    pub(super) timeout_ms: Option<Text>,
    pub(super) rise: Option<Text>,
    pub(super) fall: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) folder: Option<Text>,
    pub(super) segment_mib: Option<Text>,
    pub(super) keep_mib: Option<Text>,
    pub(super) keep_hours: Option<Text>,
    pub(super) when_full: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tcp {
    pub(super) listen: Option<List<String>>,
    pub(super) connections: Option<Text>,
    pub(super) buffers_mib: Option<Text>,
    pub(super) credit: Option<Text>,
    pub(super) stall_seconds: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Supervise {
    pub(super) stall_seconds: Option<Text>,
    pub(super) start_seconds: Option<Text>,
    pub(super) park_deaths: Option<Text>,
    pub(super) park_within_seconds: Option<Text>,
    pub(super) restart_first_ms: Option<Text>,
    pub(super) restart_most_ms: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preservation {
    pub(super) watch: Option<Text>,
    pub(super) gate: Option<Text>,
    pub(super) window_seconds: Option<Text>,
    pub(super) every_minutes: Option<Text>,
    pub(super) most_frames_per_second: Option<Text>,
    pub(super) throughput_loss: Option<Text>,
    pub(super) late_more: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Management {
    pub(super) addresses: Option<List<String>>,
    pub(super) ports: Option<List<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Control {
    pub(super) socket: Option<Text>,
}

/// Reads the YAML. Anchors and merge keys are not part of the configuration's language: they would hide where a value
/// stands.
pub(super) fn read(text: &str) -> Result<File, ConfigError> {
    if text.len() > MAX_FILE_BYTES {
        let problem = Problem::new(
            // The reader of files stops here, so how many there are is not known.
            format!("more than {MAX_FILE_BYTES} bytes"),
            format!("a configuration has at most {MAX_FILE_BYTES} bytes"),
            "check that this is the right file",
        );
        return Err(ConfigError::at(serde_saphyr::Location::UNKNOWN, problem));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_aliases: 0 },
        merge_keys: serde_saphyr::MergeKeyPolicy::AsOrdinary,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| ConfigError::from_yaml(text, &error))
}
