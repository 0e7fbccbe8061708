//! Streams in this process: a thread that receives messages over TCP and local sockets and puts them on a lane for each
//! class, which the class's takers read as they read the rings of the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver as Inbox, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_appliance_control::config::{Config, ListenAddress, TcpSpec};
use weir_appliance_control::message::StreamsStatus;
use weir_appliance_control::taker::Taker;
use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_io::cpu;
use weir_dataplane_io::fds;
use weir_dataplane_io::shared::{SharedMemory, Writers};
use weir_dataplane_io::sockets::Listening;
use weir_dataplane_io::umem::Umem;
use weir_dataplane_io::wait::{Epoll, EventFd, Trigger};
use weir_dataplane_pool::class::{ClassRing, Home, Hostile, Joining, Taken, TakerId};
use weir_dataplane_pool::gauges::RingGauges;
use weir_dataplane_pool::pool::{Place, Request};
use weir_dataplane_ring::{Descriptor, LaneRing, Memory, PAGE_LENGTH, RxOwner};
use weir_dataplane_source::stream::{
    BUFFER_BYTES, Fate, Receiver, Steering as Steers, StreamCounts, StreamLimits, StreamSetup,
};
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::decide::decide;
use weir_ebpf_abi::decode::decode_slice;
use weir_ebpf_abi::flow::bucket;
use weir_ebpf_abi::meta::{FrameMeta, META_MAGIC};
use weir_ebpf_abi::stream::STREAM_PREFIX;
use weir_ebpf_loader::HostTables;

use super::classes::KernelClasses;
use super::steering::Steering;
use super::{Dataplane, ledger, lock, panicked};

/// How soon a turn follows while messages are on lanes: takers wake this thread by the hundred only.
const SOON: Duration = Duration::from_micros(200);
/// How long the thread sleeps at most while nothing arrives.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Descriptors that are kept for a dataplane's rings, workers, log and conversations: some hundred are used.
const DESCRIPTORS_BESIDE: u64 = 1_024;
/// Bytes of a message that the decoder looks at: its header, the longest of which has 76.
const LOOKED_AT: usize = 128;
/// Bytes of Ethernet, IPv6 and UDP headers, the longest that stand in front of a message on the wire.
const HEADERS: usize = 14 + 40 + 8;

/// A class's lane, as everyone but its thread sees it.
pub(super) struct Lane {
    /// Its class.
    pub class: u8,
    /// Its memory, to be lent.
    pub memory: SharedMemory,
    /// Signalled when something is put on it.
    pub event: EventFd,
    /// The figures of its ring.
    pub gauges: Arc<RingGauges>,
}

/// The streams of a running dataplane.
pub(super) struct Streams {
    /// A lane for each class, by the class's number.
    pub lanes: Vec<Lane>,
    /// Descriptors of each.
    pub size: u32,
    listen: Vec<ListenAddress>,
    requests: Sender<Request>,
    wake: EventFd,
    epoll: Epoll,
    tables: InForce,
    /// The classifier's key, so that buckets of flows agree.
    key: [u64; 2],
    stop: AtomicBool,
    status: Mutex<StreamsStatus>,
    taken: Mutex<BTreeMap<String, Arc<Taken>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread takes with it.
pub(super) struct Parts {
    inbox: Inbox<Request>,
    rings: Vec<ClassRing>,
    hostile: Sender<Hostile>,
    epoll: Epoll,
    wake: EventFd,
}

/// Where the buffers of streams lie: behind the frames of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Area {
    /// Buffers that the kernel fills.
    lent: u16,
    /// Buffers in which messages are put together.
    spare: u16,
}

impl Area {
    /// What the configuration asks for; nothing where nobody listens.
    pub(super) fn of(spec: &TcpSpec, classes: &KernelClasses) -> Self {
        if spec.listen.is_empty() {
            return Self::default();
        }
        let lent = (spec.buffers_mib * ((1 << 20) / BUFFER_BYTES)) as u16; // at most 1024 MiB of 128 KiB
        // One for each class at the least, so that one that stands still leaves the others theirs.
        let least = classes.iter().len() as u16 + 1; // at most MAX_CLASSES
        Self { lent, spare: (lent / 4).max(least) }
    }

    /// Frames of `frame_size` bytes that it takes.
    pub(super) fn frames(self, frame_size: u32) -> u32 {
        (u32::from(self.lent) + u32::from(self.spare)) * (BUFFER_BYTES / frame_size)
    }
}

impl Streams {
    /// Makes the lanes, if the configuration listens anywhere.
    ///
    /// # Errors
    /// No memory or no descriptor is left.
    pub(super) fn make(
        config: &Config,
        classes: &KernelClasses,
        steering: &Steering,
        hostile: &Sender<Hostile>,
        key: [u64; 2],
    ) -> Result<Option<(Self, Parts)>> {
        let spec = config.tcp();
        if spec.listen.is_empty() {
            return Ok(None);
        }
        let size = config.memory().rx_ring;
        let (mut lanes, mut rings) = (Vec::new(), Vec::new());
        for class in classes.iter() {
            let length = LaneRing::length(size).next_multiple_of(PAGE_LENGTH);
            let memory = SharedMemory::create("weir-lane", length, Writers::Creator)?;
            let mapping: Arc<dyn Memory> = Arc::clone(memory.mapping()) as _;
            let owner = RxOwner::new(mapping, LaneRing::OFFSETS, size)?;
            let gauges = Arc::new(RingGauges::default());
            let takers = class.takers.iter().filter(|taker| *taker != Taker::Sender).count();
            rings.push(ClassRing::lossless(class.number, owner, takers, Arc::clone(&gauges)));
            lanes.push(Lane { class: class.number, memory, event: EventFd::new()?, gauges });
        }
        let (requests, inbox) = mpsc::channel();
        let (epoll, wake) = (Epoll::new()?, EventFd::new()?);
        epoll.add(&wake, 0, Trigger::Edge)?;
        let handle = epoll.as_fd().try_clone_to_owned().context("no descriptor is left; raise `ulimit -n`")?;
        let parts =
            Parts { inbox, rings, hostile: hostile.clone(), epoll: Epoll::from_fd(handle), wake: wake.try_clone()? };
        let streams = Self {
            lanes,
            size,
            listen: spec.listen.clone(),
            requests,
            wake,
            epoll,
            tables: InForce { tables: Mutex::new(Arc::new(tables(steering, key)?)), changed: AtomicU64::new(1) },
            key,
            stop: AtomicBool::new(false),
            status: Mutex::default(),
            taken: Mutex::default(),
            thread: Mutex::new(None),
        };
        Ok(Some((streams, parts)))
    }

    /// Asks the thread; it answers within one turn.
    pub(super) fn ask(&self, request: Request) {
        let _ = self.requests.send(request); // the thread ends only with the dataplane
        self.wake.signal();
    }

    /// Has a taker's kicks wake the thread.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn hear(&self, kick: &EventFd) -> Result<()> {
        Ok(self.epoll.add(kick, 1, Trigger::Edge)?)
    }

    /// Messages that the taker `name` has finished, over all its lives.
    pub(super) fn taken_of(&self, name: &str) -> Arc<Taken> {
        ledger::taken_of(&mut lock(&self.taken), name)
    }

    /// Puts other rules in force, from the next message on.
    ///
    /// # Errors
    /// As the classifier's own tables.
    pub(super) fn steer(&self, steering: &Steering) -> Result<()> {
        *lock(&self.tables.tables) = Arc::new(tables(steering, self.key)?);
        self.tables.changed.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// What the streams have done.
    pub(super) fn status(&self) -> StreamsStatus {
        lock(&self.status).clone()
    }

    /// Whether its thread ended by a panic.
    pub(super) fn has_panicked(&self) -> bool {
        panicked(&mut lock(&self.thread))
    }

    /// Ends the thread; connections end with it, and what was not acknowledged their senders still have.
    pub(super) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake.signal();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the streams' thread panicked");
        }
    }

    /// All figures at one instant of the thread that counts them, so that nothing was taken that was not delivered.
    fn show(&self, receiver: &Receiver) {
        let counts = receiver.counts();
        let refused = counts.refused().map(|(reason, count)| (reason.name().to_owned(), count)).collect();
        let StreamCounts { connections, connected, messages, bytes, delivered, dropped, untaken, .. } = counts;
        let taken = lock(&self.taken);
        let per_taker =
            taken.iter().map(|(name, count)| (name.clone(), count.frames.load(Ordering::Relaxed))).collect();
        drop(taken);
        let mut status = lock(&self.status);
        *status = StreamsStatus {
            listen: self.listen.iter().map(ToString::to_string).collect(),
            way: receiver.way().to_string(),
            connections,
            connected,
            messages,
            bytes,
            bytes_copied: counts.copied,
            delivered,
            dropped,
            untaken,
            duplicates: counts.duplicates,
            held: counts.held,
            waits: counts.waits,
            failed: counts.failed,
            refused,
            per_taker,
            failure: status.failure.take(),
        };
    }
}

fn tables(steering: &Steering, key: [u64; 2]) -> Result<HostTables> {
    Ok(HostTables::new(&steering.rules, &steering.flags, &steering.agents)?.with_key(key))
}

/// Listens, and starts the thread. `start` is where the buffers begin in the frames' memory, `known` the last durable
/// sequence of each source.
///
/// # Errors
/// An address is taken, or the kernel has no io_uring for us.
pub(super) fn start(
    dataplane: &Arc<Dataplane>,
    parts: Parts,
    umem: Arc<Umem>,
    known: BTreeMap<u32, u64>,
) -> Result<()> {
    let Some(streams) = &dataplane.streams else { return Ok(()) };
    let spec = lock(&dataplane.config).tcp().clone();
    let listen = |address: &ListenAddress| match address {
        ListenAddress::Tcp(address) => Listening::tcp(*address),
        ListenAddress::Local(path) => Listening::local(path),
    };
    let connections = connections(spec.connections);
    let area = Area::of(&spec, &dataplane.classes);
    let frames = umem.frames() - area.frames(umem.frame_size());
    let setup = StreamSetup {
        start: u64::from(frames) * u64::from(umem.frame_size()),
        umem,
        lent: area.lent,
        spare: area.spare,
        listeners: spec.listen.iter().map(listen).collect::<Result<_, _>>()?,
        lanes: streams.lanes.iter().map(|lane| (Arc::clone(lane.memory.mapping()) as _, streams.size)).collect(),
        durable: durable(dataplane, streams),
        limits: StreamLimits {
            connections,
            credit: u64::from(spec.credit),
            stall: Duration::from_secs(u64::from(spec.stall_seconds)),
            ..StreamLimits::default()
        },
        known,
        io_uring: true,
    };
    let shared = Arc::clone(dataplane);
    let (ready, made) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("streams".into()).spawn(move || {
        let Some(streams) = &shared.streams else { return };
        if let Some(core) = shared.cores.critical.last()
            && let Err(error) = cpu::pin(*core)
        {
            tracing::warn!("streams are not pinned to core {core}: {error}");
        }
        // An io_uring belongs to the thread that makes it.
        let receiver = Receiver::new(setup).map_err(anyhow::Error::from).and_then(|mut receiver| {
            receiver.watch(&parts.epoll)?;
            Ok(receiver)
        });
        match receiver {
            Ok(receiver) => {
                tracing::info!("streams: {}", receiver.way());
                let _ = ready.send(Ok(()));
                if let Err(error) = run(streams, receiver, parts) {
                    tracing::error!("streams stand still: {error:#}");
                    lock(&streams.status).failure = Some(format!("{error:#}"));
                }
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    *lock(&streams.thread) = Some(thread);
    made.recv().context("the streams' thread ended")?
}

/// Connections that this process takes: as many as are `wished`, if it may open their descriptors. What the rest of it needs
/// is kept from them, or a flood of connections would leave nobody a descriptor to ask for the status with.
fn connections(wished: u32) -> usize {
    let wanted = u64::from(wished) + DESCRIPTORS_BESIDE;
    let got = fds::allow_descriptors(wanted);
    let most = wished.min(u32::try_from(room(got)).unwrap_or(u32::MAX));
    if most < wished {
        tracing::warn!(
            "the process may open {got} descriptors, so {most} stream connections are taken instead of {wished}; raise `ulimit -Hn` to {wanted}"
        );
    }
    most as usize
}

/// Descriptors for connections, of `got` in all.
fn room(got: u64) -> u64 {
    got - DESCRIPTORS_BESIDE.min(got / 2)
}

/// Lanes that the log takes: bit i is lane i.
fn durable(dataplane: &Dataplane, streams: &Streams) -> u64 {
    taken(dataplane, streams, Taker::Log.name()).fold(0, |lanes, (place, _)| lanes | 1 << place)
}

/// The lanes that the taker `name` takes, each with its place.
pub(super) fn taken<'a>(
    dataplane: &'a Dataplane,
    streams: &'a Streams,
    name: &'a str,
) -> impl Iterator<Item = (usize, &'a Lane)> {
    let classes = dataplane.classes.taken_by(name);
    classes.filter_map(|class| streams.lanes.iter().enumerate().find(|(_, lane)| lane.class == class.number))
}

/// A lane's ring gives its frames back to the receiver, whose buffers they lie in.
struct LaneHome<'a> {
    receiver: &'a mut Receiver,
    lane: usize,
}

impl Home for LaneHome<'_> {
    #[inline]
    fn take_back(&mut self, _: Descriptor) -> bool {
        self.receiver.finished(self.lane);
        true
    }
}

fn run(streams: &Streams, mut receiver: Receiver, parts: Parts) -> Result<()> {
    let Parts { inbox, mut rings, hostile, mut epoll, wake } = parts;
    let mut rules = Rules::new(&streams.tables);
    let mut show_at = 0;
    while !streams.stop.load(Ordering::Relaxed) {
        while let Ok(request) = inbox.try_recv() {
            answer(&mut rings, &mut receiver, request);
        }
        for (lane, ring) in rings.iter_mut().enumerate() {
            if let Some(found) = ring.recycle(&mut LaneHome { receiver: &mut receiver, lane }) {
                let _ = hostile.send(found); // the receiver ends only with the process
            }
        }
        let now = monotonic_ns();
        if now >= show_at {
            streams.show(&receiver);
            show_at = now + LOOK_EVERY.as_nanos() as u64;
        }
        let timeout = if receiver.is_holding() { SOON } else { LOOK_EVERY };
        let turn = receiver.turn(timeout, now, &mut rules)?;
        for (lane, bit) in streams.lanes.iter().zip(0..u64::BITS) {
            if turn.published >> bit & 1 == 1 {
                lane.event.signal();
            }
        }
        if turn.woken {
            // Kicks are edges, so nobody has to read them.
            let _ = epoll.wait(Some(Duration::ZERO))?.count();
            wake.drain();
        }
    }
    streams.show(&receiver);
    Ok(())
}

/// Lets takers in and out.
fn answer(rings: &mut [ClassRing], receiver: &mut Receiver, request: Request) {
    match request {
        // What a taker wants sent it asks of the pool, which refuses a lane's frames.
        Request::Join { taker, cursors, taken, places, sends: _, answer } => {
            let mut starts = Vec::with_capacity(places.len());
            let joined = places.iter().try_for_each(|place| {
                let ring = rings.get_mut(place.queue).ok_or(*place)?;
                let joining =
                    Joining { id: taker, cursors: Arc::clone(&cursors), slot: place.slot, taken: Arc::clone(&taken) };
                let mut home = LaneHome { receiver, lane: place.queue };
                starts.push(ring.join(joining, &mut home).map_err(|_| *place)?);
                Ok::<(), Place>(())
            });
            if joined.is_err() {
                leave(rings, receiver, taker);
            }
            let _ = answer.send(joined.map(|()| starts)); // whoever asked may have given up
        }
        Request::Leave(taker) => leave(rings, receiver, taker),
        Request::Expected(takers) => {
            let count = |class: u8| takers.get(usize::from(class)).copied().unwrap_or(0);
            rings.iter_mut().for_each(|ring| ring.expect(count(ring.class()).into()));
        }
        Request::Sending { .. } | Request::Stop => {}
    }
}

fn leave(rings: &mut [ClassRing], receiver: &mut Receiver, taker: TakerId) {
    for (lane, ring) in rings.iter_mut().enumerate() {
        ring.leave(taker, &mut LaneHome { receiver, lane });
    }
}

/// The rules in force, and a count that changes with them.
struct InForce {
    tables: Mutex<Arc<HostTables>>,
    changed: AtomicU64,
}

/// The rules in force, asked as the classifier asks them: about the datagram that the message would have been.
struct Rules<'a> {
    in_force: &'a InForce,
    tables: Arc<HostTables>,
    seen: u64,
    frame: [u8; HEADERS + LOOKED_AT],
}

impl<'a> Rules<'a> {
    fn new(in_force: &'a InForce) -> Self {
        let tables = Arc::clone(&lock(&in_force.tables));
        Self { in_force, tables, seen: 0, frame: [0; HEADERS + LOOKED_AT] }
    }

    /// A rule that was made holds from the next message on, so every message looks.
    #[inline]
    fn refresh(&mut self) {
        let changed = self.in_force.changed.load(Ordering::Acquire);
        if changed != self.seen {
            self.tables = Arc::clone(&lock(&self.in_force.tables));
            self.seen = changed;
        }
    }
}

impl Steers for Rules<'_> {
    fn fate(&mut self, ends: &[SocketAddr; 2], form: u16, message: &[u8]) -> Fate {
        self.refresh();
        let headers = datagram(&mut self.frame, ends, form, message.len());
        let looked_at = message.len().min(LOOKED_AT);
        let end = headers + looked_at;
        if let (Some(place), Some(head)) = (self.frame.get_mut(headers..end), message.get(..looked_at)) {
            place.copy_from_slice(head);
        }
        let decoded = decode_slice(self.frame.get(..end).unwrap_or_default(), headers + message.len());
        if decoded.malformed().is_some() || decoded.kind == 0 {
            return Fate::Malformed;
        }
        let decision = decide(&*self.tables, &decoded);
        match decision.action {
            Action::Deliver | Action::Mirror => Fate::Deliver {
                lane: usize::from(decision.class),
                meta: FrameMeta {
                    flow: decision.flow,
                    received_ns: 0,
                    rule: decision.rule,
                    class: decision.class,
                    kind: decoded.kind,
                    payload_offset: STREAM_PREFIX as u16,
                    payload_length: message.len() as u16, // at most STREAM_MESSAGE_MAX
                    agent_source: decoded.message.source_agent,
                    bucket: bucket(decision.flow),
                    magic: META_MAGIC,
                },
            },
            Action::Drop => Fate::Drop,
            Action::Pass | Action::Forward => Fate::Untaken,
        }
    }
}

/// Writes the headers of the datagram from the far end to ours that would carry `length` bytes; gives their length.
fn datagram(frame: &mut [u8], ends: &[SocketAddr; 2], form: u16, length: usize) -> usize {
    let [ours, theirs] = ends;
    let udp = (length + 8) as u16; // a stream's message leaves room for these
    let mut header = [0_u8; HEADERS];
    let ip_end = match (theirs.ip().to_canonical(), ours.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header[12..14].copy_from_slice(&[0x08, 0x00]);
            header[14] = 0x45;
            header[16..18].copy_from_slice(&(udp + 20).to_be_bytes());
            (header[22], header[23]) = (64, 17);
            header[26..30].copy_from_slice(&from.octets());
            header[30..34].copy_from_slice(&to.octets());
            34
        }
        (from, to) => {
            header[12..14].copy_from_slice(&[0x86, 0xdd]);
            header[14] = 0x60;
            header[18..20].copy_from_slice(&udp.to_be_bytes());
            (header[20], header[21]) = (17, 64);
            header[22..38].copy_from_slice(&sixteen(from));
            header[38..54].copy_from_slice(&sixteen(to));
            54
        }
    };
    header[ip_end..ip_end + 2].copy_from_slice(&theirs.port().to_be_bytes());
    header[ip_end + 2..ip_end + 4].copy_from_slice(&form.to_be_bytes());
    header[ip_end + 4..ip_end + 6].copy_from_slice(&udp.to_be_bytes());
    let end = ip_end + 8;
    if let Some(place) = frame.get_mut(..end) {
        place.copy_from_slice(&header[..end]);
    }
    end
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf_abi::message::{PORT_STANDARD, StandardHeader};
    use weir_ebpf_abi::rules::{Match, Rule};
    use zerocopy::IntoBytes;

    #[test]
    fn connections_leave_descriptors_to_the_rest() {
        assert_eq!([room(0), room(1), room(400), room(2_048), room(11_024)], [0, 1, 200, 1_024, 10_000]);
    }

    #[test]
    fn a_message_is_steered_as_its_datagram_would_be() {
        let rule = |matches, action| Rule { matches, action, class: 2, share: 10_000 };
        let by_type = Match { message_type: Some((7, 7)), ..Match::default() };
        let by_port = Match { protocol: Some(17), destination_port: Some((48_100, 48_100)), ..Match::default() };
        let rules = [rule(by_type, Action::Drop), rule(by_port, Action::Deliver)];
        let tables = Mutex::new(Arc::new(HostTables::new(&rules, &[], &[]).expect("two rules")));
        let in_force = InForce { tables, changed: AtomicU64::new(1) };
        let mut steering = Rules::new(&in_force);
        let v4 = ["10.0.0.1:48103".parse().unwrap(), "10.0.0.2:5000".parse().unwrap()];
        let v6 = ["[2001:db8::1]:48103".parse().unwrap(), "[2001:db8::2]:5000".parse().unwrap()];
        for ends in [v4, v6] {
            for (kind, length) in [(1_u32, 28), (1, 65_504), (7, 500)] {
                let header =
                    StandardHeader { message_type: kind.into(), source_agent_id: 9.into(), ..Default::default() };
                let mut message = header.as_bytes().to_vec();
                message.resize(length, 0);
                match steering.fate(&ends, PORT_STANDARD, &message) {
                    Fate::Drop => assert_eq!(kind, 7),
                    Fate::Deliver { lane, meta } => {
                        assert_eq!((lane, meta.rule, meta.agent_source), (2, 1, 9), "{length}");
                        assert_eq!((meta.payload_offset, usize::from(meta.payload_length)), (16, length));
                    }
                    fate => panic!("{fate:?} for type {kind} of {length} bytes"),
                }
            }
        }
        assert_eq!(steering.fate(&v4, PORT_STANDARD, &[0; 20]), Fate::Malformed);
        assert_eq!(steering.fate(&v4, 48_102, &[0xff; 60]), Fate::Malformed, "a batch of 65535 events in 12 bytes");
    }
}
