//! `weir dataplane`: the process that owns frames, sockets and the classifier.
//!
//! One thread moves frames (the pool, on a critical core); the others attend to workers and to the control socket and
//! sleep nearly always. Nothing here runs for a frame.

mod attach;
mod board;
mod changes;
mod chaos;
pub(crate) mod classes;
mod control;
mod counters;
mod experiments;
mod explain;
mod features;
mod flags;
mod gate;
mod health;
mod ledger;
mod log;
mod placement;
mod sends;
pub(crate) mod services;
mod setup;
mod shares;
mod starts;
mod status;
pub(crate) mod steering;
mod streams;
mod supervised;
mod takers;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use signal_hook::consts::{SIGINT, SIGTERM};
use weir_appliance_control::class::classes;
use weir_appliance_control::config::{Config, Run, WaitMode};
use weir_appliance_control::keeper::Keeper;
use weir_appliance_control::problem::Problem;
use weir_dataplane_io::bpffs;
use weir_dataplane_io::cpu::{self, CorePlan};
use weir_dataplane_io::fds::Listener;
use weir_dataplane_io::umem::Umem;
use weir_dataplane_io::wait::{Epoll, EventFd, Trigger};
use weir_dataplane_io::xdp::Socket;
use weir_dataplane_pool::class::{Deed, Hostile, Taken};
use weir_dataplane_pool::gauges::RingGauges;
use weir_dataplane_pool::ledger::Ledger;
use weir_dataplane_pool::pool::{Parts, Pool, Request};
use weir_ebpf_loader::Classifier;

use crate::place::{BPF_FS, Place};
use crate::resources;
use crate::seed::Seed;
use crate::supervise::Heard;
use board::Board;
use classes::KernelClasses;
use features::Features;
use sends::{QueueShown, Sends};
use setup::Port;
use shares::Shares;
use steering::is_taken;
use supervised::Supervised;
use takers::Takers;

/// SCHED_FIFO priority of the pool. It runs a few percent of the time, and frames wait for it when their ring is full.
const POOL_PRIORITY: u8 = 60;
/// Time workers have to stop by themselves when the dataplane ends.
const WORKERS_STOP_WITHIN: Duration = Duration::from_millis(2_500);
/// Time that the ends of those who did not, and the count of what they left, may take.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);
/// How often the main thread looks for a signal while nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One class's ring on one queue, as everyone but the pool sees it.
pub(crate) struct Ring {
    /// Position of its interface.
    pub port: usize,
    /// Position of its queue in the pool.
    pub queue_index: usize,
    /// Its queue on the interface.
    pub queue: u32,
    /// Its class.
    pub class: u8,
    /// Its socket, for statistics and to be lent.
    pub socket: Arc<Socket>,
    /// The pool's figures.
    pub gauges: Arc<RingGauges>,
}

/// What the threads of this process share.
pub(crate) struct Dataplane {
    place: Place,
    started: Instant,
    restarts: u32,
    seed: Seed,
    keeper: Mutex<Keeper>,
    /// Why the keeper's last look failed, if it did.
    last_tick: Mutex<Option<Problem>>,
    config: Mutex<Config>,
    classifier: Mutex<Classifier>,
    classes: KernelClasses,
    ports: Vec<Port>,
    attached: Vec<weir_ebpf_loader::Attached>,
    umem: Arc<Umem>,
    rx_ring: u32,
    rings: Vec<Ring>,
    queues: Vec<QueueShown>,
    sends: Sends,
    takers: Takers,
    taken: Mutex<BTreeMap<String, Arc<Taken>>>,
    /// What outlives this process, if the supervisor keeps it.
    ledger: Option<Ledger>,
    board: Board,
    cores: CorePlan,
    cards: Mutex<placement::Cards>,
    pool_epoll: Epoll,
    pool_wake: EventFd,
    requests: Sender<Request>,
    stopping: AtomicBool,
    supervised: Supervised,
    features: Features,
    cpu: Mutex<status::CpuMeter>,
    /// This process mounted the BPF file system.
    mounted: bool,
    log: log::Log,
    chaos: chaos::Chaos,
    experiments: experiments::Experiments,
    gate: gate::Gate,
    streams: Option<streams::Streams>,
    health: health::Health,
    shares: Shares,
}

/// Locks what no panic leaves half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until a signal or a stop request ends it in good order. `ledger` is the path of the memory in which books are kept
/// over the death of this process.
///
/// # Errors
/// When anything that the box needs cannot be had; nothing is left behind then.
pub(crate) fn run(place: Place, seed: Seed, restarts: u32, ledger: Option<&Path>) -> Result<()> {
    weir_dataplane_io::sandbox::die_with_parent(std::os::unix::process::parent_id())?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("a signal handler cannot be installed")?;
    }
    let control = control::listen(&place)?;
    let keeper = changes::open(&place, &seed, restarts)?;
    let attach = Listener::bind(&place.attach)?;
    let fresh = !place.pins.exists();
    let pins = place.pins.clone();
    let mut writer = log::open(keeper.config())?;
    let supervised = Supervised::open(ledger, keeper.config())?;
    let (dataplane, pool, hostile, streams) = make(place, seed, keeper, restarts, supervised).inspect_err(|_| {
        // Pins that were there before belong to a classifier that still forwards; those of this try go with it.
        if fresh {
            let _ = weir_ebpf_loader::remove_pins(&pins);
        }
    })?;
    let dataplane = Arc::new(dataplane);
    let (shared, epoll) = (Arc::clone(&dataplane), pool.1);
    let mover = std::thread::Builder::new().name("pool".into()).spawn(move || move_frames(&shared, pool.0, epoll))?;
    let known = writer.as_mut().map(|(_, streams)| std::mem::take(streams)).unwrap_or_default();
    let started = streams.map_or(Ok(()), |parts| {
        let umem = Arc::clone(&dataplane.umem);
        streams::start(&dataplane, parts, umem, known)
    });
    let started = started.and_then(|()| writer.map_or(Ok(()), |(writer, _)| log::start(&dataplane, writer)));
    if let Err(error) = started {
        dataplane.end(); // the classifier is attached by now: it goes again, and traffic is the host's
        return Err(error);
    }
    let mut serving = [
        Some(spawn("attach", &dataplane, move |dataplane| attach::serve(dataplane, &attach))?),
        Some(spawn("control", &dataplane, move |dataplane| control::serve(dataplane, &control))?),
        Some(spawn("health", &dataplane, health::watch)?),
        Some(spawn("supervisor", &dataplane, supervised::listen)?),
    ];
    features::begin(&dataplane);
    dataplane.supervised.say(&Heard::Ready)?;
    while !stop.load(Ordering::Relaxed) && !dataplane.stopping.load(Ordering::Relaxed) {
        if let Ok(found) = hostile.recv_timeout(dataplane.gate.pause(dataplane.experiments.pause(LOOK_EVERY))) {
            dataplane.takers.evict(found.taker, &because(&found));
        }
        counters::note(&dataplane);
        changes::tick(&dataplane);
        experiments::tick(&dataplane);
        gate::tick(&dataplane);
        dataplane.shares.tick(&dataplane);
        supervised::look(&dataplane);
        features::tick(&dataplane);
        if dataplane.supervised.is_handing_over() {
            dataplane.hand_over();
            return Ok(());
        }
        if mover.is_finished() {
            return Err(anyhow!("the pool ended; no frame would come back"));
        }
        if serving.iter_mut().any(panicked) || dataplane.has_lost_a_thread() {
            return Err(anyhow!(
                "a thread panicked, its last words stand above; the dataplane is started again; report it"
            ));
        }
    }
    dataplane.end();
    Ok(())
}

/// What a hostile worker did, as a log line says it.
fn because(found: &Hostile) -> String {
    let Hostile { deed, class, claim, least, most, .. } = found;
    match deed {
        Deed::Cursor => format!("its cursor {claim} of class {class} is outside [{least}, {most}]"),
        Deed::Place => {
            format!("it wants frame {claim} of class {class} sent, which is not a frame's start in [{least}, {most}]")
        }
        Deed::SendRing => format!("its send ring's index {claim} is outside [{least}, {most}]"),
    }
}

fn spawn(
    name: &str,
    dataplane: &Arc<Dataplane>,
    serve: impl FnOnce(&Arc<Dataplane>) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let dataplane = Arc::clone(dataplane);
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(&dataplane))?)
}

/// Whether a thread ended by a panic. A process that lives on without it would look sound and serve nobody, so it ends, and the
/// supervisor starts another.
fn panicked(thread: &mut Option<JoinHandle<()>>) -> bool {
    thread.take_if(|thread| thread.is_finished()).is_some_and(|thread| thread.join().is_err())
}

/// Waits before a socket is asked again that could let nobody in: no descriptor or no memory is left, and soon may be.
fn accept_later(socket: &str, error: &dyn std::fmt::Display) {
    const PAUSE: Duration = Duration::from_secs(1);
    tracing::error!("{socket} lets nobody in and is asked again in {PAUSE:?}: {error}");
    std::thread::sleep(PAUSE);
}

/// The pool's thread.
fn move_frames(dataplane: &Dataplane, pool: Pool, mut epoll: Epoll) {
    // FIFO before pinning: an ordinary task pinned beside a spinning FIFO one would wait for the fair server.
    if let Err(error) = cpu::fifo(POOL_PRIORITY) {
        tracing::warn!("the pool runs with ordinary priority, a loaded core can make rings overflow: {error}");
    }
    if let Some(core) = dataplane.cores.critical.first()
        && let Err(error) = cpu::pin(*core)
    {
        tracing::warn!("the pool is not pinned to core {core}: {error}");
    }
    if let Err(error) = pool.run(&mut epoll, &dataplane.pool_wake) {
        tracing::error!("{error}");
    }
}

type Made = (Dataplane, (Pool, Epoll), Receiver<Hostile>, Option<streams::Parts>);

/// Makes everything in the order in which it can fail: what is taken first is given back by dropping it.
fn make(place: Place, seed: Seed, keeper: Keeper, restarts: u32, supervised: Supervised) -> Result<Made> {
    let config = keeper.config().clone();
    let mut cards = placement::Cards::open(&place, &config)?;
    cards.before_binding(&config)?;
    let mut ports = setup::ports(&config)?;
    let kernel_classes = KernelClasses::of(&classes(&config), ports.len())?;
    let (health, features, sends) = (health::Health::default(), Features::of(&config), Sends::of(&config));
    let off = features.off(&config);
    let steering = steering::steering(&config, off, &kernel_classes, &ports, &health).map_err(|it| anyhow!("{it}"))?;
    let (cores, shares) = shared_out(&config, &ports, cards.home(), &place)?;
    let mounted = bpffs::ensure(Path::new(BPF_FS))?;
    let mut classifier = Classifier::load(weir_ebpf_loader::LoadOptions { pin_root: Some(place.pins.clone()) })?;
    let bound = setup::bind(&config, &mut ports, &kernel_classes, cards.home())?;
    // The predecessor's sockets are gone, or the queues would be busy, and none of ours has a frame yet.
    let ledger = supervised.ledger(&classifier, &kernel_classes, &bound.rings)?;
    control::install(&mut classifier, &steering, &kernel_classes, &ports)?;
    setup::connect(&classifier, &ports, &bound.rings, |class| is_taken(kernel_classes.takers(class), off))?;
    let attached = setup::attach(&mut classifier, &ports)?;
    cards.after_attaching(&ports, &bound.rings, &cores)?;
    let ((requests, inbox), (report, hostile)) = (mpsc::channel(), mpsc::channel());
    let (epoll, pool_epoll, pool_wake) = pool_waiting(&bound.rings, &kernel_classes)?;
    let (streams, stream_parts) =
        streams::Streams::make(&config, &kernel_classes, &steering, &report, classifier.flow_key())?.unzip();
    let parts = Parts {
        queues: bound.queues,
        shares: bound.shares,
        frames: Arc::clone(&bound.umem),
        interfaces: ports.iter().map(|port| port.first_queue as usize).collect(),
        senders: sends.specs(&config),
        agents: steering.agents,
    };
    let pool = Pool::new(parts, inbox, report).counting(supervised.turns());
    let dataplane = Dataplane {
        gate: gate::Gate::load(&place),
        place,
        started: Instant::now(),
        restarts,
        seed,
        experiments: experiments::Experiments::load(&**keeper.store()),
        keeper: Mutex::new(keeper),
        last_tick: Mutex::default(),
        rx_ring: config.memory().rx_ring,
        log: log::Log::new(&config),
        config: Mutex::new(config),
        classifier: Mutex::new(classifier),
        classes: kernel_classes,
        ports,
        attached,
        umem: bound.umem,
        chaos: chaos::Chaos::default(),
        streams,
        health,
        shares,
        rings: bound.rings,
        queues: bound.shown,
        sends,
        takers: Takers::default(),
        taken: Mutex::new(ledger::taken(ledger.as_ref())),
        ledger,
        board: Board::default(),
        cores,
        cards: Mutex::new(cards),
        pool_epoll,
        pool_wake,
        requests,
        stopping: AtomicBool::new(false),
        supervised,
        features,
        cpu: Mutex::default(),
        mounted,
    };
    Ok((dataplane, (pool, epoll), hostile, stream_parts))
}

/// Who gets which cores, and what features have of them. Nothing is attached yet, so asks that cannot be met leave nothing.
fn shared_out(config: &Config, ports: &[Port], node: Option<u32>, place: &Place) -> Result<(CorePlan, Shares)> {
    // One for each queue that is polled, so that their interrupts need not share.
    let polled = ports.iter().map(|port| port.queues as usize).sum();
    let cores = resources::core_plan(config, polled, node);
    let shares = Shares::make(config, &cores, place).map_err(|problem| anyhow!("{problem}"))?;
    Ok((cores, shares))
}

/// The pool's epoll instance, a second handle of it for those who add kicks, and the counter that wakes it.
fn pool_waiting(rings: &[Ring], classes: &KernelClasses) -> Result<(Epoll, Epoll, EventFd)> {
    let epoll = Epoll::new()?;
    let wake = EventFd::new()?;
    epoll.add(&wake, 0, Trigger::Level)?;
    let mirrors = |ring: &&Ring| classes.iter().any(|class| class.number == ring.class && class.egress.is_some());
    for ring in rings.iter().filter(mirrors) {
        // The sender is a taker without a process: it is woken by the arrival itself.
        epoll.add(&*ring.socket, 1, Trigger::Edge)?;
    }
    let handle =
        Epoll::from_fd(epoll.as_fd().try_clone_to_owned().context("no descriptor is left; raise `ulimit -n`")?);
    Ok((epoll, handle, wake))
}

impl Dataplane {
    /// Whether the log's or the streams' thread ended by a panic.
    fn has_lost_a_thread(&self) -> bool {
        self.log.has_panicked() || self.streams.as_ref().is_some_and(streams::Streams::has_panicked)
    }

    /// The rings of the taker `name`, over all queues.
    fn rings_of(&self, name: &str) -> Result<Vec<&Ring>> {
        let taken: Vec<u8> = self.classes.taken_by(name).map(|class| class.number).collect();
        if taken.is_empty() {
            return Err(anyhow!("no class has `{name}` among its takers; enable the feature in the configuration"));
        }
        Ok(self.rings.iter().filter(|ring| taken.contains(&ring.class)).collect())
    }

    /// What became of the feature `name`, if its worker is not to run.
    fn is_not_to_run(&self, name: &str) -> Option<Run> {
        let run = lock(&self.config).run(name.parse().ok()?);
        (run != Run::Started).then_some(run)
    }

    /// Whether frames of `class` are sent on as well.
    fn mirrors(&self, class: u8) -> bool {
        self.classes.iter().any(|candidate| candidate.number == class && candidate.egress.is_some())
    }

    fn wait_of(&self, name: &str) -> WaitMode {
        let config = lock(&self.config);
        config
            .features()
            .iter()
            .find(|(feature, _)| feature.as_str() == name)
            .map_or(config.wait(), |(_, spec)| spec.wait)
    }

    fn flow_map(&self) -> Result<OwnedFd> {
        let classifier = lock(&self.classifier);
        classifier
            .flow_map_fd()
            .try_clone_to_owned()
            .context("no descriptor is left for the flow-verdict map; raise `ulimit -n`")
    }

    fn pool_epoll_add(&self, kick: &EventFd, token: u64) -> Result<()> {
        Ok(self.pool_epoll.add(kick, token, Trigger::Edge)?)
    }

    /// Asks the pool; it answers within one wake-up.
    fn ask(&self, request: Request) {
        let _ = self.requests.send(request); // the pool ends only with the process
        self.pool_wake.signal();
    }

    /// Frames that the taker `name` has finished, over all its lives.
    fn taken_of(&self, name: &str) -> Arc<Taken> {
        ledger::taken_of(&mut lock(&self.taken), name)
    }

    /// Waits until the workers, which were asked to, have finished and ended.
    fn await_workers(&self) {
        let deadline = Instant::now() + WORKERS_STOP_WITHIN;
        while !self.takers.list().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        for taker in self.takers.list() {
            self.takers.evict(taker.id, "it did not finish what it had in time");
        }
    }

    /// Ends for a successor: features get no more frames and finish those they have; the classifier goes on with the rest.
    fn hand_over(&self) {
        if let Err(error) = features::withhold_all(self) {
            tracing::warn!("features are given frames until the end, which are lost: {error:#}");
        }
        self.await_workers();
        self.last_count(&lock(&self.classifier));
        counters::note(self);
        if let Some(streams) = &self.streams {
            streams.end();
        }
        self.log.end();
        self.ask(Request::Stop);
    }

    /// Says what became of all frames, once nobody takes any more: who had not finished his is among the lost.
    fn last_count(&self, classifier: &Classifier) {
        self.ask(Request::Expected(Box::new([0; ledger::CLASSES])));
        let rest = || -> u64 { self.rings.iter().map(|ring| ring.gauges.read().on_it()).sum() };
        let deadline = Instant::now() + COUNTED_WITHIN;
        while (rest() > 0 || !self.takers.list().is_empty()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        match counters::balance_of(self, classifier) {
            Ok(counters) if rest() == 0 => tracing::info!("in the end: {}", counters::sentence(&counters)),
            Ok(counters) => {
                tracing::warn!("in the end: {}; {} are still on rings", counters::sentence(&counters), rest());
            }
            Err(error) => tracing::warn!("in the end nobody knows what became of the frames: {error:#}"),
        }
    }

    /// Ends in good order: traffic back to the stack, workers stopped, pins removed.
    fn end(&self) {
        lock(&self.cards).give_back();
        let mut classifier = lock(&self.classifier);
        for port in &self.ports {
            if let Err(error) = classifier.detach(port.spec.name.as_str()) {
                tracing::error!("{}: the classifier cannot be detached: {error}", port.spec.name);
            }
        }
        classifier.settle(); // what was classified is on the rings, and they end there
        self.takers.ask_stop();
        self.await_workers();
        self.last_count(&classifier);
        if let Some(streams) = &self.streams {
            streams.end();
        }
        self.log.end();
        self.shares.end();
        if let Err(error) = classifier.unpin() {
            tracing::error!("{}: pins are left behind: {error}", self.place.pins.display());
        }
        if self.mounted {
            bpffs::release(Path::new(BPF_FS));
        }
        self.ask(Request::Stop);
        let _ = std::fs::remove_file(&self.place.control);
        let _ = std::fs::remove_file(&self.place.attach);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panicked_is_noticed_once_and_one_that_ended_in_order_never() {
        let ended = |work: fn()| {
            let thread = std::thread::spawn(work);
            while !thread.is_finished() {
                std::thread::yield_now();
            }
            Some(thread)
        };
        let (mut sound, mut broken) = (ended(|| ()), ended(|| panic!("on purpose")));
        assert!(!panicked(&mut sound));
        assert!(panicked(&mut broken));
        assert!(!panicked(&mut broken) && !panicked(&mut None));
    }
}
