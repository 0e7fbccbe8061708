//! The records this feature gives: one fixed 112-byte body for each row, in the byte order of the machine.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of every body; the record ring's slot has room for exactly this.
pub const BODY_BYTES: usize = 112;

/// Record kinds, as written into the record's `kind`.
pub mod kind {
    /// A [`StreamRow`](super::StreamRow) over one second.
    pub const WINDOW_1S: u16 = 1;
    /// A [`StreamRow`](super::StreamRow) over one minute.
    pub const WINDOW_1M: u16 = 2;
    /// A [`TalkerRow`](super::TalkerRow) over one second or one minute; `window_ms` says which.
    pub const TOP_TALKER: u16 = 3;
    /// A [`SummaryRow`](super::SummaryRow), the last record of each window.
    pub const SUMMARY: u16 = 4;
}

/// What a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Scope {
    /// Messages of one source agent and message type; an event batch is one message.
    Message = 0,
    /// Events of one event source and event type, out of batches.
    Event = 1,
    /// Frames without a message, by ethertype and IP protocol.
    Plain = 2,
}

impl Scope {
    /// All scopes, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Message, Self::Event, Self::Plain];

    /// The scope with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Message),
            1 => Some(Self::Event),
            2 => Some(Self::Plain),
            _ => None,
        }
    }

    /// Name in queries and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Event => "event",
            Self::Plain => "plain",
        }
    }
}

/// Bit of `flags`: the row collects every key that found its table full.
pub const FLAG_OTHER: u8 = 1;
/// Bit of `flags`: the stream began inside this window, so it is not covered whole.
pub const FLAG_PARTIAL: u8 = 2;

/// One row of a window. Offsets in bytes stand beside the fields.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StreamRow {
    /// 0: first nanosecond of the window, a multiple of its length, on the worker's clock.
    pub window_start_ns: u64,
    /// 8: length of the window in milliseconds: 1000 or 60000.
    pub window_ms: u32,
    /// 12: [`Scope`] by number.
    pub scope: u8,
    /// 13: [`FLAG_OTHER`], [`FLAG_PARTIAL`].
    pub flags: u8,
    /// 14: zero.
    pub reserved: u16,
    /// 16: source agent id, or event source id, or 0 for plain frames; meaningless in the other-row.
    pub source: u32,
    /// 20: message type, or event type, or ethertype << 16 | IP protocol; meaningless in the other-row.
    pub kind: u32,
    /// 24: messages, events or frames.
    pub count: u64,
    /// 32: frame bytes for messages and plain frames; header and payload bytes for events.
    pub bytes: u64,
    /// 40: samples behind the latencies. `count` less these, less late and early, carried no stamp.
    pub latency_samples: u64,
    /// 48: least latency in nanoseconds, exact; 0 without samples.
    pub latency_min_ns: u64,
    /// 56: mean latency in nanoseconds, exact.
    pub latency_mean_ns: u64,
    /// 64: median latency in nanoseconds, within [`RELATIVE_ERROR`](crate::histogram::RELATIVE_ERROR).
    pub latency_p50_ns: u64,
    /// 72: 90th percentile, same error.
    pub latency_p90_ns: u64,
    /// 80: 99th percentile, same error.
    pub latency_p99_ns: u64,
    /// 88: 99.9th percentile, same error.
    pub latency_p999_ns: u64,
    /// 96: greatest latency in nanoseconds, exact.
    pub latency_max_ns: u64,
    /// 104: stamps older than [`LATENCY_LIMIT_NS`](crate::histogram::LATENCY_LIMIT_NS), in no histogram.
    pub late: u32,
    /// 108: stamps of the future, in no histogram.
    pub early: u32,
}

impl StreamRow {
    /// Messages, events or frames a second, averaged over the window.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.count as f64 * 1_000.0 / f64::from(self.window_ms.max(1))
    }

    /// Whether this row collects what found the table full.
    #[must_use]
    pub const fn is_other(&self) -> bool {
        self.flags & FLAG_OTHER != 0
    }
}

/// One of the flows that sent most bytes in a window.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TalkerRow {
    /// 0: first nanosecond of the window.
    pub window_start_ns: u64,
    /// 8: length of the window in milliseconds: 1000 or 60000.
    pub window_ms: u32,
    /// 12: place from 1, by bytes.
    pub rank: u16,
    /// 14: [`FLAG_PARTIAL`] in the low byte.
    pub flags: u16,
    /// 16: the classifier's fingerprint of the flow.
    pub flow: u64,
    /// 24: bytes, never too few; too many by at most `bytes_error`.
    pub bytes: u64,
    /// 32: most by which `bytes` can be too high.
    pub bytes_error: u64,
    /// 40: frames since the flow entered the table (a lower bound when `bytes_error` is not 0).
    pub frames: u64,
    /// 48: bytes of all flows in the window.
    pub window_bytes: u64,
    /// 56: source agent of the flow's last message, 0 when it sent none.
    pub source: u32,
    /// 60: zero.
    pub reserved: [u32; 13],
}

/// What a window saw altogether.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SummaryRow {
    /// 0: first nanosecond of the window.
    pub window_start_ns: u64,
    /// 8: length of the window in milliseconds: 1000 or 60000.
    pub window_ms: u32,
    /// 12: [`FLAG_PARTIAL`] in the low byte.
    pub flags: u32,
    /// 16: frames, with or without a message.
    pub frames: u64,
    /// 24: bytes of these frames.
    pub bytes: u64,
    /// 32: messages; an event batch is one.
    pub messages: u64,
    /// 40: messages that were event batches.
    pub batches: u64,
    /// 48: events out of batches.
    pub events: u64,
    /// 56: frames without a message.
    pub plain: u64,
    /// 64: events that a batch announced but did not hold, as when a capture cut the frame.
    pub events_missing: u64,
    /// 72: messages whose header was cut off; counted as plain.
    pub messages_cut: u64,
    /// 80: stamps older than 60 s.
    pub late: u64,
    /// 88: stamps of the future.
    pub early: u64,
    /// 96: rows in use at the end of the window, other-rows not counted.
    pub rows: u32,
    /// 100: rows that the table can hold.
    pub rows_limit: u32,
    /// 104: messages, events and frames that went to an other-row.
    pub other: u64,
}

const _: () = assert!(size_of::<StreamRow>() == BODY_BYTES);
const _: () = assert!(size_of::<TalkerRow>() == BODY_BYTES);
const _: () = assert!(size_of::<SummaryRow>() == BODY_BYTES);

/// One record before it gets its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Kind [`kind::WINDOW_1S`] or [`kind::WINDOW_1M`].
    Window(&'a StreamRow),
    /// Kind [`kind::TOP_TALKER`].
    Talker(&'a TalkerRow),
    /// Kind [`kind::SUMMARY`].
    Summary(&'a SummaryRow),
}

impl Body<'_> {
    /// The record kind this body goes under.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Window(row) if row.window_ms == 1_000 => kind::WINDOW_1S,
            Self::Window(_) => kind::WINDOW_1M,
            Self::Talker(_) => kind::TOP_TALKER,
            Self::Summary(_) => kind::SUMMARY,
        }
    }
}
