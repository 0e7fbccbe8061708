//! What is asked over the control socket, and what comes back.

use serde::{Deserialize, Serialize};
use weir_appliance_experiment::Spec;

use super::change::{Changed, ConfigRequest, ConfigValue, HistoryRow};
use super::{
    AgentStatus, ExperimentReplay, ExperimentShown, ExperimentStatus, FeatureStanding, FlagChange, FlagStatus,
    FlowExplanation, FlowTuple, HexBytes, PreservationStatus, ResourcesReport, RuleStatus, ServiceStatus, Status,
    VariantAnswer, WhyFrame,
};
use crate::config::{AgentSpec, Difference, FlagSpec, RuleSpec, Run, ServiceSpec};
use crate::keeper::Manner;
use crate::name::{AgentId, ExperimentName, FlagName, RuleName, ServiceName};
use crate::problem::Problem;
use crate::taker::FeatureName;

/// A request: `{"op":"steer.remove","name":"telemetry"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op")]
pub enum Request {
    /// Everything on one page.
    #[serde(rename = "status")]
    Status,
    /// What features have of the machine.
    #[serde(rename = "resources")]
    Resources,
    /// The rules with their counters.
    #[serde(rename = "steer.list")]
    SteerList,
    /// One rule more.
    #[serde(rename = "steer.add")]
    SteerAdd {
        /// The rule, as in the configuration. Without a name it gets a free one.
        rule: NewRule,
        /// Its place from 1, the first to be asked; last if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<u32>,
    },
    /// One rule less.
    #[serde(rename = "steer.remove")]
    SteerRemove {
        /// Its name.
        name: RuleName,
    },
    /// The agents.
    #[serde(rename = "agent.list")]
    AgentList,
    /// A new agent, or new values for a known one.
    #[serde(rename = "agent.set")]
    AgentSet {
        /// The agent, as in the configuration.
        agent: AgentSpec,
    },
    /// One agent less.
    #[serde(rename = "agent.remove")]
    AgentRemove {
        /// Its number.
        id: AgentId,
    },
    /// The services with their agents and counters.
    #[serde(rename = "service.list")]
    ServiceList,
    /// One service more.
    #[serde(rename = "service.add")]
    ServiceAdd {
        /// The service, as in the configuration.
        service: ServiceSpec,
    },
    /// One service less; frames to its address are then like any other.
    #[serde(rename = "service.remove")]
    ServiceRemove {
        /// Its name.
        name: ServiceName,
    },
    /// An agent gets no new connections of any service, or gets them again.
    #[serde(rename = "service.drain")]
    ServiceDrain {
        /// The agent's number.
        agent: AgentId,
        /// Whether it drains.
        draining: bool,
    },
    /// The flags with what becomes of them.
    #[serde(rename = "flag.list")]
    FlagList,
    /// A new flag, or new values for a known one.
    #[serde(rename = "flag.set")]
    FlagSet {
        /// Its name.
        name: FlagName,
        /// What changes.
        change: FlagChange,
    },
    /// These flags, each in place of the one of its name if there is one.
    #[serde(rename = "flag.put")]
    FlagPut {
        /// The flags, as in the configuration.
        flags: Vec<FlagSpec>,
    },
    /// One flag less.
    #[serde(rename = "flag.remove")]
    FlagRemove {
        /// Its name.
        name: FlagName,
    },
    /// Off at once, also while another change waits for its confirmation; taking that back leaves the flag off.
    #[serde(rename = "flag.kill")]
    FlagKill {
        /// Its name.
        name: FlagName,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The flags that programs ask, from now on.
    #[serde(rename = "flag.publish")]
    FlagPublish {
        /// A document in flagd's schema; none takes away what there is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<String>,
    },
    /// The document of the flags that programs ask.
    #[serde(rename = "flag.document")]
    FlagDocument,
    /// Which variant of a flag that programs ask somebody gets.
    #[serde(rename = "flag.ask")]
    FlagAsk {
        /// The flag.
        flag: String,
        /// Who asks: the context's targetingKey.
        key: String,
        /// What rules can look at beside the key.
        #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
        context: serde_json::Map<String, serde_json::Value>,
        /// The time that rules see, in seconds since 1970, instead of now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    },
    /// The features with their workers.
    #[serde(rename = "feature.list")]
    FeatureList,
    /// A feature's worker is started, stopped or parked. It stays so over restarts.
    #[serde(rename = "feature.run")]
    FeatureRun {
        /// The feature.
        name: FeatureName,
        /// What becomes of its worker.
        run: Run,
    },
    /// A feature's worker finishes what it has and is started again.
    #[serde(rename = "feature.restart")]
    FeatureRestart {
        /// The feature.
        name: FeatureName,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The experiments, without their windows.
    #[serde(rename = "experiment.list")]
    ExperimentList,
    /// One experiment with its windows.
    #[serde(rename = "experiment.show")]
    ExperimentShow {
        /// Its name.
        name: ExperimentName,
    },
    /// A new experiment: its flag gets the share of the first step.
    #[serde(rename = "experiment.create")]
    ExperimentCreate {
        /// What it is.
        spec: Box<Spec>,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// An experiment ends now.
    #[serde(rename = "experiment.stop")]
    ExperimentStop {
        /// Its name.
        name: ExperimentName,
        /// Whether the flag becomes what it was before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        roll_back: bool,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// An experiment that is over is forgotten.
    #[serde(rename = "experiment.remove")]
    ExperimentRemove {
        /// Its name.
        name: ExperimentName,
    },
    /// The decisions again, from the raw windows.
    #[serde(rename = "experiment.replay")]
    ExperimentReplay {
        /// Its name.
        name: ExperimentName,
    },
    /// What changes and features did to the base path.
    #[serde(rename = "preservation.show")]
    PreservationShow {
        /// With the raw slices.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        raw: bool,
    },
    /// The preservation gate runs now instead of when it is due.
    #[serde(rename = "preservation.run")]
    PreservationRun {
        /// The feature; whose turn it is if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        feature: Option<FeatureName>,
    },
    /// Why a flow or a frame goes where it goes.
    #[serde(rename = "why")]
    Why(WhyQuestion),
    /// A feature's latest records.
    #[serde(rename = "records")]
    Records {
        /// The feature.
        feature: FeatureName,
        /// How many at most, the latest last.
        limit: u32,
    },
    /// Make a feature slow on purpose.
    #[serde(rename = "chaos.slow")]
    ChaosSlow {
        /// The feature.
        feature: FeatureName,
        /// How long its worker rests after each batch, in microseconds; 0 ends it.
        delay_us: u64,
        /// For how many seconds; then it ends by itself.
        seconds: u64,
    },
    /// Make a feature's workers hang at their start on purpose.
    #[serde(rename = "chaos.hang")]
    ChaosHang {
        /// The feature.
        feature: FeatureName,
        /// Whether they say who they are before they hang, and so are lent their rings; else they never say a word.
        #[serde(default)]
        after_hello: bool,
        /// For how many seconds workers are started so; 0 ends it.
        seconds: u64,
    },
    /// A change of rules or agents in this manner: `{"op":"change","reason":"…","request":{"op":"steer.add",…}}`.
    #[serde(rename = "change")]
    Change {
        /// Why, for how long unconfirmed, whether forced.
        #[serde(flatten)]
        manner: Manner,
        /// The change.
        request: Box<Request>,
    },
    /// What concerns the configuration as a whole.
    #[serde(rename = "config")]
    Config(ConfigRequest),
    /// Another program takes over from the one that runs; the status says what became of it.
    #[serde(rename = "upgrade")]
    Upgrade {
        /// The absolute path of its file.
        program: std::path::PathBuf,
        /// Seconds in which its dataplane and workers are to work, in [`UPGRADE_SECONDS`].
        within_s: u64,
    },
    /// End in good order.
    #[serde(rename = "stop")]
    Stop,
}

/// The longest that a worker rests after a batch on purpose, in microseconds.
pub const SLOWEST_US: u64 = 1_000_000;
/// The longest that a feature is slow, or hangs, on purpose.
pub const SLOWEST_FOR: std::time::Duration = std::time::Duration::from_secs(3600);

/// Seconds that another program may take until it works: a dataplane alone may wait some seconds for a busy queue.
pub const UPGRADE_SECONDS: std::ops::RangeInclusive<u64> = 1..=600;

/// What `why` is asked about: `{"op":"why","flow":"10.0.0.1:5000-10.0.0.2:48100/udp"}` or `{"op":"why","frame":"00ff…"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhyQuestion {
    /// A live flow.
    Flow(FlowTuple),
    /// The bytes of one frame.
    Frame(HexBytes),
}

/// A reply: `{"ok":…}` or `{"error":{"value","cause","cure"}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// The request was carried out.
    Ok(Answer),
    /// It was not, and nothing has changed.
    Error(Problem),
}

/// What a request that was carried out gives back, under the answer's name: `{"ok":{"rules":[…]}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `resources`.
    Resources(Box<ResourcesReport>),
    /// To `steer.list`, first match first.
    Rules(Vec<RuleStatus>),
    /// To `agent.list`, by number.
    Agents(Vec<AgentStatus>),
    /// To `service.list`, in the order of the configuration.
    Services(Vec<ServiceStatus>),
    /// To `flag.list`, by name.
    Flags(Vec<FlagStatus>),
    /// To `flag.document`: its text, or null.
    Document(Option<String>),
    /// To `flag.ask`.
    Variant(VariantAnswer),
    /// To `feature.list`, by name.
    Features(Vec<FeatureStanding>),
    /// To `experiment.list`, by name.
    Experiments(Vec<ExperimentStatus>),
    /// To `experiment.show`.
    Experiment(Box<ExperimentShown>),
    /// To `experiment.replay`.
    Replayed(ExperimentReplay),
    /// To `preservation.show`.
    Preservation(Box<PreservationStatus>),
    /// To `why` about a flow.
    Flow(Box<FlowExplanation>),
    /// To `why` about a frame.
    Frame(Box<WhyFrame>),
    /// To `records`.
    Records(RecordsAnswer),
    /// To a change of what is in force.
    Changed(Changed),
    /// To `config`, `show`.
    Values(Vec<ConfigValue>),
    /// To `config`, `diff`.
    Differences(Vec<Difference>),
    /// To `config`, `history`, newest first.
    History(Vec<HistoryRow>),
    /// To `chaos.slow`, `chaos.hang`, `feature.restart`, `preservation.run`, `upgrade` and `stop`.
    Done(Done),
}

/// A feature's latest records, as the feature writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordsAnswer {
    /// The feature.
    pub feature: FeatureName,
    /// Its records, the latest last.
    pub records: Vec<serde_json::Value>,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// One sentence for people: `rule telemetry added at place 1`.
    pub text: String,
    /// Whether the configuration file has it too, so that it survives a restart.
    pub saved: bool,
    /// Why it is not in the file, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved_because: Option<String>,
}

/// A rule that may come without a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRule {
    /// Its name; a free one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<RuleName>,
    /// What it matches.
    #[serde(rename = "match")]
    pub matches: crate::matching::MatchExpression,
    /// What it does.
    pub action: crate::config::RuleAction,
    /// Who takes the frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<FeatureName>,
    /// Which share of the flows.
    #[serde(default)]
    pub share: crate::share::Share,
    /// Whether the frames are written to the durable log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub durable: bool,
}

impl NewRule {
    /// The rule under its own name, or under this one.
    pub fn named(self, otherwise: impl FnOnce() -> RuleName) -> RuleSpec {
        let Self { name, matches, action, to, share, durable } = self;
        RuleSpec { name: name.unwrap_or_else(otherwise), matches, action, to, share, durable }
    }
}
