//! The ledger: what becomes of frames, in memory that outlives the process, so that its successor can tell what died with it.
//!
//! The classifier counts on while a dataplane dies; the rings and the kernel's statistics of them go with it. So the pool
//! writes into its ring's [`Entry`] what it has finished, once for each wake-up, and another thread notes now and then what
//! the kernel says it dropped. The successor asks the classifier what it had delivered to each class: what its predecessor
//! neither finished nor saw dropped was lost with it. That sum goes into the page of the new life, and one word chooses it.
//!
//! ```text
//! layout, life, turns │ page of even lives │ page of odd lives
//! page: rings; delivered before, by class; lost before, by cause: delivered, mirrored; taken before, by taker; entries
//! ```
//!
//! What was finished and not yet seen by the pool counts as lost; what a mirror class had on a transmit ring, as sent.

use std::sync::Arc;

use weir_dataplane_ring::{LastFigures, Memory, RingError, SharedWords};

use crate::class::MAX_TAKERS;
use crate::gauges::RingFigures;

/// Classes whose frames the classifier counts.
pub const CLASSES: usize = 64;
/// Rings that there can be: 64 queues with a ring for each class.
const MAX_RINGS: usize = 64 * CLASSES;
/// The first word: what lies behind it is laid out as this file says.
const LAYOUT: u64 = u64::from_le_bytes(*b"weirled3");
/// Words in front of the pages.
const HEAD: usize = 3;
/// The word that counts the pool's turns.
const TURNS: usize = 2;
/// Figures that are written together for a ring: finished, abandoned, mirrored, not mirrored, and what each taker has.
const FIGURES: usize = 4 + MAX_TAKERS;
/// Words of a ring that are written each for itself: whose it is, and what the kernel dropped at it.
const NOTES: usize = 3;
/// Words of an entry.
const ENTRY: usize = NOTES + LastFigures::<FIGURES>::WORDS;
/// Causes in [`Lost`].
const CAUSES: usize = 5;
/// Words of a page in front of its entries.
const FRONT: usize = 1 + CLASSES + 2 * CAUSES + MAX_TAKERS;
/// Words of a page.
const PAGE: usize = FRONT + MAX_RINGS * ENTRY;

/// Frames that were redirected to rings and did not get to a taker, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The ring was full.
    pub ring_full: u64,
    /// No frame was lent, or the copy failed.
    pub no_frame: u64,
    /// The last taker died with it on its ring. Not counted where the frame is mirrored: that went on its way.
    pub taker_died: u64,
    /// There was no room to send it on.
    pub mirror_full: u64,
    /// The dataplane died before it was finished.
    pub dataplane_died: u64,
}

impl Lost {
    /// All that the kernel dropped at the ring.
    #[must_use]
    pub fn by_kernel(&self) -> u64 {
        self.ring_full + self.no_frame
    }
}

/// What the lives before this one have left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Of frames for takers.
    pub delivered: Lost,
    /// Of mirrored frames.
    pub mirrored: Lost,
    /// Frames that each taker had finished, by its number.
    pub taken: [u64; MAX_TAKERS],
}

/// A ring that the ledger is kept of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookedRing {
    /// Its class.
    pub class: u8,
    /// Whether its frames are sent on as well.
    pub mirrors: bool,
}

/// Why a ledger cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Less memory than [`Ledger::LENGTH`].
    #[error("the ledger's memory: {0}")]
    Memory(#[from] RingError),
    /// More rings than there can be.
    #[error("{0} rings, the ledger has room for {MAX_RINGS}; use fewer queues")]
    TooManyRings(usize),
}

/// The ledger of one life.
pub struct Ledger {
    notes: Vec<SharedWords>,
    past: Past,
}

impl Ledger {
    /// Bytes of memory that it takes. Only those of rings that are there are touched.
    pub const LENGTH: usize = (HEAD + 2 * PAGE) * 8;

    /// Closes the predecessor's books and opens those of a life with `rings`; gives the entry of each. `delivered` is what the classifier has
    /// redirected to each class, asked after the predecessor's sockets were gone and before there are others. Memory of
    /// another layout is as new, and so is all when the classifier counts anew. A death in the middle leaves the books as
    /// they were.
    ///
    /// # Errors
    /// The memory is too short, or there are too many rings.
    pub fn open(
        memory: &Arc<dyn Memory>,
        delivered: &[u64; CLASSES],
        rings: &[BookedRing],
    ) -> Result<(Self, Vec<Entry>), LedgerError> {
        if rings.len() > MAX_RINGS {
            return Err(LedgerError::TooManyRings(rings.len()));
        }
        let head = SharedWords::at(memory, 0, HEAD)?;
        let life = head.get(1);
        let past = match head.get(0) {
            LAYOUT => Page::at(memory, life)?.close(memory, delivered)?,
            _ => Past::default(),
        };
        let next = Page::at(memory, life.wrapping_add(1))?;
        next.open(delivered, &past, rings.len());
        let (mut notes, mut entries) = (Vec::with_capacity(rings.len()), Vec::with_capacity(rings.len()));
        for (index, ring) in rings.iter().enumerate() {
            let entry = SharedWords::at(memory, next.entry(index), ENTRY)?;
            (0..ENTRY).for_each(|word| entry.set(word, 0));
            entry.set(0, u64::from(ring.class) << 1 | u64::from(ring.mirrors));
            notes.push(SharedWords::at(memory, next.entry(index), NOTES)?);
            entries.push(Entry(LastFigures::at(memory, next.entry(index) + NOTES)?));
        }
        head.set(1, life.wrapping_add(1));
        head.set(0, LAYOUT);
        Ok((Self { notes, past }, entries))
    }

    /// What the lives before this one have left.
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// Notes what the kernel says that it has dropped at ring `index`.
    pub fn note(&self, index: usize, ring_full: u64, no_frame: u64) {
        if let Some(notes) = self.notes.get(index) {
            notes.raise(1, ring_full);
            notes.raise(2, no_frame);
        }
    }
}

/// How often the pool has turned, over all lives: whoever keeps the memory sees from outside whether it still does.
pub struct Turns(SharedWords);

impl Turns {
    /// Those of the ledger in `memory`.
    ///
    /// # Errors
    /// The memory is too short.
    pub fn at(memory: &Arc<dyn Memory>) -> Result<Self, RingError> {
        SharedWords::at(memory, TURNS, 1).map(Self)
    }

    /// The turns so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.get(0)
    }

    /// One more. Only the pool's thread calls it, so load and store need not be one step.
    pub(crate) fn turned(&self) {
        self.0.set(0, self.count().wrapping_add(1));
    }
}

/// Where the pool writes what becomes of one ring.
pub struct Entry(LastFigures<FIGURES>);

impl Entry {
    /// `taken` has the numbers of living takers with what they have finished; who has gone stays as he was.
    pub(crate) fn write(&self, figures: &RingFigures, taken: impl Iterator<Item = (usize, u64)>) {
        let mut words = self.0.last();
        let [finished, abandoned, mirrored, mirror_full, all @ ..] = &mut words;
        (*finished, *abandoned) = (figures.finished, figures.abandoned);
        (*mirrored, *mirror_full) = (figures.mirrored, figures.mirror_full);
        for (number, frames) in taken {
            if let Some(place) = all.get_mut(number) {
                *place = frames;
            }
        }
        self.0.write(&words);
    }
}

/// The page of one life.
struct Page {
    start: usize,
    front: SharedWords,
}

impl Page {
    fn at(memory: &Arc<dyn Memory>, life: u64) -> Result<Self, RingError> {
        let start = HEAD + (life & 1) as usize * PAGE;
        Ok(Self { start, front: SharedWords::at(memory, start, FRONT)? })
    }

    /// The first word of entry `index`.
    fn entry(&self, index: usize) -> usize {
        self.start + FRONT + index * ENTRY
    }

    fn open(&self, delivered: &[u64; CLASSES], past: &Past, rings: usize) {
        let causes = |lost: &Lost| {
            [lost.ring_full, lost.no_frame, lost.taker_died, lost.mirror_full, lost.dataplane_died].into_iter()
        };
        let words = std::iter::once(rings as u64).chain(*delivered);
        let words = words.chain(causes(&past.delivered)).chain(causes(&past.mirrored)).chain(past.taken);
        words.enumerate().for_each(|(at, word)| self.front.set(at, word));
    }

    /// What a life that is over has left, with what was left to it.
    fn close(&self, memory: &Arc<dyn Memory>, delivered: &[u64; CLASSES]) -> Result<Past, RingError> {
        let lost = |at: usize| {
            let word = |cause| self.front.get(1 + CLASSES + at + cause);
            let (ring_full, no_frame, taker_died) = (word(0), word(1), word(2));
            Lost { ring_full, no_frame, taker_died, mirror_full: word(3), dataplane_died: word(4) }
        };
        let taken = std::array::from_fn(|number| self.front.get(1 + CLASSES + 2 * CAUSES + number));
        let mut past = Past { delivered: lost(0), mirrored: lost(CAUSES), taken };
        // What the ledger knows to have been delivered to each class, and whether that class mirrors.
        let mut known: [u64; CLASSES] = std::array::from_fn(|class| self.front.get(1 + class));
        let mut mirroring = [false; CLASSES];
        for index in 0..(self.front.get(0) as usize).min(MAX_RINGS) {
            let notes = SharedWords::at(memory, self.entry(index), NOTES)?;
            let figures = LastFigures::<FIGURES>::at(memory, self.entry(index) + NOTES)?.last();
            let [finished, abandoned, mirrored, mirror_full, takers @ ..] = figures;
            let (class, mirrors) = ((notes.get(0) >> 1) as usize % CLASSES, notes.get(0) & 1 == 1);
            let (ring_full, no_frame) = (notes.get(1), notes.get(2));
            let lost = if mirrors { &mut past.mirrored } else { &mut past.delivered };
            lost.ring_full += ring_full;
            lost.no_frame += no_frame;
            lost.mirror_full += mirror_full;
            lost.taker_died += if mirrors { 0 } else { abandoned };
            let met = if mirrors { mirrored + mirror_full } else { finished };
            known[class] += met + ring_full + no_frame;
            mirroring[class] = mirrors;
            past.taken.iter_mut().zip(takers).for_each(|(most, taken)| *most = taken.max(*most));
        }
        // Other counters than those of before, since pins were removed: nothing of before is among what they count.
        if delivered.iter().zip(&known).any(|(delivered, known)| delivered < known) {
            return Ok(Past::default());
        }
        for ((delivered, known), mirrors) in delivered.iter().zip(known).zip(mirroring) {
            let lost = if mirrors { &mut past.mirrored } else { &mut past.delivered };
            lost.dataplane_died += delivered - known;
        }
        Ok(past)
    }
}

#[cfg(test)]
mod tests {
    use weir_dataplane_ring::HeapMemory;

    use super::*;

    const PLAIN: BookedRing = BookedRing { class: 2, mirrors: false };
    const MIRROR: BookedRing = BookedRing { class: 3, mirrors: true };

    /// A box: what its classifier has delivered.
    struct Model {
        memory: Arc<dyn Memory>,
        delivered: [u64; CLASSES],
    }

    impl Model {
        fn new() -> Self {
            Self { memory: HeapMemory::zeroed(Ledger::LENGTH), delivered: [0; CLASSES] }
        }

        fn life(&self, rings: &[BookedRing]) -> (Ledger, Vec<Entry>) {
            Ledger::open(&self.memory, &self.delivered, rings).expect("a ledger")
        }

        fn past(&self, rings: &[BookedRing]) -> Past {
            *self.life(rings).0.past()
        }
    }

    #[test]
    fn what_was_neither_finished_nor_seen_dropped_died_with_the_life() {
        let mut model = Model::new();
        let (ledger, entries) = model.life(&[PLAIN, PLAIN]);
        assert_eq!(*ledger.past(), Past::default());
        model.delivered[2] = 1_000;
        let [one, two] = &entries[..] else { panic!("an entry for each ring") };
        one.write(&RingFigures { finished: 500, abandoned: 20, ..RingFigures::default() }, [(0, 480)].into_iter());
        two.write(&RingFigures { finished: 300, ..RingFigures::default() }, [(0, 780), (4, 12)].into_iter());
        ledger.note(0, 40, 3);
        ledger.note(2, 9, 9); // there is no such ring
        let lost = Lost { ring_full: 40, no_frame: 3, taker_died: 20, dataplane_died: 157, ..Lost::default() };
        let expected =
            Past { delivered: lost, mirrored: Lost::default(), taken: [780, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0] };
        assert_eq!(model.past(&[PLAIN]), expected);
        assert_eq!(1_000 - (40 + 3 + 20 + 157), expected.taken[0], "delivered = taken + lost");
        // A life that sees no frame adds nothing; the one behind it has all that was before.
        assert_eq!(model.past(&[]), expected);
        model.delivered[2] += 7;
        let lost = Lost { dataplane_died: 164, ..lost };
        assert_eq!(model.past(&[PLAIN]), Past { delivered: lost, ..expected });
    }

    #[test]
    fn a_mirrored_frame_that_was_sent_on_is_not_lost() {
        let mut model = Model::new();
        let (ledger, entries) = model.life(&[MIRROR]);
        model.delivered[3] = 100;
        let figures =
            RingFigures { mirrored: 60, mirror_full: 5, abandoned: 50, finished: 62, ..RingFigures::default() };
        entries[0].write(&figures, std::iter::empty());
        ledger.note(0, 10, 0);
        let lost = Lost { ring_full: 10, mirror_full: 5, dataplane_died: 25, ..Lost::default() };
        assert_eq!(model.past(&[MIRROR]), Past { mirrored: lost, ..Past::default() });
    }

    #[test]
    fn counters_that_begin_again_begin_the_ledger_again() {
        let mut model = Model::new();
        let (_ledger, entries) = model.life(&[PLAIN]);
        model.delivered[2] = 10;
        let figures = RingFigures { finished: 4, ..RingFigures::default() };
        entries[0].write(&figures, [(0, 4)].into_iter());
        model.delivered[2] = 3;
        assert_eq!(model.past(&[PLAIN]), Past::default());
        // What they had counted before the ledger began is nobody's to account for.
        assert_eq!(model.past(&[PLAIN]), Past::default());
    }

    #[test]
    fn turns_go_on_over_lives_and_leave_the_books_alone() {
        let mut model = Model::new();
        let (_ledger, entries) = model.life(&[PLAIN]);
        let turns = Turns::at(&model.memory).expect("they fit");
        (0..3).for_each(|_| turns.turned());
        model.delivered[2] = 10;
        entries[0].write(&RingFigures { finished: 4, ..RingFigures::default() }, [(0, 4)].into_iter());
        let past = model.past(&[PLAIN]);
        assert_eq!((past.taken[0], past.delivered.dataplane_died), (4, 6));
        turns.turned();
        assert_eq!(turns.count(), 4, "a successor counts on");
    }

    #[test]
    fn a_death_while_the_books_are_opened_leaves_them_as_they_were() {
        let mut model = Model::new();
        let (ledger, _) = model.life(&[PLAIN]);
        model.delivered[2] = 10;
        ledger.note(0, 4, 0);
        let words = SharedWords::at(&model.memory, 0, HEAD).expect("they fit");
        let life = words.get(1);
        let first = model.past(&[PLAIN]);
        words.set(1, life); // as if it had died before the last store
        let second = model.past(&[PLAIN, PLAIN]);
        assert_eq!((second.delivered.dataplane_died, second), (6, first));
    }
}
