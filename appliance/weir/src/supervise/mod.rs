//! `weir up`: starts the dataplane and a worker for each feature, watches them, and starts them again.
//!
//! The supervisor owns nothing but its children and the memory of the dataplane's ledger. A worker that dies, or has frames
//! and finishes none, or hangs before it works, is started again with back-off; so is a dataplane that dies or no longer turns. With the dataplane its
//! rings are gone, so every worker goes with it and all start afresh. Meanwhile the pinned classifier goes on forwarding base
//! messages.

mod breaker;
mod child;
mod program;
mod progress;
mod upgrade;
mod words;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use weir_appliance_control::client;
use weir_appliance_control::config::{Config, SuperviseSpec};
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{Answer, ConfigRequest, Reply, Request, UpgradeStatus};

use weir_dataplane_io::nic::Kind;
use weir_dataplane_io::shared;
use weir_dataplane_pool::ledger::{Ledger, Turns};
use weir_dataplane_ring::Memory;

use crate::place::Place;
use crate::seed::Seed;
use crate::{cards, groups};
use child::{Child, Death, ending};
use upgrade::{Left, Upgrade};

pub(crate) use program::Program;
pub(crate) use progress::Progress;
pub(crate) use words::{Hang, Heard, Shown, Told};

/// Longest time the dataplane may take to be ready: binding retries a busy queue for some seconds.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Time the dataplane has to end, in which workers finish what they have, before whoever is left is killed.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// How often the supervisor looks whether the dataplane turns.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What a program leaves to the one that takes over, as JSON.
const LEFT: &str = "WEIR_LEFT";
/// Name of the ledger's memory, as the kernel shows it.
const LEDGER: &str = "weir-ledger";
/// What dies so shortly before the dataplane died with it.
const WITH_THE_DATAPLANE: Duration = Duration::from_secs(1);
/// Lines that may wait for a dataplane that does not read; a later one says all that an earlier one did.
const LINES: usize = 16;

enum Event {
    /// Process of the dataplane, and what it said.
    Heard(u32, Heard),
    Exited(String, u32, ExitStatus),
    Signal,
    Reload,
    Upgrade,
    /// What a program says it is, or why it cannot take over.
    Checked(Result<Program, String>),
}

/// Why the supervisor does not watch any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All is to end.
    BySignal,
    /// Another program takes over.
    ForAnother,
}

/// Reads the files again.
pub(crate) type ReadSeed = Box<dyn Fn() -> Result<Seed>>;

/// The children and what is to become of them.
struct Supervisor {
    place: Place,
    seed: Seed,
    read: ReadSeed,
    /// Where this program lay when it was started.
    program: PathBuf,
    /// A take-over that is under way.
    upgrade: Option<Upgrade>,
    /// What is said of the last one.
    upgraded: Option<UpgradeStatus>,
    spec: SuperviseSpec,
    features: Vec<String>,
    /// Features whose workers run as another program.
    programs: BTreeMap<String, PathBuf>,
    children: BTreeMap<String, Child>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    /// What each dataplane leaves to the next one.
    ledger: OwnedFd,
    turns: Turns,
    turning: Progress,
    /// The dataplane is ready.
    is_ready: bool,
    /// Where its lines go.
    lines: Option<SyncSender<String>>,
    /// What it was told last: each child, and when it is started again.
    told: Vec<(Shown, Option<Instant>)>,
    /// Whose workers hang on purpose, where, and until when.
    hangs: BTreeMap<String, (Hang, Instant)>,
}

/// Name of the dataplane among the children; features have their own names.
pub(crate) const DATAPLANE: &str = "dataplane";

/// Runs until a signal ends it in good order.
///
/// # Errors
/// When the dataplane cannot be started the first time: nothing is left half started.
pub(crate) fn up(place: Place, config: &Config, seed: Seed, read: ReadSeed) -> Result<()> {
    let (spec, features) = (config.supervise(), config.enabled().map(|name| name.to_string()).collect::<Vec<_>>());
    let program = |name| config.program(name).map(|program| (name.to_string(), program.to_owned()));
    let programs = config.enabled().filter_map(program).collect();
    let (sender, events) = mpsc::channel();
    watch_signals(sender.clone())?;
    let (ledger, restarts, upgraded) = ledger()?;
    let memory: Arc<dyn Memory> = Arc::new(shared::open_lazily(ledger.as_fd(), Ledger::LENGTH, true)?);
    let turns = Turns::at(&memory)?;
    let workers = features.iter().map(|name| (name.clone(), Child::feature(spec)));
    let all = workers.chain([(DATAPLANE.to_owned(), Child::restarted(spec, restarts))]);
    let mut supervisor = Supervisor {
        place,
        seed,
        read,
        program: std::env::current_exe().context("the path of this program is not known")?,
        upgrade: None,
        upgraded,
        spec,
        children: all.collect(),
        features,
        programs,
        events,
        sender,
        ledger,
        turns,
        turning: Progress::default(),
        is_ready: false,
        lines: None,
        told: Vec::new(),
        hangs: BTreeMap::new(),
    };
    let outcome = supervisor.run();
    // The sockets are gone with the processes by now, which hold a card's queues.
    cards::give_back(&supervisor.place.cards, Kind::Any);
    // A dataplane that ended in good order has left none.
    groups::give_back(&supervisor.place.groups);
    outcome
}

/// The memory of the ledger, how many dataplanes there were, and what is said of the take-over: of the program before this
/// one, if it left any.
fn ledger() -> Result<(OwnedFd, u32, Option<UpgradeStatus>)> {
    let left = std::env::var(LEFT).ok().and_then(|left| serde_json::from_str(&left).ok());
    match left {
        Some(Left { ledger, restarts, upgrade }) => {
            let kept = shared::kept_over_exec(ledger, Ledger::LENGTH).or_else(|error| {
                // The program of before may have kept its books in another way; without them the box runs as well.
                tracing::warn!(
                    "the ledger of the program before this one is not taken over, counters begin anew: {error}"
                );
                shared::reserve(LEDGER, Ledger::LENGTH)
            });
            Ok((kept?, restarts, upgrade))
        }
        None => Ok((shared::reserve(LEDGER, Ledger::LENGTH)?, 0, None)),
    }
}

fn watch_signals(events: Sender<Event>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR2])
        .context("signal handlers cannot be installed")?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Reload,
                SIGUSR2 => Event::Upgrade,
                _ => Event::Signal,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

impl Supervisor {
    /// From the first start to the end of all children.
    fn run(&mut self) -> Result<()> {
        loop {
            self.start(DATAPLANE)?;
            if !self.first_ready()? {
                self.stop();
                return Ok(());
            }
            tracing::info!("up: {} (control socket {})", self.features.join(", "), self.place.control.display());
            self.ready();
            let ended = self.watch();
            if ended == Ended::BySignal {
                self.stop();
                return Ok(());
            }
            self.become_another();
        }
    }

    /// Waits for the first dataplane: true when it is ready, false when a signal came first.
    fn first_ready(&mut self) -> Result<bool> {
        match self.events.recv_timeout(READY_WITHIN) {
            Ok(Event::Heard(_, Heard::Ready)) => Ok(true),
            Ok(Event::Signal) => Ok(false),
            // The dataplane has printed its one line; this one says only what follows from it.
            Ok(Event::Exited(_, _, status)) => {
                self.children.clear();
                bail!("dataplane {}; nothing was left behind", ending(status))
            }
            Ok(Event::Heard(_, heard)) => {
                self.heard(heard);
                self.first_ready()
            }
            // It has just read the files, and is the program that lies there.
            Ok(Event::Reload | Event::Upgrade | Event::Checked(_)) => self.first_ready(),
            Err(_) => {
                self.stop();
                bail!("dataplane was not ready within {READY_WITHIN:?}; see its messages above, and `weir doctor`")
            }
        }
    }

    fn watch(&mut self) -> Ended {
        loop {
            self.tell();
            let due = self.children.values().filter_map(Child::due).min();
            let wait = due.map_or(LOOK_EVERY, |due| due.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
            match self.events.recv_timeout(wait) {
                Ok(Event::Signal) | Err(RecvTimeoutError::Disconnected) => return Ended::BySignal,
                Ok(Event::Heard(pid, heard)) if self.children[DATAPLANE].pid() == Some(pid) => self.heard(heard),
                Ok(Event::Heard(..)) => {} // a dead one's last words
                Ok(Event::Reload) => self.reload(),
                Ok(Event::Upgrade) => self.upgrade(self.program.clone(), upgrade::WITHIN),
                Ok(Event::Checked(found)) => self.checked(found),
                Ok(Event::Exited(name, pid, status)) => self.exited(&name, pid, status),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.start_due();
            self.look();
            if let Some(ended) = self.go_on() {
                return ended;
            }
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Ready => self.ready(),
            Heard::Wishes(wishes) => {
                let now = Instant::now();
                for (feature, run) in wishes {
                    if let Some(child) = self.children.get_mut(feature.as_str()) {
                        child.wish(run, now);
                    }
                }
            }
            Heard::Restart(feature) => {
                if let Some(child) = self.children.get_mut(feature.as_str()) {
                    child.restart(Instant::now());
                }
            }
            Heard::Stalled { pid, feature, waiting, seconds } => {
                let Some(child) = self.children.get_mut(feature.as_str()).filter(|child| child.pid() == Some(pid))
                else {
                    return;
                };
                child.kill(&format!("stalled: {waiting} frames wait, none finished for {seconds} s"));
            }
            Heard::Hung { pid, feature, how } => {
                if let Some(child) = self.children.get_mut(feature.as_str()).filter(|child| child.pid() == Some(pid)) {
                    child.hung(&how);
                }
            }
            Heard::Upgrade { program, within_s } => self.upgrade(program, Duration::from_secs(within_s)),
            Heard::Hang { feature, hang, seconds } => {
                let until = Instant::now() + Duration::from_secs(seconds);
                self.hangs.insert(feature.as_str().to_owned(), (hang, until));
            }
        }
    }

    /// The dataplane is ready: workers have something to attach to, and it has to turn from now on.
    fn ready(&mut self) {
        self.is_ready = true;
        self.told.clear();
        self.turning = Progress::default();
        self.tell_upgrade();
        for feature in self.features.clone() {
            self.try_start(&feature);
            // One that died in the very moment in which its dataplane did too.
            if let Some(reason) = self.children.get(&feature).and_then(Child::given_up).map(str::to_owned) {
                self.give_up(&feature, reason);
            }
        }
    }

    /// Ends a dataplane that does not turn any more, or that did not come to be ready.
    fn look(&mut self) {
        let now = Instant::now();
        self.children.values_mut().for_each(|child| child.look(now));
        let Some(dataplane) = self.children.get_mut(DATAPLANE) else { return };
        let Some(age) = dataplane.age(now) else { return };
        if !self.is_ready {
            if age >= READY_WITHIN {
                dataplane.kill(&format!("not ready within {} s", READY_WITHIN.as_secs()));
            }
            return;
        }
        let still = self.turning.look(self.turns.count(), true, now);
        if still >= Duration::from_secs(self.spec.stall_seconds.into()) {
            dataplane.kill(&format!("stalled: its pool has not turned for {} s", still.as_secs()));
        }
    }

    /// SIGHUP: the files are read again and put in force as `weir config apply` does; on any error what is in force stays.
    fn reload(&mut self) {
        let seed = match (self.read)() {
            Ok(seed) => seed,
            Err(error) => return tracing::error!("SIGHUP: {error:#}"),
        };
        let manner = Manner { reason: "SIGHUP".to_owned(), ..Manner::default() };
        let apply = ConfigRequest::Apply { layers: seed.layers.clone(), live_only: false, manner };
        match client::call(&self.place.control, &Request::Config(apply)) {
            Ok(Reply::Ok(Answer::Changed(changed))) => {
                tracing::info!("SIGHUP: {}", changed.text);
                self.seed = seed;
            }
            Ok(Reply::Ok(_)) => tracing::error!("SIGHUP: the dataplane answered another question"),
            Ok(Reply::Error(problem)) | Err(problem) => tracing::error!("SIGHUP: nothing was changed: {problem}"),
        }
    }

    /// The program that runs here, also when another one lies in its place by now: its parts speak one language.
    fn own_program(&self) -> &Path {
        const OWN: &str = "/proc/self/exe";
        let file = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let own = Path::new(OWN);
        if file(own) == file(&self.program) { &self.program } else { own }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let is_due = |child: &Child| child.due().is_some_and(|due| due <= now);
        let due: Vec<String> =
            self.children.iter().filter(|(_, child)| is_due(child)).map(|(name, _)| name.clone()).collect();
        due.iter().for_each(|name| self.try_start(name));
    }

    fn try_start(&mut self, name: &str) {
        // A worker has nothing to attach to while the dataplane is away; the next `ready` starts it.
        let orphan = name != DATAPLANE && !self.is_ready;
        let Some(child) = self.children.get_mut(name) else { return };
        child.now();
        if orphan || child.pid().is_some() || !child.is_wanted() {
            return;
        }
        if let Err(error) = self.start(name) {
            tracing::error!("{error:#}");
            let child = self.children.get_mut(name);
            if let Some(reason) = child.and_then(|child| child.not_started(&format!("{error:#}"), Instant::now())) {
                self.give_up(name, reason);
            }
        }
    }

    fn exited(&mut self, name: &str, pid: u32, status: ExitStatus) {
        let now = Instant::now();
        let Some(child) = self.children.get_mut(name) else { return };
        let Some(Death { how, given_up }) = child.exited(pid, status, now) else { return };
        let on_trial = self.upgrade.as_ref().is_some_and(Upgrade::is_on_trial);
        // Whoever is woken by this line wants to know whether anything is left to be done.
        let next = child.due().filter(|_| !on_trial).map(|due| {
            let forwarded = if name == DATAPLANE { ", base messages are forwarded meanwhile" } else { "" };
            format!("; the next one starts in {} ms{forwarded}", due.saturating_duration_since(now).as_millis())
        });
        tracing::warn!("{}: {how}{}", shown_name(name), next.unwrap_or_default());
        if on_trial {
            // It is no fault of the feature's, and both are gone soon.
            return self.died_on_trial(name, &how);
        }
        if let Some(reason) = given_up {
            self.give_up(name, reason);
        }
        if name == DATAPLANE {
            // Its rings are gone and the workers' connections with them; each ends by itself and is not started
            // before the next dataplane is ready. One that is stopped or hangs would hold the queue: it is killed.
            (self.is_ready, self.lines) = (false, None);
            let workers = self.children.iter_mut().filter(|(name, _)| *name != DATAPLANE);
            for (_, worker) in workers {
                worker.orphan("the dataplane died");
                worker.forgive(now.checked_sub(WITH_THE_DATAPLANE).unwrap_or(now));
            }
        }
    }

    /// Has the dataplane park a feature that died too often.
    fn give_up(&self, name: &str, reason: String) {
        let Ok(feature) = name.parse() else { return };
        let line = serde_json::to_string(&Told::Parked { feature, reason: reason.clone() });
        let told = line.ok().zip(self.lines.as_ref()).is_some_and(|(line, lines)| lines.try_send(line).is_ok());
        if !told {
            tracing::error!("{name} is not started any more, it {reason}; the dataplane does not know of it yet");
        }
    }

    /// Tells the dataplane what became of the children, if that is news.
    fn tell(&mut self) {
        let Some(lines) = self.lines.as_ref().filter(|_| self.is_ready) else { return };
        let now = Instant::now();
        let news: Vec<_> = self.children.iter().map(|(name, child)| (child.shown(name), child.due())).collect();
        if news == self.told {
            return;
        }
        let left = |due: Instant| due.saturating_duration_since(now).as_millis() as u64; // at most the longest pause
        let children = news.iter().map(|(shown, due)| Shown { again_in_ms: due.map(left), ..shown.clone() });
        if let Ok(line) = serde_json::to_string(&Told::Children(children.collect()))
            && lines.try_send(line).is_ok()
        {
            self.told = news;
        }
    }

    /// The program that `name` runs as: one of its own, where the configuration says so; else the one on trial, or this one.
    ///
    /// # Errors
    /// Its own is not there, or others could have put it there.
    fn program_of(&self, name: &str) -> Result<&Path> {
        if let Some(own) = self.programs.get(name) {
            let refused = |why| anyhow!("{name} cannot be started: {}: {why}", own.display());
            return program::trusted(own).map(|()| own.as_path()).map_err(refused);
        }
        let on_trial = self.upgrade.as_ref().and_then(Upgrade::on_trial);
        Ok(on_trial.map_or_else(|| self.own_program(), PathBuf::as_path))
    }

    fn start(&mut self, name: &str) -> Result<()> {
        let restarts = self.children.get(name).map_or(0, Child::restarts).to_string();
        let mut command = Command::new(self.program_of(name)?);
        command.env_remove(LEFT);
        if name == DATAPLANE {
            // By its place among our descriptors, so that no worker inherits it.
            let ledger = format!("/proc/{}/fd/{}", std::process::id(), self.ledger.as_raw_fd());
            command.args(["dataplane", "--ledger", &ledger]).stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.args(["worker", name]).stdin(Stdio::null()).stdout(Stdio::null());
            self.hangs.retain(|_, (_, until)| *until > Instant::now());
            let hang = self.hangs.get(name).and_then(|(hang, _)| hang.to_possible_value());
            command.args(hang.iter().flat_map(|hang| ["--hang", hang.get_name()]));
        }
        command.arg("--control").arg(&self.place.control).arg("--state").arg(&self.place.state);
        command.args(["--restarts", &restarts]);
        // Its own process group: Ctrl-C reaches the supervisor, which stops the children in order.
        let mut child = command.process_group(0).spawn().with_context(|| format!("{name} cannot be started"))?;
        if let Some(known) = self.children.get_mut(name) {
            known.started(child.id(), Instant::now());
        }
        if let Some(input) = child.stdin.take() {
            self.lines = Some(speak(input, serde_json::to_string(&self.seed)?));
        }
        if let Some(output) = child.stdout.take() {
            listen(child.id(), output, self.sender.clone());
        }
        wait_in_background(child, name.to_owned(), self.sender.clone());
        Ok(())
    }

    /// Ends all children: the dataplane is asked, and takes the workers with it; who does not end is killed.
    fn stop(&mut self) {
        let runs = |supervisor: &Self| supervisor.children.values().any(|child| child.pid().is_some());
        if let Some(dataplane) = self.children.get(DATAPLANE) {
            dataplane.terminate();
        }
        let deadline = Instant::now() + STOP_WITHIN;
        while runs(self) {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Exited(name, pid, status)) => {
                    if let Some(child) = self.children.get_mut(&name) {
                        child.exited(pid, status, Instant::now());
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for (name, child) in self.children.iter_mut().filter(|(_, child)| child.pid().is_some()) {
            tracing::warn!("{} did not end within {STOP_WITHIN:?} and is killed", shown_name(name));
            child.kill("it did not end when asked");
        }
    }
}

/// A child as people know it from the status: `dataplane`, `worker streaming`.
fn shown_name(name: &str) -> String {
    if name == DATAPLANE { name.to_owned() } else { format!("worker {name}") }
}

/// Writes lines to a dataplane, `first` before all others. A thread of its own: one that does not read must not hold the
/// supervisor.
fn speak(mut input: ChildStdin, first: String) -> SyncSender<String> {
    let (lines, waiting) = mpsc::sync_channel::<String>(LINES);
    std::thread::spawn(move || {
        for line in std::iter::once(first).chain(waiting) {
            // An error is its end, which comes as an event.
            if input.write_all(format!("{line}\n").as_bytes()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Hears what dataplane `pid` says, until it ends.
fn listen(pid: u32, output: ChildStdout, events: Sender<Event>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(heard) => drop(events.send(Event::Heard(pid, heard))),
                Err(error) => tracing::warn!("the dataplane said what nobody understands: {error}: {line}"),
            }
        }
    });
}

fn wait_in_background(mut child: std::process::Child, name: String, events: Sender<Event>) {
    std::thread::spawn(move || {
        let pid = child.id();
        if let Ok(status) = child.wait() {
            let _ = events.send(Event::Exited(name, pid, status));
        }
    });
}
