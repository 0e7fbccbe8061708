//! Two pages between a taker and its owner: one the taker writes (cursors, heartbeat), one the owner writes (stop, floors).
//!
//! Each is 32 lines of 128 bytes, because neighbouring 64-byte lines are fetched in pairs and a word that changes at
//! frame rate wants a line of its own.
//!
//! | line | cursor page (taker writes) | owner page (owner writes, taker maps it read-only) |
//! |---|---|---|
//! | 0 | cursor of ring 0 | stop, delay |
//! | 1..=30 | cursors of rings 1..=30 | floors of rings 0..=29 |
//! | 31 | heartbeat, kicks, 14 counters | floor of ring 30 |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::memory::{Memory, RingError, SharedSlots};

/// Length of either page in bytes.
pub const PAGE_LENGTH: usize = 4096;
/// 64-bit words of a line.
const LINE_WORDS: usize = 16;
/// Lines of a page.
const LINES: u32 = 32;
/// Rings one taker can read at once: all lines less one.
pub const SLOTS: usize = LINES as usize - 1;
/// Words of the heartbeat line in front of the counters.
const BEAT_WORDS: usize = 2;

const _: () = assert!(PAGE_LENGTH == LINES as usize * LINE_WORDS * 8);

/// A page as 32 lines of 16 words.
struct Lines(SharedSlots<LINE_WORDS>);

impl Lines {
    fn at(memory: &Arc<dyn Memory>, offset: usize, what: &'static str) -> Result<Self, RingError> {
        Ok(Self(SharedSlots::at(memory, offset, LINES, what)?))
    }

    /// Word `word` of line `line`; `None` beyond the page.
    #[inline]
    fn word(&self, line: usize, word: usize) -> Option<&AtomicU64> {
        if line >= LINES as usize {
            return None;
        }
        self.0.slot(line as u32).get(word) // below 32, so the cast cuts nothing
    }

    #[inline]
    fn load(&self, line: usize, word: usize, order: Ordering) -> u64 {
        self.word(line, word).map_or(0, |cell| cell.load(order))
    }

    #[inline]
    fn store(&self, line: usize, word: usize, value: u64, order: Ordering) {
        if let Some(cell) = self.word(line, word) {
            cell.store(value, order);
        }
    }
}

/// What a taker claims to have finished: a number to be judged, not to be used. See [`crate::RxOwner::judge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allegation(u64);

impl Allegation {
    /// A claim that did not come from a page (the owner's own log, a test).
    pub fn new(cursor: u64) -> Self {
        Self(cursor)
    }

    /// The number claimed.
    #[inline]
    pub fn raw(self) -> u64 {
        self.0
    }
}

/// The taker's side of the page of cursors.
pub struct TakerCursors {
    page: Lines,
}

impl TakerCursors {
    /// Lays the page over writable `memory` at `offset` bytes.
    ///
    /// # Errors
    /// [`RingError`] when less than [`PAGE_LENGTH`] bytes are there.
    pub fn new(memory: Arc<dyn Memory>, offset: usize) -> Result<Self, RingError> {
        Ok(Self { page: Lines::at(&memory, offset, "cursor page")? })
    }

    /// Tells the owner that every frame of ring `slot` below `cursor` is finished (release). Slots from [`SLOTS`] on are
    /// ignored.
    #[inline]
    pub fn publish(&self, slot: usize, cursor: u64) {
        if slot < SLOTS {
            self.page.store(slot, 0, cursor, Ordering::Release);
        }
    }

    /// The cursor of ring `slot` as it stands: where a new taker begins.
    pub fn position(&self, slot: usize) -> u64 {
        if slot < SLOTS { self.page.load(slot, 0, Ordering::Acquire) } else { 0 }
    }

    /// Shows that the taker is alive: `now_ns` of `CLOCK_MONOTONIC`.
    #[inline]
    pub fn beat(&self, now_ns: u64) {
        self.page.store(SLOTS, 0, now_ns, Ordering::Release);
    }

    /// Counts one wake-up sent to the owner. One writer, so load and store need not be one step.
    #[inline]
    pub fn kicked(&self) {
        let kicks = self.page.load(SLOTS, 1, Ordering::Relaxed);
        self.page.store(SLOTS, 1, kicks.wrapping_add(1), Ordering::Relaxed);
    }

    /// Shows counter `index` (0..14); others are ignored. What it counts is between the feature and who displays it.
    #[inline]
    pub fn set_counter(&self, index: usize, value: u64) {
        self.page.store(SLOTS, BEAT_WORDS.saturating_add(index), value, Ordering::Relaxed);
    }
}

/// The owner's side of a taker's page of cursors.
pub struct OwnerCursors {
    page: Lines,
}

impl OwnerCursors {
    /// Lays the page over `memory` at `offset` bytes; it must be writable for [`OwnerCursors::start_at`].
    ///
    /// # Errors
    /// [`RingError`] when less than [`PAGE_LENGTH`] bytes are there.
    pub fn new(memory: Arc<dyn Memory>, offset: usize) -> Result<Self, RingError> {
        Ok(Self { page: Lines::at(&memory, offset, "cursor page")? })
    }

    /// What the taker claims to have finished of ring `slot` (acquire). Slots from [`SLOTS`] on claim 0.
    #[inline]
    pub fn load(&self, slot: usize) -> Allegation {
        Allegation(if slot < SLOTS { self.page.load(slot, 0, Ordering::Acquire) } else { 0 })
    }

    /// Sets where a new taker starts. Only to be called while no taker runs on the page.
    pub fn start_at(&self, slot: usize, cursor: u64) {
        if slot < SLOTS {
            self.page.store(slot, 0, cursor, Ordering::Release);
        }
    }

    /// `CLOCK_MONOTONIC` of the taker's last sign of life in nanoseconds; 0 before the first. A claim as well.
    pub fn heartbeat_ns(&self) -> u64 {
        self.page.load(SLOTS, 0, Ordering::Acquire)
    }

    /// Wake-ups the taker says it has sent.
    pub fn kicks(&self) -> u64 {
        self.page.load(SLOTS, 1, Ordering::Relaxed)
    }

    /// A counter the taker shows; 0 beyond the last.
    pub fn counter(&self, index: usize) -> u64 {
        self.page.load(SLOTS, BEAT_WORDS.saturating_add(index), Ordering::Relaxed)
    }
}

/// The page an owner writes and its taker maps read-only.
pub struct OwnerPage {
    page: Lines,
}

impl OwnerPage {
    /// Lays the page over writable `memory` at `offset` bytes.
    ///
    /// # Errors
    /// [`RingError`] when less than [`PAGE_LENGTH`] bytes are there.
    pub fn new(memory: Arc<dyn Memory>, offset: usize) -> Result<Self, RingError> {
        Ok(Self { page: Lines::at(&memory, offset, "owner page")? })
    }

    /// Asks the taker to finish and leave.
    pub fn ask_stop(&self) {
        self.page.store(0, 0, 1, Ordering::Release);
    }

    /// Takes the request back, before a new taker starts.
    pub fn clear_stop(&self) {
        self.page.store(0, 0, 0, Ordering::Release);
    }

    /// Has the taker rest for `delay_ns` after each batch, to see what a slow one does to the rest; 0 ends that.
    pub fn set_delay_ns(&self, delay_ns: u64) {
        self.page.store(0, 1, delay_ns, Ordering::Relaxed);
    }

    /// Announces that frames of ring `slot` below `floor` are about to be reused. To be called **before** their
    /// addresses are put on the fill ring, so that a lossy observer can tell that its copy may be torn.
    #[inline]
    pub fn set_floor(&self, slot: usize, floor: u64) {
        if slot < SLOTS {
            self.page.store(slot + 1, 0, floor, Ordering::Release);
        }
        // What follows is the kernel rewriting the frame, not a store of ours: the announcement must not sink below it.
        fence(Ordering::SeqCst);
    }
}

/// A taker's view of the [`OwnerPage`].
pub struct OwnerView {
    page: Lines,
}

impl OwnerView {
    /// Lays the page over `memory` at `offset` bytes; readable is enough.
    ///
    /// # Errors
    /// [`RingError`] when less than [`PAGE_LENGTH`] bytes are there.
    pub fn new(memory: Arc<dyn Memory>, offset: usize) -> Result<Self, RingError> {
        Ok(Self { page: Lines::at(&memory, offset, "owner page")? })
    }

    /// True when the owner wants the taker to leave.
    #[inline]
    pub fn stop(&self) -> bool {
        self.page.load(0, 0, Ordering::Acquire) != 0
    }

    /// How long the owner wants the taker to rest after each batch, in nanoseconds.
    #[inline]
    pub fn delay_ns(&self) -> u64 {
        self.page.load(0, 1, Ordering::Relaxed)
    }

    /// Frames of ring `slot` below this count may have been reused.
    #[inline]
    pub fn floor(&self, slot: usize) -> u64 {
        if slot < SLOTS { self.page.load(slot + 1, 0, Ordering::Acquire) } else { 0 }
    }

    /// True when a copy made of frame `cursor` of ring `slot` is whole: to be asked **after** copying.
    #[inline]
    pub fn copy_is_whole(&self, slot: usize, cursor: u64) -> bool {
        fence(Ordering::Acquire);
        self.floor(slot) <= cursor
    }
}
