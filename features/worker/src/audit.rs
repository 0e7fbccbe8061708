//! A feature that only checks: per source, which sequence numbers came, which are missing, doubled or out of order.
//!
//! It is the measuring end of the load tools and of the tests: it reads each frame's message header, as any feature does,
//! and keeps the least that can tell a lost frame from a doubled one.

use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::flow::FlowVerdict;
use weir_ebpf_abi::message::StandardHeader;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::batch::Batch;
use crate::feature::{CheckpointError, Feature};
use crate::outputs::Outputs;

/// Sources that are told apart; frames of further ones are counted together.
pub const SOURCES: usize = 64;
/// Buckets of the latency histogram: 8 for each power of two from 8 ns to 69 s, so a reading is at most 12.5 % too high.
pub const BUCKETS: usize = 264;

/// A message of this type asks that its flow be dropped from now on: how the tests see a verdict reach the classifier.
pub const DROP_MY_FLOW: u32 = 0xffff_fffe;
/// Message type that has the audit store a verdict: deliver this flow to the class that it came by.
pub const GIVE_ME_MY_FLOW: u32 = 0xffff_fffd;

/// A message for the agent of this number asks to be answered: how tests and benchmarks make a feature send.
pub const ANSWER_ME: u32 = 0xffff_ff01;
/// A message for the agent of this number asks to be sent on to the agent whose number is its `priority`.
pub const SEND_ME_ON: u32 = 0xffff_ff02;
/// A message for the agent of this number asks to be sent out of the interface whose position is its `priority`.
pub const SEND_ME_OUT: u32 = 0xffff_ff03;

/// Kind of the record that carries [`AuditRow`].
pub const KIND_AUDIT: u16 = 1;

/// Kind of the record that carries [`IntervalRow`].
pub const KIND_INTERVAL: u16 = 2;

/// What was seen between two ticks, over all sources. One record's body.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IntervalRow {
    /// The worker's monotonic clock at its end, in nanoseconds.
    pub until_ns: u64,
    /// Messages with a stamp.
    pub stamped: u64,
    /// Their median latency in nanoseconds, up to 12.5 % too high.
    pub p50_ns: u64,
    /// Their 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub longest_ns: u64,
}

/// What was seen of one source. One record's body.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AuditRow {
    /// Agent id of the source; `u64::MAX` for all sources beyond [`SOURCES`] together.
    pub source: u64,
    /// Messages seen.
    pub messages: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Sequence numbers that were skipped and have not come since.
    pub missing: u64,
    /// Messages whose number was not above the highest seen: doubled, or late.
    pub not_rising: u64,
    /// The highest sequence number seen.
    pub highest: u64,
    /// The first sequence number seen.
    pub first: u64,
    /// Frames without a message header.
    pub without_message: u64,
    /// Messages whose stamp gave a latency (not in the future, not older than a minute).
    pub stamped: u64,
    /// Latencies in nanoseconds from the message's own stamp, over all sources: the percentiles of [`PERCENTILES`] and
    /// the longest; `u32::MAX` stands for 4.29 s and more.
    pub latency_ns: [u32; 6],
}

/// The percentiles of [`AuditRow::latency_ns`], in its order.
pub const PERCENTILES: [f64; 5] = [50.0, 90.0, 95.0, 99.0, 99.9];

/// The audit.
pub struct Audit {
    rows: Vec<AuditRow>,
    others: AuditRow,
    without_message: u64,
    latency: Box<[u64; BUCKETS]>,
    longest_ns: u64,
    /// Latencies since the last tick, and the longest of them.
    recent: Box<[u64; BUCKETS]>,
    recent_longest_ns: u64,
    changed: bool,
}

/// Messages older than this have a stamp of another clock.
const OLDEST_NS: u64 = 60_000_000_000;

impl Audit {
    fn row(&mut self, source: u32) -> &mut AuditRow {
        let wanted = u64::from(source);
        let found = self.rows.iter().position(|row| row.source == wanted);
        let found = found.or_else(|| {
            (self.rows.len() < SOURCES).then(|| {
                self.rows.push(AuditRow { source: wanted, first: u64::MAX, ..AuditRow::default() });
                self.rows.len() - 1
            })
        });
        match found {
            Some(index) => &mut self.rows[index],
            None => &mut self.others,
        }
    }

    fn stamp(&mut self, now_ns: u64, sent_ns: u64) -> u64 {
        let Some(latency) = now_ns.checked_sub(sent_ns).filter(|latency| *latency < OLDEST_NS) else { return 0 };
        let bucket = bucket(latency);
        self.latency[bucket] += 1;
        self.recent[bucket] += 1;
        self.longest_ns = self.longest_ns.max(latency);
        self.recent_longest_ns = self.recent_longest_ns.max(latency);
        1
    }

    /// What was seen since the last call.
    fn interval(&mut self, until_ns: u64) -> IntervalRow {
        let stamped: u64 = self.recent.iter().sum();
        let longest_ns = std::mem::take(&mut self.recent_longest_ns);
        let at = |percent: u64| quantile(&self.recent, stamped * percent / 100).min(longest_ns);
        let row = IntervalRow { until_ns, stamped, p50_ns: at(50), p99_ns: at(99), longest_ns };
        self.recent.fill(0);
        row
    }

    /// The figures of every source, the latencies repeated in each.
    #[must_use]
    pub fn rows(&self) -> Vec<AuditRow> {
        let total: u64 = self.latency.iter().sum();
        let short = |ns: u64| u32::try_from(ns).unwrap_or(u32::MAX);
        let at =
            |percent: f64| short(quantile(&self.latency, (total as f64 * percent / 100.0) as u64).min(self.longest_ns));
        let [p50, p90, p95, p99, p999] = PERCENTILES.map(at);
        let latency_ns = [p50, p90, p95, p99, p999, short(self.longest_ns)];
        let others = (self.others.messages > 0).then_some(self.others);
        let none_yet = (self.rows.is_empty() && self.without_message > 0).then(AuditRow::default);
        self.rows
            .iter()
            .copied()
            .chain(others)
            .chain(none_yet)
            .map(|row| AuditRow { latency_ns, without_message: self.without_message, ..row })
            .collect()
    }
}

/// Bucket of a latency: three bits behind the leading one.
fn bucket(latency_ns: u64) -> usize {
    let value = latency_ns.max(8);
    let power = 63 - value.leading_zeros();
    let index = (power as usize - 3) * 8 + ((value >> (power - 3)) & 7) as usize;
    index.min(BUCKETS - 1)
}

/// The upper edge of bucket `index` in nanoseconds.
fn upper_edge(index: usize) -> u64 {
    let (power, part) = (index / 8 + 3, (index % 8) as u64);
    ((8 + part + 1) << (power - 3)) - 1
}

/// The upper edge of the bucket that holds the `rank`-th smallest value.
fn quantile(buckets: &[u64; BUCKETS], rank: u64) -> u64 {
    let mut seen = 0;
    for (index, count) in buckets.iter().enumerate() {
        seen += count;
        if seen > rank {
            return upper_edge(index);
        }
    }
    0
}

impl Feature for Audit {
    const NAME: &'static str = "test1";
    const ID: u16 = 0xff;
    type Settings = ();

    fn make((): &()) -> Self {
        Self {
            rows: Vec::with_capacity(SOURCES),
            others: AuditRow { source: u64::MAX, ..AuditRow::default() },
            without_message: 0,
            latency: Box::new([0; BUCKETS]),
            longest_ns: 0,
            recent: Box::new([0; BUCKETS]),
            recent_longest_ns: 0,
            changed: false,
        }
    }

    fn on_batch(&mut self, batch: &Batch<'_>, out: &mut Outputs<'_>) {
        self.changed |= !batch.frames().is_empty();
        for frame in batch.frames() {
            let Ok((header, _)) = StandardHeader::read_from_prefix(frame.payload()) else {
                self.without_message += 1;
                continue;
            };
            match header.message_type.get() {
                DROP_MY_FLOW => out.verdict(FlowVerdict::new(frame.meta.flow, Action::Drop, 0, 0)),
                GIVE_ME_MY_FLOW => {
                    out.verdict(FlowVerdict::new(frame.meta.flow, Action::Deliver, frame.meta.class, 0));
                }
                _ => {}
            }
            match header.dest_agent_id.get() {
                ANSWER_ME => out.answer(frame),
                SEND_ME_ON => out.send_on(frame, header.priority.get()),
                SEND_ME_OUT => out.send_out(frame, header.priority.get()),
                _ => {}
            }
            let stamped = self.stamp(batch.now_ns, header.timestamp_ns.get());
            let row = self.row(header.source_agent_id.get());
            row.messages += 1;
            row.bytes += u64::from(frame.length);
            row.stamped += stamped;
            let sequence = u64::from(header.sequence_number.get());
            if row.first == u64::MAX {
                (row.first, row.highest) = (sequence, sequence);
            } else if sequence > row.highest {
                row.missing += sequence - row.highest - 1;
                row.highest = sequence;
            } else {
                row.not_rising += 1;
            }
        }
    }

    fn on_tick(&mut self, now_ns: u64, out: &mut Outputs<'_>) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let interval = self.interval(now_ns);
        out.record(KIND_INTERVAL, now_ns, &interval);
        for row in self.rows() {
            out.record(KIND_AUDIT, now_ns, &row);
        }
    }

    fn checkpoint(&self, into: &mut Vec<u8>) {
        for row in &self.rows {
            into.extend_from_slice(row.as_bytes());
        }
    }

    fn restore(&mut self, from: &[u8]) -> Result<(), CheckpointError> {
        let size = size_of::<AuditRow>();
        if !from.len().is_multiple_of(size) {
            return Err(CheckpointError::Truncated { length: from.len(), needed: from.len().next_multiple_of(size) });
        }
        if from.len() / size > SOURCES {
            let (value, limit) = ((from.len() / size) as u64, SOURCES as u64);
            return Err(CheckpointError::OutOfRange { field: "sources", value, limit });
        }
        self.rows = from.chunks_exact(size).filter_map(|row| AuditRow::read_from_bytes(row).ok()).collect();
        Ok(())
    }

    fn on_call(&mut self, call: &[u8], reply: &mut Vec<u8>) {
        if call == b"rows" {
            for row in self.rows() {
                reply.extend_from_slice(row.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_latency_within_an_eighth() {
        for value in [8, 9, 100, 1_000, 12_345, 1_000_000, 59_999_999_999_u64] {
            let edge = upper_edge(bucket(value));
            assert!(edge >= value, "{value} is in a bucket up to {edge}");
            assert!(edge as f64 <= value as f64 * 1.126, "{value} reads as {edge}");
        }
    }
}
