//! The worker process: attach, map, give up everything else, then work until the pool says stop or ends.
//!
//! The order matters. Everything is mapped and allocated first; then the mappings are sealed and the descriptors closed,
//! so that no ring can be mapped writable any more; then user, file system and system calls go. From there on a hostile
//! feature can publish a wrong cursor (the pool refuses it), fill its own record ring, or stop: nothing else.

use std::os::fd::OwnedFd;
use std::path::Path;

use weir_dataplane_io::wait::{Epoll, EventFd};
use weir_dataplane_io::{clock, cpu, fds, sandbox, umem, xdp};
use weir_dataplane_ring::record::Record;
use weir_dataplane_ring::{FlowTable, RecordProducer, StopFlag, TakerCursors};
use weir_ebpf_abi::flow::FlowVerdict;
use zerocopy::IntoBytes;

use crate::attach::{ANY_CORE, AttachError, FIXED_FDS, FLAG_SPIN, FLAG_VERDICTS, Hello, MAGIC, Offer, VERSION, parse};
use crate::feature::{Feature, TICK_NS};
use crate::outputs::{Outputs, RecordSink, VerdictSink};
use crate::taker::{Taker, TakerRing};

/// Why a worker ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The pool asked it to stop.
    Stopped,
    /// The pool's process ended; a new one makes new rings, so the worker has to attach afresh.
    DataplaneGone,
}

/// Most file descriptors of an offer.
const MOST_FDS: usize = FIXED_FDS + 1 + crate::attach::MAX_TAKER_RINGS;

/// Runs feature `F` as this process: attaches to the dataplane that listens at `socket`, and works.
///
/// # Errors
/// When the two do not come together or the sandbox cannot be closed. A worker never runs with an open sandbox.
pub fn run<F: Feature>(settings: &F::Settings, socket: &Path, restarts: u32) -> Result<Ending, AttachError> {
    let connection = fds::connect(socket)?;
    fds::send(&connection, Hello::new(F::NAME, restarts, false).as_bytes(), &[])?;
    let (offer, mut descriptors) = receive_offer(&connection)?;
    if offer.core != ANY_CORE {
        cpu::pin(offer.core)?;
    }
    let mut feature = F::make(settings);
    let mut worker = Attached::map(&offer, &mut descriptors)?;
    drop(descriptors); // the frame memory's and the sockets' descriptors: what is mapped stays mapped
    if offer.priority > 0 {
        cpu::fifo(offer.priority)?;
    }
    worker.epoll.add_edge(&connection, CONNECTION)?;
    sandbox::drop_to(offer.user, offer.user)?;
    sandbox::landlock_nothing()?;
    sandbox::seccomp_worker()?;
    fds::write(&connection, Hello::new(F::NAME, restarts, true).as_bytes())?;
    worker.work(&mut feature, offer.flags & FLAG_SPIN != 0)
}

/// Tag of the connection in the epoll instance; the rings carry smaller ones.
const CONNECTION: u64 = u64::MAX;

fn receive_offer(connection: &OwnedFd) -> Result<(Offer, Vec<OwnedFd>), AttachError> {
    let mut bytes = [0_u8; size_of::<Offer>() + 1];
    let (length, descriptors) = fds::receive(connection, &mut bytes, MOST_FDS)?;
    if length == 0 {
        return Err(AttachError::Closed { waiting_for: "an offer" });
    }
    let offer: Offer = parse(bytes.get(..length).unwrap_or(&[]), "an offer")?;
    if offer.magic != MAGIC || offer.version != VERSION || offer.ring_count as usize > offer.rings.len() {
        return Err(AttachError::Malformed { length, expected: "an offer of this version" });
    }
    let verdicts = usize::from(offer.flags & FLAG_VERDICTS != 0);
    let expected = FIXED_FDS + verdicts + offer.ring_count as usize;
    if descriptors.len() != expected {
        return Err(AttachError::Descriptors { found: descriptors.len(), expected });
    }
    Ok((offer, descriptors))
}

struct Records {
    ring: RecordProducer<Record>,
    full: u64,
}

impl RecordSink for Records {
    fn put(&mut self, record: Record) -> bool {
        let put = self.ring.push(record).is_ok();
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

struct Attached {
    taker: Taker,
    epoll: Epoll,
    stop: StopFlag,
    beat: TakerCursors,
    records: Records,
    verdicts: Verdicts,
}

impl Attached {
    /// Maps what the offer lends and seals it. `descriptors` are in the order that [`crate::attach`] names.
    fn map(offer: &Offer, descriptors: &mut Vec<OwnedFd>) -> Result<Self, AttachError> {
        let missing = || AttachError::Descriptors { found: 0, expected: FIXED_FDS };
        let mut next = descriptors.drain(..);
        let mut take = || next.next().ok_or_else(missing);
        let frames = umem::UmemView::map(&take()?, offer.umem_length)?;
        let cursors = umem::map_cursors(&take()?)?;
        let stop = umem::map_stop(&take()?)?;
        let epoll = Epoll::from(take()?);
        let kick = EventFd::from(take()?);
        let ring = umem::map_records(&take()?, offer.record_slots)?;
        let table = if offer.flags & FLAG_VERDICTS == 0 { None } else { Some(umem::map_flows(&take()?, offer.flow_slots)?) };
        let mut rings = Vec::with_capacity(offer.ring_count as usize);
        for described in offer.rings.iter().take(offer.ring_count as usize) {
            let reader = xdp::map_rx_reader(&take()?, described.size)?;
            rings.push(TakerRing::new(reader, described.slot as usize, described.start));
        }
        let beat = cursors.clone();
        let taker = Taker::new(rings, frames, cursors, Some(kick), offer.kick_every);
        Ok(Self { taker, epoll, stop, beat, records: Records { ring, full: 0 }, verdicts: Verdicts(table) })
    }

    /// The loop. A tick is about every 100 ms, and with it the look for a stop and for the pool's end.
    fn work<F: Feature>(&mut self, feature: &mut F, spin: bool) -> Result<Ending, AttachError> {
        let mut next_tick = clock::monotonic_ns() + TICK_NS;
        let mut batches = 0_u32;
        loop {
            let mut out = Outputs::new(F::ID, &mut self.records, &mut self.verdicts);
            let handed = self.taker.poll(feature, &mut out, clock::monotonic_ns);
            batches = batches.wrapping_add(1);
            if handed > 0 && !batches.is_multiple_of(BATCHES_BETWEEN_LOOKS) {
                continue;
            }
            let mut now = clock::monotonic_ns();
            if handed == 0 {
                if spin && now < next_tick {
                    std::hint::spin_loop();
                    continue;
                }
                let sleep_ms = if spin { 0 } else { next_tick.saturating_sub(now).div_ceil(1_000_000) as u32 };
                if self.epoll.wait(Some(sleep_ms))?.any(|tag| tag == CONNECTION) {
                    return Ok(if self.stop.is_set() { Ending::Stopped } else { Ending::DataplaneGone });
                }
                now = clock::monotonic_ns();
            }
            if now >= next_tick {
                feature.on_tick(now, &mut out);
                self.records.ring.publish();
                let counts = self.taker.counts();
                self.beat.beat([now, counts.frames, counts.bytes, counts.kicks, self.records.full]);
                next_tick = now + TICK_NS;
                if self.stop.is_set() {
                    return Ok(Ending::Stopped);
                }
            }
        }
    }
}

/// Busy rings are left for the clock after this many batches: some hundred microseconds at full rate.
const BATCHES_BETWEEN_LOOKS: u32 = 64;
