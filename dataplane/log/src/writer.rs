//! Frames into groups, groups onto the disk, and up to which record all of them are there.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;

use weir_dataplane_io::clock::realtime_ns;
use weir_dataplane_io::disk::Access;
use weir_dataplane_io::uring::{DiskRing, Way, Written};

use crate::error::{LogError, Result};
use crate::format::{BLOCK, record_bytes};
use crate::groups::{Filling, Sealed, Stage};
use crate::recovery::{self, Current, Recovery};
use crate::retention::{self, Retired};
use crate::segment;
use crate::spec::{LogSpec, Stamp};

/// The one writer of a log.
///
/// Dropping it waits for writes in flight and forgets frames that were not submitted; [`LogWriter::close`] writes them.
pub struct LogWriter {
    disk: DiskRing, // first: its writes end before the locks are let go
    current: Current,
    spec: LogSpec,
    log_id: [u8; 16],
    free: Vec<usize>,
    filling: Option<Filling>,
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    next: u64,
    durable: u64,
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
        let (way, access) = (disk.way().clone(), opened.current.access.clone());
        let streams = if spec.find_streams { recovery::streams(&spec.folder)? } else { BTreeMap::new() };
        let recovery = Recovery { segments: opened.segments, next: opened.next, cut: opened.cut, way, access, streams };
        let (log_id, current, next) = (opened.log_id, opened.current, opened.next);
        let (free, sealed) = ((0..spec.groups).rev().collect(), VecDeque::with_capacity(spec.groups));
        let mut writer = Self {
            disk,
            current,
            spec,
            log_id,
            free,
            filling: None,
            sealed,
            next,
            durable: next,
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
        loop {
            let durable = self.poll()?;
            if self.sealed.is_empty() {
                return Ok(durable);
            }
            self.collect(true);
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
        self.poll()
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
            let Sealed { first, length, at, .. } = self.sealed[index];
            if at.is_none() && self.current.at + length as u64 > self.spec.segment_bytes {
                // A segment begins when all before it is durable: then only the newest can have a torn tail.
                if index > 0 {
                    break;
                }
                if let Err(error) = self.rotate(first) {
                    self.fail(&error);
                    break;
                }
            }
            let place = at.unwrap_or(self.current.at);
            if at.is_none() {
                self.current.at += length as u64;
            }
            let group = &mut self.sealed[index];
            group.at = Some(place);
            match self.disk.write(group.buffer, length, &self.current.file, place) {
                Ok(()) => (group.stage, started) = (Stage::Writing, true),
                Err(error) => self.fail(&error),
            }
        }
        started
    }

    fn rotate(&mut self, first: u64) -> Result<()> {
        let made = loop {
            match segment::create(&self.spec.folder, first, self.log_id, self.spec.segment_bytes) {
                Err(error) if retention::made_room(&self.spec, &error)? => {}
                made => break made?,
            }
        };
        self.current = Current::open(&made, BLOCK)?;
        // Segments that could not be deleted cost space, not records: the next rotation tries again.
        if let Err(error) = self.retire(realtime_ns()) {
            tracing::warn!("{error}");
        }
        Ok(())
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
        while let Some(group) = self.sealed.pop_front_if(|group| group.stage == Stage::Durable) {
            self.durable = group.end;
            self.free.push(group.buffer);
        }
    }

    fn ended(&mut self, written: &Written) {
        let writing = |group: &&mut Sealed| group.buffer == written.buffer && group.stage == Stage::Writing;
        let Some(group) = self.sealed.iter_mut().find(writing) else { return };
        match &written.result {
            Ok(()) => group.stage = Stage::Durable,
            Err(error) => {
                group.stage = Stage::Waiting;
                let (first, error) = (group.first, format!("{error}"));
                self.fail(&format!("write of the group that begins with record {first}: {error}"));
            }
        }
    }
}
