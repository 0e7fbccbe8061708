//! The windows as bytes and back, so that a restarted worker goes on in the window it was killed in.
//!
//! Little-endian words: a mark with the version, the row limit, the open second, then for each window its talkers, its
//! totals, its rows with their non-empty buckets, and the latest closed rows. Everything read is checked: a checkpoint
//! is a file, and files get damaged.

use zerocopy::{FromBytes, IntoBytes};

use crate::histogram::BUCKETS;
use crate::rows::{BODY_BYTES, Scope, StreamRow, SummaryRow, TalkerRow};
use crate::table::{Key, Sums};
use crate::talkers::{TALKERS, Talker};
use crate::windows::{Closed, Totals, Window, Windows};

/// Most that a sum can be. Far above what a minute can hold, and far enough below 2^64 that adding to a damaged
/// checkpoint's sums does not overflow.
const SUM_MAX: u64 = u64::MAX >> 8;

/// First bytes of every checkpoint of this layout.
pub const MARK: [u8; 8] = *b"weirstr1";

/// Why bytes are no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The bytes end after `length` where `needed` were needed.
    Short {
        /// Bytes given.
        length: usize,
        /// Bytes needed to go on.
        needed: usize,
    },
    /// The first bytes are not [`MARK`].
    Foreign {
        /// What they are, as text.
        found: String,
    },
    /// A field holds what no checkpoint can.
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Most that is possible.
        limit: u64,
    },
}

/// Appends the state of `windows`.
pub fn write(windows: &Windows, into: &mut Vec<u8>) {
    into.extend(MARK);
    put(into, [windows.second.table.limit() as u64, windows.open.map_or(0, |open| open + 1)]);
    for window in [&windows.second, &windows.minute] {
        write_window(window, into);
    }
}

/// Builds windows from what [`write`] gave, with the row limit of `windows`' own settings.
///
/// # Errors
/// The bytes are no checkpoint, are damaged, or hold more rows than the settings allow.
pub fn read(settings: &crate::Settings, from: &[u8]) -> Result<Windows, Damage> {
    let mut reader = Reader { bytes: from, at: 0 };
    let mark = reader.take(MARK.len())?;
    if mark != MARK {
        return Err(Damage::Foreign { found: String::from_utf8_lossy(mark).into_owned() });
    }
    let mut windows = Windows::new(settings);
    let limit = windows.second.table.limit() as u64;
    let written = reader.long()?;
    if written != limit {
        return Err(Damage::OutOfRange { field: "rows", value: written, limit });
    }
    // The last second of the clock is kept out so that window ends do not overflow.
    let open = reader.bounded("open second", u64::MAX / crate::windows::SECOND_NS)?;
    windows.open = open.checked_sub(1);
    for window in [&mut windows.second, &mut windows.minute] {
        read_window(window, &mut reader)?;
    }
    match from.len() - reader.at {
        0 => Ok(windows),
        left => Err(Damage::OutOfRange { field: "bytes behind the end", value: left as u64, limit: 0 }),
    }
}

fn write_window(window: &Window, into: &mut Vec<u8>) {
    put(into, [u64::from(window.partial), window.talkers.total(), window.talkers.state().len() as u64]);
    for talker in window.talkers.state() {
        put(into, [talker.flow, talker.bytes, talker.error, talker.frames, u64::from(talker.source)]);
    }
    let totals = window.totals;
    put(into, [totals.frames, totals.bytes, totals.messages, totals.batches]);
    put(into, [totals.events, totals.plain, totals.events_missing, totals.messages_cut]);
    let rows = window.table.state();
    put(into, [rows.len() as u64]);
    for (key, sums, histogram) in rows {
        put(into, [key.scope as u64, u64::from(key.source), u64::from(key.kind), sums.count, sums.bytes]);
        put(into, [sums.latency_sum as u64, (sums.latency_sum >> 64) as u64, sums.latency_min, sums.latency_max]);
        put(into, [u64::from(sums.late), u64::from(sums.early), sums.unstamped]);
        let filled = histogram.iter().zip(0u64..).filter(|(count, _)| **count > 0);
        put(into, [filled.clone().count() as u64]);
        filled.for_each(|(count, bucket)| put(into, [bucket << 32 | u64::from(*count)]));
    }
    let Closed { rows, talkers, summary } = &window.closed;
    put(into, [rows.len() as u64, talkers.len() as u64]);
    rows.iter().for_each(|row| into.extend(row.as_bytes()));
    talkers.iter().for_each(|row| into.extend(row.as_bytes()));
    into.extend(summary.as_bytes());
}

fn read_window(window: &mut Window, reader: &mut Reader<'_>) -> Result<(), Damage> {
    window.partial = reader.bounded("partial", 1)? == 1;
    read_talkers(window, reader)?;
    let [frames, bytes, messages, batches] = reader.sums()?;
    let [events, plain, events_missing, messages_cut] = reader.sums()?;
    window.totals = Totals { frames, bytes, messages, batches, events, plain, events_missing, messages_cut };
    let limit = (window.table.limit() + Scope::ALL.len()) as u64;
    let rows = reader.bounded("table rows", limit)?;
    let mut buckets = Vec::new();
    for index in 0..rows as usize {
        let (key, sums) = read_row(reader, &mut buckets)?;
        if !window.table.take_up(index, key, sums, &buckets) {
            return Err(Damage::OutOfRange { field: "row place", value: index as u64, limit });
        }
    }
    let (rows, talkers) = (reader.bounded("closed rows", limit)?, reader.bounded("closed talkers", TALKERS as u64)?);
    for _ in 0..rows {
        window.closed.rows.push(reader.body::<StreamRow>()?);
    }
    for _ in 0..talkers {
        window.closed.talkers.push(reader.body::<TalkerRow>()?);
    }
    window.closed.summary = reader.body::<SummaryRow>()?;
    Ok(())
}

fn read_talkers(window: &mut Window, reader: &mut Reader<'_>) -> Result<(), Damage> {
    let [total] = reader.sums()?;
    let count = reader.bounded("talkers", TALKERS as u64)?;
    let mut talkers = Vec::new();
    for _ in 0..count {
        let flow = reader.long()?;
        let [bytes, error, frames] = reader.sums()?;
        let source = reader.bounded("talker source", u64::from(u32::MAX))? as u32;
        talkers.push(Talker { flow, bytes, error, frames, source });
    }
    window.talkers.take_up(total, &talkers);
    Ok(())
}

fn read_row(reader: &mut Reader<'_>, buckets: &mut Vec<(u16, u32)>) -> Result<(Key, Sums), Damage> {
    let word = u64::from(u32::MAX);
    let scope = reader.long()?;
    let limit = Scope::ALL.len() as u64 - 1;
    let known = u8::try_from(scope).ok().and_then(Scope::from_number);
    let scope = known.ok_or(Damage::OutOfRange { field: "scope", value: scope, limit })?;
    let key = Key { scope, source: reader.bounded("source", word)? as u32, kind: reader.bounded("kind", word)? as u32 };
    let [count, bytes] = reader.sums()?;
    let [low, high, latency_min, latency_max] = reader.longs()?;
    let (late, early) = (reader.bounded("late", word)? as u32, reader.bounded("early", word)? as u32);
    let unstamped = reader.bounded("unstamped", count)?;
    let latency_sum = u128::from(high.min(SUM_MAX)) << 64 | u128::from(low);
    let sums = Sums { count, bytes, latency_sum, latency_min, latency_max, late, early, unstamped };
    let stray = u64::from(late) + u64::from(early);
    if stray > count - unstamped {
        return Err(Damage::OutOfRange { field: "late and early", value: stray, limit: count - unstamped });
    }
    if latency_min > latency_max && sums.samples() > 0 {
        return Err(Damage::OutOfRange { field: "least latency", value: latency_min, limit: latency_max });
    }
    buckets.clear();
    for _ in 0..reader.bounded("filled buckets", BUCKETS as u64)? {
        let packed = reader.long()?;
        let bucket = packed >> 32;
        if bucket >= BUCKETS as u64 {
            return Err(Damage::OutOfRange { field: "bucket", value: bucket, limit: BUCKETS as u64 - 1 });
        }
        buckets.push((bucket as u16, packed as u32)); // the low word is the count
    }
    Ok((key, sums))
}

fn put<const N: usize>(into: &mut Vec<u8>, words: [u64; N]) {
    words.iter().for_each(|word| into.extend(word.to_le_bytes()));
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let end = self.at + count;
        let short = Damage::Short { length: self.bytes.len(), needed: end };
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    fn long(&mut self) -> Result<u64, Damage> {
        let [word] = self.longs()?;
        Ok(word)
    }

    fn longs<const N: usize>(&mut self) -> Result<[u64; N], Damage> {
        let mut words = [0; N];
        for word in &mut words {
            let mut raw = [0; 8];
            raw.copy_from_slice(self.take(8)?);
            *word = u64::from_le_bytes(raw);
        }
        Ok(words)
    }

    fn sums<const N: usize>(&mut self) -> Result<[u64; N], Damage> {
        let sums = self.longs::<N>()?;
        match sums.iter().find(|sum| **sum > SUM_MAX) {
            Some(sum) => Err(Damage::OutOfRange { field: "sum", value: *sum, limit: SUM_MAX }),
            None => Ok(sums),
        }
    }

    fn bounded(&mut self, field: &'static str, limit: u64) -> Result<u64, Damage> {
        match self.long()? {
            value if value <= limit => Ok(value),
            value => Err(Damage::OutOfRange { field, value, limit }),
        }
    }

    fn body<T: FromBytes>(&mut self) -> Result<T, Damage> {
        let bytes = self.take(BODY_BYTES)?;
        let short = Damage::Short { length: bytes.len(), needed: BODY_BYTES };
        T::read_from_bytes(bytes).map_err(|_| short)
    }
}
