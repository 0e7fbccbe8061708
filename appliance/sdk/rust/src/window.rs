//! The messages of a stream that are not acknowledged yet: bounded, in order, and laid out as they go over the wire.
//!
//! ```text
//!   acknowledged ≤ to_send ≤ accepted        (sequences)
//!        │            │          │
//!   ─────┼── sent ────┼─ waits ──┼─ to come
//!     [block][block][block][open]            (many messages to a block; the open one is still being filled)
//! ```
//! A block goes to the socket by reference: it is neither copied nor locked while it is written.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use weir_ebpf_abi::stream::{STREAM_ALIGN, STREAM_HEADER, StreamHeader};
use zerocopy::IntoBytes;

/// Bytes after which a block is closed. The longest message fits one with its header.
const BLOCK: usize = 128 << 10;
/// Blocks kept for reuse.
const SPARE: usize = 8;

/// Messages with their headers, one after the other.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    first: u64,
    messages: u64,
}

/// A part of a block to be written to the socket.
#[derive(Debug)]
pub struct Piece {
    block: Arc<Block>,
    range: Range<usize>,
    /// Messages in it.
    pub messages: u64,
    /// Of those, how many are sent again.
    pub again: u64,
}

impl Piece {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.block.bytes[self.range.clone()]
    }
}

/// The messages not acknowledged yet.
#[derive(Debug)]
pub struct Window {
    source: u32,
    used: usize,
    blocks: VecDeque<Arc<Block>>,
    open: Block,
    spare: Vec<Vec<u8>>,
    acknowledged: u64,
    to_send: u64,
    sent: u64,
    accepted: u64,
    /// Whether the receiver's count is taken over while nothing was accepted.
    adopts: bool,
}

/// Bytes that a message of `length` takes in a window.
#[must_use]
pub fn footprint(length: usize) -> usize {
    STREAM_HEADER + length.next_multiple_of(STREAM_ALIGN)
}

impl Window {
    /// An empty window for the messages of `source`, the first of which has the sequence `first`; with `adopts` it is what
    /// the receiver expects, if it says so before a message is accepted.
    #[must_use]
    pub fn new(source: u32, first: u64, adopts: bool) -> Self {
        Self {
            source,
            used: 0,
            blocks: VecDeque::new(),
            open: Block::default(),
            spare: Vec::new(),
            acknowledged: first,
            to_send: first,
            sent: first,
            accepted: first,
            adopts,
        }
    }

    /// Bytes it holds, those of acknowledged messages included whose block has others in it.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Sequence of the next message to be accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Every message below this sequence is acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Sequence of the next message to be sent.
    #[must_use]
    pub fn to_send(&self) -> u64 {
        self.to_send
    }

    /// Every message that was ever sent, or that the box had already, is below this sequence; after a broken connection some are to be sent again.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Adds a message of `length` bytes, which `fill` writes; gives its sequence. The caller saw that
    /// its [`footprint`] fits.
    pub fn push(&mut self, form: u16, length: usize, fill: impl FnOnce(u64, &mut [u8])) -> u64 {
        let footprint = footprint(length);
        if self.open.bytes.len() + footprint > BLOCK {
            self.close();
        }
        if self.open.messages == 0 {
            let mut bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK));
            bytes.clear();
            self.open = Block { bytes, first: self.accepted, messages: 0 };
        }
        let sequence = self.accepted;
        self.adopts = false; // from here on the count is ours
        let header = StreamHeader::new(form, length as u32, self.source, sequence); // at most 65,504 bytes
        self.open.bytes.extend_from_slice(header.as_bytes());
        let start = self.open.bytes.len();
        self.open.bytes.resize(start + length.next_multiple_of(STREAM_ALIGN), 0);
        fill(sequence, &mut self.open.bytes[start..start + length]);
        self.open.messages += 1;
        self.accepted += 1;
        self.used += footprint;
        sequence
    }

    /// The next piece to send, of messages below `credit`; `None` when there is none. What is taken counts as sent.
    pub fn take(&mut self, credit: u64) -> Option<Piece> {
        let end = credit.min(self.accepted);
        if self.to_send >= end {
            return None;
        }
        if self.open.messages > 0 && self.to_send >= self.open.first {
            self.close();
        }
        let at = self.blocks.partition_point(|block| block.first + block.messages <= self.to_send);
        let block = Arc::clone(self.blocks.get(at)?);
        let messages = (block.first + block.messages).min(end) - self.to_send;
        let range = block.range(self.to_send - block.first, messages);
        let again = messages.min(self.sent.saturating_sub(self.to_send));
        self.to_send += messages;
        self.sent = self.sent.max(self.to_send);
        Some(Piece { block, range, messages, again })
    }

    /// Forgets every message below `next`; gives how many that were.
    pub fn acknowledge(&mut self, next: u64) -> u64 {
        let next = next.min(self.sent);
        let count = next.saturating_sub(self.acknowledged);
        self.acknowledged += count;
        // What came on an earlier connection and was worked on meanwhile need not be sent again.
        self.to_send = self.to_send.max(self.acknowledged);
        // A receiver may know messages that this connection never sent, those of the open block among them.
        if self.open.messages > 0 && self.open.first < self.acknowledged {
            self.close();
        }
        while self.blocks.front().is_some_and(|block| block.first + block.messages <= self.acknowledged) {
            let Some(block) = self.blocks.pop_front() else { break };
            self.used -= block.bytes.len();
            // The socket may still be writing it, when a receiver knew its messages already.
            if let Ok(block) = Arc::try_unwrap(block)
                && self.spare.len() < SPARE
            {
                self.spare.push(block.bytes);
            }
        }
        count
    }

    /// Sends on from `next`, on a new connection; false when the window has no such message: it lies outside
    /// [`Window::acknowledged`] and [`Window::accepted`].
    pub fn resume(&mut self, next: u64) -> bool {
        if self.adopts {
            // Nothing was ever accepted, so the receiver's count of this source, from an earlier life, is ours.
            (self.acknowledged, self.to_send, self.sent, self.accepted) = (next, next, next, next);
            return true;
        }
        if next < self.acknowledged || next > self.accepted {
            return false;
        }
        self.to_send = next;
        // A program that went on from a count of its own may hear that the box has what it was about to send again.
        self.sent = self.sent.max(next);
        true
    }

    fn close(&mut self) {
        if self.open.messages > 0 {
            self.blocks.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
    }
}

impl Block {
    /// Bytes of `messages` messages after the first `skipped`.
    fn range(&self, skipped: u64, messages: u64) -> Range<usize> {
        if skipped == 0 && messages == self.messages {
            return 0..self.bytes.len();
        }
        let start = self.after(0, skipped);
        start..self.after(start, messages)
    }

    /// Where `messages` messages from the one at `at` on end. The headers are our own, so they are headers.
    fn after(&self, mut at: usize, messages: u64) -> usize {
        for _ in 0..messages {
            at += self.bytes.get(at..).and_then(|rest| StreamHeader::parse(rest).ok()).map_or(0, StreamHeader::stride);
        }
        at.min(self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push(usize),
        /// Take what is below `to_send` plus this.
        Take(u64),
        /// Acknowledge this share, in hundredths, of what was ever sent.
        Acknowledge(u64),
        /// A new connection that expects this share of what was accepted.
        Resume(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let length = prop_oneof![8 => 28..3000_usize, 1 => Just(65_504)];
        let step = prop_oneof![
            4 => length.prop_map(Step::Push),
            3 => (0..40_u64).prop_map(Step::Take),
            2 => (0..=100_u64).prop_map(Step::Acknowledge),
            1 => (0..=100_u64).prop_map(Step::Resume),
        ];
        prop::collection::vec(step, 0..150)
    }

    /// Sequences and contents of the messages in a piece.
    fn messages(piece: &Piece) -> Vec<(u64, usize, u8)> {
        let mut found = Vec::new();
        let mut rest = piece.bytes();
        while !rest.is_empty() {
            let header = *StreamHeader::parse(rest).expect("a header");
            let message = &rest[STREAM_HEADER..][..header.length.get() as usize];
            assert!(message.iter().all(|byte| *byte == message[0]));
            found.push((header.prefix.sequence.get(), message.len(), message[0]));
            rest = &rest[header.stride()..];
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_window_sends_each_message_in_order_and_keeps_it_until_it_is_acknowledged(
            steps in steps(), base in prop_oneof![Just(0_u64), 1_u64..1 << 50],
            first in any::<bool>(),
        ) {
            let mut window = Window::new(9, if first { base } else { 0 }, !first);
            prop_assert!(window.resume(base));
            let mut lengths: Vec<usize> = Vec::new(); // of message base + n
            let (mut acknowledged, mut to_send, mut sent) = (base, base, base);
            for step in steps {
                let accepted = base + lengths.len() as u64;
                match step {
                    Step::Push(length) => {
                        let sequence = window.push(48_100, length, |sequence, bytes| bytes.fill(sequence as u8));
                        prop_assert_eq!(sequence, accepted);
                        lengths.push(length);
                    }
                    Step::Take(more) => {
                        let credit = to_send + more;
                        while let Some(piece) = window.take(credit) {
                            let got = messages(&piece);
                            prop_assert_eq!(got.len() as u64, piece.messages);
                            prop_assert_eq!(piece.again, sent.saturating_sub(to_send).min(piece.messages));
                            for (sequence, length, content) in got {
                                prop_assert_eq!(sequence, to_send);
                                prop_assert_eq!((length, content), (lengths[(to_send - base) as usize], to_send as u8));
                                to_send += 1;
                            }
                            sent = sent.max(to_send);
                        }
                        prop_assert_eq!(to_send, credit.min(accepted));
                    }
                    Step::Acknowledge(share) => {
                        let next = acknowledged + (sent - acknowledged) * share / 100;
                        prop_assert_eq!(window.acknowledge(next), next - acknowledged);
                        (acknowledged, to_send) = (next, to_send.max(next));
                    }
                    Step::Resume(share) => {
                        let next = acknowledged + (accepted - acknowledged) * share / 100;
                        prop_assert!(window.resume(next));
                        (to_send, sent) = (next, sent.max(next));
                    }
                }
                let least: usize =
                    lengths[(acknowledged - base) as usize..].iter().map(|length| footprint(*length)).sum();
                prop_assert!((least..=least + BLOCK).contains(&window.used()), "{} for {}", window.used(), least);
                prop_assert_eq!((window.acknowledged(), window.to_send()), (acknowledged, to_send));
            }
            let accepted = window.accepted();
            if first || !lengths.is_empty() {
                prop_assert!(!window.resume(accepted + 1));
            }
            while window.take(u64::MAX).is_some() {}
            window.acknowledge(accepted);
            prop_assert_eq!(window.used(), 0);
        }
    }

    #[test]
    fn nothing_is_acknowledged_that_was_not_sent() {
        let mut window = Window::new(9, 0, true);
        window.push(48_100, 100, |_, _| {});
        assert_eq!((window.acknowledge(5), window.accepted()), (0, 1));
        assert_eq!(window.take(0).map(|piece| piece.messages), None, "no credit, no message");
        assert_eq!(window.take(9).map(|piece| piece.messages), Some(1));
        assert_eq!(window.acknowledge(5), 1);
        assert!(!window.resume(0), "what was acknowledged is gone");
        assert!(!Window::new(9, 3, false).resume(4), "who keeps count is told of a difference");
    }
}
