//! Frames into groups, groups onto the disk, and up to which record all of them are there.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use weir_dataplane_io::clock::realtime_ns;
use weir_dataplane_io::disk::Access;
use weir_dataplane_io::uring::{DiskRing, Way, Written};

use crate::ahead::{Ahead, Unnamed};
use crate::error::{LogError, Result};
use crate::format::record_bytes;
use crate::groups::{Filling, Sealed, Stage};
use crate::index::{Index, Part};
use crate::recovery::{self, Current, Recovery};
use crate::retention::{self, Retired};
use crate::spec::{LogSpec, Stamp};
use crate::streams::Streams;

/// The one writer of a log.
///
/// Dropping it waits for writes in flight and forgets frames that were not submitted; [`LogWriter::close`] writes them.
pub struct LogWriter {
    disk: DiskRing, // first: its writes end before the locks are let go
    ahead: Ahead,
    current: Current,
    spec: LogSpec,
    log_id: [u8; 16],
    free: Vec<usize>,
    filling: Option<Filling>,
    /// Oldest first. Those that are written and not called durable yet, since their file has no name, are at most a segment's.
    sealed: VecDeque<Sealed>,
    next: u64,
    durable: u64,
    /// Places of the stream sources before the next group that gets its place in a file.
    streams: Streams,
    /// Of the segment that is written.
    index: Index,
    failed: Option<String>,
    _lock: File,
}

impl LogWriter {
    /// Opens the log of `spec`, or begins one: locks it, cuts a torn tail, goes on with the numbers.
    ///
    /// # Errors
    /// [`LogError::Spec`], [`LogError::Locked`], [`LogError::Damaged`] when the newest segment's header is bad, and what
    /// the kernel refuses.
    pub fn open(spec: LogSpec) -> Result<(Self, Recovery)> {
        spec.check()?;
        let opened = recovery::open(&spec)?;
        let disk = if spec.io_uring {
            DiskRing::new(spec.groups, spec.group_bytes)?
        } else {
            DiskRing::plain(spec.groups, spec.group_bytes, "the log was told so")?
        };
        let recovery = Recovery {
            segments: opened.segments,
            next: opened.next,
            cut: opened.cut,
            streams: opened.streams.sequences(),
            streams_forgotten: opened.streams.forgotten(),
            streams_from: opened.streams_from,
            way: disk.way().clone(),
            access: opened.current.access.clone(),
        };
        let ahead = Ahead::start(&spec, opened.log_id, opened.closed)?;
        let (log_id, current, next) = (opened.log_id, opened.current, opened.next);
        let (free, sealed) = ((0..spec.groups).rev().collect(), VecDeque::with_capacity(spec.groups));
        let mut writer = Self {
            disk,
            ahead,
            current,
            spec,
            log_id,
            free,
            filling: None,
            sealed,
            next,
            durable: next,
            streams: opened.streams,
            index: opened.index,
            failed: None,
            _lock: opened.lock,
        };
        writer.retire(realtime_ns())?;
        Ok((writer, recovery))
    }

    /// Copies a frame, given in pieces, into the current group and gives its number. A full group is submitted first.
    ///
    /// # Errors
    /// [`LogError::Full`] while all groups wait for the disk, [`LogError::TooLong`], [`LogError::Failed`]. Nothing was
    /// put then.
    #[inline]
    pub fn append(&mut self, stamp: &Stamp, frame: &[&[u8]]) -> Result<u64> {
        self.standing()?;
        let (length, room) = (frame.iter().map(|piece| piece.len()).sum(), self.spec.longest_frame());
        if length > room {
            return Err(LogError::TooLong { length, room });
        }
        let bytes = record_bytes(length);
        if self.filling.as_ref().is_some_and(|group| group.used() + bytes > self.spec.group_bytes) {
            self.submit()?;
        }
        if self.filling.is_none() && self.free.is_empty() {
            self.poll()?;
        }
        let full = LogError::Full { groups: self.spec.groups };
        if self.filling.is_none() {
            let Some(buffer) = self.free.pop() else { return Err(full) };
            self.filling = Some(Filling::new(buffer, self.next));
        }
        let Some(group) = &mut self.filling else { return Err(full) };
        // The buffer is ours alone until it is submitted, so it is there.
        let Some(buffer) = self.disk.buffer(group.buffer) else { return Err(full) };
        group.put(buffer, stamp, frame);
        self.next = group.end();
        Ok(self.next - 1)
    }

    /// Starts the write of what was gathered, if anything was.
    ///
    /// # Errors
    /// [`LogError::Failed`]; what was gathered waits for [`LogWriter::retry`].
    pub fn submit(&mut self) -> Result<()> {
        self.standing()?;
        if let Some(group) = self.filling.take() {
            // As in `append`: the buffer is ours alone until now.
            if let Some(bytes) = self.disk.buffer(group.buffer) {
                self.sealed.push_back(group.seal(bytes, self.log_id));
            }
        }
        self.start();
        self.standing()
    }

    /// Takes what the disk has finished, without waiting, and gives the number of the first record that is not durable
    /// yet: everything before it may be forgotten by the caller.
    ///
    /// # Errors
    /// [`LogError::Failed`]; [`LogWriter::durable`] still holds.
    pub fn poll(&mut self) -> Result<u64> {
        loop {
            self.collect(false);
            if !self.start() {
                break;
            }
        }
        self.standing()?;
        Ok(self.durable)
    }

    /// As [`LogWriter::poll`], but sleeps until all that was submitted is durable.
    ///
    /// # Errors
    /// As [`LogWriter::poll`].
    pub fn wait(&mut self) -> Result<u64> {
        self.wait_until(|writer| writer.sealed.is_empty())
    }

    /// As [`LogWriter::poll`], but after [`LogError::Full`] sleeps until a frame finds room again; the disk still has work then.
    ///
    /// # Errors
    /// As [`LogWriter::poll`].
    pub fn wait_for_room(&mut self) -> Result<u64> {
        self.wait_until(|writer| writer.filling.is_some() || !writer.free.is_empty())
    }

    fn wait_until(&mut self, enough: impl Fn(&Self) -> bool) -> Result<u64> {
        loop {
            let durable = self.poll()?;
            if enough(self) {
                return Ok(durable);
            }
            if self.disk.in_flight() > 0 {
                self.collect(true);
            } else if let Err(error) = self.ahead.look(true) {
                self.fail(&error);
            }
        }
    }

    /// After a failed write: tries again to write what waits. Numbers and places stay the same.
    ///
    /// # Errors
    /// [`LogError::Failed`] if it fails at once; a later [`LogWriter::poll`] says so otherwise.
    pub fn retry(&mut self) -> Result<u64> {
        // The ends of writes from before the failure say nothing about this try.
        while self.disk.in_flight() > 0 {
            let before = self.disk.in_flight();
            self.collect(true);
            if self.disk.in_flight() == before {
                return self.standing().map(|()| self.durable);
            }
        }
        self.failed = None;
        self.poll()?;
        // Whether a segment can be begun now is known soon, and the caller wants to hear it.
        while self.ahead.is_awaited() && self.disk.in_flight() == 0 {
            if let Err(error) = self.ahead.look(true) {
                self.fail(&error);
            }
            self.poll()?;
        }
        Ok(self.durable)
    }

    /// Writes what was gathered, waits for it and closes the log; gives the number of the next record.
    ///
    /// # Errors
    /// [`LogError::Failed`].
    pub fn close(mut self) -> Result<u64> {
        self.submit()?;
        self.wait()
    }

    /// Number of the first record that is not known to be durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Number that the next record gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What the disk said, if the log stands still.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// How writes are done and how they reach the disk, as sentences for people.
    #[must_use]
    pub fn ways(&self) -> (&Way, &Access) {
        (self.disk.way(), &self.current.access)
    }

    /// Deletes whole segments, oldest first and never the newest, as far as `keep_bytes` and `keep_age` say at `now_ns`
    /// (CLOCK_REALTIME). Runs by itself at the start and with each new segment.
    ///
    /// # Errors
    /// What the kernel refuses; segments before that one are deleted.
    pub fn retire(&mut self, now_ns: u64) -> Result<Retired> {
        retention::retire(&self.spec, now_ns)
    }

    fn standing(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |cause| Err(LogError::Failed { cause: cause.clone() }))
    }

    fn fail(&mut self, cause: &dyn std::fmt::Display) {
        let cause = cause.to_string();
        tracing::error!("the log stands still at record {}: {cause}", self.durable);
        self.failed.get_or_insert(cause);
    }

    /// Starts every write that may start, in order. True if one was.
    fn start(&mut self) -> bool {
        let mut started = false;
        while self.failed.is_none() {
            let Some(index) = self.sealed.iter().position(|group| group.stage == Stage::Waiting) else { break };
            if self.sealed[index].place.is_none() && !self.place(index) {
                break;
            }
            let group = &mut self.sealed[index];
            let Some((file, at)) = &group.place else { break };
            match self.disk.write(group.buffer, group.length, file, *at) {
                Ok(()) => (group.stage, started) = (Stage::Writing, true),
                Err(error) => self.fail(&error),
            }
        }
        started
    }

    /// Settles where a group goes, in the order of the log. False while the segment for it is not there yet.
    fn place(&mut self, index: usize) -> bool {
        let (first, length) = (self.sealed[index].first, self.sealed[index].length as u64);
        if self.current.at + length > self.spec.segment_bytes {
            let Some(next) = self.ahead.take() else {
                self.ahead.ask(true);
                return false;
            };
            self.current = next;
            let closed = std::mem::replace(&mut self.index, Index::new(first));
            let places = self.streams.bytes(first, self.log_id);
            self.ahead.begin(Unnamed { first, places, closed });
        }
        let group = &mut self.sealed[index];
        let at = self.current.at;
        group.place = Some((Arc::clone(&self.current.file), at));
        self.current.at += length;
        self.streams.apply(&std::mem::take(&mut group.steps));
        let (end, times, sources) = (group.end, group.times, &group.sources);
        self.index.add(&Part { at, bytes: length, first, end, times, sources });
        if self.current.at > self.spec.segment_bytes / 2 {
            self.ahead.ask(false);
        }
        true
    }

    fn collect(&mut self, mut wait: bool) {
        loop {
            match self.disk.complete(wait) {
                Ok(Some(written)) => self.ended(&written),
                Ok(None) => break,
                Err(error) => {
                    self.fail(&error);
                    break;
                }
            }
            wait = false;
        }
        if let Err(error) = self.ahead.look(false) {
            self.fail(&error);
        }
        // What is in a file without a name would not be found.
        let found = self.ahead.unnamed_from().unwrap_or(u64::MAX);
        let durable = |group: &mut Sealed| group.stage == Stage::Durable && group.first < found;
        while let Some(group) = self.sealed.pop_front_if(durable) {
            self.durable = group.end;
        }
        if self.failed.is_none() {
            self.ahead.name(self.durable);
        }
    }

    fn ended(&mut self, written: &Written) {
        let writing = |group: &&mut Sealed| group.buffer == written.buffer && group.stage == Stage::Writing;
        let Some(group) = self.sealed.iter_mut().find(writing) else { return };
        match &written.result {
            Ok(()) => {
                group.stage = Stage::Durable;
                // Its bytes are on the disk, and another try to give their file a name does not need them again: so a
                // new segment makes nobody wait until it has its name.
                self.free.push(written.buffer);
            }
            Err(error) => {
                group.stage = Stage::Waiting;
                let (first, error) = (group.first, format!("{error}"));
                self.fail(&format!("write of the group that begins with record {first}: {error}"));
            }
        }
    }
}
