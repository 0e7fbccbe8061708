//! The messages of the control socket and the reports that other programs read: shapes that stay, with serde both ways.
//!
//! A conversation is one line of JSON each way: `{"op":"status"}` and `{"ok":{"status":{…}}}`, or
//! `{"error":{"value":…,"cause":…,"cure":…}}`.

mod bench;
mod change;
mod doctor;
mod experiment;
mod feature;
mod flag;
mod flow;
mod line;
mod log;
mod loss;
mod passport;
mod preservation;
mod replay;
mod request;
mod resources;
mod service;
mod status;
#[cfg(test)]
mod tests;
mod upgrade;
mod why;

pub use bench::{BenchReport, BenchRow, Better};
pub use change::{Changed, ConfigRequest, ConfigValue, HistoryRow};
pub use doctor::{Check, CheckState, DoctorReport};
pub use experiment::{ExperimentReplay, ExperimentShown, ExperimentStatus, ExperimentWindow};
pub use feature::FeatureStanding;
pub use flag::{FlagChange, FlagStatus, VariantAnswer, VariantError};
pub use flow::{FlowTuple, HexBytes};
pub use line::{LineError, MAX_LINE_BYTES, read_line, write_line};
pub use log::{LogRecord, LogSegment, LogSource, LogVerdict};
pub use loss::Loss;
pub use passport::{CacheFacts, CardFacts, NodeFacts, NotMeasured, Passport, ProcessorFacts, Rate};
pub use preservation::{Compared, PreservationRun, PreservationStatus};
pub use replay::ReplayReport;
pub use request::{
    Answer, Done, NewRule, RecordsAnswer, Reply, Request, SLOWEST_FOR, SLOWEST_US, UPGRADE_SECONDS, WhyQuestion,
};
pub use resources::{
    ControllerStatus, Enforcer, FeatureShare, LeaseEvent, LeaseStatus, ResourceLine, ResourceMachine, ResourcesReport,
};
pub use service::{ServiceAgentState, ServiceAgentStatus, ServiceStatus};
pub use status::{
    AgentStatus, CoreStatus, Counters, FeatureStatus, Host, Identity, InterfaceMode, InterfaceStatus, LogStatus,
    MemoryStatus, PlacementStatus, ProcessState, ProcessStatus, QueueStatus, RingStatus, RuleStatus, SendStatus,
    SourceWindow, Status, StreamsStatus, WindowStatus,
};
pub use upgrade::{UpgradeState, UpgradeStatus};
pub use why::{
    FlowExplanation, Fragment, Inner, Ip, MessageFields, MessageKind, Ports, Tunnel, Verdict, WhyFrame, WhyStep,
};
