//! A way out of the box: a transmit ring, the socket that is kicked to empty it, and a fair order among who sends there.

use weir_dataplane_io::xdp::Socket;
use weir_dataplane_ring::{Descriptor, TxRing};

use crate::sender::{MAX_SENDERS, SenderId};

/// Makes the kernel look at a transmit ring.
pub trait Kick: Send {
    /// Sends some of what is on the ring, or nothing: the kernel may be busy, or the interface away.
    fn kick(&self);
}

impl Kick for Socket {
    fn kick(&self) {
        // What it says does not tell "there is more" from "not now" (both are EAGAIN); the ring does.
        let _ = Socket::kick(self);
    }
}

/// Bytes that each sender may put on a contended ring in one round. Small against a ring, so that a turn's few hundred slots
/// are shared evenly; a frame that is larger waits for some rounds of the same turn.
const QUANTUM: u32 = 2048;
/// The same for a sender that nobody competes with, so that it does not need a round for each long frame.
const ALONE: u32 = 8 * QUANTUM;

/// Kicks tried in one turn: in copy mode the kernel sends at least 32 frames for each, so this empties a ring of 2048.
const KICKS: usize = 64;

/// How long senders wait for a ring that takes nothing. Then their frames are given up, counted, so that an interface which
/// is away does not hold the rings of everyone who takes the same class.
const STUCK_NS: u64 = 100_000_000;

/// A transmit ring and who wants to use it.
pub struct Outlet {
    ring: TxRing,
    kick: Box<dyn Kick>,
    /// Frames were put on the ring since the last kick that emptied it.
    waiting: bool,
    /// Credit of each sender in bytes (deficit round robin).
    credit: [u32; MAX_SENDERS],
    /// Senders that had more to send than credit, in this round.
    starved: u16,
    /// Senders that had a frame for this way out which has not gone yet, in this turn.
    backlog: u16,
    /// The same, in the last turn.
    behind: u16,
    /// A frame found too few slots in this turn: shorter ones behind it must not slip in, or they always would.
    closed: bool,
    /// Mirrored frames leave here: they have half the ring while both are at work.
    mirrors: bool,
    /// Since when nothing has moved although somebody waits.
    stuck_since_ns: Option<u64>,
}

const _: () = assert!(MAX_SENDERS <= 16, "a bit for each sender");

/// What an outlet says to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It may go.
    Yes,
    /// Its sender has used up its round.
    NextRound,
    /// The ring is full.
    NextTurn,
    /// The ring has been full for too long.
    Never,
}

impl Outlet {
    /// An empty ring and what empties it.
    #[must_use]
    pub fn new(ring: TxRing, kick: Box<dyn Kick>) -> Self {
        Self {
            ring,
            kick,
            waiting: false,
            credit: [0; MAX_SENDERS],
            starved: 0,
            backlog: 0,
            behind: 0,
            closed: false,
            mirrors: false,
            stuck_since_ns: None,
        }
    }

    /// Begins a turn: who waited goes on with what it had, who did not begins afresh.
    pub(crate) fn begin(&mut self) {
        self.behind = std::mem::take(&mut self.backlog);
        (self.starved, self.closed) = (0, false);
        for (index, credit) in self.credit.iter_mut().enumerate() {
            if self.behind >> index & 1 == 0 {
                *credit = QUANTUM;
            }
        }
    }

    /// Begins a round within a turn; true when somebody waits for it. While the ring is full the round that it cut short
    /// goes on with the next turn: whoever still had credit comes first then.
    pub(crate) fn next_round(&mut self) -> bool {
        if self.closed {
            return false;
        }
        let starved = std::mem::take(&mut self.starved);
        self.backlog &= !starved; // it is set again where the round is not enough
        let quantum = if starved.is_power_of_two() { ALONE } else { QUANTUM };
        for (index, credit) in self.credit.iter_mut().enumerate() {
            if starved >> index & 1 == 1 {
                *credit = credit.saturating_add(quantum);
            }
        }
        starved != 0
    }

    /// Whether somebody waits for room.
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting || self.backlog != 0
    }

    /// Whether a frame of `pieces` descriptors and `bytes` may go now. `elsewhere` is false when the frame's queue has as
    /// many frames away as its budget allows.
    pub(crate) fn room(&mut self, sender: SenderId, pieces: usize, bytes: u32, elsewhere: bool, now_ns: u64) -> Room {
        let index = usize::from(sender.0).min(MAX_SENDERS - 1);
        let reserved = if self.mirrors { self.ring.size() / 2 } else { 0 };
        self.closed |= (self.ring.free().saturating_sub(reserved) as usize) < pieces;
        if self.closed || !elsewhere {
            let since = *self.stuck_since_ns.get_or_insert(now_ns);
            if now_ns.saturating_sub(since) > STUCK_NS {
                return Room::Never;
            }
            self.backlog |= 1 << index;
            return Room::NextTurn;
        }
        if self.credit[index] < bytes {
            self.starved |= 1 << index;
            self.backlog |= 1 << index;
            return Room::NextRound;
        }
        Room::Yes
    }

    /// Puts a feature's frame on the ring. There is room: [`Outlet::room`] said so.
    pub(crate) fn send(&mut self, sender: SenderId, pieces: &[Descriptor], bytes: u32) {
        let index = usize::from(sender.0).min(MAX_SENDERS - 1);
        self.credit[index] = self.credit[index].saturating_sub(bytes);
        self.push(pieces);
    }

    /// Puts a mirrored frame on the ring, unless features wait for it and the mirror's half is used up.
    pub(crate) fn mirror(&mut self, pieces: &[Descriptor]) -> bool {
        self.mirrors = true;
        let reserved = if self.behind != 0 { self.ring.size() / 2 } else { 0 };
        let fits = self.ring.free().saturating_sub(reserved) as usize >= pieces.len();
        if fits {
            self.push(pieces);
        }
        fits
    }

    fn push(&mut self, pieces: &[Descriptor]) {
        for piece in pieces {
            // Of the options only "goes on" means the same in both directions.
            let options = piece.options & Descriptor::CONTINUED;
            let _ = self.ring.push(Descriptor { options, ..*piece });
        }
        self.waiting = true;
    }

    /// The kernel has sent something.
    pub(crate) fn moved(&mut self) {
        self.stuck_since_ns = None;
    }

    /// Shows the kernel what was put on the ring and makes it send: one round of kicks for everybody. A kick sends a limited
    /// number of frames, so it is repeated until the ring is empty or a kick moved nothing.
    pub fn flush(&mut self) {
        if !self.waiting {
            return;
        }
        self.ring.publish();
        let mut free = self.ring.free();
        for _ in 0..KICKS {
            if free == self.ring.size() {
                break;
            }
            self.kick.kick();
            let before = std::mem::replace(&mut free, self.ring.free());
            if free == before {
                break;
            }
        }
        self.waiting = free != self.ring.size();
    }
}
