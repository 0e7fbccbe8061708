//! One queue of one interface: the fill ring, the completion ring and a ring for each class.

use std::sync::Arc;

use weir_dataplane_ring::{CompletionRing, SendRequest};

use crate::class::{ClassRing, Halt, Hostile, Joining, Lent, TakerId};
use crate::gauges::QueueGauges;
use crate::lending::Lending;
use crate::outlet::Outlet;
use crate::send::Named;
use crate::sender::SenderId;
use crate::ways::Ways;

/// A queue as it was bound.
pub struct Queue {
    /// Position of the queue in the pool; frames belong to one queue for good.
    pub index: usize,
    /// The queue's frames at home, and its fill ring; only the pool's thread writes it.
    pub fill: Lending,
    /// Frames the kernel has sent.
    pub completion: CompletionRing,
    /// Where frames leave, if this queue sends any. The pool moves it to its other ways out.
    pub tx: Option<Outlet>,
    /// The queue whose outlet answers leave by: the first one of the same interface.
    pub arrival: usize,
    /// A ring for each class.
    pub classes: Vec<QueueClass>,
    /// Where its frames are, for other threads.
    pub gauges: Arc<QueueGauges>,
}

/// A class's ring and where its mirrored frames leave.
pub struct QueueClass {
    /// The ring.
    pub ring: ClassRing,
    /// Index of the queue whose outlet the sender uses, for a mirror class.
    pub outlet: Option<usize>,
}

/// The first address of each queue's share of the frame memory, and the frame size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Frames of each queue.
    pub frames_per_queue: u32,
    /// log2 of the frame size in bytes.
    pub frame_shift: u32,
    /// Most frames of one queue on transmit rings, over all of them; see [`crate::budget::QueueBudget::on_the_way`].
    pub on_the_way: u32,
}

impl Shares {
    /// Index of the queue to which the frame at `address` belongs.
    #[must_use]
    pub fn home(&self, address: u64) -> usize {
        ((address >> self.frame_shift) / u64::from(self.frames_per_queue.max(1))) as usize
    }

    /// Addresses of the frames of queue `index`.
    pub fn addresses(&self, index: usize) -> impl Iterator<Item = u64> + use<> {
        let (first, shift) = (index as u64 * u64::from(self.frames_per_queue), self.frame_shift);
        (first..first + u64::from(self.frames_per_queue)).map(move |frame| frame << shift)
    }
}

impl Queue {
    /// Lends all of the queue's frames to the kernel, before the first frame arrives.
    pub fn lend_all(&mut self, shares: &Shares) {
        for address in shares.addresses(self.index) {
            if !self.fill.push(address) {
                break; // The budget gives the fill ring at least as many slots as frames.
            }
        }
        self.fill.lend();
    }

    /// Reads what the takers of every class have finished; `on_hostile` hears of each worker that lied.
    pub fn accept(&mut self, ways: &mut Ways, on_hostile: &mut impl FnMut(Hostile)) {
        let (classes, mut home) = self.lend(ways);
        classes.iter_mut().filter_map(|class| class.ring.accept(&mut home)).for_each(on_hostile);
    }

    fn lend<'a>(&'a mut self, ways: &'a mut Ways) -> (&'a mut [QueueClass], Lent<'a>) {
        let Self { fill, classes, arrival, .. } = self;
        (classes, Lent { fill, ways, arrival: *arrival })
    }

    /// Marks a frame of the class at `class`, as [`ClassRing::name`] does.
    ///
    /// # Errors
    /// [`Hostile`] for a place that is not the taker's to name.
    pub fn name(
        &mut self,
        class: usize,
        taker: TakerId,
        request: &SendRequest,
        sender: SenderId,
        ways: &mut Ways,
    ) -> Result<Named, Hostile> {
        let (classes, mut home) = self.lend(ways);
        let Some(class) = classes.get_mut(class) else { return Ok(Named::Unknown) };
        class.ring.name(taker, request, sender, &mut home)
    }

    /// Gives back or sends what every taker of every class has passed; true when a frame waits for the next round.
    pub fn give_back(&mut self, ways: &mut Ways) -> bool {
        let (classes, mut home) = self.lend(ways);
        let mut again = false;
        for class in classes {
            again |= class.ring.give_back(&mut home) == Halt::NextRound;
        }
        again
    }

    /// Lets a taker take `class`, if the queue has it; gives the place where it begins.
    ///
    /// # Errors
    /// When the class has no room for another taker.
    pub fn join(&mut self, class: u8, joining: Joining, ways: &mut Ways) -> Result<Option<u64>, TakerId> {
        let (classes, mut home) = self.lend(ways);
        let Some(found) = classes.iter_mut().find(|candidate| candidate.ring.class() == class) else { return Ok(None) };
        found.ring.join(joining, &mut home).map(Some)
    }

    /// Removes `id` from all classes.
    pub fn leave(&mut self, id: TakerId, ways: &mut Ways) {
        let (classes, mut home) = self.lend(ways);
        classes.iter_mut().for_each(|class| class.ring.leave(id, &mut home));
    }

    /// Shows where the frames are.
    pub fn show(&mut self, ways: &Ways) {
        self.classes.iter_mut().for_each(|class| class.ring.show());
        let (lent, held_back) = self.fill.figures();
        self.gauges.write(lent, held_back, ways.on_the_way.away(self.index));
    }
}
