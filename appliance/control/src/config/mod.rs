//! The one configuration: typed once from YAML, handed to each room as a narrow struct by value.

mod build;
mod change;
mod error;
mod flat;
mod judge;
mod layers;
mod limits;
mod placement;
mod raw;
mod rooms;
mod schema;
mod shape;
mod stored;
mod tree;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use error::ConfigError;
pub use flat::Difference;
pub use layers::{Layer, LayerError, Layered};
pub use limits::*;
pub use placement::{BusyPollSpec, ChannelWish, CpuWish, PlacementSpec, Spread, Strength, Switch};
pub use rooms::*;
pub use stored::{KINDS, StoredError};

use crate::taker::{FeatureName, TakerSet};

/// Everything that `weir up` needs to know. Only [`Config::parse`] and the checked changes
/// ([`Config::add_rule`] and its like) make one, so whoever holds it holds a valid one.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub(crate) interfaces: Vec<InterfaceSpec>,
    pub(crate) memory: MemorySpec,
    pub(crate) cores: CoreSpec,
    pub(crate) resources: ResourceSpec,
    pub(crate) wait: WaitMode,
    pub(crate) features: BTreeMap<FeatureName, FeatureSpec>,
    pub(crate) rules: Vec<RuleSpec>,
    pub(crate) flags: Vec<FlagSpec>,
    pub(crate) program_flags: Option<ProgramFlags>,
    pub(crate) agents: Vec<AgentSpec>,
    pub(crate) services: Vec<ServiceSpec>,
    pub(crate) log: LogSpec,
    pub(crate) tcp: TcpSpec,
    pub(crate) supervise: SuperviseSpec,
    pub(crate) preservation: PreservationSpec,
    pub(crate) control: ControlSpec,
    pub(crate) management: ManagementSpec,
}

impl Config {
    /// Reads a configuration. An empty text gives the defaults: no interface, no rule, every feature of this build on.
    ///
    /// # Errors
    /// The first thing that is wrong, with line, column, value, cause and cure. Never panics, whatever the text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        build::build(&raw::read(text)?)
    }

    /// The interfaces that the classifier is attached to.
    pub fn interfaces(&self) -> &[InterfaceSpec] {
        &self.interfaces
    }

    /// Frames and rings.
    pub fn memory(&self) -> MemorySpec {
        self.memory
    }

    /// Which cores do what.
    pub fn cores(&self) -> &CoreSpec {
        &self.cores
    }

    /// What features may use of the machine.
    pub fn resources(&self) -> &ResourceSpec {
        &self.resources
    }

    /// How the data plane waits when nothing arrives.
    pub fn wait(&self) -> WaitMode {
        self.wait
    }

    /// The features named in the file and those on by default, by name.
    pub fn features(&self) -> &BTreeMap<FeatureName, FeatureSpec> {
        &self.features
    }

    /// The features that run.
    pub fn enabled(&self) -> impl Iterator<Item = FeatureName> {
        self.features.iter().filter(|(_, spec)| spec.enabled).map(|(name, _)| *name)
    }

    /// Enabled features whose workers do not run, because somebody said so or they died too often.
    pub fn not_running(&self) -> TakerSet {
        let idle = self.features.iter().filter(|(_, spec)| spec.enabled && spec.run != Run::Started);
        idle.map(|(name, _)| *name).collect()
    }

    /// What becomes of a feature's worker; started where nothing is said.
    pub fn run(&self, name: FeatureName) -> Run {
        self.features.get(&name).map(|spec| spec.run).unwrap_or_default()
    }

    /// The program that a feature's worker runs as, if that is not the box's own.
    pub fn program(&self, name: FeatureName) -> Option<&std::path::Path> {
        self.features.get(&name).and_then(|spec| spec.program.as_deref())
    }

    /// The rules, first match first.
    pub fn rules(&self) -> &[RuleSpec] {
        &self.rules
    }

    /// The flag shares: what flows that no rule takes are given to.
    pub fn flags(&self) -> &[FlagSpec] {
        &self.flags
    }

    /// The flags that programs ask, if there are any.
    pub fn program_flags(&self) -> Option<&ProgramFlags> {
        self.program_flags.as_ref()
    }

    /// This configuration with other flags that programs ask, or none.
    #[must_use]
    pub fn with_program_flags(&self, flags: Option<ProgramFlags>) -> Self {
        Self { program_flags: flags, ..self.clone() }
    }

    /// The agents, by number.
    pub fn agents(&self) -> &[AgentSpec] {
        &self.agents
    }

    /// The services, in the order of the file.
    pub fn services(&self) -> &[ServiceSpec] {
        &self.services
    }

    /// The agents of a service, by number.
    pub fn agents_of<'a>(&'a self, service: &'a ServiceSpec) -> impl Iterator<Item = &'a AgentSpec> {
        self.agents.iter().filter(|agent| service.has(agent))
    }

    /// The durable log.
    pub fn log(&self) -> &LogSpec {
        &self.log
    }

    /// Where streams are taken.
    pub fn tcp(&self) -> &TcpSpec {
        &self.tcp
    }

    /// When processes are ended, and when features are given up.
    pub fn supervise(&self) -> SuperviseSpec {
        self.supervise
    }

    /// What the box watches of its base path.
    pub fn preservation(&self) -> PreservationSpec {
        self.preservation
    }

    /// By what people reach the box.
    pub fn management(&self) -> &ManagementSpec {
        &self.management
    }

    /// The control socket.
    pub fn control(&self) -> &ControlSpec {
        &self.control
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            memory: MemorySpec::default(),
            cores: CoreSpec::default(),
            resources: ResourceSpec::default(),
            wait: WaitMode::default(),
            features: FeatureName::all().map(|name| (name, FeatureSpec::default())).collect(),
            rules: Vec::new(),
            flags: Vec::new(),
            program_flags: None,
            agents: Vec::new(),
            services: Vec::new(),
            log: LogSpec::default(),
            tcp: TcpSpec::default(),
            supervise: SuperviseSpec::default(),
            preservation: PreservationSpec::default(),
            control: ControlSpec::default(),
            management: ManagementSpec::default(),
        }
    }
}
