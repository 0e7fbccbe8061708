//! One class's ring on one queue: its takers, and what may be given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use heapless::Vec as Fixed;
use weir_dataplane_ring::{Allegation, Descriptor, OwnerCursors, RxOwner, SendRequest};

use crate::gauges::{RingFigures, RingGauges};
use crate::lending::Lending;
use crate::send::{Mark, Marks, Named};
use crate::sender::SenderId;
use crate::ways::{Fate, Ways};

/// Most takers of one class: four features, a candidate of each, the log, the sender and two spare.
pub const MAX_TAKERS: usize = 12;

/// Name of a taker as long as it lives: the pool never reuses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TakerId(pub u64);

/// What a hostile taker did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It published a cursor outside its ring's bounds.
    Cursor,
    /// It named a frame to be sent that is not its to name: outside its part of the ring, again, behind one it had named, or
    /// in the middle of a frame.
    Place,
    /// Its ring of send requests claims more entries than it has.
    SendRing,
}

/// A taker that broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hostile {
    /// Who.
    pub taker: TakerId,
    /// What it did.
    pub deed: Deed,
    /// Class of the ring; 0 for [`Deed::SendRing`], which belongs to none.
    pub class: u8,
    /// The count it claimed.
    pub claim: u64,
    /// Lowest count that was allowed.
    pub least: u64,
    /// Highest count that was allowed.
    pub most: u64,
}

/// Frames that one has finished whom people know by a name: over all its rings and lives, those of its successors too.
#[derive(Debug, Default)]
pub struct Taken {
    /// Its number, below [`MAX_TAKERS`] and no other's: its place in the [ledger](crate::ledger).
    pub number: usize,
    /// The frames.
    pub frames: AtomicU64,
    /// Descriptors on its rings that it has not finished, as of the last turn.
    pub waiting: AtomicU64,
}

struct ClassTaker {
    id: TakerId,
    cursors: Arc<OwnerCursors>,
    slot: usize,
    /// The last cursor that was accepted; a reliable taker never goes back behind it.
    accepted: u64,
    /// The one accepted before: every frame in front of it was named by then or never is.
    settled: u64,
    /// Lowest place that may be named next: a frame is named once, in ring order.
    nameable: u64,
    /// Its part of [`Taken::waiting`].
    waiting: u64,
    taken: Arc<Taken>,
}

impl ClassTaker {
    /// Shows that so many descriptors wait for it here. One thread writes a [`Taken`]'s figures.
    fn show_waiting(&mut self, waiting: u64) {
        let before = std::mem::replace(&mut self.waiting, waiting);
        if before != waiting {
            self.taken.waiting.fetch_add(waiting.wrapping_sub(before), Ordering::Relaxed);
        }
    }
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
    /// Where the frames that it finishes are counted.
    pub taken: Arc<Taken>,
}

/// Where a ring's frames go when every taker has passed them.
pub trait Home {
    /// Takes back the frame of a descriptor; false when it cannot be had yet, and then it stays on its ring.
    fn take_back(&mut self, descriptor: Descriptor) -> bool;

    /// What was taken back is let go of, before its ring moves on.
    fn publish(&mut self) {}

    /// Sends a whole frame as its mark says, or says what becomes of it instead. A home with no way out takes it back.
    fn send(&mut self, _mark: Mark, _pieces: &[Descriptor]) -> Fate {
        Fate::Home
    }

    /// A frame that `sender` named is not sent, because who named it is gone.
    fn abandoned(&mut self, _sender: SenderId) {}
}

/// What a queue lends a class ring for one wake-up.
pub struct Lent<'a> {
    /// The queue's frames at home.
    pub fill: &'a mut Lending,
    /// The ways out.
    pub ways: &'a mut Ways,
    /// Index of the outlet of the interface that the queue belongs to: answers leave there.
    pub arrival: usize,
}

impl Home for Lent<'_> {
    #[inline]
    fn take_back(&mut self, descriptor: Descriptor) -> bool {
        // By the frame budget there is room; if there were none, the frame would be tried again.
        !self.ways.on_the_way.released(descriptor.address) || self.fill.push(descriptor.address)
    }

    fn publish(&mut self) {
        self.fill.lend();
    }

    fn send(&mut self, mark: Mark, pieces: &[Descriptor]) -> Fate {
        self.ways.send(mark, pieces, self.arrival)
    }

    fn abandoned(&mut self, sender: SenderId) {
        if let Some(figures) = self.ways.senders.figures(sender) {
            figures.abandoned += 1;
        }
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
    /// Somebody takes this class, now or when it is started again. Otherwise nothing is kept for anybody.
    attended: bool,
    takers: Fixed<ClassTaker, MAX_TAKERS>,
    /// Frames that takers want sent.
    marks: Marks,
    /// The consumer is at the start of a frame; a hostile cursor can leave it in the middle of one.
    whole: bool,
    figures: RingFigures,
    gauges: Arc<RingGauges>,
}

impl ClassRing {
    /// A ring of `class` with nothing on it yet. With `mirrors` the pool's own sender is among its takers; with `pieces`
    /// a frame may have several descriptors.
    #[must_use]
    pub fn new(class: u8, rx: RxOwner, mirrors: bool, pieces: bool, gauges: Arc<RingGauges>) -> Self {
        let (sent, marks) = (mirrors.then_some(rx.consumer()), Marks::new(rx.size()));
        let (takers, figures) = (Fixed::new(), RingFigures::default());
        let (awaits, attended, whole) = (0, true, true);
        Self { class, rx, sent, pieces, awaits, attended, takers, marks, whole, figures, gauges }
    }

    /// A ring that loses nothing: whoever fills it can wait. Its frames have one descriptor each and stay until `takers` of
    /// them have passed it; a taker that joins begins with the oldest that is there. None of its frames can be named.
    #[must_use]
    pub fn lossless(class: u8, rx: RxOwner, takers: usize, gauges: Arc<RingGauges>) -> Self {
        let (takers, awaits, figures) = (Fixed::new(), takers, RingFigures::default());
        let (marks, attended, whole) = (Marks::new(1), true, true);
        Self { class, rx, sent: None, pieces: false, awaits, attended, takers, marks, whole, figures, gauges }
    }

    /// So many takers are expected from now on. Where nobody is, what the last one left goes home and counts as abandoned. A
    /// ring that loses nothing keeps it for the next one instead, and for all who are expected.
    pub fn expect(&mut self, takers: usize) {
        match self.awaits {
            0 => self.attended = takers > 0,
            _ => self.awaits = takers.max(1),
        }
    }

    /// The class.
    #[must_use]
    pub fn class(&self) -> u8 {
        self.class
    }

    /// Adds a taker that begins at the producer (on a lossless ring at the consumer), and gives that place. What a dead
    /// predecessor left is given back first when nobody else holds it.
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
        let (accepted, settled, nameable) = (start, start, start);
        let taker = ClassTaker { id, cursors, slot, accepted, settled, nameable, waiting: 0, taken };
        self.takers.push(taker).map_err(|taker| taker.id)?;
        self.write_gauges(self.rx.producer());
        Ok(start)
    }

    /// Removes a taker. What only it held stays on the ring until another joins: the ring is the class's quota, and the
    /// kernel counts what it drops on a full one. Frames it wanted sent and had not passed are not sent, nor is anything
    /// when nobody is left: an answer from before a restart would only confuse.
    pub fn leave(&mut self, id: TakerId, home: &mut impl Home) {
        let Some(at) = self.takers.iter().position(|taker| taker.id == id) else { return };
        self.show(); // while it is still among the takers: what it finished in this turn is in the ledger, too
        let mut taker = self.takers.swap_remove(at);
        taker.show_waiting(0);
        if self.marks.is_empty() {
            return;
        }
        let last = self.takers.is_empty();
        let from = if last { self.rx.consumer() } else { taker.accepted };
        for place in from..self.rx.producer() {
            let Some(mark) = self.marks.at(place).filter(|mark| last || mark.taker == id.0 as u16) else { continue };
            self.marks.take(place);
            home.abandoned(mark.sender);
        }
    }

    /// Whether `id` takes this class.
    #[must_use]
    pub fn has(&self, id: TakerId) -> bool {
        self.takers.iter().any(|taker| taker.id == id)
    }

    /// One look of whoever owns a ring whose frames are not sent: what every taker has finished goes home. As
    /// [`ClassRing::accept`], it gives the taker that lied.
    pub fn recycle(&mut self, home: &mut impl Home) -> Option<Hostile> {
        let hostile = self.accept(home);
        self.give_back(home);
        self.show();
        hostile
    }

    /// Reads what every taker claims to have finished. A cursor outside [consumer, producer], or behind an accepted one, is
    /// an attack or a broken worker: its owner is removed here and reported, and the others do not notice.
    pub fn accept(&mut self, home: &mut impl Home) -> Option<Hostile> {
        // All cursors first, then the producer: the other order calls a taker hostile that finished a frame in between.
        let claims: Fixed<Allegation, MAX_TAKERS> =
            self.takers.iter().map(|taker| taker.cursors.load(taker.slot)).collect();
        let producer = self.rx.producer();
        let mut hostile = None;
        let (rx, pieces) = (&self.rx, self.pieces);
        for (taker, claim) in self.takers.iter_mut().zip(&claims) {
            taker.settled = taker.accepted;
            if (taker.accepted..=producer).contains(&claim.raw()) {
                taker.taken.frames.fetch_add(frames(rx, pieces, taker.accepted, claim.raw()), Ordering::Relaxed);
                taker.accepted = claim.raw();
            } else {
                let (claim, least) = (claim.raw(), taker.accepted);
                hostile = Some(Hostile {
                    taker: taker.id,
                    deed: Deed::Cursor,
                    class: self.class,
                    claim,
                    least,
                    most: producer,
                });
            }
        }
        if let Some(found) = hostile {
            self.figures.hostile += 1;
            self.leave(found.taker, home);
        }
        hostile
    }

    /// Marks a frame that `taker` wants sent. To be called for every request there is between [`ClassRing::accept`] and
    /// [`ClassRing::give_back`]: a worker publishes a request before its cursor passes the frame, so whatever is met here for
    /// the first time lies at or behind the cursor that was accepted before.
    ///
    /// # Errors
    /// [`Hostile`] for a place that is not the taker's to name; it is removed then.
    pub fn name(
        &mut self,
        taker: TakerId,
        request: &SendRequest,
        sender: SenderId,
        home: &mut impl Home,
    ) -> Result<Named, Hostile> {
        let (place, producer) = (request.place, self.rx.producer());
        let Some(found) = self.takers.iter_mut().find(|candidate| candidate.id == taker) else {
            return Ok(Named::Gone);
        };
        let least = found.settled.max(found.nameable);
        if !(least..producer).contains(&place) || !starts_a_frame(&self.rx, self.pieces, self.whole, place) {
            let (class, claim, most) = (self.class, place, producer.wrapping_sub(1));
            self.figures.hostile += 1;
            self.leave(taker, home);
            return Err(Hostile { taker, deed: Deed::Place, class, claim, least, most });
        }
        found.nameable = place + 1;
        if self.awaits > 0 {
            return Ok(Named::Unknown);
        }
        if self.sent.is_some() {
            return Ok(Named::Already);
        }
        let Some(mark) = Mark::of(request, sender, taker) else { return Ok(Named::Unknown) };
        Ok(if self.marks.set(place, mark) { Named::Marked } else { Named::Already })
    }

    /// Gives back, or sends, what every taker has passed. To be called again while it says that a frame waits for the next
    /// round.
    pub fn give_back(&mut self, home: &mut impl Home) -> Halt {
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
            (None, None) if self.attended => self.rx.consumer(),
            (None, None) => {
                let producer = self.rx.producer();
                self.figures.abandoned += frames(&self.rx, self.pieces, self.rx.consumer(), producer);
                producer
            }
        };
        self.give_back_to(target, home)
    }

    /// Puts frames the sender has not seen on outlet `out`. A frame that does not fit is counted and stays unsent: the
    /// wire's quota is the transmit ring.
    pub fn mirror(&mut self, out: usize, ways: &mut Ways) {
        let Some(mut sent) = self.sent else { return };
        let Some(outlet) = ways.outlets.get_mut(out).and_then(Option::as_mut) else { return };
        let producer = self.rx.producer();
        let mut frame: Fixed<Descriptor, { Descriptor::PIECES_MAX }> = Fixed::new();
        let mut next = sent;
        while next < producer {
            let descriptor = self.rx.descriptor(next);
            next += 1;
            let fits = frame.push(descriptor).is_ok();
            if fits && descriptor.is_continued() {
                continue;
            }
            let room = frame.first().is_some_and(|head| ways.on_the_way.room(head.address) >= frame.len());
            if fits && room && outlet.mirror(&frame) {
                frame.iter().for_each(|piece| ways.on_the_way.sending(piece.address));
                self.figures.mirrored += 1;
            } else {
                self.figures.mirror_full += 1;
            }
            frame.clear();
            sent = next;
        }
        self.sent = Some(sent);
    }

    fn abandon_to(&mut self, target: u64, home: &mut impl Home) {
        let target = self.sent.map_or(target, |sent| sent.min(target));
        self.figures.abandoned += frames(&self.rx, self.pieces, self.rx.consumer(), target);
        self.give_back_to(target, home); // nothing is marked: the last taker took its marks along
    }

    /// Gives [consumer, target) back, to the kernel above all. The fill ring's producer moves before the ring's consumer
    /// does, so a frame is never in neither place.
    fn give_back_to(&mut self, target: u64, home: &mut impl Home) -> Halt {
        let consumer = self.rx.consumer();
        if target == consumer {
            return Halt::Nothing;
        }
        let (next, halt) = if self.marks.is_empty() {
            (self.take_home(target, home), Halt::Nothing)
        } else {
            self.take_home_or_send(target, home)
        };
        if next == consumer {
            return halt;
        }
        self.whole = !self.pieces || !self.rx.descriptor(next - 1).is_continued();
        home.publish();
        self.figures.recycled += next - consumer;
        self.figures.finished += frames(&self.rx, self.pieces, consumer, next);
        self.rx.release(next);
        halt
    }

    /// No frame is marked: the common case.
    fn take_home(&self, target: u64, home: &mut impl Home) -> u64 {
        let mut next = self.rx.consumer();
        for descriptor in self.rx.until(target) {
            if !home.take_back(descriptor) {
                break;
            }
            next += 1;
        }
        next
    }

    /// Frame by frame, since a marked one may have to wait, and with it what lies behind.
    fn take_home_or_send(&mut self, target: u64, home: &mut impl Home) -> (u64, Halt) {
        let mut next = self.rx.consumer();
        while next < target {
            let mut pieces: Fixed<Descriptor, { Descriptor::PIECES_MAX }> = Fixed::new();
            let mut end = next;
            while end < target && pieces.push(self.rx.descriptor(end)).is_ok() {
                end += 1;
                if pieces.last().is_none_or(|piece| !piece.is_continued()) {
                    break;
                }
            }
            if let Some(mark) = self.marks.at(next) {
                match home.send(mark, &pieces) {
                    Fate::Home => {}
                    Fate::NextRound => return (next, Halt::NextRound),
                    Fate::NextTurn => return (next, Halt::NextTurn),
                    Fate::Sent => {
                        self.marks.take(next);
                        next = end;
                        continue;
                    }
                }
                self.marks.take(next);
            }
            for piece in &pieces {
                if !home.take_back(*piece) {
                    return (next, Halt::Nothing);
                }
                next += 1;
            }
        }
        (next, Halt::Nothing)
    }

    /// Shows the figures.
    pub fn show(&mut self) {
        self.write_gauges(self.rx.producer());
    }

    fn write_gauges(&mut self, producer: u64) {
        self.figures.produced = self.figures.recycled + (producer - self.rx.consumer());
        self.figures.takers = self.takers.len() as u64;
        self.takers.iter_mut().for_each(|taker| taker.show_waiting(producer - taker.accepted));
        let taken = self.takers.iter().map(|taker| (taker.taken.number, taker.taken.frames.load(Ordering::Relaxed)));
        self.gauges.write(&self.figures, taken);
    }
}

/// What stopped a ring from giving everything back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Nothing.
    Nothing,
    /// A frame waits for its sender's next round of this turn.
    NextRound,
    /// A frame waits for room on its way out.
    NextTurn,
}

/// Whether a frame begins at `place`, which is on the ring and not in front of its consumer.
fn starts_a_frame(rx: &RxOwner, pieces: bool, whole: bool, place: u64) -> bool {
    let first = place == rx.consumer();
    !pieces || if first { whole } else { !rx.descriptor(place - 1).is_continued() }
}

/// Frames among the descriptors [from, to) of `rx`: those that end there.
fn frames(rx: &RxOwner, pieces: bool, from: u64, to: u64) -> u64 {
    if pieces { (from..to).filter(|index| !rx.descriptor(*index).is_continued()).count() as u64 } else { to - from }
}
