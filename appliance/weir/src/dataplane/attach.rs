//! Where workers attach: the dataplane lends each one its rings, hears of its end, and drains its records.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use weir_appliance_control::config::WaitMode;
use weir_dataplane_io::fds::{Channel, Listener};
use weir_dataplane_io::nic::busy;
use weir_dataplane_io::shared::{SharedMemory, Writers};
use weir_dataplane_io::wait::{Epoll, EventFd, Trigger};
use weir_dataplane_pool::class::TakerId;
use weir_dataplane_pool::pool::{Place, Request, SendRing};
use weir_dataplane_ring::{OwnerCursors, OwnerPage, PAGE_LENGTH, Record, RecordConsumer, record_ring_length};
use weir_ebpf_abi::flow::FLOW_SLOTS;
use weir_features_worker::attach::{
    ANY_CORE, FLAG_SENDS, FLAG_SPIN, FLAG_VERDICTS, Hello, MAGIC, MAX_TAKER_RINGS, Offer, RING_IN_MEMORY,
    RING_OF_SOCKET, RingOffer, VERSION, parse,
};
use zerocopy::IntoBytes;

use super::placement::busy_poll;
use super::sends::SendPages;
use super::streams::{self, Lane, Streams};
use super::takers::{Taker, TakerState};
use super::{Dataplane, accept_later};

/// Slots of a worker's record ring: 512 KiB of records.
const RECORD_SLOTS: u32 = 4096;
/// How often a worker's records are drained and its end is looked for.
const DRAIN_EVERY: Duration = Duration::from_millis(50);
/// User and group of a worker: nobody's, on every distribution.
const NOBODY: u32 = 65_534;
/// Tag of the takers' kicks in the pool's epoll instance; nobody looks at it.
pub(super) const KICK: u64 = 1;
/// Time that the owners of rings have to let a worker in.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Accepts workers for as long as the process lives.
pub(super) fn serve(dataplane: &Arc<Dataplane>, listener: &Listener) {
    loop {
        let connection = match listener.accept() {
            Ok(connection) => connection,
            Err(error) => {
                accept_later("the workers' socket", &error);
                continue;
            }
        };
        let dataplane = Arc::clone(dataplane);
        let spawned = std::thread::Builder::new().name("attached".to_owned()).spawn(move || {
            if let Err(error) = attend(&dataplane, &connection) {
                tracing::warn!("{error:#}");
            }
        });
        if let Err(error) = spawned {
            tracing::error!("a worker is turned away, no thread can be started: {error}");
        }
    }
}

/// One worker from its hello to its end.
fn attend(dataplane: &Arc<Dataplane>, connection: &Channel) -> Result<()> {
    let mut words = Epoll::new()?;
    words.add(connection, 0, Trigger::Level)?;
    let hello = read_hello(connection, &mut words, dataplane.supervised.start_within())?;
    let name =
        hello.name().map(str::to_owned).ok_or_else(|| anyhow!("a worker's name is not text; it is turned away"))?;
    let pid = connection.peer()?.pid;
    let id = dataplane.takers.next_id();
    let lent = match dataplane.is_not_to_run(&name) {
        Some(run) => Err(anyhow!("the feature is {run}; start it: weir feature start {name}")),
        None => {
            dataplane.shares.admit(&name, pid);
            lend(dataplane, connection, &name, id)
        }
    };
    let mut lent = lent.with_context(|| format!("worker {name} is turned away")).inspect_err(|_| {
        dataplane.shares.leave(&name, pid);
        leave(dataplane, id);
    })?;
    let (cursors, stop) = (Arc::clone(&lent.cursors), Arc::clone(&lent.stop));
    dataplane.takers.add(Taker {
        id,
        name: name.clone(),
        pid,
        restarts: hello.restarts,
        state: TakerState::Starting,
        leaving: false,
        cursors,
        stop,
    });
    let outcome = watch(dataplane, connection, &mut words, &name, id, &mut lent);
    dataplane.takers.remove(id);
    dataplane.shares.leave(&name, pid);
    leave(dataplane, id);
    drain(dataplane, &name, &mut lent);
    outcome
}

/// Has both owners of rings forget a taker; one that never joined they do not know.
fn leave(dataplane: &Dataplane, id: TakerId) {
    dataplane.ask(Request::Leave(id));
    if let Some(streams) = &dataplane.streams {
        streams.ask(Request::Leave(id));
    }
}

fn read_hello(connection: &Channel, words: &mut Epoll, within: Duration) -> Result<Hello> {
    if words.wait(Some(within))?.next().is_none() {
        let pid = connection.peer().map_or(0, |peer| peer.pid);
        bail!("process {pid} came as a worker and said nothing within {within:?}; it is turned away");
    }
    let mut bytes = [0_u8; size_of::<Hello>()];
    let length = connection.receive(&mut bytes)?.length;
    let hello: Hello = parse(bytes.get(..length).unwrap_or(&[]), "a hello")?;
    if hello.magic != MAGIC || hello.version != VERSION {
        bail!(
            "a worker speaks version {} of the attach words, this is {VERSION}: two builds of weir are mixed",
            hello.version
        );
    }
    Ok(hello)
}

/// What a worker was lent, as long as it lives.
struct Lent {
    cursors: Arc<OwnerCursors>,
    stop: Arc<OwnerPage>,
    records: RecordConsumer<Record>,
    corrupt: bool,
}

/// Memory and descriptors of an offer.
struct Pages {
    taker: SharedMemory,
    owner: SharedMemory,
    records: SharedMemory,
    kick: EventFd,
    epoll: Epoll,
}

impl Pages {
    fn make() -> Result<Self> {
        let records = record_ring_length::<Record>(RECORD_SLOTS);
        Ok(Self {
            taker: SharedMemory::create("weir-cursors", PAGE_LENGTH, Writers::Both)?,
            owner: SharedMemory::create("weir-owner", PAGE_LENGTH, Writers::Creator)?,
            records: SharedMemory::create("weir-records", records.next_multiple_of(PAGE_LENGTH), Writers::Both)?,
            kick: EventFd::new()?,
            epoll: Epoll::new()?,
        })
    }
}

fn lend(dataplane: &Dataplane, connection: &Channel, name: &str, id: TakerId) -> Result<Lent> {
    let rings = dataplane.rings_of(name)?;
    let all =
        rings.len() + dataplane.streams.iter().flat_map(|streams| streams::taken(dataplane, streams, name)).count();
    if all > MAX_TAKER_RINGS {
        bail!("{all} rings, at most {MAX_TAKER_RINGS} can be lent; use fewer queues (`interfaces: queues`)");
    }
    let (pages, sends) = (Pages::make()?, SendPages::make(all, dataplane.rx_ring)?);
    let cursors = Arc::new(OwnerCursors::new(Arc::clone(pages.taker.mapping()) as _, 0)?);
    let stop = Arc::new(OwnerPage::new(Arc::clone(pages.owner.mapping()) as _, 0)?);
    let records = RecordConsumer::attach(Arc::clone(pages.records.mapping()) as _, RECORD_SLOTS)?;
    let place = |(slot, ring): (usize, &&super::Ring)| Place { queue: ring.queue_index, class: ring.class, slot };
    let places = rings.iter().enumerate().map(place).collect();
    let lane_lines = rings.len() as u32..all as u32; // at most MAX_TAKER_RINGS
    let send_ring = sends.ring(&dataplane.sends, name, lane_lines)?;
    let starts = join(dataplane, name, id, &cursors, places, send_ring)?;
    dataplane.pool_epoll_add(&pages.kick, KICK)?;
    let lanes: Vec<_> = dataplane.streams.iter().flat_map(|streams| streams::taken(dataplane, streams, name)).collect();
    let lane_starts = match &dataplane.streams {
        Some(streams) => {
            streams.hear(&pages.kick)?;
            join_lanes(streams, name, id, &cursors, &lanes, rings.len())?
        }
        None => Vec::new(),
    };

    let spin = dataplane.wait_of(name) == WaitMode::Spin;
    let mut offer = Offer {
        magic: MAGIC,
        version: VERSION,
        umem_length: dataplane.umem.length() as u64,
        flags: FLAG_VERDICTS | FLAG_SENDS | if spin { FLAG_SPIN } else { 0 },
        core: dataplane.shares.core_of(name).unwrap_or(ANY_CORE),
        send_slots: sends.slots,
        kick_every: (dataplane.rx_ring / 4).max(1),
        record_slots: RECORD_SLOTS,
        ring_count: all as u32, // at most MAX_TAKER_RINGS
        user: NOBODY,
        flow_slots: FLOW_SLOTS as u32,
        rings: [RingOffer::default(); MAX_TAKER_RINGS],
    };
    poll_busily(dataplane, &pages.epoll, &rings);
    let flows = dataplane.flow_map()?;
    let mut descriptors: Vec<BorrowedFd<'_>> = vec![
        dataplane.umem.file(),
        pages.taker.file(),
        pages.owner.file(),
        pages.epoll.as_fd(),
        pages.kick.as_fd(),
        pages.records.file(),
        flows.as_fd(),
        sends.memory.file(),
    ];
    for ((slot, ring), (start, described)) in rings.iter().enumerate().zip(starts.iter().zip(&mut offer.rings)) {
        pages.epoll.add(&*ring.socket, slot as u64, Trigger::Edge)?;
        let size = dataplane.rx_ring;
        let (slot, class) = (slot as u32, u32::from(ring.class));
        *described =
            RingOffer { start: *start, size, slot, class, queue: ring.queue, kind: RING_OF_SOCKET, reserved: 0 };
        descriptors.push(ring.socket.as_fd());
    }
    let behind = offer.rings.iter_mut().skip(rings.len());
    for (((_, lane), start), (slot, described)) in lanes.iter().zip(&lane_starts).zip((rings.len()..).zip(behind)) {
        pages.epoll.add(&lane.event, slot as u64, Trigger::Edge)?;
        let (slot, class, size) = (slot as u32, u32::from(lane.class), dataplane.rx_ring);
        *described = RingOffer { start: *start, size, slot, class, queue: 0, kind: RING_IN_MEMORY, reserved: 0 };
        descriptors.push(lane.memory.file());
    }
    connection.send(offer.as_bytes(), &descriptors).context("the offer cannot be sent")?;
    Ok(Lent { cursors, stop, records, corrupt: false })
}

/// Has the worker's waits poll the card, where an interface of its rings is configured so.
fn poll_busily(dataplane: &Dataplane, epoll: &Epoll, rings: &[&super::Ring]) {
    let ports = rings.iter().filter_map(|ring| dataplane.ports.get(ring.port));
    if let Some(wish) = ports.filter_map(|port| busy_poll(&port.spec)).next()
        && let Err(error) = busy::prefer_on_epoll(epoll, wish)
    {
        tracing::warn!("workers sleep at once instead of polling: {error}");
    }
}

/// Asks the pool to let a taker in; gives the place where it begins on each ring.
pub(super) fn join(
    dataplane: &Dataplane,
    name: &str,
    taker: TakerId,
    cursors: &Arc<OwnerCursors>,
    places: Vec<Place>,
    sends: Option<SendRing>,
) -> Result<Vec<u64>> {
    let (answer, answered) = mpsc::sync_channel(1);
    let taken = dataplane.taken_of(name);
    dataplane.ask(Request::Join { taker, cursors: Arc::clone(cursors), taken, places, sends, answer });
    let joined = answered.recv_timeout(HANDSHAKE_WITHIN).context("the pool does not answer")?;
    joined.map_err(|place| anyhow!("class {} of queue {} has no room for another taker", place.class, place.queue))
}

/// Asks the streams' thread to let a taker of `lanes` in, whose cursors stand behind its `before` rings of the wire.
pub(super) fn join_lanes(
    streams: &Streams,
    name: &str,
    taker: TakerId,
    cursors: &Arc<OwnerCursors>,
    lanes: &[(usize, &Lane)],
    before: usize,
) -> Result<Vec<u64>> {
    let (answer, answered) = mpsc::sync_channel(1);
    let place = |(slot, (queue, lane)): (usize, &(usize, &Lane))| Place { queue: *queue, class: lane.class, slot };
    let places = (before..).zip(lanes).map(place).collect();
    let taken = streams.taken_of(name);
    streams.ask(Request::Join { taker, cursors: Arc::clone(cursors), taken, places, sends: None, answer });
    let joined = answered.recv_timeout(HANDSHAKE_WITHIN).context("the streams' thread does not answer")?;
    joined.map_err(|place| anyhow!("the lane of class {} has no room for another taker", place.class))
}

/// Drains records until the connection ends. A worker that says anything more has broken its word.
fn watch(
    dataplane: &Dataplane,
    connection: &Channel,
    words: &mut Epoll,
    name: &str,
    id: TakerId,
    lent: &mut Lent,
) -> Result<()> {
    loop {
        if words.wait(Some(DRAIN_EVERY))?.next().is_some() {
            let said = connection.receive(&mut [0_u8; 64]);
            if said.is_ok_and(|said| said.length == 0) {
                return Ok(());
            }
            dataplane.takers.evict(id, "it spoke out of turn on its connection");
            return Ok(());
        }
        if lent.cursors.heartbeat_ns() != 0 {
            dataplane.takers.ready(id);
        }
        lent.stop.set_delay_ns(dataplane.chaos.delay(name).as_nanos() as u64); // at most 1 s
        drain(dataplane, name, lent);
    }
}

fn drain(dataplane: &Dataplane, name: &str, lent: &mut Lent) {
    let outcome = lent.records.consume(RECORD_SLOTS, |record| {
        if !dataplane.experiments.take(name, record) {
            dataplane.board.post(name, *record);
        }
    });
    if outcome.is_err() && !std::mem::replace(&mut lent.corrupt, true) {
        tracing::warn!("worker {name}: its record ring claims more records than it holds; they are not read");
    }
}
