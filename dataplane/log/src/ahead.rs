//! Segment files by a thread of their own: the next one is made ready while the present one fills, and gets its name when
//! all before it is on the disk. No frame waits for either while group buffers are free.
//!
//! ```text
//! none ── ask ──► the thread gives a file its blocks ──► ready ── take ──► written to, without a name
//!                                                                             │ all before it is durable
//!                      the thread writes header and places, then the name ◄───┘
//! ```

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;

use weir_dataplane_io::IoError;
use weir_dataplane_io::clock::realtime_ns;

use crate::error::Result;
use crate::format::BLOCK;
use crate::index::Index;
use crate::recovery::Current;
use crate::segment::{self, Segment};
use crate::spec::LogSpec;
use crate::{index, retention, streams};

/// A segment that is written to and has no name yet.
pub(crate) struct Unnamed {
    /// Number of its first record.
    pub(crate) first: u64,
    /// What goes into the file beside it.
    pub(crate) places: Vec<u8>,
    /// Index of the segment before it, which has got its last group.
    pub(crate) closed: Index,
}

/// The segments to come, as the writer sees them.
pub(crate) struct Ahead {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    spec: LogSpec,
    next: Next,
    unnamed: Option<(Arc<Unnamed>, bool)>,
}

/// The file for the next segment.
enum Next {
    None,
    /// The thread makes it; whether the writer stands until it is there.
    Asked {
        needed: bool,
    },
    Ready(Current),
    /// There was no room for it. That matters when it is needed, and then there is another try.
    Refused,
}

enum Job {
    /// Make the file; if it is needed now, oldest segments may go for it.
    Make { needed: bool },
    /// Give it its name.
    Name(Arc<Unnamed>),
}

enum Done {
    /// Whether it was asked for as needed, and the file.
    Made(bool, Result<Current>),
    Named(Result<()>),
}

impl Ahead {
    /// Starts the thread, which first writes the indexes that closed segments lack.
    pub(crate) fn start(spec: &LogSpec, log_id: [u8; 16], closed: Vec<Segment>) -> Result<Self> {
        let (jobs, taken) = sync_channel(2); // one of each kind
        let (told, done) = channel();
        let maker = Maker { spec: spec.clone(), log_id, jobs: taken, told };
        let thread = std::thread::Builder::new().name("log-files".into()).spawn(move || maker.run(closed));
        let thread = thread.map_err(|cause| {
            IoError::new("thread that makes segment files".to_owned(), cause, "check the limit of threads (ulimit -u)")
        })?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { jobs, done, thread, spec: spec.clone(), next: Next::None, unnamed: None })
    }

    /// Has the next file made, unless that was asked for already or a file has no name yet: there is one place for both.
    pub(crate) fn ask(&mut self, needed: bool) {
        match &mut self.next {
            _ if self.unnamed.is_some() => return,
            Next::Asked { needed: already } => {
                *already |= needed;
                return;
            }
            Next::Refused if !needed => return,
            Next::Ready(_) => return,
            Next::None | Next::Refused => {}
        }
        self.next = Next::Asked { needed };
        self.send(Job::Make { needed });
    }

    /// The file for the next segment, if it is ready.
    pub(crate) fn take(&mut self) -> Option<Current> {
        match std::mem::replace(&mut self.next, Next::None) {
            Next::Ready(current) if self.unnamed.is_none() => Some(current),
            other => {
                self.next = other;
                None
            }
        }
    }

    /// From here on groups go into the file that was taken.
    pub(crate) fn begin(&mut self, unnamed: Unnamed) {
        self.unnamed = Some((Arc::new(unnamed), false));
    }

    /// Records from this number on are in a file without a name: nobody would find them.
    pub(crate) fn unnamed_from(&self) -> Option<u64> {
        self.unnamed.as_ref().map(|(unnamed, _)| unnamed.first)
    }

    /// Has the file named, if all before record `durable` is on the disk and that is all before the file.
    pub(crate) fn name(&mut self, durable: u64) {
        let Some((unnamed, asked)) = &mut self.unnamed else { return };
        if *asked || unnamed.first != durable {
            return;
        }
        *asked = true;
        let job = Job::Name(Arc::clone(unnamed));
        self.send(job);
    }

    /// Whether the writer cannot go on, or call anything durable, before the thread has done something.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self.next, Next::Asked { needed: true }) || self.unnamed.as_ref().is_some_and(|(_, asked)| *asked)
    }

    /// Takes what the thread has done, or waits for it if it was asked for anything; gives whether it had done anything.
    ///
    /// # Errors
    /// What the kernel refused that the writer cannot do without.
    pub(crate) fn look(&mut self, wait: bool) -> Result<bool> {
        let ended = || IoError::invalid("thread that makes segment files", "it has ended", "start the log again");
        let done = match self.done.try_recv() {
            Err(TryRecvError::Empty) if wait && self.is_awaited() => self.done.recv().map_err(|_| ended())?,
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => return Err(ended().into()),
            Ok(done) => done,
        };
        match done {
            Done::Named(Ok(())) => self.unnamed = None,
            Done::Named(Err(error)) => {
                if let Some((_, asked)) = &mut self.unnamed {
                    *asked = false; // a retry asks again
                }
                return Err(error);
            }
            Done::Made(tried_all, made) => return self.made(tried_all, made).map(|()| true),
        }
        Ok(true)
    }

    fn made(&mut self, tried_all: bool, made: Result<Current>) -> Result<()> {
        let needed = matches!(self.next, Next::Asked { needed: true });
        match made {
            Ok(current) => self.next = Next::Ready(current),
            // It has come to be needed meanwhile.
            Err(_) if needed && !tried_all => self.send(Job::Make { needed: true }),
            Err(error) if needed => {
                self.next = Next::None; // a retry asks again
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(
                    "the next segment could not be made ahead and is tried again when it is needed: {error}"
                );
                self.next = Next::Refused;
            }
        }
        Ok(())
    }

    fn send(&self, job: Job) {
        // There is room for one job of each kind, and no second one is sent before the first has ended. If the thread
        // has ended, the next look says so.
        if let Some(jobs) = &self.jobs {
            let _ = jobs.try_send(job);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that makes segment files panicked");
        }
        // Nothing in a file without a name was called durable.
        if let Err(error) = segment::remove_unfinished(&self.spec.folder) {
            tracing::warn!("the next start removes it: {error}");
        }
    }
}

/// The thread's side.
struct Maker {
    spec: LogSpec,
    log_id: [u8; 16],
    jobs: Receiver<Job>,
    told: Sender<Done>,
}

impl Maker {
    fn run(self, closed: Vec<Segment>) {
        for segment in closed.iter().rev() {
            if self.mend(segment).is_none() {
                return;
            }
        }
        while let Ok(job) = self.jobs.recv() {
            self.work(job);
        }
    }

    /// Writes the index of a closed segment that lacks it, or does not hold; jobs come first. `None` when the writer has
    /// gone.
    fn mend(&self, segment: &Segment) -> Option<()> {
        let mut gone = false;
        let between = || {
            loop {
                match self.jobs.try_recv() {
                    Ok(job) => self.work(job),
                    Err(TryRecvError::Empty) => return true,
                    Err(TryRecvError::Disconnected) => {
                        gone = true;
                        return false;
                    }
                }
            }
        };
        if let Err(error) = index::mend(segment, &self.log_id, between) {
            tracing::warn!("reading by time or source goes through all of {}: {error}", segment.path.display());
        }
        (!gone).then_some(())
    }

    fn work(&self, job: Job) {
        // If nobody hears it the writer has gone, and the next receive says so.
        match job {
            Job::Make { needed } => _ = self.told.send(Done::Made(needed, self.make(needed))),
            Job::Name(unnamed) => {
                let named = self.name(&unnamed);
                let went_well = named.is_ok();
                let _ = self.told.send(Done::Named(named));
                if went_well {
                    self.tidy(&unnamed);
                }
            }
        }
    }

    fn make(&self, needed: bool) -> Result<Current> {
        let (folder, bytes) = (&self.spec.folder, self.spec.segment_bytes);
        let made = loop {
            match segment::make(folder, bytes) {
                Err(error) if needed && retention::made_room(&self.spec, &error)? => {}
                made => break made?,
            }
        };
        Current::open(&made, BLOCK)
    }

    fn name(&self, unnamed: &Unnamed) -> Result<()> {
        let folder = &self.spec.folder;
        let beside = segment::named(folder, unnamed.first);
        loop {
            let written = streams::write(&beside, &unnamed.places);
            match written.and_then(|()| segment::name(folder, unnamed.first, self.log_id)) {
                Err(error) if retention::made_room(&self.spec, &error)? => {}
                named => return Ok(named.map(drop)?),
            }
        }
    }

    /// What nobody waits for: the index of the segment that was closed, and what retention says.
    fn tidy(&self, unnamed: &Unnamed) {
        let closed = segment::named(&self.spec.folder, unnamed.closed.first());
        if let Err(error) = index::write(&closed, &unnamed.closed.bytes(self.log_id)) {
            tracing::warn!("reading by time or source goes through all of {}: {error}", closed.path.display());
        }
        // Segments that could not be deleted cost space, not records: the next one tries again.
        if let Err(error) = retention::retire(&self.spec, realtime_ns()) {
            tracing::warn!("{error}");
        }
    }
}
