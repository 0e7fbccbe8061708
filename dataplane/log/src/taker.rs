//! The log as a taker of rings: one more cursor, which moves when what lies behind it is on the disk.
//!
//! ```text
//! RX ring   … │ free again │ copied, not durable │ not read yet │ …
//!                     cursor ▲            read ▲         producer ▲
//! ```

use std::collections::VecDeque;

use weir_dataplane_io::umem::UmemView;
use weir_dataplane_ring::{Descriptor, RxReader, TakerCursors};
use weir_ebpf_abi::message::STANDARD_HEADER;
use weir_ebpf_abi::meta::FrameMeta;
use weir_ebpf_abi::stream::StreamPrefix;
use zerocopy::FromBytes;

use crate::error::{LogError, Result};
use crate::spec::Stamp;
use crate::writer::LogWriter;

/// Descriptors read from one ring before the next one has its turn.
const ROUND: u32 = 256;
/// Place of the sequence number in a message's header.
const SEQUENCE: std::ops::Range<usize> = 24..28;
/// From one try to write to the next while the disk refuses.
const RETRY_NS: u64 = 1_000_000_000;

/// A ring whose frames are logged.
pub struct LoggedRing {
    reader: RxReader,
    slot: usize,
    class: u8,
    stream: bool,
    read: u64,
    /// (number behind the record, cursor behind its frame) of what is copied and not durable, oldest first. It cannot
    /// grow beyond the ring: the cursor moves only when an entry leaves.
    waiting: VecDeque<(u64, u64)>,
}

impl LoggedRing {
    /// Logs the frames of `reader` from the 64-bit count `start` on as those of `class`, and publishes progress in line
    /// `slot` of the cursor page.
    #[must_use]
    pub fn new(reader: RxReader, slot: usize, class: u8, start: u64) -> Self {
        let waiting = VecDeque::with_capacity(reader.size() as usize);
        Self { reader, slot, class, stream: false, read: start, waiting }
    }

    /// The same of a lane of streams: stamped with the stream's own source and sequence, and held whatever the disk does, since
    /// a cursor that moves is an acknowledgement to the sender.
    #[must_use]
    pub fn stream(reader: RxReader, slot: usize, class: u8, start: u64) -> Self {
        Self { stream: true, ..Self::new(reader, slot, class, start) }
    }
}

/// What the log does with frames while the disk refuses to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStuck {
    /// Lets them go, counted: others who take them do not notice.
    Drop,
    /// Holds them: their rings fill, and the kernel counts what it drops.
    Hold,
}

/// What the log has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Frames put into the log.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames let go unlogged because the disk refused or no group could hold them.
    pub dropped: u64,
    /// Descriptors that point outside the frame memory; skipped.
    pub bad_descriptors: u64,
}

/// The two clocks of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_MONOTONIC in nanoseconds, for retries.
    pub monotonic_ns: u64,
    /// CLOCK_REALTIME in nanoseconds, for stamps.
    pub realtime_ns: u64,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Frames read from rings.
    pub read: usize,
    /// Whether a cursor moved, so that the pool has frames to take back.
    pub moved: bool,
    /// Whether frames wait for the disk: come back soon.
    pub waiting: bool,
}

/// Moves frames from rings into the log.
pub struct LogTaker {
    rings: Vec<LoggedRing>,
    frames: UmemView,
    cursors: TakerCursors,
    writer: LogWriter,
    when_stuck: WhenStuck,
    /// Number behind the last record that was handed to the disk.
    submitted: u64,
    retry_at_ns: u64,
    /// What was durable when the disk refused, until more is.
    stuck_at: Option<u64>,
    counts: LogCounts,
}

impl LogTaker {
    /// A log that takes `rings`.
    #[must_use]
    pub fn new(
        rings: Vec<LoggedRing>,
        frames: UmemView,
        cursors: TakerCursors,
        writer: LogWriter,
        when_stuck: WhenStuck,
    ) -> Self {
        let submitted = writer.next();
        let (retry_at_ns, stuck_at, counts) = (0, None, LogCounts::default());
        Self { rings, frames, cursors, writer, when_stuck, submitted, retry_at_ns, stuck_at, counts }
    }

    /// Counts since the start.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        self.counts
    }

    /// The writer, for what it can tell.
    #[must_use]
    pub fn writer(&self) -> &LogWriter {
        &self.writer
    }

    /// Reads what is on the rings, hands it to the disk when the disk has nothing to do (so that groups grow with the
    /// load), and moves the cursors behind what has become durable. Errors of the disk are kept and tried again.
    pub fn turn(&mut self, now: Now) -> Turn {
        if self.writer.failure().is_some() && now.monotonic_ns >= self.retry_at_ns {
            self.retry_at_ns = now.monotonic_ns + RETRY_NS;
            let _ = self.writer.retry(); // what it says is in `failure`, and the next second tries again
        }
        let mut turn = Turn::default();
        let lets_go = self.is_stuck() && self.when_stuck == WhenStuck::Drop;
        for ring in &mut self.rings {
            let lets_go = lets_go && !ring.stream;
            turn.read += ring.read_round(&self.frames, &mut self.writer, lets_go, &mut self.counts, now);
        }
        let durable = match self.writer.poll() {
            Ok(durable) => durable,
            Err(_) => self.writer.durable(),
        };
        if durable >= self.submitted && self.writer.next() > self.submitted && self.writer.submit().is_ok() {
            self.submitted = self.writer.next();
        }
        let lets_go = self.is_stuck() && self.when_stuck == WhenStuck::Drop;
        for ring in &mut self.rings {
            turn.moved |= ring.settle(durable, lets_go && !ring.stream, &self.cursors);
        }
        // While the disk refuses there is nothing to come back soon for: the next try has its own time.
        turn.waiting = self.writer.next() > durable && self.writer.failure().is_none();
        turn
    }

    /// Whether the disk refused, and has written nothing since: a try that is on its way changes nothing for the rings.
    fn is_stuck(&mut self) -> bool {
        let durable = self.writer.durable();
        let written = self.stuck_at.is_some_and(|at| durable > at || durable == self.writer.next());
        if self.writer.failure().is_some() {
            self.stuck_at = Some(durable);
        } else if written {
            self.stuck_at = None;
        }
        self.stuck_at.is_some()
    }

    /// Writes what was read, waits for it and moves the cursors for the last time; gives the number of the next record.
    ///
    /// # Errors
    /// [`LogError::Failed`]: what is not durable is lost with the rings.
    pub fn close(mut self) -> Result<u64> {
        self.writer.submit()?;
        let durable = self.writer.wait()?;
        for ring in &mut self.rings {
            ring.settle(durable, false, &self.cursors);
        }
        self.writer.close()
    }
}

impl LoggedRing {
    /// Puts up to [`ROUND`] descriptors' frames into the log; gives how many frames.
    fn read_round(
        &mut self,
        memory: &UmemView,
        writer: &mut LogWriter,
        lets_go: bool,
        counts: &mut LogCounts,
        now: Now,
    ) -> usize {
        let available = self.reader.available(self.read).min(ROUND);
        let mut pieces: [&[u8]; Descriptor::PIECES_MAX] = [&[]; Descriptor::PIECES_MAX];
        let (mut count, mut next, mut frames, mut head) = (0, self.read, 0, 0);
        for descriptor in self.reader.batch(self.read, available) {
            next += 1;
            let bytes = memory.bytes(descriptor.address, descriptor.length).unwrap_or_else(|| {
                counts.bad_descriptors += 1;
                &[]
            });
            if count == 0 {
                head = descriptor.address;
            }
            if let Some(place) = pieces.get_mut(count) {
                *place = bytes;
                count += 1;
            }
            if descriptor.is_continued() {
                continue;
            }
            let frame = &pieces[..count];
            let stamp = match self.stream {
                true => stream_stamp(frame, self.class, now.realtime_ns),
                false => stamp(memory, head, frame, self.class, now.realtime_ns),
            };
            match writer.append(&stamp, frame) {
                Ok(number) => {
                    counts.frames += 1;
                    counts.bytes += frame.iter().map(|piece| piece.len() as u64).sum::<u64>();
                    self.waiting.push_back((number + 1, next));
                }
                Err(LogError::TooLong { .. }) => {
                    counts.dropped += 1;
                    self.waiting.push_back((writer.next(), next));
                }
                Err(_) if lets_go => counts.dropped += 1,
                // The disk is behind, or refuses and the frames are to be held: the ring is the quota.
                Err(_) => return frames,
            }
            (self.read, frames, count) = (next, frames + 1, 0);
        }
        frames
    }

    /// Moves the cursor behind what is durable, or behind everything that was read; gives whether it moved.
    fn settle(&mut self, durable: u64, let_go: bool, cursors: &TakerCursors) -> bool {
        let mut cursor = None;
        if let_go {
            // What waits is copied and written when the disk allows; the frames need not wait for that.
            self.waiting.clear();
            cursor = Some(self.read);
        }
        while let Some((_, behind)) = self.waiting.front().copied().filter(|(number, _)| *number <= durable) {
            self.waiting.pop_front();
            cursor = Some(behind);
        }
        if let Some(cursor) = cursor.filter(|cursor| *cursor != cursors.position(self.slot)) {
            cursors.publish(self.slot, cursor);
            return true;
        }
        false
    }
}

/// What the classifier and the message say about a frame; zeros where it is no message.
fn stamp(memory: &UmemView, head: u64, frame: &[&[u8]], class: u8, time_ns: u64) -> Stamp {
    let front = head.checked_sub(FrameMeta::SIZE as u64).and_then(|start| memory.bytes(start, FrameMeta::SIZE as u32));
    let meta = front.and_then(|bytes| FrameMeta::read_before(bytes, FrameMeta::SIZE)).unwrap_or_default();
    let start = usize::from(meta.payload_offset);
    let header = frame.first().and_then(|head| head.get(start..start + STANDARD_HEADER));
    let number = header.filter(|_| meta.kind != 0).and_then(|header| header.get(SEQUENCE)?.try_into().ok());
    let sequence = number.map_or(0, u32::from_le_bytes).into();
    Stamp { class, source: meta.agent_source, sequence, time_ns, stream: false }
}

/// What the stream's prefix says about a frame.
fn stream_stamp(frame: &[&[u8]], class: u8, time_ns: u64) -> Stamp {
    let prefix = frame.first().and_then(|head| StreamPrefix::read_from_prefix(head).ok());
    let (source, sequence) = prefix.map_or((0, 0), |(prefix, _)| (prefix.source.get(), prefix.sequence.get()));
    Stamp { class, source, sequence, time_ns, stream: true }
}
