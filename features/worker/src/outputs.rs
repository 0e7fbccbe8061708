//! What a feature gives: records for people and stores, verdicts for the classifier, frames to be sent.

use weir_dataplane_ring::SendRequest;
use weir_dataplane_ring::record::Record;
use weir_ebpf_abi::flow::FlowVerdict;
use zerocopy::{Immutable, IntoBytes};

use crate::batch::FrameView;

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

/// Where a feature's wishes to send go.
pub trait SendSink {
    /// Takes a request; false when it had to be refused.
    fn send(&mut self, request: SendRequest) -> bool;
    /// Shows the pool every request taken so far; gives how many are new to it. The taker calls this before its cursor
    /// passes the frames.
    fn publish(&mut self) -> u32;
}

impl SendSink for Vec<SendRequest> {
    fn send(&mut self, request: SendRequest) -> bool {
        self.push(request);
        true
    }

    fn publish(&mut self) -> u32 {
        0
    }
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
    sends: Option<&'a mut dyn SendSink>,
    /// Records that found the sink full since the worker started.
    pub records_dropped: u64,
    /// Verdicts that were refused since the worker started.
    pub verdicts_refused: u64,
    /// Frames that could not be named to be sent since the worker started.
    pub sends_refused: u64,
}

impl<'a> Outputs<'a> {
    /// Outputs of the feature with number `feature`, which sends nothing.
    pub fn new(feature: u16, records: &'a mut dyn RecordSink, verdicts: &'a mut dyn VerdictSink) -> Self {
        Self { feature, records, verdicts, sends: None, records_dropped: 0, verdicts_refused: 0, sends_refused: 0 }
    }

    /// The same with a way out for frames.
    #[must_use]
    pub fn sending(self, sends: &'a mut dyn SendSink) -> Self {
        Self { sends: Some(sends), ..self }
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

    /// Answers a frame: it goes back to where it came from, with source and destination exchanged in all its headers. It is
    /// sent once everybody who takes it is done with it; a frame is sent at most once, whoever asks.
    pub fn answer(&mut self, frame: &FrameView<'_>) {
        self.send(frame, SendRequest::ANSWER, 0);
    }

    /// Sends a frame on to agent `agent`, as forwarding would, under the same terms.
    pub fn send_on(&mut self, frame: &FrameView<'_>, agent: u32) {
        self.send(frame, SendRequest::SEND_ON, agent);
    }

    /// Sends a frame as it is out of the interface at position `interface` of the configuration, from 0, under the same
    /// terms.
    pub fn send_out(&mut self, frame: &FrameView<'_>, interface: u32) {
        self.send(frame, SendRequest::OUT, interface);
    }

    fn send(&mut self, frame: &FrameView<'_>, action: u32, target: u32) {
        let request = SendRequest::new(frame.ring, frame.place, action, target);
        let put = self.sends.as_mut().is_some_and(|sends| sends.send(request));
        self.sends_refused += u64::from(!put);
    }

    /// Shows the pool what is to be sent; gives how many frames.
    pub(crate) fn publish_sends(&mut self) -> u32 {
        self.sends.as_mut().map_or(0, |sends| sends.publish())
    }
}
