//! One queue of one interface: the fill ring, the completion ring and a ring for each class.

use std::sync::Arc;

use weir_dataplane_io::xdp::Socket;
use weir_dataplane_ring::{CompletionRing, FillRing, TxRing};

use crate::class::{ClassRing, Hostile, Joining, Lent, TakerId};
use crate::transmit::OnTheWay;

/// A queue as it was bound.
pub struct Queue {
    /// Position of the queue in the pool; frames belong to one queue for good.
    pub index: usize,
    /// The queue's fill ring; only the pool's thread writes it.
    pub fill: FillRing,
    /// Frames the kernel has sent.
    pub completion: CompletionRing,
    /// Where mirrored frames leave, if this queue sends any.
    pub tx: Option<Outlet>,
    /// A ring for each class.
    pub classes: Vec<QueueClass>,
}

/// A transmit ring and the socket that is kicked to empty it.
pub struct Outlet {
    /// The ring.
    pub ring: TxRing,
    /// Its socket; shared with who reads its statistics.
    pub socket: Arc<Socket>,
    /// True when frames were put on the ring since the last kick.
    pub waiting: bool,
}

/// Kicks tried in one turn: in copy mode the kernel sends 32 frames for each, so this empties a ring of 2048.
const KICKS: usize = 64;

impl Outlet {
    /// Makes the kernel send. True when frames may be left on the ring: the kernel was busy, or the interface is away,
    /// and the next turn tries again.
    pub fn kick(&mut self) -> bool {
        for _ in 0..KICKS {
            if self.ring.free() == self.ring.size() {
                return false;
            }
            if !self.socket.kick().is_ok_and(|taken| taken) {
                break;
            }
        }
        self.ring.free() != self.ring.size()
    }
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
            if self.fill.push(address).is_err() {
                break; // The budget gives the fill ring at least as many slots as frames.
            }
        }
        self.fill.publish();
    }

    /// Gives back what every class's takers have passed; `on_hostile` hears of each worker that lied.
    pub fn recycle(&mut self, on_the_way: &mut OnTheWay, on_hostile: &mut impl FnMut(Hostile)) {
        let Self { fill, classes, .. } = self;
        for class in classes {
            if let Some(found) = class.ring.recycle(&mut Lent { fill, on_the_way }) {
                on_hostile(found);
            }
        }
    }

    /// Lets a taker take `class`, if the queue has it; gives the place where it begins.
    ///
    /// # Errors
    /// When the class has no room for another taker.
    pub fn join(&mut self, class: u8, joining: Joining, on_the_way: &mut OnTheWay) -> Result<Option<u64>, TakerId> {
        let Self { fill, classes, .. } = self;
        let Some(found) = classes.iter_mut().find(|candidate| candidate.ring.class() == class) else { return Ok(None) };
        found.ring.join(joining, &mut Lent { fill, on_the_way }).map(Some)
    }

    /// Removes `id` from all classes.
    pub fn leave(&mut self, id: TakerId) {
        for class in &mut self.classes {
            class.ring.leave(id);
        }
    }
}
