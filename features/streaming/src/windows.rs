//! The engine: samples in, rows of closed windows out.
//!
//! Windows tumble by the time of arrival, the clock that comes with each batch, so a window closes for good and a
//! wrong sender clock cannot reopen it; sender stamps only make latencies. The hot path touches the second's table
//! alone: a minute is the sum of its seconds, folded in when each of them closes.

use weir_ebpf_abi::batch::EVENT_HEADER;

use crate::columns::Columns;
use crate::events::{EventHead, MessageHead, walk};
use crate::rows::{Body, FLAG_PARTIAL, Scope, StreamRow, SummaryRow, TalkerRow};
use crate::simd::Simd;
use crate::table::{Key, Table};
use crate::talkers::{REPORTED, Talkers};

/// Length of the short window in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;
/// Seconds of the long window.
pub const MINUTE_SECONDS: u64 = 60;

/// How much the feature may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rows of each window's table, beside the other-rows; 4.3 KiB each, twice. 1 to 16384.
    pub rows: usize,
    /// Instructions of the inner loops.
    pub simd: Simd,
}

impl Default for Settings {
    /// 512 rows (4.3 MiB): 16 producers of five event types and a hundred agents of four message types.
    fn default() -> Self {
        Self { rows: 512, simd: Simd::best() }
    }
}

/// Counts of a window that no single row holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
    pub(crate) batches: u64,
    pub(crate) events: u64,
    pub(crate) plain: u64,
    pub(crate) events_missing: u64,
    pub(crate) messages_cut: u64,
}

impl Totals {
    fn fold(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.messages += other.messages;
        self.batches += other.batches;
        self.events += other.events;
        self.plain += other.plain;
        self.events_missing += other.events_missing;
        self.messages_cut += other.messages_cut;
    }
}

/// One window being filled, and the rows of the one closed last.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) length_seconds: u64,
    pub(crate) table: Table,
    pub(crate) talkers: Talkers,
    pub(crate) totals: Totals,
    /// Whether the stream began inside this window.
    pub(crate) partial: bool,
    pub(crate) closed: Closed,
}

/// What the latest closed window said, for queries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Its rows, other-rows last.
    pub rows: Vec<StreamRow>,
    /// Its busiest flows, most bytes first.
    pub talkers: Vec<TalkerRow>,
    /// Its totals; `window_ms` is 0 while no window has been closed.
    pub summary: SummaryRow,
}

impl Window {
    fn new(length_seconds: u64, settings: &Settings) -> Self {
        let table = Table::new(settings.rows);
        let closed = Closed {
            rows: Vec::with_capacity(table.limit() + Scope::ALL.len()),
            talkers: Vec::with_capacity(REPORTED),
            summary: SummaryRow::default(),
        };
        let talkers = Talkers::new(settings.simd);
        Self { length_seconds, table, talkers, totals: Totals::default(), partial: true, closed }
    }

    /// Adds a closed second to this longer window.
    fn fold(&mut self, second: &Self) {
        self.table.fold(&second.table);
        self.talkers.merge(&second.talkers);
        self.totals.fold(&second.totals);
    }

    /// Gives the rows of the window that began at second `start`, and empties it. An empty window gives nothing.
    fn close(&mut self, start: u64, emit: &mut dyn FnMut(u64, Body<'_>)) {
        let partial = std::mem::take(&mut self.partial);
        if self.totals.frames == 0 {
            return;
        }
        let window_start_ns = start * SECOND_NS;
        let end_ns = window_start_ns.saturating_add(self.length_seconds * SECOND_NS);
        let window_ms = self.length_seconds as u32 * 1_000;
        let flag = if partial { FLAG_PARTIAL } else { 0 };
        self.closed.rows.clear();
        for row in self.table.rows() {
            let row = StreamRow { window_start_ns, window_ms, flags: row.flags | flag, ..row };
            emit(end_ns, Body::Window(&row));
            self.closed.rows.push(row);
        }
        self.closed.talkers.clear();
        let window_bytes = self.talkers.total();
        for (talker, rank) in self.talkers.top().iter().take(REPORTED).zip(1..) {
            let row = TalkerRow {
                window_start_ns,
                window_ms,
                rank,
                flags: u16::from(flag),
                flow: talker.flow,
                bytes: talker.bytes,
                bytes_error: talker.error,
                frames: talker.frames,
                window_bytes,
                source: talker.source,
                ..TalkerRow::default()
            };
            emit(end_ns, Body::Talker(&row));
            self.closed.talkers.push(row);
        }
        let (late, early) = self.table.stray_stamps();
        let totals = self.totals;
        self.closed.summary = SummaryRow {
            window_start_ns,
            window_ms,
            flags: u32::from(flag),
            frames: totals.frames,
            bytes: totals.bytes,
            messages: totals.messages,
            batches: totals.batches,
            events: totals.events,
            plain: totals.plain,
            events_missing: totals.events_missing,
            messages_cut: totals.messages_cut,
            late,
            early,
            rows: self.table.used() as u32,
            rows_limit: self.table.limit() as u32,
            other: self.table.other(),
        };
        emit(end_ns, Body::Summary(&self.closed.summary));
        self.clear();
    }

    fn clear(&mut self) {
        self.table.clear();
        self.talkers.clear();
        self.totals = Totals::default();
    }
}

/// Both windows and the second they stand in.
#[derive(Debug)]
pub struct Windows {
    pub(crate) settings: Settings,
    columns: Columns,
    pub(crate) second: Window,
    pub(crate) minute: Window,
    /// Number of the open second since the clock's zero; `None` before the first sample.
    pub(crate) open: Option<u64>,
}

impl Windows {
    /// Empty windows with all the memory they will ever use.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            columns: Columns::new(),
            second: Window::new(1, settings),
            minute: Window::new(MINUTE_SECONDS, settings),
            open: None,
        }
    }

    /// Lets stream time pass to `now_ns` and gives the rows of every window that ended by then, each with its end in
    /// nanoseconds. Time that runs backwards is taken as standing still.
    #[inline]
    pub fn advance(&mut self, now_ns: u64, emit: &mut dyn FnMut(u64, Body<'_>)) {
        let second = now_ns / SECOND_NS;
        match self.open {
            Some(open) if second <= open => {}
            Some(open) => self.roll(open, second, emit),
            None => self.open = Some(second),
        }
    }

    fn roll(&mut self, open: u64, second: u64, emit: &mut dyn FnMut(u64, Body<'_>)) {
        self.minute.fold(&self.second);
        self.second.close(open, emit);
        let minute = open / MINUTE_SECONDS;
        if second / MINUTE_SECONDS != minute {
            self.minute.close(minute * MINUTE_SECONDS, emit);
        }
        self.open = Some(second);
    }

    /// Counts a frame of `bytes` bytes that carries a message, and the message.
    #[inline]
    pub fn message(&mut self, now_ns: u64, flow: u64, bytes: u64, head: MessageHead) {
        self.frame(flow, bytes, head.source);
        self.second.totals.messages += 1;
        let row = self.second.table.row(Key { scope: Scope::Message, source: head.source, kind: head.kind });
        self.second.table.add_stamped(row, bytes, now_ns, head.stamp_ns);
    }

    /// Counts one event of a batch.
    #[inline]
    pub fn event(&mut self, now_ns: u64, head: EventHead) {
        let row = self.second.table.row(Key { scope: Scope::Event, source: head.source, kind: head.kind });
        let bytes = EVENT_HEADER as u64 + u64::from(head.payload_length);
        self.second.table.add_stamped(row, bytes, now_ns, head.stamp_ns);
    }

    /// Counts `count` events that lie in one piece, and gives how many were whole; it ends at the first that is not.
    #[inline]
    pub fn events(&mut self, now_ns: u64, mut events: &[u8], count: u16) -> u16 {
        let mut left = count;
        while let Some(rest) = self.columns.take(self.settings.simd, now_ns, events, left) {
            self.second.table.add_events(&self.columns);
            left -= self.columns.length as u16; // a block at most
            events = rest;
        }
        count - left + walk(events, left, |event| self.event(now_ns, event))
    }

    /// Closes the count of a batch: `announced` events by its header, of which `whole` were there.
    #[inline]
    pub fn batch(&mut self, announced: u16, whole: u16) {
        self.second.totals.batches += 1;
        self.second.totals.events += u64::from(whole);
        self.second.totals.events_missing += u64::from(announced.saturating_sub(whole));
    }

    /// Counts a frame without a message under `kind` (see [`plain_kind`]); `cut` when the classifier saw a message whose
    /// header is not there.
    #[inline]
    pub fn plain(&mut self, flow: u64, bytes: u64, kind: u32, cut: bool) {
        self.frame(flow, bytes, 0);
        self.second.totals.plain += 1;
        self.second.totals.messages_cut += u64::from(cut);
        let row = self.second.table.row(Key { scope: Scope::Plain, source: 0, kind });
        self.second.table.add_unstamped(row, bytes);
    }

    #[inline]
    fn frame(&mut self, flow: u64, bytes: u64, source: u32) {
        self.second.totals.frames += 1;
        self.second.totals.bytes += bytes;
        self.second.talkers.add(flow, bytes, source);
    }

    /// What the latest closed second said.
    #[must_use]
    pub fn latest_second(&self) -> &Closed {
        &self.second.closed
    }

    /// What the latest closed minute said.
    #[must_use]
    pub fn latest_minute(&self) -> &Closed {
        &self.minute.closed
    }
}

/// Kind of a frame without a message: ethertype << 16 | IP protocol, the ethertype behind at most two VLAN tags and the
/// protocol as the first IP header has it; 0 where the frame is too short to say.
#[must_use]
pub fn plain_kind(frame: &[u8]) -> u32 {
    let mut at = 12;
    let mut ethertype = number(frame, at);
    for _ in 0..2 {
        if !matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
            break;
        }
        at += 4;
        ethertype = number(frame, at);
    }
    let protocol = match ethertype {
        0x0800 => frame.get(at + 2 + 9),
        0x86dd => frame.get(at + 2 + 6),
        _ => None,
    };
    u32::from(ethertype) << 16 | u32::from(protocol.copied().unwrap_or(0))
}

fn number(frame: &[u8], at: usize) -> u16 {
    match frame.get(at..at + 2) {
        Some(bytes) => u16::from_be_bytes([bytes[0], bytes[1]]),
        None => 0,
    }
}
