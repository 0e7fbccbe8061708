//! The durable log in this process: a thread that takes rings as a worker does, and whose cursor moves when what lies
//! behind it is on the disk.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_appliance_control::config::{Config, WhenFull};
use weir_appliance_control::message::LogStatus;
use weir_appliance_control::taker::Taker;
use weir_dataplane_io::clock::{monotonic_ns, realtime_ns};
use weir_dataplane_io::shared::{SharedMemory, Writers};
use weir_dataplane_io::umem::UmemView;
use weir_dataplane_io::wait::{Epoll, EventFd, Trigger};
use weir_dataplane_io::xdp;
use weir_dataplane_log::{LogSpec, LogTaker, LogWriter, LoggedRing, Now, WhenStuck};
use weir_dataplane_pool::pool::Place;
use weir_dataplane_ring::{OwnerCursors, PAGE_LENGTH, TakerCursors};

use super::{Dataplane, attach, lock, panicked, streams};

/// Bytes of a group: a thousand small frames, or a hundred large ones.
const GROUP_BYTES: usize = 256 << 10;
/// Groups: one fills while the others are written.
const GROUPS: usize = 8;
/// How soon a turn follows while the disk works. A group commit takes longer.
const SOON: Duration = Duration::from_micros(200);
/// How long the thread sleeps at most while nothing arrives.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The log of a running dataplane, as everyone but its thread sees it.
pub(crate) struct Log {
    stop: AtomicBool,
    status: Mutex<LogStatus>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A log and the last sequence of each stream's source in it.
pub(super) type Opened = (LogWriter, BTreeMap<u32, u64>);

/// Opens the log, if a rule of the configuration is durable. To be called before anything else is taken: a log that
/// cannot be had stops the start, since nobody would notice that it is missing until it is needed.
///
/// # Errors
/// The folder cannot be made, another writer has it, or its newest segment is damaged.
pub(super) fn open(config: &Config) -> Result<Option<Opened>> {
    if !config.rules().iter().any(|rule| rule.durable) {
        return Ok(None);
    }
    let wish = config.log();
    let mib = |mib: u32| u64::from(mib) << 20;
    let spec = LogSpec {
        segment_bytes: mib(wish.segment_mib),
        keep_bytes: Some(mib(wish.keep_mib)),
        keep_age: wish.keep_hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600)),
        group_bytes: GROUP_BYTES,
        groups: GROUPS,
        ..LogSpec::new(&wish.folder)
    };
    let (writer, recovery) = LogWriter::open(spec).context("the durable log cannot be opened")?;
    let (way, access) = writer.ways();
    tracing::info!("durable log in {}: {way}; {access}; next record {}", wish.folder.display(), recovery.next);
    if let Some(cut) = &recovery.cut {
        tracing::warn!("the log's last group was not whole and was cut: {cut:?}");
    }
    Ok(Some((writer, recovery.streams)))
}

/// Lets the log take the rings of durable classes.
///
/// # Errors
/// When the pool does not answer or the kernel refuses a mapping.
pub(super) fn start(dataplane: &Arc<Dataplane>, writer: LogWriter) -> Result<()> {
    let name = Taker::Log.name();
    let rings = dataplane.rings_of(name)?;
    let page = SharedMemory::create("weir-cursors", PAGE_LENGTH, Writers::Both)?;
    let owner = Arc::new(OwnerCursors::new(Arc::clone(page.mapping()) as _, 0)?);
    let place = |(slot, ring): (usize, &&super::Ring)| Place { queue: ring.queue_index, class: ring.class, slot };
    let id = dataplane.takers.next_id();
    let starts = attach::join(dataplane, name, id, &owner, rings.iter().enumerate().map(place).collect(), None)?;
    let (kick, epoll) = (EventFd::new()?, Epoll::new()?);
    dataplane.pool_epoll_add(&kick, attach::KICK)?;
    let mut logged = Vec::with_capacity(rings.len());
    for ((slot, ring), start) in rings.iter().enumerate().zip(starts) {
        let mapped = xdp::map_rx_reader(ring.socket.as_fd(), dataplane.rx_ring)?;
        epoll.add(&*ring.socket, slot as u64, Trigger::Edge)?;
        logged.push(LoggedRing::new(mapped.reader, slot, ring.class, start));
    }
    if let Some(streams) = &dataplane.streams {
        let lanes: Vec<_> = streams::taken(dataplane, streams, name).collect();
        let starts = attach::join_lanes(streams, name, id, &owner, &lanes, rings.len())?;
        streams.hear(&kick)?;
        for ((slot, (_, lane)), start) in (rings.len()..).zip(&lanes).zip(starts) {
            let mapped = xdp::map_lane_reader(lane.memory.file(), streams.size)?;
            epoll.add(&lane.event, slot as u64, Trigger::Edge)?;
            logged.push(LoggedRing::stream(mapped.reader, slot, lane.class, start));
        }
    }
    let when_stuck = match lock(&dataplane.config).log().when_full {
        WhenFull::Drop => WhenStuck::Drop,
        WhenFull::Hold => WhenStuck::Hold,
    };
    let cursors = TakerCursors::new(Arc::clone(page.mapping()) as _, 0)?;
    let taker = LogTaker::new(logged, UmemView::of(&dataplane.umem), cursors, writer, when_stuck);
    let shared = Arc::clone(dataplane);
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
        run(&shared.log, taker, epoll, &kick);
        drop(page); // the pool reads cursors there until it has heard that the taker is gone
    })?;
    *lock(&dataplane.log.thread) = Some(thread);
    Ok(())
}

fn run(log: &Log, mut taker: LogTaker, mut epoll: Epoll, kick: &EventFd) {
    let mut shown = LogStatus::default();
    let mut show_at = 0;
    while !log.stop.load(Ordering::Relaxed) {
        let now = Now { monotonic_ns: monotonic_ns(), realtime_ns: realtime_ns() };
        let turn = taker.turn(now);
        if turn.moved {
            kick.signal();
        }
        // Under steady load there is always something to read, and people want to see the log just then.
        if turn.read == 0 || now.monotonic_ns >= show_at {
            log.show(&taker, &mut shown);
            show_at = now.monotonic_ns + LOOK_EVERY.as_nanos() as u64;
        }
        if turn.read > 0 {
            continue;
        }
        let rest = if turn.waiting { SOON } else { LOOK_EVERY };
        if let Err(error) = epoll.wait(Some(rest)).map(|_| ()) {
            tracing::error!("the log stands still: {error}");
            return;
        }
    }
    log.show(&taker, &mut shown);
    match taker.close() {
        Ok(next) => {
            let mut status = lock(&log.status);
            (status.next, status.durable) = (next, next);
        }
        Err(error) => tracing::error!("the log was not closed in good order: {error}"),
    }
}

impl Log {
    /// A log that nobody writes.
    pub(super) fn new(config: &Config) -> Self {
        let folder = config.log().folder.display().to_string();
        let status = LogStatus { folder, ..LogStatus::default() };
        Self { stop: AtomicBool::new(false), status: Mutex::new(status), thread: Mutex::new(None) }
    }

    /// What the log has done, if a rule is durable.
    pub(super) fn status(&self) -> Option<LogStatus> {
        let runs = lock(&self.thread).is_some();
        runs.then(|| lock(&self.status).clone())
    }

    /// Whether its thread ended by a panic.
    pub(super) fn has_panicked(&self) -> bool {
        panicked(&mut lock(&self.thread))
    }

    /// Ends the thread after everything that was read is on the disk.
    pub(super) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the log's thread panicked");
        }
    }

    fn show(&self, taker: &LogTaker, shown: &mut LogStatus) {
        let (counts, writer) = (taker.counts(), taker.writer());
        let now = LogStatus {
            folder: String::new(),
            next: writer.next(),
            durable: writer.durable(),
            frames: counts.frames,
            bytes: counts.bytes,
            dropped: counts.dropped,
            way: String::new(),
            failure: writer.failure().map(str::to_owned),
        };
        if now == *shown {
            return;
        }
        let (way, access) = writer.ways();
        let mut status = lock(&self.status);
        let folder = std::mem::take(&mut status.folder);
        *status = LogStatus { folder, way: format!("{way}; {access}"), ..now.clone() };
        *shown = now;
    }
}
