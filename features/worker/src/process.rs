//! The worker process: attach, map, give up everything else, then work until the pool says stop or ends.
//!
//! The order matters. Everything is mapped and allocated first; then the mappings are sealed and the descriptors closed,
//! so that no ring can be mapped writable any more; then user, file system and system calls go. From there on a hostile
//! feature can publish a wrong cursor (the pool refuses it), fill its own record ring, or stop: nothing else.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_dataplane_io::fds::Channel;
use weir_dataplane_io::sandbox::{Confinement, Sealing};
use weir_dataplane_io::umem::UmemView;
use weir_dataplane_io::wait::{Epoll, EventFd, Trigger};
use weir_dataplane_io::{Mapping, clock, cpu, sandbox, shared, xdp};
use weir_dataplane_ring::record::{Record, record_ring_length};
use weir_dataplane_ring::{FlowTable, OwnerView, PAGE_LENGTH, RecordProducer, SendRequest, TakerCursors};
use weir_ebpf_abi::flow::FlowVerdict;
use zerocopy::IntoBytes;

use crate::attach::{
    ANY_CORE, AttachError, FIXED_FDS, FLAG_SENDS, FLAG_SPIN, FLAG_VERDICTS, Hello, MAGIC, Offer, RING_IN_MEMORY,
    VERSION, parse,
};
use crate::feature::{Feature, TICK_NS};
use crate::outputs::{Outputs, RecordSink, SendSink, VerdictSink};
use crate::taker::{Taker, TakerCounts, TakerRing};

/// Why a worker ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The pool asked it to stop.
    Stopped,
    /// The pool's process ended; a new one makes new rings, so the worker has to attach afresh.
    DataplaneGone,
}

/// Runs feature `F` under `name` as this process: attaches to the dataplane that listens at `socket`, and works.
///
/// # Errors
/// When the two do not come together or the sandbox cannot be closed. A worker never runs with an open sandbox.
pub fn run<F: Feature>(
    settings: &F::Settings,
    name: &str,
    socket: &Path,
    restarts: u32,
) -> Result<Ending, AttachError> {
    let parent = std::os::unix::process::parent_id();
    let connection = Channel::connect(socket)?;
    connection.send(Hello::new(name, restarts).as_bytes(), &[])?;
    let (offer, descriptors) = receive_offer(&connection)?;
    if offer.core != ANY_CORE {
        cpu::pin(offer.core)?;
    }
    let mut feature = F::make(settings);
    let mut worker = Attached::map(&offer, descriptors)?;
    worker.epoll.add(&connection, CONNECTION, Trigger::Edge)?;
    // The clock is found in the vDSO at its first reading, which takes a file or a call that the sandbox refuses: from
    // inside, every reading would be a filtered system call, ten times as dear.
    let _ = clock::monotonic_ns();
    close_sandbox(&worker.lent, offer.user, parent)?;
    worker.show(clock::monotonic_ns());
    worker.work(&mut feature, offer.flags & FLAG_SPIN != 0)
}

/// Tag of the connection in the epoll instance; the rings carry smaller ones.
const CONNECTION: u64 = u64::MAX;

fn receive_offer(connection: &Channel) -> Result<(Offer, Vec<OwnedFd>), AttachError> {
    let mut bytes = [0_u8; size_of::<Offer>()];
    let received = connection.receive(&mut bytes)?;
    if received.length == 0 {
        return Err(AttachError::Closed { waiting_for: "an offer" });
    }
    let length = received.length;
    let offer: Offer = parse(bytes.get(..length).unwrap_or(&[]), "an offer")?;
    if offer.magic != MAGIC || offer.version != VERSION || offer.ring_count as usize > offer.rings.len() {
        return Err(AttachError::Malformed { length, expected: "an offer of this version" });
    }
    let optional = (offer.flags & (FLAG_VERDICTS | FLAG_SENDS)).count_ones() as usize;
    let expected = FIXED_FDS + optional + offer.ring_count as usize;
    if received.descriptors.len() != expected {
        return Err(AttachError::Descriptors { found: received.descriptors.len(), expected });
    }
    Ok((offer, received.descriptors))
}

/// Gives up everything but what is mapped. Sealing comes first: it takes the way back from every mapping there is.
fn close_sandbox(lent: &[Arc<Mapping>], user: u32, parent: u32) -> Result<(), AttachError> {
    let walls = sandbox::enter_worker(lent, user, Some(parent))?;
    if walls.sealing == Sealing::KernelTooOld {
        tracing::warn!("mappings cannot be sealed before Linux 6.10; the system call filter is the only wall");
    }
    if walls.confinement == Confinement::Unavailable {
        tracing::warn!("the kernel has no Landlock; files and sockets are kept away by the system call filter alone");
    }
    Ok(())
}

struct Records {
    ring: RecordProducer<Record>,
    full: u64,
}

impl RecordSink for Records {
    fn put(&mut self, record: Record) -> bool {
        let put = self.ring.push(&record).is_ok();
        self.full += u64::from(!put);
        put
    }
}

struct Verdicts(Option<FlowTable>);

impl VerdictSink for Verdicts {
    fn steer(&mut self, verdict: FlowVerdict) -> bool {
        self.0.as_mut().is_some_and(|table| table.store(verdict.flow, verdict.verdict))
    }
}

/// The worker's side of its send ring, if it has one.
struct Sends {
    ring: Option<RecordProducer<SendRequest>>,
    staged: u32,
    full: u64,
}

impl SendSink for Sends {
    fn send(&mut self, request: SendRequest) -> bool {
        let put = self.ring.as_mut().is_some_and(|ring| ring.stage(&request).is_ok());
        self.staged += u32::from(put);
        self.full += u64::from(!put);
        put
    }

    fn publish(&mut self) -> u32 {
        if let Some(ring) = self.ring.as_mut().filter(|_| self.staged > 0) {
            ring.publish();
        }
        std::mem::take(&mut self.staged)
    }
}

struct Attached {
    taker: Taker,
    epoll: Epoll,
    owner: OwnerView,
    beat: TakerCursors,
    records: Records,
    verdicts: Verdicts,
    sends: Sends,
    /// Every mapping of lent memory; sealed, so it stays mapped until the process ends.
    lent: Vec<Arc<Mapping>>,
}

impl Attached {
    /// Maps what the offer lends. `descriptors` are in the order that [`crate::attach`] names; all of them but the
    /// epoll instance and the kick are closed at the end: what is mapped stays mapped.
    fn map(offer: &Offer, descriptors: Vec<OwnedFd>) -> Result<Self, AttachError> {
        let expected = descriptors.len();
        let mut next = descriptors.into_iter();
        let mut take = || next.next().ok_or(AttachError::Descriptors { found: expected, expected: expected + 1 });
        let frames = UmemView::map(take()?.as_fd(), offer.umem_length as usize)?;
        let mut lent = vec![Arc::clone(frames.mapping())];
        let mut map = |file: OwnedFd, length: usize, writable: bool| -> Result<Arc<Mapping>, AttachError> {
            let mapping = Arc::new(shared::open(file.as_fd(), length, writable)?);
            lent.push(Arc::clone(&mapping));
            Ok(mapping)
        };
        let page = map(take()?, PAGE_LENGTH, true)?;
        let owner = OwnerView::new(map(take()?, PAGE_LENGTH, false)?, 0)?;
        let epoll = Epoll::from_fd(take()?);
        let kick = EventFd::from_fd(take()?);
        let records = map(take()?, record_ring_length::<Record>(offer.record_slots), true)?;
        let records = RecordProducer::attach(records, offer.record_slots)?;
        let mut table = None;
        if offer.flags & FLAG_VERDICTS != 0 {
            // A BPF map is no memfd: its size is fixed by the kernel, so there is no seal to look for.
            let length = FlowTable::length(offer.flow_slots).next_multiple_of(PAGE_LENGTH);
            let mapping = Arc::new(Mapping::map_shared(take()?.as_fd(), length, 0, true)?);
            lent.push(Arc::clone(&mapping));
            table = Some(FlowTable::new(mapping, offer.flow_slots)?);
        }
        let mut sends = None;
        if offer.flags & FLAG_SENDS != 0 {
            let file = take()?;
            let mapping =
                Arc::new(shared::open(file.as_fd(), record_ring_length::<SendRequest>(offer.send_slots), true)?);
            lent.push(Arc::clone(&mapping));
            sends = Some(RecordProducer::attach(mapping, offer.send_slots)?);
        }
        let mut rings = Vec::with_capacity(offer.ring_count as usize);
        for described in offer.rings.iter().take(offer.ring_count as usize) {
            let file = take()?;
            let mapped = match described.kind {
                RING_IN_MEMORY => xdp::map_lane_reader(file.as_fd(), described.size)?,
                _ => xdp::map_rx_reader(file.as_fd(), described.size)?,
            };
            lent.push(mapped.mapping);
            rings.push(TakerRing::new(mapped.reader, described.slot as usize, described.start));
        }
        let beat = TakerCursors::new(Arc::clone(&page) as _, 0)?;
        let taker = Taker::new(rings, frames, TakerCursors::new(page, 0)?, Some(kick), offer.kick_every);
        Ok(Self {
            taker,
            epoll,
            owner,
            beat,
            records: Records { ring: records, full: 0 },
            verdicts: Verdicts(table),
            sends: Sends { ring: sends, staged: 0, full: 0 },
            lent,
        })
    }

    /// Shows the pool that the worker lives, and what it has done.
    fn show(&self, now_ns: u64) {
        let TakerCounts { frames, bytes, without_metadata, bad_descriptors, kicks } = self.taker.counts();
        let (records, sends) = (self.records.full, self.sends.full);
        for (index, value) in
            [frames, bytes, without_metadata, bad_descriptors, kicks, records, sends].into_iter().enumerate()
        {
            self.beat.set_counter(index, value);
        }
        self.beat.beat(now_ns);
    }

    /// The loop. A tick is about every 100 ms, and with it the look for a stop and for the pool's end.
    fn work<F: Feature>(&mut self, feature: &mut F, spin: bool) -> Result<Ending, AttachError> {
        let mut next_tick = clock::monotonic_ns() + TICK_NS;
        let mut batches = 0_u32;
        let mut since_rest = 0;
        loop {
            let mut out = Outputs::new(F::ID, &mut self.records, &mut self.verdicts).sending(&mut self.sends);
            let handed = self.taker.poll(feature, &mut out, clock::monotonic_ns);
            batches = batches.wrapping_add(1);
            since_rest += handed;
            let delay_ns = self.owner.delay_ns();
            if handed > 0 && delay_ns > 0 {
                std::thread::sleep(Duration::from_nanos(delay_ns.min(LONGEST_DELAY_NS)));
            } else if handed > 0 && !batches.is_multiple_of(BATCHES_BETWEEN_LOOKS) {
                continue;
            }
            let mut now = clock::monotonic_ns();
            if handed == 0 {
                let busy = since_rest >= BUSY_FRAMES;
                since_rest = 0;
                if busy && !spin && now < next_tick {
                    std::thread::sleep(NAP);
                    continue;
                }
                if spin && now < next_tick {
                    std::hint::spin_loop();
                    continue;
                }
                let sleep = if spin { Duration::ZERO } else { Duration::from_nanos(next_tick.saturating_sub(now)) };
                if self.epoll.wait(Some(sleep))?.any(|tag| tag == CONNECTION) {
                    return Ok(if self.owner.stop() { Ending::Stopped } else { Ending::DataplaneGone });
                }
                now = clock::monotonic_ns();
            }
            if now >= next_tick {
                feature.on_tick(now, &mut out);
                self.taker.report_waits(now, &mut self.records);
                self.show(now);
                next_tick = now + TICK_NS;
                if self.owner.stop() {
                    self.finish(feature);
                    return Ok(Ending::Stopped);
                }
            }
        }
    }

    /// What was on the rings when the stop came is worked on, unless that takes too long. Nothing more comes to a ring that
    /// has no other taker.
    fn finish<F: Feature>(&mut self, feature: &mut F) {
        let (ends, last) = (self.taker.ends(), clock::monotonic_ns() + FINISH_WITHIN_NS);
        let mut out = Outputs::new(F::ID, &mut self.records, &mut self.verdicts).sending(&mut self.sends);
        while !self.taker.has_passed(&ends) && clock::monotonic_ns() < last {
            if self.taker.poll(feature, &mut out, clock::monotonic_ns) == 0 {
                break; // the pieces of a frame whose end did not come
            }
            std::thread::sleep(Duration::from_nanos(self.owner.delay_ns().min(LONGEST_DELAY_NS)));
        }
        let now = clock::monotonic_ns();
        feature.on_tick(now, &mut out);
        self.show(now);
    }
}

/// A worker that was given this many frames since it last rested is busy: the driver's own round is 64.
const BUSY_FRAMES: usize = 16;
/// How long a busy worker rests when its rings are empty. Being woken costs the core that receives frames some microseconds
/// for every round of the driver; a timer costs the worker's own core. At ten million frames a second 500 arrive meanwhile, a
/// quarter of a ring of the default size; a ring that is set much smaller can overflow in this time, counted.
const NAP: Duration = Duration::from_micros(50);

/// The longest that a worker rests after a batch because its owner wants to see it slow: it still ticks and hears a stop.
pub const LONGEST_DELAY_NS: u64 = 1_000_000_000;

/// How long a worker that is asked to stop works on what it has.
const FINISH_WITHIN_NS: u64 = 2_000_000_000;

/// Busy rings are left for the clock after this many batches: some hundred microseconds at full rate.
const BATCHES_BETWEEN_LOOKS: u32 = 64;
