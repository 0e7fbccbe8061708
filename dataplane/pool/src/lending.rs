//! Which of a queue's frames at home are lent to the kernel: all of them, or, while very many pass, only as many as it needs soon.
//!
//! The fill ring is a queue, so the kernel takes frames in the order in which they were lent. When thousands are lent each has
//! left every cache by the time its turn comes, and the kernel's copy into it waits for memory: with four classes that was a third
//! of the core that receives. So under load a frame that comes home waits in a pile of the pool's, on top of the others, and
//! the kernel is lent the last that came, twice what it took in the busiest window of late.
//!
//! Hardly anybody is left without for it. A quiet queue is lent everything, so a burst finds all frames there are; only a window in
//! which a frame came for every microsecond begins to hold back, and then the pool looks again after [`Lending::LOOK`] at the
//! latest, whether somebody wakes it or not. A pool that comes late all the same, since the machine is in other hands, learns from it:
//! a window that took most of what was lent is lent three times as much, and a queue that ran dry everything, for a minute. A
//! driver that fills its own descriptors takes what it gets: there nothing is held back.

use std::time::Duration;

use weir_dataplane_ring::FillRing;

/// The fill ring of a queue, and the frames that wait in front of it.
pub struct Lending {
    fill: FillRing,
    /// The last that came home is on top.
    pile: Vec<u64>,
    /// Something was put on the fill ring that the kernel was not shown.
    unseen: bool,
    window: Option<Window>,
}

/// What the kernel took since some time.
struct Window {
    since_ns: u64,
    /// Frames on the fill ring at its begin, and lent since.
    lent: u32,
    /// What was taken in the busiest window of late: forgotten by an eighth with each.
    peak: u32,
    /// Frames to be lent at a time; the fill ring's size for all of them.
    wanted: u32,
    /// What is lent at the least, by what the pool's own lateness has taught, and until when that holds.
    least: u32,
    least_until_ns: u64,
}

impl Lending {
    /// How soon the pool has to look again while frames are held back. What is lent at the least lasts twice as long at
    /// five million frames a second, which is more than a core copies.
    pub const LOOK: Duration = Duration::from_micros(100);
    /// Frames that are lent at the least.
    const LEAST: u32 = 1024;
    /// For how long it is remembered that much was needed, in nanoseconds; then half of it for as long.
    const REMEMBERED_NS: u64 = 60_000_000_000;
    /// Shortest window, in nanoseconds.
    const WINDOW_NS: u64 = Self::LOOK.as_nanos() as u64;
    /// A window is busy when the kernel took a frame for each of so many of its nanoseconds.
    const BUSY_NS: u64 = 1_000;

    /// Lends all there are at all times.
    #[must_use]
    pub fn all(fill: FillRing) -> Self {
        Self { fill, pile: Vec::new(), unseen: false, window: None }
    }

    /// Holds back what is not needed soon, of `frames`. For drivers from whose memory the kernel copies.
    #[must_use]
    pub fn sparing(fill: FillRing, frames: u32) -> Self {
        let (wanted, least) = (fill.size(), Self::LEAST);
        let window = Window { since_ns: 0, lent: 0, peak: 0, wanted, least, least_until_ns: 0 };
        Self { fill, pile: Vec::with_capacity(frames as usize), unseen: false, window: Some(window) }
    }

    /// A frame that is at home again; false when there is no room for it, which the frame budget rules out.
    #[inline]
    pub fn push(&mut self, address: u64) -> bool {
        match self.window {
            None => {
                self.unseen = true;
                self.fill.push(address).is_ok()
            }
            Some(_) if self.pile.len() == self.pile.capacity() => false,
            Some(_) => {
                self.pile.push(address);
                true
            }
        }
    }

    /// Lends what is to be lent now.
    pub fn lend(&mut self) {
        if let Some(window) = &mut self.window
            && !self.pile.is_empty()
        {
            let on_it = self.fill.size() - self.fill.free();
            let count = (window.wanted.saturating_sub(on_it) as usize).min(self.pile.len());
            for address in self.pile.drain(self.pile.len() - count..).rev() {
                let _ = self.fill.push(address); // the fill ring has room for every frame
            }
            window.lent += count as u32; // at most the fill ring's size
            self.unseen |= count > 0;
        }
        // The kernel reads this word on another core.
        if std::mem::take(&mut self.unseen) {
            self.fill.publish();
        }
    }

    /// Begins a turn at `now_ns`: settles how many frames are to be lent.
    pub fn begin(&mut self, now_ns: u64) {
        let Some(window) = &mut self.window else { return };
        let took_ns = now_ns.saturating_sub(window.since_ns);
        if took_ns < Self::WINDOW_NS {
            return;
        }
        let on_it = self.fill.size() - self.fill.free();
        let taken = window.lent.saturating_sub(on_it);
        let busy = u64::from(taken) * Self::BUSY_NS >= took_ns;
        // The pool was late, or many came at once: next time there is room for it.
        let late = match on_it {
            0 => self.fill.size(),
            _ if taken > window.wanted / 4 * 3 => taken.saturating_mul(3),
            _ => 0,
        };
        if late > 0 && (busy || on_it == 0) {
            window.least = window.least.max(late).min(self.fill.size());
            window.least_until_ns = now_ns + Self::REMEMBERED_NS;
        } else if now_ns >= window.least_until_ns {
            window.least = Self::LEAST.max(window.least / 2);
            window.least_until_ns = now_ns + Self::REMEMBERED_NS;
        }
        window.peak = taken.max(window.peak - window.peak.div_ceil(8));
        window.wanted = if busy { window.least.max(window.peak.saturating_mul(2)) } else { self.fill.size() };
        (window.since_ns, window.lent) = (now_ns, on_it);
    }

    /// Whether frames are held back, so that the pool must not sleep for longer than [`Lending::LOOK`].
    #[must_use]
    pub fn holds_back(&self) -> bool {
        !self.pile.is_empty()
    }

    /// Frames that are lent, and frames that are held back.
    pub fn figures(&mut self) -> (u32, u32) {
        (self.fill.size() - self.fill.free(), self.pile.len() as u32) // no more than there are frames
    }
}
