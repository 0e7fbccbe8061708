//! Features that send: what each may send a second, and what became of every frame it named.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use heapless::Vec as Fixed;
use weir_ebpf_abi::resend::Unsendable;

/// Most features that send: one bit each of a set of takers.
pub const MAX_SENDERS: usize = 16;

/// A feature's number among the senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderId(pub u8);

/// A feature that may send.
#[derive(Clone, Debug)]
pub struct SenderSpec {
    /// Most bits a second of the frames it sends, from the Ethernet header to the last byte; `None` for no cap.
    pub cap_bits: Option<u64>,
    /// Where its figures are shown.
    pub gauges: Arc<SendGauges>,
}

/// Why a frame is not sent although its feature asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Not one whole, sound UDP datagram.
    NotADatagram = 0,
    /// It came to a group or from one.
    Group = 1,
    /// Its TTL or hop limit is used up.
    HopLimit = 2,
    /// The agent's address is of the other IP version.
    OtherVersion = 3,
    /// No agent has this number.
    UnknownAgent = 4,
    /// No interface has this position, or it sends nothing.
    UnknownInterface = 5,
    /// The request names a ring that the worker does not take, or an action there is none of.
    UnknownRequest = 6,
    /// It is a message of a stream: it came over TCP, has no link header and is not the pool's frame.
    StreamMessage = 7,
}

impl Refusal {
    /// Every reason, in the order of [`SendFigures::refused`].
    pub const ALL: [Self; 8] = [
        Self::NotADatagram,
        Self::Group,
        Self::HopLimit,
        Self::OtherVersion,
        Self::UnknownAgent,
        Self::UnknownInterface,
        Self::UnknownRequest,
        Self::StreamMessage,
    ];

    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotADatagram => "not-a-datagram",
            Self::Group => "group-address",
            Self::HopLimit => "hop-limit",
            Self::OtherVersion => "other-ip-version",
            Self::UnknownAgent => "unknown-agent",
            Self::UnknownInterface => "unknown-interface",
            Self::UnknownRequest => "unknown-request",
            Self::StreamMessage => "stream-message",
        }
    }
}

impl From<Unsendable> for Refusal {
    fn from(unsendable: Unsendable) -> Self {
        match unsendable {
            Unsendable::NotADatagram => Self::NotADatagram,
            Unsendable::Group => Self::Group,
            Unsendable::HopLimit => Self::HopLimit,
            Unsendable::OtherVersion => Self::OtherVersion,
        }
    }
}

/// What became of the frames a feature named. `requested` is the sum of `sent`, `capped`, `full`, all of `refused`,
/// `already_sent`, `abandoned` and of those that wait on their rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendFigures {
    /// Frames named.
    pub requested: u64,
    /// Frames put on a transmit ring.
    pub sent: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Frames of these that the kernel has sent.
    pub completed: u64,
    /// Frames beyond the feature's cap.
    pub capped: u64,
    /// Frames for a way out that took none for a while.
    pub full: u64,
    /// Frames that somebody else had named before, or that a mirror rule had sent on already.
    pub already_sent: u64,
    /// Frames whose worker died before it had passed them, or whose last taker died.
    pub abandoned: u64,
    /// Frames that cannot be sent so, by [`Refusal`].
    pub refused: [u64; Refusal::ALL.len()],
}

impl SendFigures {
    /// Frames that were named and have no fate yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let ended = self.sent + self.capped + self.full + self.already_sent + self.abandoned;
        self.requested.saturating_sub(ended + self.refused.iter().sum::<u64>())
    }

    /// Frames on a transmit ring or in the kernel.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.completed)
    }
}

/// [`SendFigures`] for other threads, written once for each wake-up.
#[derive(Debug, Default)]
pub struct SendGauges {
    words: [AtomicU64; 8],
    clock_ns: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl SendGauges {
    /// Copies the figures. They are read one after another, so a sum over them may be a few frames off under load.
    #[must_use]
    pub fn read(&self) -> SendFigures {
        let [requested, sent, bytes, completed, capped, full, already_sent, abandoned] =
            std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed));
        let refused = std::array::from_fn(|index| self.refused[index].load(Ordering::Relaxed));
        SendFigures { requested, sent, bytes, completed, capped, full, already_sent, abandoned, refused }
    }

    /// `CLOCK_MONOTONIC` of the turn in which the figures last changed: what a rate is to be measured by.
    #[must_use]
    pub fn clock_ns(&self) -> u64 {
        self.clock_ns.load(Ordering::Relaxed)
    }

    fn write(&self, figures: &SendFigures, now_ns: u64) {
        self.clock_ns.store(now_ns, Ordering::Relaxed);
        let SendFigures { requested, sent, bytes, completed, capped, full, already_sent, abandoned, refused } =
            *figures;
        let words = [requested, sent, bytes, completed, capped, full, already_sent, abandoned];
        let stores = self.words.iter().zip(words).chain(self.refused.iter().zip(refused));
        stores.for_each(|(gauge, value)| gauge.store(value, Ordering::Relaxed));
    }
}

/// Time of sending that a bucket saves up: it lets a feature that was quiet send so much at once, 2 % of a second, and loses
/// nothing while the pool looks at least that often.
const SAVED_NS: u64 = 20_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// A bucket of tokens, filled once for each wake-up. A frame may be sent while there is any token at all and may leave a
/// debt, so a cap below one frame for each filling holds as well.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Bytes a second.
    rate: i64,
    /// Tokens: bytes times nanoseconds a second. Below 2^58 for the highest rate there is.
    tokens: i64,
    filled_ns: u64,
}

impl Bucket {
    /// Highest cap in bits a second: 400 Gbit/s.
    pub const MOST_BITS: u64 = 400_000_000_000;

    /// A full bucket for `bits` a second at time `now_ns`.
    #[must_use]
    pub fn new(bits: u64, now_ns: u64) -> Self {
        let rate = (bits.min(Self::MOST_BITS) / 8) as i64; // at most 5e10
        Self { rate, tokens: rate.saturating_mul(SAVED_NS as i64), filled_ns: now_ns }
    }

    /// Adds what has come since the last filling. A clock that goes backwards adds nothing.
    pub fn fill(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.filled_ns);
        self.filled_ns = self.filled_ns.max(now_ns);
        let most = self.rate.saturating_mul(SAVED_NS as i64);
        // A debt is at most one frame, which may take longer than the saved time to pay back.
        let came = self.rate.saturating_mul(i64::try_from(passed).unwrap_or(i64::MAX));
        self.tokens = self.tokens.saturating_add(came).min(most);
    }

    /// Whether a frame may go now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.tokens > 0
    }

    /// Takes the tokens of a frame of `bytes`.
    pub fn take(&mut self, bytes: u32) {
        self.tokens = self.tokens.saturating_sub(i64::from(bytes) * SECOND_NS);
    }
}

struct Sender {
    cap_bits: Option<u64>,
    bucket: Option<Bucket>,
    figures: SendFigures,
    shown: SendFigures,
    gauges: Arc<SendGauges>,
}

/// All features that may send. They live as long as the pool, so their figures go on over a worker's lives.
pub struct Senders {
    all: Fixed<Sender, MAX_SENDERS>,
}

impl Senders {
    /// At most [`MAX_SENDERS`], by number; further ones cannot send.
    #[must_use]
    pub fn new(specs: &[SenderSpec], now_ns: u64) -> Self {
        let make = |spec: &SenderSpec| Sender {
            cap_bits: spec.cap_bits,
            bucket: spec.cap_bits.map(|bits| Bucket::new(bits, now_ns)),
            figures: SendFigures::default(),
            shown: SendFigures::default(),
            gauges: Arc::clone(&spec.gauges),
        };
        Self { all: specs.iter().take(MAX_SENDERS).map(make).collect() }
    }

    /// Fills the buckets.
    pub fn fill(&mut self, now_ns: u64) {
        self.all.iter_mut().filter_map(|sender| sender.bucket.as_mut()).for_each(|bucket| bucket.fill(now_ns));
    }

    /// Puts other caps in force, by the senders' numbers. A sender whose cap stays keeps its bucket, and so its debt.
    pub fn set_caps(&mut self, caps: &[Option<u64>], now_ns: u64) {
        for (sender, cap_bits) in self.all.iter_mut().zip(caps.iter().copied()) {
            if sender.cap_bits != cap_bits {
                sender.cap_bits = cap_bits;
                sender.bucket = cap_bits.map(|bits| Bucket::new(bits, now_ns));
            }
        }
    }

    /// Shows what has changed, at time `now_ns`.
    pub fn show(&mut self, now_ns: u64) {
        for sender in self.all.iter_mut().filter(|sender| sender.figures != sender.shown) {
            sender.shown = sender.figures;
            sender.gauges.write(&sender.figures, now_ns);
        }
    }

    /// Figures of a sender, to count in; `None` for a number that none has.
    pub fn figures(&mut self, id: SenderId) -> Option<&mut SendFigures> {
        self.all.get_mut(usize::from(id.0)).map(|sender| &mut sender.figures)
    }

    /// Whether a sender's cap lets a frame go now.
    #[must_use]
    pub fn allows(&self, id: SenderId) -> bool {
        self.all.get(usize::from(id.0)).is_some_and(|sender| sender.bucket.is_none_or(|bucket| bucket.allows()))
    }

    /// Counts a frame of `bytes` as sent.
    pub fn sent(&mut self, id: SenderId, bytes: u32) {
        let Some(sender) = self.all.get_mut(usize::from(id.0)) else { return };
        if let Some(bucket) = &mut sender.bucket {
            bucket.take(bytes);
        }
        sender.figures.sent += 1;
        sender.figures.bytes += u64::from(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a bucket lets through in one second of frames of `frame` bytes offered far beyond the cap, with the pool
    /// looking every `step` nanoseconds.
    fn second(bucket: &mut Bucket, from_ns: u64, frame: u32, step: u64) -> u64 {
        let mut bytes = 0;
        for now in (from_ns..from_ns + SECOND_NS as u64).step_by(step as usize) {
            bucket.fill(now);
            while bucket.allows() {
                bucket.take(frame);
                bytes += u64::from(frame);
            }
        }
        bytes
    }

    #[test]
    fn a_second_holds_what_the_cap_says_within_five_percent() {
        for (mbit, frame) in [(1, 64), (1, 1514), (10, 1514), (100, 64), (100, 9014), (10_000, 1514), (400_000, 9014)] {
            for step in [50_000, 1_000_000, 7_777_777, 19_000_000] {
                let mut bucket = Bucket::new(mbit * 1_000_000, 5);
                let nominal = (mbit * 125_000) as f64;
                for at in 0..5 {
                    let bytes = second(&mut bucket, 5 + at * SECOND_NS as u64, frame, step) as f64;
                    let off = (bytes / nominal - 1.0).abs();
                    assert!(off <= 0.05, "{mbit} Mbit/s of {frame} bytes every {step} ns: {bytes} in second {at}");
                }
            }
        }
    }

    #[test]
    fn a_long_pause_saves_up_no_more_than_a_fiftieth_of_a_second() {
        let mut bucket = Bucket::new(80_000_000, 0);
        bucket.fill(3_600 * SECOND_NS as u64);
        let mut bytes = 0;
        while bucket.allows() {
            bucket.take(1000);
            bytes += 1000;
        }
        assert_eq!(bytes, 200_000, "10 MB/s for 20 ms");
        bucket.fill(0);
        assert!(!bucket.allows(), "a clock that goes backwards gives nothing");
    }
}
