//! Frames that a worker named: marks on a class's ring until every taker has passed the frame.
//!
//! A request becomes a mark at the frame's place. So requests wait where their frames wait: a queue of them can grow no
//! longer than the ring, needs no order of its own, and one ring's wait does not hold up the requests for another.

use weir_dataplane_ring::SendRequest;

use crate::class::TakerId;
use crate::sender::SenderId;

/// What is to be done with a frame once every taker has passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// One of [`SendRequest`]'s actions.
    pub action: u8,
    /// Who is charged with it.
    pub sender: SenderId,
    /// The worker's life in which it was asked.
    pub taker: u16,
    /// The action's target.
    pub target: u32,
}

impl Mark {
    /// No request.
    pub const NONE: Self = Self { action: 0, sender: SenderId(0), taker: 0, target: 0 };

    /// The mark of a request; `None` for an action there is none of.
    #[must_use]
    pub fn of(request: &SendRequest, sender: SenderId, taker: TakerId) -> Option<Self> {
        let action = u8::try_from(request.action).ok().filter(|action| (1..=3).contains(action))?;
        Some(Self { action, sender, taker: taker.0 as u16, target: request.target }) // the low bits tell lives apart
    }
}

/// A mark for each slot of a ring.
pub struct Marks {
    slots: Box<[Mark]>,
    set: u32,
}

impl Marks {
    /// For a ring of `size` slots, a power of two.
    #[must_use]
    pub fn new(size: u32) -> Self {
        Self { slots: vec![Mark::NONE; size.max(1) as usize].into_boxed_slice(), set: 0 }
    }

    /// Whether no frame is marked.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.set == 0
    }

    fn slot(&mut self, place: u64) -> &mut Mark {
        let mask = self.slots.len() as u64 - 1;
        &mut self.slots[(place & mask) as usize] // below the length, which is a power of two
    }

    /// The mark at `place`.
    #[must_use]
    pub fn at(&mut self, place: u64) -> Option<Mark> {
        Some(*self.slot(place)).filter(|mark| mark.action != 0)
    }

    /// Marks `place`; false when it has a mark already.
    pub fn set(&mut self, place: u64, mark: Mark) -> bool {
        let slot = self.slot(place);
        if slot.action != 0 {
            return false;
        }
        *slot = mark;
        self.set += 1;
        true
    }

    /// Takes the mark off `place`.
    pub fn take(&mut self, place: u64) -> Option<Mark> {
        let mark = std::mem::replace(self.slot(place), Mark::NONE);
        if mark.action == 0 {
            return None;
        }
        self.set -= 1;
        Some(mark)
    }
}

/// What a look at a request found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The frame is marked.
    Marked,
    /// It was named before, or is on its way already.
    Already,
    /// The taker is not on this ring any more.
    Gone,
    /// There is no such action, or frames of this ring cannot be named.
    Unknown,
    /// It is a message of a stream.
    Stream,
}
