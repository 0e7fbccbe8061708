//! What a feature gives: records for people and stores, verdicts for the classifier.

use weir_dataplane_ring::record::Record;
use weir_ebpf_abi::flow::FlowVerdict;
use zerocopy::{Immutable, IntoBytes};

/// Where records go. A full sink drops the record and counts it; it never blocks a feature.
pub trait RecordSink {
    /// Takes one record; false when it had to be dropped.
    fn put(&mut self, record: Record) -> bool;
}

/// Where flow verdicts go.
pub trait VerdictSink {
    /// Puts a verdict in force from the flow's next frame on; false when this worker may not steer.
    fn steer(&mut self, verdict: FlowVerdict) -> bool;
}

impl RecordSink for Vec<Record> {
    fn put(&mut self, record: Record) -> bool {
        self.push(record);
        true
    }
}

impl VerdictSink for Vec<FlowVerdict> {
    fn steer(&mut self, verdict: FlowVerdict) -> bool {
        self.push(verdict);
        true
    }
}

/// A feature's outputs during one call.
pub struct Outputs<'a> {
    feature: u16,
    records: &'a mut dyn RecordSink,
    verdicts: &'a mut dyn VerdictSink,
    /// Records that found the sink full since the worker started.
    pub records_dropped: u64,
    /// Verdicts that were refused since the worker started.
    pub verdicts_refused: u64,
}

impl<'a> Outputs<'a> {
    /// Outputs of the feature with number `feature`.
    pub fn new(feature: u16, records: &'a mut dyn RecordSink, verdicts: &'a mut dyn VerdictSink) -> Self {
        Self { feature, records, verdicts, records_dropped: 0, verdicts_refused: 0 }
    }

    /// Gives a record of the feature's own `kind`, about stream time `time_ns`, with `body` of at most
    /// [`Record::BODY`] bytes. A longer body is cut to nothing and counted as dropped: half a record is worse than none.
    pub fn record(&mut self, kind: u16, time_ns: u64, body: &(impl IntoBytes + Immutable)) {
        let put =
            Record::new(self.feature, kind, time_ns, body.as_bytes()).is_some_and(|record| self.records.put(record));
        self.records_dropped += u64::from(!put);
    }

    /// Gives a verdict on a flow that was delivered to this feature.
    pub fn verdict(&mut self, verdict: FlowVerdict) {
        let put = self.verdicts.steer(verdict);
        self.verdicts_refused += u64::from(!put);
    }
}
