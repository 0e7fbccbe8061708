//! One class's ring on one queue: its takers, and what may be given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use heapless::Vec as Fixed;
use weir_dataplane_ring::{Allegation, Descriptor, FillRing, OwnerCursors, RxOwner, TxRing};

use crate::gauges::{RingFigures, RingGauges};
use crate::transmit::OnTheWay;

/// Most takers of one class: four features, the log, the sender and two spare.
pub const MAX_TAKERS: usize = 8;

/// Name of a taker as long as it lives: the pool never reuses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TakerId(pub u64);

/// A taker whose cursor was outside its ring's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hostile {
    /// Who.
    pub taker: TakerId,
    /// Class of the ring.
    pub class: u8,
    /// The cursor it published.
    pub cursor: u64,
    /// Lowest count that was allowed: the ring's consumer.
    pub consumer: u64,
    /// Highest count that was allowed: the ring's producer.
    pub producer: u64,
}

struct ClassTaker {
    id: TakerId,
    cursors: Arc<OwnerCursors>,
    slot: usize,
    /// The last cursor that was accepted; a reliable taker never goes back behind it.
    accepted: u64,
    taken: Arc<AtomicU64>,
}

/// A taker as it joins a ring.
#[derive(Clone)]
pub struct Joining {
    /// Its name.
    pub id: TakerId,
    /// The page with its cursors.
    pub cursors: Arc<OwnerCursors>,
    /// Line of that page for this ring.
    pub slot: usize,
    /// Frames it has finished, counted on over all its rings and lives.
    pub taken: Arc<AtomicU64>,
}

/// What a queue lends a class ring for one wake-up.
pub struct Lent<'a> {
    /// The queue's fill ring.
    pub fill: &'a mut FillRing,
    /// Frames on transmit rings.
    pub on_the_way: &'a mut OnTheWay,
}

/// Where a ring's frames go when every taker has passed them.
pub trait Home {
    /// Takes back the frame of a descriptor; false when it cannot be had yet, and then it stays on its ring.
    fn take_back(&mut self, descriptor: Descriptor) -> bool;

    /// What was taken back is let go of, before its ring moves on.
    fn publish(&mut self) {}
}

impl Home for Lent<'_> {
    #[inline]
    fn take_back(&mut self, descriptor: Descriptor) -> bool {
        // By the frame budget the fill ring has room; if it had none, the frame would be tried again.
        !self.on_the_way.released(descriptor.address) || self.fill.push(descriptor.address).is_ok()
    }

    fn publish(&mut self) {
        self.fill.publish();
    }
}

/// One class's ring on one queue.
pub struct ClassRing {
    class: u8,
    rx: RxOwner,
    sent: Option<u64>,
    /// Frames may have several descriptors, so that counting frames means looking at them.
    pieces: bool,
    /// Nothing is given back while there are fewer takers than this: what one has not seen is kept for its successor.
    awaits: usize,
    takers: Fixed<ClassTaker, MAX_TAKERS>,
    figures: RingFigures,
    gauges: Arc<RingGauges>,
}

impl ClassRing {
    /// A ring of `class` with nothing on it yet. With `mirrors` the pool's own sender is among its takers; with `pieces`
    /// a frame may have several descriptors.
    #[must_use]
    pub fn new(class: u8, rx: RxOwner, mirrors: bool, pieces: bool, gauges: Arc<RingGauges>) -> Self {
        let sent = mirrors.then_some(rx.consumer());
        let (takers, figures) = (Fixed::new(), RingFigures::default());
        Self { class, rx, sent, pieces, awaits: 0, takers, figures, gauges }
    }

    /// A ring that loses nothing: whoever fills it can wait. Its frames have one descriptor each and stay until `takers` of
    /// them have passed it; a taker that joins begins with the oldest that is there.
    #[must_use]
    pub fn lossless(class: u8, rx: RxOwner, takers: usize, gauges: Arc<RingGauges>) -> Self {
        Self { awaits: takers, ..Self::new(class, rx, false, false, gauges) }
    }

    /// The class.
    #[must_use]
    pub fn class(&self) -> u8 {
        self.class
    }

    /// Adds a taker that begins at the producer (on a lossless ring at the consumer), and gives that place. What a dead predecessor left is given back first
    /// when nobody else holds it.
    ///
    /// # Errors
    /// Gives the taker's name back when the class already has [`MAX_TAKERS`].
    pub fn join(&mut self, joining: Joining, home: &mut impl Home) -> Result<u64, TakerId> {
        let Joining { id, cursors, slot, taken } = joining;
        let start = if self.awaits > 0 { self.rx.consumer() } else { self.rx.producer() };
        if self.takers.is_empty() && self.awaits == 0 {
            self.abandon_to(start, home);
        }
        cursors.start_at(slot, start);
        let taker = ClassTaker { id, cursors, slot, accepted: start, taken };
        self.takers.push(taker).map_err(|taker| taker.id)?;
        self.write_gauges(self.rx.producer());
        Ok(start)
    }

    /// Removes a taker. What only it held stays on the ring until another joins: the ring is the class's quota, and the
    /// kernel counts what it drops on a full one.
    pub fn leave(&mut self, id: TakerId) {
        self.takers.retain(|taker| taker.id != id);
    }

    /// Whether `id` takes this class.
    #[must_use]
    pub fn has(&self, id: TakerId) -> bool {
        self.takers.iter().any(|taker| taker.id == id)
    }

    /// Gives back what every taker has passed. A cursor outside [consumer, producer], or behind an accepted one, is an
    /// attack or a broken worker: its owner is removed here and reported, and the others do not notice.
    pub fn recycle(&mut self, home: &mut impl Home) -> Option<Hostile> {
        // All cursors first, then the producer: the other order calls a taker hostile that finished a frame in between.
        let claims: Fixed<Allegation, MAX_TAKERS> =
            self.takers.iter().map(|taker| taker.cursors.load(taker.slot)).collect();
        let producer = self.rx.producer();
        let mut hostile = None;
        let (rx, pieces) = (&self.rx, self.pieces);
        for (taker, claim) in self.takers.iter_mut().zip(&claims) {
            if (taker.accepted..=producer).contains(&claim.raw()) {
                taker.taken.fetch_add(frames(rx, pieces, taker.accepted, claim.raw()), Ordering::Relaxed);
                taker.accepted = claim.raw();
            } else {
                let (cursor, consumer) = (claim.raw(), taker.accepted);
                hostile = Some(Hostile { taker: taker.id, class: self.class, cursor, consumer, producer });
            }
        }
        if let Some(found) = hostile {
            self.figures.hostile += 1;
            self.leave(found.taker);
        }
        let slowest = self.takers.iter().map(|taker| taker.accepted).min();
        // Without a live taker nothing is given back, but a mirror class goes on forwarding: base traffic does not depend
        // on a feature being alive.
        let target = match (slowest, self.sent) {
            _ if self.takers.len() < self.awaits => self.rx.consumer(),
            (Some(slowest), Some(sent)) => slowest.min(sent),
            (Some(slowest), None) => slowest,
            (None, Some(sent)) => {
                self.figures.abandoned += frames(&self.rx, self.pieces, self.rx.consumer(), sent);
                sent
            }
            (None, None) => self.rx.consumer(),
        };
        self.give_back_to(target, home);
        self.write_gauges(producer);
        hostile
    }

    /// Puts frames the sender has not seen on `tx`. A frame that does not fit is counted and stays unsent: the wire's
    /// quota is the transmit ring. Gives whether anything was put there.
    pub fn mirror(&mut self, tx: &mut TxRing, on_the_way: &mut OnTheWay) -> bool {
        let Some(mut sent) = self.sent else { return false };
        let producer = self.rx.producer();
        let before = self.figures.mirrored;
        let mut frame: Fixed<Descriptor, { Descriptor::PIECES_MAX }> = Fixed::new();
        let mut next = sent;
        while next < producer {
            let descriptor = self.rx.descriptor(next);
            next += 1;
            let fits = frame.push(descriptor).is_ok();
            if fits && descriptor.is_continued() {
                continue;
            }
            if fits && tx.free() >= frame.len() as u32 {
                for piece in &frame {
                    on_the_way.sending(piece.address);
                    let _ = tx.push(*piece); // there is room: asked just above
                }
                self.figures.mirrored += 1;
            } else {
                self.figures.mirror_full += 1;
            }
            frame.clear();
            sent = next;
        }
        self.sent = Some(sent);
        self.figures.mirrored > before
    }

    fn abandon_to(&mut self, target: u64, home: &mut impl Home) {
        let target = self.sent.map_or(target, |sent| sent.min(target));
        self.figures.abandoned += frames(&self.rx, self.pieces, self.rx.consumer(), target);
        self.give_back_to(target, home);
    }

    /// Gives [consumer, target) back, to the kernel above all. The fill ring's producer moves before the ring's consumer
    /// does, so a frame is never in neither place.
    fn give_back_to(&mut self, target: u64, home: &mut impl Home) {
        let consumer = self.rx.consumer();
        if target == consumer {
            return;
        }
        let mut next = consumer;
        for descriptor in self.rx.until(target) {
            if !home.take_back(descriptor) {
                break;
            }
            next += 1;
        }
        home.publish();
        self.figures.recycled += next - consumer;
        self.rx.release(next);
    }

    fn write_gauges(&mut self, producer: u64) {
        self.figures.produced = self.figures.recycled + (producer - self.rx.consumer());
        self.figures.takers = self.takers.len() as u64;
        self.gauges.write(&self.figures);
    }
}

/// Frames among the descriptors [from, to) of `rx`: those that end there.
fn frames(rx: &RxOwner, pieces: bool, from: u64, to: u64) -> u64 {
    if pieces { (from..to).filter(|index| !rx.descriptor(*index).is_continued()).count() as u64 } else { to - from }
}
