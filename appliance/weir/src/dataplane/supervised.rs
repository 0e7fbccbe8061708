//! This process as one of the supervisor's: what it says, what it is told, and whether workers make progress.
//!
//! The supervisor ends and starts processes; only here it is known who has frames and whether their cursors move.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_appliance_control::config::{Config, Run};
use weir_appliance_control::message::{Done, ProcessState, UPGRADE_SECONDS, UpgradeState, UpgradeStatus};
use weir_appliance_control::problem::Problem;
use weir_dataplane_pool::class::TakerId;
use weir_dataplane_pool::ledger::{Ledger, Turns};
use weir_dataplane_ring::{HeapMemory, Memory};
use weir_ebpf_loader::Classifier;

use super::changes;
use super::classes::KernelClasses;
use super::control::internal;
use super::starts::{Stage, Starts};
use super::takers::{Taker, TakerState};
use super::{Dataplane, Ring, features, ledger, lock};
use crate::supervise::{Heard, Progress, Shown, Told};

/// Time without progress after which a worker is shown as stalled; one that is slow on purpose rests for half of it.
const SHOWN_AFTER: Duration = Duration::from_secs(2);

/// What is known of an attached worker's progress.
#[derive(Clone, Copy, Default)]
struct Watched {
    progress: Progress,
    waiting: u64,
    still: Duration,
    reported: bool,
}

/// The supervisor's end of this process.
pub(super) struct Supervised {
    out: Mutex<File>,
    memory: Option<Arc<dyn Memory>>,
    turns: Arc<Turns>,
    stall: Duration,
    start_within: Duration,
    starts: Mutex<Starts>,
    /// A successor takes over at once.
    handing_over: AtomicBool,
    /// What became of the last program that was to take over.
    upgrade: Mutex<Option<UpgradeStatus>>,
    /// The children as they were last told, and when.
    children: Mutex<(Instant, Vec<Shown>)>,
    watched: Mutex<(u64, BTreeMap<TakerId, Watched>)>,
}

impl Supervised {
    /// Opens the memory that the supervisor keeps at `ledger`.
    ///
    /// # Errors
    /// It is not there, or no descriptor is left.
    pub(super) fn open(ledger: Option<&Path>, config: &Config) -> Result<Self> {
        // Not the standard library's output, which the main thread holds.
        let out = std::io::stdout().as_fd().try_clone_to_owned();
        let out = out.context("no descriptor is left for the supervisor; raise `ulimit -n`")?;
        let memory = ledger.map(ledger::memory).transpose()?;
        let heap = || HeapMemory::zeroed(Ledger::LENGTH) as Arc<dyn Memory>;
        let counted = memory.as_ref().map_or_else(heap, |(memory, _)| Arc::clone(memory));
        Ok(Self {
            out: Mutex::new(out.into()),
            turns: Arc::new(Turns::at(&counted)?),
            memory: memory.filter(|(_, keeps)| *keeps).map(|(memory, _)| memory),
            stall: Duration::from_secs(config.supervise().stall_seconds.into()),
            start_within: Duration::from_secs(config.supervise().start_seconds.into()),
            starts: Mutex::default(),
            handing_over: AtomicBool::new(false),
            upgrade: Mutex::default(),
            children: Mutex::new((Instant::now(), Vec::new())),
            watched: Mutex::default(),
        })
    }

    /// The ledger, if the supervisor keeps its memory.
    ///
    /// # Errors
    /// As [`ledger::open`].
    pub(super) fn ledger(
        &self,
        classifier: &Classifier,
        classes: &KernelClasses,
        rings: &[Ring],
    ) -> Result<Option<Ledger>> {
        self.memory.as_ref().map(|memory| ledger::open(memory, classifier, classes, rings)).transpose()
    }

    /// Whether this process is to end for a successor.
    pub(super) fn is_handing_over(&self) -> bool {
        self.handing_over.load(Ordering::Relaxed)
    }

    /// What became of the last program that was to take over.
    pub(super) fn upgrade(&self) -> Option<UpgradeStatus> {
        lock(&self.upgrade).clone()
    }

    /// Time that a worker has from its start to its work.
    pub(super) fn start_within(&self) -> Duration {
        self.start_within
    }

    /// Where the pool counts its turns.
    pub(super) fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }

    /// Says something to the supervisor.
    ///
    /// # Errors
    /// It does not listen.
    pub(super) fn say(&self, heard: &Heard) -> Result<()> {
        let line = format!("{}\n", serde_json::to_string(heard)?);
        lock(&self.out).write_all(line.as_bytes()).context("the supervisor does not listen")
    }

    /// A child, as the supervisor told last.
    pub(super) fn child(&self, name: &str) -> Option<Shown> {
        let (told, children) = &*lock(&self.children);
        let passed = told.elapsed().as_millis() as u64; // an uptime
        let child = children.iter().find(|child| child.name == name)?;
        Some(Shown { again_in_ms: child.again_in_ms.map(|left| left.saturating_sub(passed)), ..child.clone() })
    }

    /// What a process that was started and does not work waits for, once that is worth showing.
    fn hangs(&self, pid: u32) -> Option<String> {
        let (stage, still) = lock(&self.starts).of(pid)?;
        let what = match stage {
            Stage::Silent => "started, and has not said a word to the dataplane yet",
            Stage::Lent => "was lent its rings, and does not work yet",
            Stage::Worked | Stage::Gone => "has let go of its rings, and is still there",
        };
        (still >= SHOWN_AFTER.min(self.start_within)).then(|| format!("{what}, for {} s", still.as_secs()))
    }

    /// Frames that wait for an attached worker, and for how long it has finished none, once that is worth showing.
    fn stalled(&self, id: TakerId) -> Option<(u64, Duration)> {
        let watched = lock(&self.watched).1.get(&id).copied()?;
        (watched.still >= SHOWN_AFTER.min(self.stall)).then_some((watched.waiting, watched.still))
    }
}

/// Asks the supervisor to let the program in `file` take over.
///
/// # Errors
/// It cannot now, or not so.
pub(super) fn upgrade(dataplane: &Dataplane, author: &str, file: &Path, within_s: u64) -> Result<Done, Problem> {
    let name = file.display().to_string();
    if !file.is_absolute() {
        return Err(Problem::new(name, "the box has another folder than you", "write the whole path, from / on"));
    }
    if !UPGRADE_SECONDS.contains(&within_s) {
        let cause = "a program has 1 second to 10 minutes to come to work";
        return Err(Problem::new(format!("{within_s} s"), cause, "write a time between: --within 30s"));
    }
    if let Some(pending) = changes::state(dataplane).1 {
        let cause = format!("revision {} waits for its confirmation, and would be taken back", pending.revision);
        return Err(Problem::new(name, cause, "weir confirm keeps it, weir revert takes it back; then try again"));
    }
    let under_way = |upgrade: UpgradeStatus| upgrade.state == UpgradeState::UnderWay;
    if dataplane.supervised.upgrade().is_some_and(under_way) || dataplane.supervised.is_handing_over() {
        return Err(Problem::new(name, "another program is just taking over", "see what becomes of it: weir status"));
    }
    tracing::info!("{author} wants {name} to take over");
    dataplane.supervised.say(&Heard::Upgrade { program: file.to_owned(), within_s }).map_err(internal)?;
    Ok(Done { text: format!("{name} is asked what it is"), saved: false, unsaved_because: None })
}

/// Hears the supervisor for as long as it lives.
pub(super) fn listen(dataplane: &Arc<Dataplane>) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Told::HandOver) => dataplane.supervised.handing_over.store(true, Ordering::Relaxed),
            Ok(Told::Upgrade(upgrade)) => *lock(&dataplane.supervised.upgrade) = Some(upgrade),
            Ok(Told::Parked { feature, reason }) => features::park(dataplane, feature, &reason),
            Ok(Told::Children(children)) => *lock(&dataplane.supervised.children) = (Instant::now(), children),
            Err(error) => tracing::warn!("the supervisor said what nobody understands: {error}: {line}"),
        }
    }
}

/// Looks whether the workers make progress, and says who does not. Called by the main thread, several times a second.
pub(super) fn look(dataplane: &Dataplane) {
    let (supervised, now) = (&dataplane.supervised, Instant::now());
    let turns = supervised.turns.count();
    let mut watched = lock(&supervised.watched);
    // What workers have finished is known when the pool turns. While it stands, that is not the workers' fault.
    if std::mem::replace(&mut watched.0, turns) == turns {
        return;
    }
    look_at_starts(dataplane, now);
    let attached = dataplane.takers.features();
    watched.1.retain(|id, _| attached.iter().any(|(taker, _)| taker.id == *id));
    for (taker, feature) in attached {
        let (waiting, finished) = standing_of(dataplane, &taker.name);
        let one = watched.1.entry(taker.id).or_default();
        (one.waiting, one.still) = (waiting, one.progress.look(finished, waiting > 0, now));
        if one.still < supervised.stall || std::mem::replace(&mut one.reported, true) {
            continue;
        }
        let stalled = Heard::Stalled { pid: taker.pid, feature, waiting, seconds: one.still.as_secs() };
        if let Err(error) = supervised.say(&stalled) {
            tracing::error!("worker {feature} stands still, and nobody hears of it: {error:#}");
        }
    }
}

/// Looks who was started and has not come to work.
fn look_at_starts(dataplane: &Dataplane, now: Instant) {
    let supervised = &dataplane.supervised;
    let children = lock(&supervised.children).1.clone();
    let attached = dataplane.takers.list();
    for hung in lock(&supervised.starts).look(&children, &attached, supervised.start_within, now) {
        if let Err(error) = supervised.say(&hung) {
            tracing::error!("{hung:?}, and nobody hears of it: {error:#}");
        }
    }
}

/// Descriptors that wait for the taker `name` and frames that it has finished, of the wire and of streams.
fn standing_of(dataplane: &Dataplane, name: &str) -> (u64, u64) {
    let streams = dataplane.streams.as_ref().map(|streams| streams.taken_of(name));
    let all = [Some(dataplane.taken_of(name)), streams];
    all.iter().flatten().fold((0, 0), |(waiting, finished), taken| {
        (waiting + taken.waiting.load(Ordering::Relaxed), finished + taken.frames.load(Ordering::Relaxed))
    })
}

/// How a process stands, in words for people.
pub(super) struct Standing {
    /// What it is doing.
    pub state: ProcessState,
    /// Why it is doing that.
    pub reason: Option<String>,
    /// How it ended last.
    pub last_exit: Option<String>,
    /// Milliseconds until it is started again.
    pub again_in_ms: Option<u64>,
}

impl Standing {
    /// A process that runs.
    pub(super) fn running(last_exit: Option<String>) -> Self {
        Self { state: ProcessState::Running, reason: None, last_exit, again_in_ms: None }
    }
}

/// How the worker of a feature stands; `taker` is the one that is attached, if one is.
pub(super) fn standing(dataplane: &Dataplane, name: &str, taker: Option<&Taker>) -> Standing {
    let child = dataplane.supervised.child(name);
    let last_exit = child.as_ref().and_then(|child| child.last_exit.clone());
    let feature = name.parse().ok();
    let rests = feature.is_some_and(|feature| dataplane.features.is_resting(feature));
    let why_not = feature.and_then(|feature| features::why_not(&lock(&dataplane.keeper), feature));
    let why_not = if rests { Some("parked by the preservation gate for a moment".to_owned()) } else { why_not };
    let Some(taker) = taker else {
        // What the supervisor has started and is not attached yet, it takes for running.
        let state = match (dataplane.is_not_to_run(name), child.as_ref().map(|child| child.state)) {
            _ if rests => ProcessState::Parked,
            (Some(Run::Parked), _) => ProcessState::Parked,
            (Some(_), _) => ProcessState::Stopped,
            (None, None | Some(ProcessState::Running)) => ProcessState::Starting,
            (None, Some(state)) => state,
        };
        let hangs = child.as_ref().and_then(|child| dataplane.supervised.hangs(child.pid));
        let again_in_ms = child.and_then(|child| child.again_in_ms);
        // The supervisor may not have told yet that the one that hung is gone.
        let reason = if state == ProcessState::Parked { why_not.or(hangs) } else { hangs.or(why_not) };
        return Standing { state, reason, last_exit, again_in_ms };
    };
    let stalled = dataplane.supervised.stalled(taker.id);
    let has_frames = feature.is_none_or(|feature| dataplane.features.is_on(feature));
    let state = match (taker.state, &stalled) {
        (_, Some(_)) => ProcessState::Stalled,
        _ if taker.leaving => ProcessState::Stopping,
        (TakerState::Ready, None) if has_frames => ProcessState::Running,
        _ => ProcessState::Starting,
    };
    let say =
        |(waiting, still): (u64, Duration)| format!("{waiting} frames wait, none finished for {} s", still.as_secs());
    let reason = stalled.map(say).or_else(|| dataplane.supervised.hangs(taker.pid)).or(why_not);
    Standing { state, reason, last_exit, again_in_ms: None }
}
