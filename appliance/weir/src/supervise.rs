//! `weir up`: starts the dataplane and a worker for each feature, watches them, and starts them again.
//!
//! The supervisor owns nothing but its children and the memory of the dataplane's ledger. A worker that dies is started
//! again with back-off; when the dataplane dies its rings are gone, so every worker goes with it and all start afresh.
//! Meanwhile the pinned classifier goes on forwarding base messages.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use weir_appliance_control::client;
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{Answer, ConfigRequest, Reply, Request};

use weir_dataplane_io::IoError;
use weir_dataplane_io::nic::Kind;
use weir_dataplane_io::shared;
use weir_dataplane_io::wait::PidFd;
use weir_dataplane_pool::ledger::Ledger;

use crate::place::Place;
use crate::seed::Seed;
use crate::{cards, groups};

/// The line the dataplane prints when traffic flows through it.
pub(crate) const READY_LINE: &str = "weir-dataplane ready";
/// Longest time the dataplane may take to be ready: binding retries a busy queue for some seconds.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// First and longest pause before a child is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// A child that ran this long is healthy: its next death starts the back-off anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// Time a child has to end by itself before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(5);

enum Event {
    Ready,
    Exited(String, u32, ExitStatus),
    Signal,
    Reload,
}

struct Watched {
    pid: u32,
    started: Instant,
}

struct Waiting {
    due: Instant,
}

/// Reads the files again.
pub(crate) type ReadSeed = Box<dyn Fn() -> Result<Seed>>;

/// The children and what is to become of them.
struct Supervisor {
    place: Place,
    seed: Seed,
    read: ReadSeed,
    features: Vec<String>,
    running: BTreeMap<String, Watched>,
    waiting: BTreeMap<String, Waiting>,
    restarts: BTreeMap<String, u32>,
    pause: BTreeMap<String, Duration>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    /// What each dataplane leaves to the next one.
    ledger: OwnedFd,
}

/// Name of the dataplane among the children; features have their own names.
const DATAPLANE: &str = "dataplane";

/// Runs until a signal ends it in good order.
///
/// # Errors
/// When the dataplane cannot be started the first time: nothing is left half started.
pub(crate) fn up(place: Place, features: Vec<String>, seed: Seed, read: ReadSeed) -> Result<()> {
    let (sender, events) = mpsc::channel();
    watch_signals(sender.clone())?;
    let ledger = shared::reserve("weir-ledger", Ledger::LENGTH)?;
    let mut supervisor = Supervisor {
        place,
        seed,
        read,
        features,
        running: BTreeMap::new(),
        waiting: BTreeMap::new(),
        restarts: BTreeMap::new(),
        pause: BTreeMap::new(),
        events,
        sender,
        ledger,
    };
    let outcome = supervisor.run();
    // The sockets are gone with the processes by now, which hold a card's queues.
    cards::give_back(&supervisor.place.cards, Kind::Any);
    // A dataplane that ended in good order has left none.
    groups::give_back(&supervisor.place.groups);
    outcome
}

fn watch_signals(events: Sender<Event>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .context("signal handlers cannot be installed")?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Signal };
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
        self.start(DATAPLANE)?;
        if !self.first_ready()? {
            self.stop();
            return Ok(());
        }
        tracing::info!("up: {} (control socket {})", self.features.join(", "), self.place.control.display());
        self.start_workers();
        self.watch();
        self.stop();
        Ok(())
    }

    /// Waits for the first dataplane: true when it is ready, false when a signal came first.
    fn first_ready(&mut self) -> Result<bool> {
        match self.events.recv_timeout(READY_WITHIN) {
            // It has just read the files.
            Ok(Event::Reload) => self.first_ready(),
            Ok(Event::Ready) => Ok(true),
            Ok(Event::Signal) => Ok(false),
            // The dataplane has printed its one line; this one says only what follows from it.
            Ok(Event::Exited(name, _, status)) => {
                self.running.remove(&name);
                bail!("dataplane {}; nothing was left behind", ending(status))
            }
            Err(_) => {
                self.stop();
                bail!("dataplane was not ready within {READY_WITHIN:?}; see its messages above, and `weir doctor`")
            }
        }
    }

    fn watch(&mut self) {
        loop {
            let due = self.waiting.values().map(|waiting| waiting.due).min();
            let wait = due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(Instant::now()));
            match self.events.recv_timeout(wait) {
                Ok(Event::Signal) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Event::Ready) => self.start_workers(),
                Ok(Event::Reload) => self.reload(),
                Ok(Event::Exited(name, pid, status)) => self.exited(&name, pid, status),
                Err(RecvTimeoutError::Timeout) => self.start_due(),
            }
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

    fn start_workers(&mut self) {
        for feature in self.features.clone() {
            self.try_start(&feature);
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let due: Vec<String> =
            self.waiting.iter().filter(|(_, waiting)| waiting.due <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            self.waiting.remove(&name);
            self.try_start(&name);
        }
    }

    fn try_start(&mut self, name: &str) {
        // A worker has nothing to attach to while the dataplane is away; the next `ready` starts it.
        let orphan = name != DATAPLANE && !self.running.contains_key(DATAPLANE);
        if orphan || self.running.contains_key(name) {
            return;
        }
        self.waiting.remove(name);
        if let Err(error) = self.start(name) {
            tracing::error!("{error:#}");
            self.later(name);
        }
    }

    fn exited(&mut self, name: &str, pid: u32, status: ExitStatus) {
        match self.running.get(name) {
            Some(watched) if watched.pid == pid => {
                if watched.started.elapsed() >= HEALTHY_AFTER {
                    self.pause.remove(name);
                }
            }
            _ => return, // an earlier one, already accounted for
        }
        self.running.remove(name);
        *self.restarts.entry(name.to_owned()).or_default() += 1;
        tracing::warn!("{name} {}", ending(status));
        if name == DATAPLANE {
            // Its rings are gone and the workers' connections with them; each ends by itself and is not started
            // before the next dataplane is ready. One that is stopped or hangs would hold the queue: it is killed.
            for (_, worker) in std::mem::take(&mut self.running) {
                signal(worker.pid, PidFd::kill);
            }
            self.waiting.clear();
        }
        self.later(name);
    }

    fn later(&mut self, name: &str) {
        let pause = self.pause.get(name).copied().unwrap_or(BACK_OFF.0);
        self.pause.insert(name.to_owned(), (pause * 2).min(BACK_OFF.1));
        self.waiting.insert(name.to_owned(), Waiting { due: Instant::now() + pause });
    }

    fn start(&mut self, name: &str) -> Result<()> {
        let restarts = self.restarts.get(name).copied().unwrap_or(0).to_string();
        let mut command = Command::new(std::env::current_exe().context("the path of this program is not known")?);
        if name == DATAPLANE {
            // By its place among our descriptors, so that no worker inherits it.
            let ledger = format!("/proc/{}/fd/{}", std::process::id(), self.ledger.as_raw_fd());
            command.args(["dataplane", "--ledger", &ledger]).stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.args(["worker", name]).stdin(Stdio::null()).stdout(Stdio::null());
        }
        command.arg("--control").arg(&self.place.control).arg("--state").arg(&self.place.state);
        command.args(["--restarts", &restarts]);
        // Its own process group: Ctrl-C reaches the supervisor, which stops the children in order.
        let mut child = command.process_group(0).spawn().with_context(|| format!("{name} cannot be started"))?;
        let pid = child.id();
        self.running.insert(name.to_owned(), Watched { pid, started: Instant::now() });
        if let Some(mut input) = child.stdin.take() {
            let words = serde_json::to_vec(&self.seed)?;
            // A thread of its own: one that does not read must not hold the supervisor.
            std::thread::spawn(move || input.write_all(&words));
        }
        if let Some(output) = child.stdout.take() {
            let events = self.sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if line == READY_LINE {
                        let _ = events.send(Event::Ready);
                    }
                }
            });
        }
        wait_in_background(child, name.to_owned(), self.sender.clone());
        Ok(())
    }

    /// Ends all children: the dataplane is asked, and takes the workers with it; who does not end is killed.
    fn stop(&mut self) {
        if let Some(dataplane) = self.running.get(DATAPLANE) {
            signal(dataplane.pid, PidFd::terminate);
        }
        let deadline = Instant::now() + STOP_WITHIN;
        while !self.running.is_empty() {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Exited(name, pid, _)) => {
                    if self.running.get(&name).is_some_and(|watched| watched.pid == pid) {
                        self.running.remove(&name);
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for (name, watched) in std::mem::take(&mut self.running) {
            tracing::warn!("{name} did not end within {STOP_WITHIN:?} and is killed");
            signal(watched.pid, PidFd::kill);
        }
    }
}

fn wait_in_background(mut child: Child, name: String, events: Sender<Event>) {
    std::thread::spawn(move || {
        let pid = child.id();
        if let Ok(status) = child.wait() {
            let _ = events.send(Event::Exited(name, pid, status));
        }
    });
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Signals a child. One that has just ended is no error: its end is on the way as an event.
fn signal(pid: u32, how: impl FnOnce(&PidFd) -> std::result::Result<(), IoError>) {
    let _ = PidFd::open(pid).and_then(|process| how(&process));
}
