//! What is where in a closed segment: per group its times and a summary of its sources, in a file beside the segment.
//!
//! The file saves reading; it is never believed over the segment. Whoever uses it checks it, compares some of its lines
//! with the groups they speak of, and meets the header of every group it goes to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use zerocopy::IntoBytes;

use crate::error::{Result, refused};
use crate::format::{BLOCK, GroupHeader, INDEX_MAGIC, INDEX_MOST, IndexHeader, IndexLine, VERSION, records};
use crate::segment::{Found, Segment};

/// What the name of such a file ends with; it begins as its segment's does.
pub(crate) const ENDING: &str = "index";

/// Which sources may be in a group or a segment: a set that never misses one and may have some too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    group: [u8; 32],
    segment: [u8; 512],
}

/// Two bits among `bits`, a power of two, for a source.
fn bits_of(source: u32, bits: usize) -> [usize; 2] {
    let mixed = u64::from(source).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [mixed >> 52, mixed >> 40].map(|number| number as usize % bits)
}

/// Puts a source into a set.
pub(crate) fn add_source(set: &mut [u8], source: u32) {
    for bit in bits_of(source, set.len() * 8) {
        set[bit / 8] |= 1 << (bit % 8);
    }
}

/// Whether a source may be in a set.
pub(crate) fn may_hold(set: &[u8], source: u32) -> bool {
    bits_of(source, set.len() * 8).iter().all(|bit| set[bit / 8] >> (bit % 8) & 1 == 1)
}

impl Sources {
    pub(crate) const NONE: Self = Self { group: [0; 32], segment: [0; 512] };

    pub(crate) fn add(&mut self, source: u32) {
        add_source(&mut self.group, source);
        add_source(&mut self.segment, source);
    }
}

/// What a segment's lines are gathered in.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    first: u64,
    end: u64,
    used: u64,
    earliest_ns: u64,
    latest_ns: u64,
    sources: [u8; 512],
    /// Groups that a line speaks of.
    span: u32,
    /// Groups that the last line speaks of.
    last: u32,
    lines: Vec<IndexLine>,
}

/// A group's part in the index.
pub(crate) struct Part<'a> {
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) times: (u64, u64),
    pub(crate) sources: &'a Sources,
}

impl Index {
    /// The index of a segment that begins with record `first` and has no group.
    pub(crate) fn new(first: u64) -> Self {
        let (earliest_ns, latest_ns) = (u64::MAX, 0);
        let lines = Vec::new();
        Self { first, end: first, used: BLOCK, earliest_ns, latest_ns, sources: [0; 512], span: 1, last: 0, lines }
    }

    /// Number of the segment's first record.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn add(&mut self, part: &Part<'_>) {
        let (earliest, latest) = part.times;
        self.end = part.end;
        self.used = part.at + part.bytes;
        self.earliest_ns = self.earliest_ns.min(earliest);
        self.latest_ns = self.latest_ns.max(latest);
        unite(&mut self.sources, &part.sources.segment);
        let line = IndexLine {
            at: part.at.into(),
            first: part.first.into(),
            earliest_ns: earliest.into(),
            latest_ns: latest.into(),
            sources: part.sources.group,
        };
        match self.lines.last_mut() {
            Some(open) if self.last < self.span => {
                open.absorb(&line);
                self.last += 1;
            }
            _ => {
                if self.lines.len() == INDEX_MOST {
                    self.halve();
                }
                self.lines.push(line);
                self.last = 1;
            }
        }
    }

    /// A segment of very many groups gets lines that speak of several, so that the file stays small.
    fn halve(&mut self) {
        let pairs = self.lines.chunks(2).map(|pair| {
            let mut line = pair[0];
            pair.iter().skip(1).for_each(|second| line.absorb(second));
            line
        });
        self.lines = pairs.collect();
        self.span *= 2;
    }

    /// Adds a group that was read whole into `buffer`.
    pub(crate) fn see_group(&mut self, at: u64, header: &GroupHeader, buffer: &[u8]) {
        let mut sources = Sources::NONE;
        records(header, buffer).for_each(|(_, stamp)| sources.add(stamp.source));
        self.add(&Part {
            at,
            bytes: header.bytes(),
            first: header.first.get(),
            end: header.end(),
            times: (header.earliest_ns.get(), header.latest_ns.get()),
            sources: &sources,
        });
    }

    /// The bytes of the file.
    pub(crate) fn bytes(&self, log_id: [u8; 16]) -> Vec<u8> {
        let mut header = IndexHeader {
            magic: INDEX_MAGIC,
            version: VERSION.into(),
            count: (self.lines.len() as u32).into(), // at most INDEX_MOST
            first: self.first.into(),
            end: self.end.into(),
            log_id,
            used: self.used.into(),
            earliest_ns: self.earliest_ns.into(),
            latest_ns: self.latest_ns.into(),
            sources: self.sources,
            reserved: [0; 52],
            checksum: 0.into(),
        };
        header.checksum = header.checksum_with(self.lines.as_bytes()).into();
        [header.as_bytes(), self.lines.as_bytes()].concat()
    }
}

impl IndexLine {
    fn absorb(&mut self, later: &Self) {
        self.earliest_ns = self.earliest_ns.get().min(later.earliest_ns.get()).into();
        self.latest_ns = self.latest_ns.get().max(later.latest_ns.get()).into();
        unite(&mut self.sources, &later.sources);
    }
}

fn unite(set: &mut [u8], other: &[u8]) {
    set.iter_mut().zip(other).for_each(|(byte, other)| *byte |= other);
}

/// A segment's index as a reader uses it.
#[derive(Clone, Debug)]
pub(crate) struct Guide {
    pub(crate) header: IndexHeader,
    lines: Vec<IndexLine>,
}

impl Guide {
    /// Reads the index of a closed segment, if it holds and some of its lines are true.
    ///
    /// # Errors
    /// Why it is not to be used.
    pub(crate) fn read(segment: &Segment, file: &File, log_id: &[u8; 16]) -> std::result::Result<Self, String> {
        let path = path(segment);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err("there is none".into()),
            Err(cause) => return Err(format!("{} cannot be read: {cause}", path.display())),
        };
        let wrong = |why: &str| format!("{} is not true: {why}", path.display());
        let (header, lines) = IndexHeader::parse(&bytes, segment.first, log_id).map_err(wrong)?;
        let guide = Self { header, lines: lines.to_vec() };
        if !guide.samples_hold(segment, file, log_id) {
            return Err(wrong("the groups are not where it says"));
        }
        Ok(guide)
    }

    /// Compares the first line, the last one and two between with the headers of their groups.
    fn samples_hold(&self, segment: &Segment, file: &File, log_id: &[u8; 16]) -> bool {
        let length = file.metadata().map_or(0, |data| data.len());
        if self.header.used.get() > length || self.lines.iter().any(|line| !line.at.get().is_multiple_of(BLOCK)) {
            return false;
        }
        let last = self.lines.len().saturating_sub(1);
        let mut buffer = Vec::new();
        [0, last / 3, last * 2 / 3, last].iter().filter_map(|at| self.lines.get(*at)).all(|line| {
            match segment.group(file, line.at.get(), log_id, &mut buffer, |_| false) {
                Ok(Found::Whole(group)) => {
                    group.first == line.first
                        && group.earliest_ns.get() >= line.earliest_ns.get()
                        && group.latest_ns.get() <= line.latest_ns.get()
                }
                _ => false,
            }
        })
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        (size_of::<IndexHeader>() + self.lines.len() * size_of::<IndexLine>()) as u64
    }

    /// The end of the segment, as byte and record.
    pub(crate) fn end(&self) -> (u64, u64) {
        (self.header.used.get(), self.header.end.get())
    }

    /// Where to go on from byte `at`: the first line from there on that is `wanted`, as byte and record; else the end.
    pub(crate) fn next(&self, at: u64, wanted: impl Fn(&IndexLine, u64) -> bool) -> (u64, u64) {
        let ends = self.lines.iter().skip(1).map(|line| (line.at.get(), line.first.get()));
        let with_ends = self.lines.iter().zip(ends.chain([self.end()]));
        let from = self.lines.partition_point(|line| line.at.get() <= at).saturating_sub(1);
        for (line, (behind, end)) in with_ends.skip(from) {
            if behind > at && wanted(line, end) {
                // In the middle of a line that speaks of several groups one goes on where one is.
                return if line.at.get() < at { (at, 0) } else { (line.at.get(), line.first.get()) };
            }
        }
        self.end()
    }
}

/// Reads a closed segment through and writes its index, unless one is there that holds. `between` is called between
/// groups and says whether to go on.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn mend(segment: &Segment, log_id: &[u8; 16], mut between: impl FnMut() -> bool) -> Result<()> {
    let file = match segment.open() {
        Ok(file) => file,
        Err(_) if !segment.path.exists() => return Ok(()), // retention was faster
        Err(error) => return Err(error),
    };
    let Err(why) = Guide::read(segment, &file, log_id) else { return Ok(()) };
    let (mut index, mut at, mut buffer) = (Index::new(segment.first), BLOCK, Vec::new());
    while between() {
        let Found::Whole(header) = segment.group(&file, at, log_id, &mut buffer, |_| true)? else {
            tracing::info!("the index of {} was written anew: {why}", segment.path.display());
            return write(segment, &index.bytes(*log_id));
        };
        index.see_group(at, &header, &buffer);
        at += header.bytes();
    }
    Ok(())
}

pub(crate) fn path(segment: &Segment) -> PathBuf {
    segment.path.with_extension(ENDING)
}

/// Removes the index of a segment, if it has one.
pub(crate) fn remove(segment: &Segment) -> Result<()> {
    let path = path(segment);
    match fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(refused("removal of", &path, cause)),
        _ => Ok(()),
    }
}

/// Writes the index of a closed segment. Nothing depends on it, so nobody waits for the disk.
///
/// # Errors
/// What the kernel refuses.
pub(crate) fn write(segment: &Segment, bytes: &[u8]) -> Result<()> {
    let path = path(segment);
    let written = File::create(&path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|cause| refused("write of", &path, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Group `number` of a segment of groups of one block and one record.
    fn part(number: u64, sources: &Sources) -> Part<'_> {
        let (at, times) = (BLOCK * (number + 1), (number * 10 % 7_919, number * 10 % 7_919 + 5));
        Part { at, bytes: BLOCK, first: number, end: number + 1, times, sources }
    }

    #[test]
    fn an_index_of_very_many_groups_stays_small_and_misses_none() {
        const GROUPS: u64 = 70_000;
        let mut index = Index::new(0);
        for number in 0..GROUPS {
            let mut sources = Sources::NONE;
            sources.add((number / 1_000) as u32);
            index.add(&part(number, &sources));
        }
        let bytes = index.bytes([7; 16]);
        let (header, lines) = IndexHeader::parse(&bytes, 0, &[7; 16]).expect("what was written");
        assert!((INDEX_MOST / 2..=INDEX_MOST).contains(&lines.len()), "{}", lines.len());
        let guide = Guide { header, lines: lines.to_vec() };
        assert_eq!(guide.end(), ((GROUPS + 1) * BLOCK, GROUPS));
        assert_eq!(guide.length(), bytes.len() as u64);
        for number in (0..GROUPS).step_by(97) {
            let Part { at, times: (earliest, latest), .. } = part(number, &Sources::NONE);
            let (source, set) = ((number / 1_000) as u32, &guide.header.sources);
            assert!(may_hold(set, source));
            let wanted = |line: &IndexLine, end: u64| {
                end > number
                    && may_hold(&line.sources, source)
                    && line.earliest_ns.get() <= earliest
                    && line.latest_ns.get() >= latest
            };
            // From the start one is led to a line that holds the group, from the group nowhere else.
            let (led_to, record) = guide.next(BLOCK, wanted);
            assert!(led_to <= at && record <= number && led_to + 8 * BLOCK > at, "{number}: {led_to}");
            assert_eq!(guide.next(at, wanted).0, at);
        }
        assert_eq!(guide.next(BLOCK, |_, _| false), guide.end());
        assert_eq!(guide.next(guide.end().0, |_, _| true), guide.end());
    }

    #[test]
    fn a_set_misses_no_source_and_seems_to_have_few_others() {
        let mut set = [0; 512];
        (0..300).map(|source| source * 7_919).for_each(|source| add_source(&mut set, source));
        assert!((0..300).all(|source| may_hold(&set, source * 7_919)));
        let false_alarms = (1..10_000_u32).filter(|source| may_hold(&set, source * 7_919 + 1)).count();
        assert!(false_alarms < 500, "{false_alarms} of 10,000");
    }
}
