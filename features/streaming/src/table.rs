//! A bounded table of rows by (scope, source, kind): all memory at the start, bounded work for each sample.
//!
//! A key is found by multiply-shift hashing and at most [`PROBES_MAX`] steps. What finds the table full, or its
//! neighbourhood crowded, is counted in the scope's other-row, so the totals stay exact whatever the senders choose.

use weir_ebpf_abi::batch::EVENT_HEADER;

use crate::columns::{BLOCK, Columns};
use crate::histogram::{BUCKETS, LATE, LATENCY_LIMIT_NS, bucket, quantiles};
use crate::rows::{FLAG_OTHER, Scope, StreamRow};

/// Most slots looked at for one key. It bounds what a sender gains by choosing colliding keys.
const PROBES_MAX: usize = 16;
/// Slots for each row: at half load a chain of [`PROBES_MAX`] is rare.
const SLOTS_PER_ROW: usize = 4;
/// Odd constant of the multiply-shift hash: 2^64 / golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Kinds below this are remembered with their source: covers the five event types and the usual message types.
const RECENT_KINDS: usize = 8;
/// Words from one row's histogram to the next one's. A stride of a power of two would put the same bucket of every row
/// into the same few lines of a cache; one line more spreads them.
const STRIDE: usize = BUCKETS + 16;
/// First rows of every table, one for each scope.
const OTHER_ROWS: usize = Scope::ALL.len();
const NO_ROW: u16 = u16::MAX;
/// Most rows of a table, so that a row number fits 16 bits.
pub(crate) const ROWS_MAX: usize = 16_384;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) scope: Scope,
    pub(crate) source: u32,
    pub(crate) kind: u32,
}

/// Sums of one row: one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) latency_sum: u128,
    pub(crate) latency_min: u64,
    pub(crate) latency_max: u64,
    pub(crate) late: u32,
    pub(crate) early: u32,
    /// Items without a stamp: plain frames.
    pub(crate) unstamped: u64,
}

const _: () = assert!(size_of::<Sums>() == 64);

impl Sums {
    const EMPTY: Self = Self {
        count: 0,
        bytes: 0,
        latency_sum: 0,
        latency_min: u64::MAX,
        latency_max: 0,
        late: 0,
        early: 0,
        unstamped: 0,
    };

    /// Samples that are in the histogram.
    pub(crate) const fn samples(&self) -> u64 {
        self.count - self.unstamped - self.late as u64 - self.early as u64
    }

    #[cold]
    fn stray(&mut self, bucket: u64) {
        if bucket == LATE {
            self.late = self.late.saturating_add(1);
        } else {
            self.early = self.early.saturating_add(1);
        }
    }

    fn fold(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.latency_sum += other.latency_sum;
        self.latency_min = self.latency_min.min(other.latency_min);
        self.latency_max = self.latency_max.max(other.latency_max);
        self.late = self.late.saturating_add(other.late);
        self.early = self.early.saturating_add(other.early);
        self.unstamped += other.unstamped;
    }
}

/// Rows of a source seen lately, by kind.
#[derive(Clone, Copy, Debug)]
struct Recent {
    scope: Scope,
    source: u32,
    rows: [u16; RECENT_KINDS],
}

impl Recent {
    const EMPTY: Self = Self { scope: Scope::Message, source: 0, rows: [NO_ROW; RECENT_KINDS] };
}

/// The rows of one window.
#[derive(Debug)]
pub(crate) struct Table {
    limit: usize,
    keys: Vec<Key>,
    sums: Vec<Sums>,
    histograms: Vec<u32>,
    slots: Vec<u16>,
    shift: u32,
    recent: Vec<Recent>,
    recent_shift: u32,
}

impl Table {
    /// A table of at most `limit` rows (clamped to 1..=[`ROWS_MAX`]), beside one other-row for each scope.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, ROWS_MAX);
        let slots = (limit * SLOTS_PER_ROW).next_power_of_two();
        let recent = limit.next_power_of_two().max(2);
        let mut table = Self {
            limit,
            keys: Vec::with_capacity(limit + OTHER_ROWS),
            sums: Vec::with_capacity(limit + OTHER_ROWS),
            histograms: vec![0; (limit + OTHER_ROWS) * STRIDE],
            slots: vec![NO_ROW; slots],
            shift: u64::BITS - slots.ilog2(),
            recent: vec![Recent::EMPTY; recent],
            recent_shift: u32::BITS - recent.ilog2(),
        };
        table.clear();
        table
    }

    /// Rows that the table can hold beside the other-rows.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Rows in use beside the other-rows.
    pub(crate) fn used(&self) -> usize {
        self.keys.len() - OTHER_ROWS
    }

    /// Items counted in other-rows.
    pub(crate) fn other(&self) -> u64 {
        self.sums[..OTHER_ROWS].iter().map(|sums| sums.count).sum()
    }

    /// Forgets every row.
    pub(crate) fn clear(&mut self) {
        let used = self.keys.len();
        self.histograms[..used * STRIDE].fill(0);
        self.slots.fill(NO_ROW);
        self.keys.clear();
        self.sums.clear();
        self.keys.extend(Scope::ALL.map(|scope| Key { scope, source: 0, kind: 0 }));
        self.sums.extend([Sums::EMPTY; OTHER_ROWS]);
        self.recent.fill(Recent::EMPTY);
    }

    /// The row of a key, made if there is room; else the scope's other-row.
    #[inline]
    pub(crate) fn row(&mut self, key: Key) -> usize {
        let kind = key.kind as usize;
        if kind >= RECENT_KINDS {
            return self.probe(key);
        }
        // Events and messages of one source lie apart: a batch is both.
        let mixed = (key.source ^ (key.scope as u32) << 30).wrapping_mul(MULTIPLIER as u32);
        let place = (mixed >> self.recent_shift) as usize;
        let recent = &self.recent[place];
        let row = recent.rows[kind];
        if recent.source == key.source && recent.scope == key.scope && row != NO_ROW {
            return usize::from(row);
        }
        self.look_up(key, place)
    }

    #[inline(never)]
    fn look_up(&mut self, key: Key, place: usize) -> usize {
        let row = self.probe(key);
        let recent = &mut self.recent[place];
        if recent.source != key.source || recent.scope != key.scope {
            *recent = Recent { scope: key.scope, source: key.source, ..Recent::EMPTY };
        }
        recent.rows[key.kind as usize % RECENT_KINDS] = row as u16; // rows fit 16 bits by ROWS_MAX
        row
    }

    /// Counts the events of a block.
    #[inline]
    pub(crate) fn add_events(&mut self, columns: &Columns) {
        let bytes = EVENT_HEADER as u64 + u64::from(columns.payload_length);
        for index in 0..columns.length.min(BLOCK) {
            let key = columns.keys[index];
            // Type and source are the halves of the word.
            let row = self.row(Key { scope: Scope::Event, source: (key >> 32) as u32, kind: key as u32 });
            let sums = &mut self.sums[row];
            sums.count += 1;
            sums.bytes += bytes;
            let bucket = columns.buckets[index];
            if bucket >= LATE {
                sums.stray(bucket);
                continue;
            }
            let latency = columns.latencies[index];
            sums.latency_sum += u128::from(latency);
            sums.latency_min = sums.latency_min.min(latency);
            sums.latency_max = sums.latency_max.max(latency);
            let count = &mut self.histograms[row * STRIDE + bucket as usize];
            *count = count.saturating_add(1);
        }
    }

    fn probe(&mut self, key: Key) -> usize {
        let mixed = (u64::from(key.source) << 32 | u64::from(key.kind)) ^ (key.scope as u64) << 30;
        // Fold the product once more: source and kind differ in few bits, and both halves must reach the index.
        let product = mixed.wrapping_mul(MULTIPLIER);
        let home = ((product ^ product >> 32).wrapping_mul(MULTIPLIER) >> self.shift) as usize;
        let mask = self.slots.len() - 1;
        for step in 0..PROBES_MAX {
            let slot = (home + step) & mask;
            match self.slots[slot] {
                NO_ROW if self.used() < self.limit => {
                    let row = self.keys.len();
                    self.keys.push(key);
                    self.sums.push(Sums::EMPTY);
                    self.slots[slot] = row as u16; // rows fit 16 bits by ROWS_MAX
                    return row;
                }
                NO_ROW => break,
                row if self.keys[usize::from(row)] == key => return usize::from(row),
                _ => {}
            }
        }
        key.scope as usize
    }

    /// Counts one item with a time stamp; `now_ns` less `stamp_ns` is its latency where that is sane.
    #[inline]
    pub(crate) fn add_stamped(&mut self, row: usize, bytes: u64, now_ns: u64, stamp_ns: u64) {
        let sums = &mut self.sums[row];
        sums.count += 1;
        sums.bytes += bytes;
        // A stamp of the future wraps to a difference far above the limit.
        let latency = now_ns.wrapping_sub(stamp_ns);
        if latency < LATENCY_LIMIT_NS {
            sums.latency_sum += u128::from(latency);
            sums.latency_min = sums.latency_min.min(latency);
            sums.latency_max = sums.latency_max.max(latency);
            let count = &mut self.histograms[row * STRIDE + bucket(latency)];
            *count = count.saturating_add(1);
        } else if stamp_ns > now_ns {
            sums.early = sums.early.saturating_add(1);
        } else {
            sums.late = sums.late.saturating_add(1);
        }
    }

    /// Counts one item without a time stamp.
    pub(crate) fn add_unstamped(&mut self, row: usize, bytes: u64) {
        let sums = &mut self.sums[row];
        sums.count += 1;
        sums.bytes += bytes;
        sums.unstamped += 1;
    }

    /// Adds every row of `other` to this table.
    pub(crate) fn fold(&mut self, other: &Self) {
        for (index, (key, sums)) in other.keys.iter().zip(&other.sums).enumerate() {
            let row = if index < OTHER_ROWS { index } else { self.row(*key) };
            self.sums[row].fold(sums);
            let into = &mut self.histograms[row * STRIDE..row * STRIDE + BUCKETS];
            for (into, from) in into.iter_mut().zip(other.histogram(index)) {
                *into = into.saturating_add(*from);
            }
        }
    }

    /// The rows that counted anything, other-rows last, without the window's own fields.
    pub(crate) fn rows(&self) -> impl Iterator<Item = StreamRow> {
        let order = (OTHER_ROWS..self.keys.len()).chain(0..OTHER_ROWS);
        order.filter(|row| self.sums[*row].count > 0).map(|row| self.row_body(row))
    }

    fn row_body(&self, row: usize) -> StreamRow {
        let (key, sums) = (self.keys[row], self.sums[row]);
        let samples = sums.samples();
        let asked = [0.5, 0.9, 0.99, 0.999];
        // The middle of the outermost buckets may lie outside what was seen.
        let [p50, p90, p99, p999] = quantiles(self.histogram(row), samples, asked)
            .map(|value| if samples == 0 { 0 } else { value.clamp(sums.latency_min, sums.latency_max) });
        StreamRow {
            scope: key.scope as u8,
            flags: if row < OTHER_ROWS { FLAG_OTHER } else { 0 },
            source: key.source,
            kind: key.kind,
            count: sums.count,
            bytes: sums.bytes,
            latency_samples: samples,
            latency_min_ns: if samples == 0 { 0 } else { sums.latency_min },
            latency_mean_ns: sums.latency_sum.checked_div(u128::from(samples)).unwrap_or(0) as u64,
            latency_p50_ns: p50,
            latency_p90_ns: p90,
            latency_p99_ns: p99,
            latency_p999_ns: p999,
            latency_max_ns: sums.latency_max,
            late: sums.late,
            early: sums.early,
            ..StreamRow::default()
        }
    }

    /// Key, sums and histogram of every row, other-rows first: what a checkpoint keeps.
    pub(crate) fn state(&self) -> impl ExactSizeIterator<Item = (Key, &Sums, &[u32])> {
        (0..self.keys.len()).map(|row| (self.keys[row], &self.sums[row], self.histogram(row)))
    }

    /// Takes up one row of [`Table::state`], in its order; false when the table has no room for it.
    pub(crate) fn take_up(&mut self, index: usize, key: Key, sums: Sums, buckets: &[(u16, u32)]) -> bool {
        let row = if index < OTHER_ROWS { index } else { self.row(key) };
        if row != index {
            return false;
        }
        self.sums[row] = sums;
        let histogram = &mut self.histograms[row * STRIDE..row * STRIDE + BUCKETS];
        buckets
            .iter()
            .all(|(bucket, count)| histogram.get_mut(usize::from(*bucket)).map(|into| *into = *count).is_some())
    }

    /// Late and early stamps of all rows.
    pub(crate) fn stray_stamps(&self) -> (u64, u64) {
        self.sums
            .iter()
            .fold((0, 0), |(late, early), sums| (late + u64::from(sums.late), early + u64::from(sums.early)))
    }

    fn histogram(&self, row: usize) -> &[u32] {
        &self.histograms[row * STRIDE..row * STRIDE + BUCKETS]
    }
}
