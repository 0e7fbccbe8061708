//! The stream form: messages over TCP or a local stream socket, acknowledged and with credit (docs/wire.md).
//!
//! ```text
//! sender   ─► StreamHello ─► StreamHeader message padding, StreamHeader message padding, …
//! receiver ◄─ StreamWord::Welcome ◄─ StreamWord::Progress, … ◄─ StreamWord::Refused (and the connection ends)
//! ```
//! A header has 48 bytes so that the receiver frames without a copy: the first 32 make room for the
//! [`FrameMeta`](crate::meta::FrameMeta) that every frame on a ring has in front, and the last 16 (the
//! [`StreamPrefix`]) begin the frame itself, as link and network headers begin one from a wire.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::message::STANDARD_HEADER;

/// TCP port at which streams are taken unless configured otherwise.
pub const PORT_STREAM: u16 = 48_103;
/// Where the first hello of a source may begin at most, so that nobody's first word uses its sequence up.
pub const STREAM_FIRST_MOST: u64 = 1 << 63;
/// First word of a [`StreamHello`] and of every [`StreamWord`]: "WSTR".
pub const STREAM_MAGIC: u32 = u32::from_le_bytes(*b"WSTR");
/// First word of a [`StreamPrefix`]: "WMSG".
pub const MESSAGE_MAGIC: u32 = u32::from_le_bytes(*b"WMSG");
/// Version of the stream form.
pub const STREAM_VERSION: u16 = 1;
/// Bytes from the start of a [`StreamHeader`] to its message.
pub const STREAM_HEADER: usize = core::mem::size_of::<StreamHeader>();
/// Bytes of a [`StreamPrefix`]: where the message begins in the frame that a feature sees.
pub const STREAM_PREFIX: usize = core::mem::size_of::<StreamPrefix>();
/// Longest message, so that a frame's length and its payload's fit 16 bits.
pub const STREAM_MESSAGE_MAX: usize = 65_520 - STREAM_PREFIX;
/// A message is followed by zeros up to a multiple of this, so that headers are aligned if the first one is.
pub const STREAM_ALIGN: usize = 8;

/// The first bytes a sender sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StreamHello {
    /// [`STREAM_MAGIC`].
    pub magic: U32,
    /// [`STREAM_VERSION`].
    pub version: U16,
    /// 0.
    pub flags: U16,
    /// Who sends. One connection at a time for each source: a new one ends the old.
    pub source: U32,
    /// 0.
    pub reserved: U32,
    /// Sequence of the first message that the sender still has: what lies below was acknowledged to it.
    pub next: U64,
    /// 0.
    pub reserved_too: U64,
}

/// In front of each message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StreamHeader {
    /// Bytes of the message, without padding: [`STANDARD_HEADER`] to [`STREAM_MESSAGE_MAX`].
    pub length: U32,
    /// The form of the message, by the UDP port it would have been sent to: 48100, 48101 or 48102.
    pub form: U16,
    /// 0.
    pub flags: U16,
    /// 0; the receiver writes its own words here.
    pub reserved: [u8; 24],
    /// What a feature sees in front of the message.
    pub prefix: StreamPrefix,
}

/// The last 16 bytes of a [`StreamHeader`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StreamPrefix {
    /// [`MESSAGE_MAGIC`].
    pub magic: U32,
    /// As in the hello.
    pub source: U32,
    /// Counts up by one for each message of the source, over all its connections.
    pub sequence: U64,
}

/// What the receiver says: after the hello, and whenever the sender may forget or send more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct StreamWord {
    /// [`STREAM_MAGIC`].
    pub magic: U32,
    /// Number of a [`StreamSays`].
    pub kind: U16,
    /// Number of a [`StreamError`] in a refusal, else 0.
    pub reason: U16,
    /// Every message below this sequence has been worked on by all who take it, and is on the disk if its rule is
    /// durable: the sender may forget it. In the welcome: the sequence that the receiver expects first.
    pub next: U64,
    /// The sender may send messages below this sequence.
    pub credit: U64,
    /// 0.
    pub reserved: U64,
}

/// What a [`StreamWord`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum StreamSays {
    /// The hello was understood.
    Welcome = 1,
    /// `next` or `credit` have grown.
    Progress = 2,
    /// The connection ends, because of `reason`.
    Refused = 3,
}

impl StreamSays {
    /// What has this number.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Welcome),
            2 => Some(Self::Progress),
            3 => Some(Self::Refused),
            _ => None,
        }
    }
}

/// Why a stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum StreamError {
    /// The first bytes are no hello.
    NoHello = 1,
    /// The hello is of a version this receiver does not know, or has flags.
    Version,
    /// The words in front of a message are not those of a header.
    NoHeader,
    /// The length is shorter than a message's header or longer than the longest message.
    Length,
    /// The form is none of the three.
    Form,
    /// The message does not have the form that its header says.
    BadMessage,
    /// The source is another than the hello's.
    Source,
    /// The sequence leaves a gap: messages between are lost on the sender's side.
    Gap,
    /// The sender sent more than its credit.
    Credit,
    /// Another connection of this source took over.
    Superseded,
    /// As many connections as the receiver takes are open.
    TooMany,
    /// The sender did not finish its hello or a message in time.
    Stalled,
    /// The hello begins beyond what the receiver has taken of its source, or a first hello beyond [`STREAM_FIRST_MOST`].
    Ahead,
}

impl StreamError {
    /// Every reason, in the order of its number.
    pub const ALL: [StreamError; 13] = [
        StreamError::NoHello,
        StreamError::Version,
        StreamError::NoHeader,
        StreamError::Length,
        StreamError::Form,
        StreamError::BadMessage,
        StreamError::Source,
        StreamError::Gap,
        StreamError::Credit,
        StreamError::Superseded,
        StreamError::TooMany,
        StreamError::Stalled,
        StreamError::Ahead,
    ];

    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u16 == number)
    }

    /// Name in counters and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoHello => "no-hello",
            Self::Version => "version",
            Self::NoHeader => "no-header",
            Self::Length => "length",
            Self::Form => "form",
            Self::BadMessage => "bad-message",
            Self::Source => "source",
            Self::Gap => "gap",
            Self::Credit => "credit",
            Self::Superseded => "superseded",
            Self::TooMany => "too-many-connections",
            Self::Stalled => "stalled",
            Self::Ahead => "ahead",
        }
    }

    /// One sentence for people, with the cure.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoHello => {
                "the first bytes are no stream hello; this port takes the stream form of docs/wire.md only"
            }
            Self::Version => "the hello is of another version or has unknown flags; update the sender or this box",
            Self::NoHeader => "what follows a message is no message header; the sender counts its lengths wrongly",
            Self::Length => "a message is shorter than its header or longer than 65504 bytes; send it in parts",
            Self::Form => "the form of a message is not 48100, 48101 or 48102; name one of them",
            Self::BadMessage => "a message does not have the form that its header says; look at its lengths and counts",
            Self::Source => "a message names another source than the hello; open one stream for each source",
            Self::Gap => "messages are missing before this one; send on from the sequence that the welcome says",
            Self::Credit => "more was sent than the credit allows; wait for progress before sending on",
            Self::Superseded => "another connection of this source took over; one sender for each source",
            Self::TooMany => "as many connections are open as the configuration allows; raise `tcp.connections`",
            Self::Stalled => "a hello or a message took too long from its first byte to its last; send whole messages",
            Self::Ahead => {
                "the hello begins beyond what this box has taken of the source; begin at what was acknowledged, or use another source"
            }
        }
    }
}

impl StreamHello {
    /// Bytes of a hello.
    pub const SIZE: usize = core::mem::size_of::<Self>();

    /// The hello of `source`, whose first unacknowledged message has the sequence `next`.
    #[must_use]
    pub fn new(source: u32, next: u64) -> Self {
        Self {
            magic: STREAM_MAGIC.into(),
            version: STREAM_VERSION.into(),
            source: source.into(),
            next: next.into(),
            ..Self::default()
        }
    }

    /// The hello in `bytes`, which are exactly one.
    ///
    /// # Errors
    /// [`StreamError::NoHello`], [`StreamError::Version`].
    pub fn parse(bytes: &[u8]) -> Result<&Self, StreamError> {
        let hello = Self::ref_from_bytes(bytes).map_err(|_| StreamError::NoHello)?;
        if hello.magic.get() != STREAM_MAGIC {
            return Err(StreamError::NoHello);
        }
        let known = hello.version.get() == STREAM_VERSION && hello.flags.get() == 0;
        if !known || hello.reserved.get() != 0 || hello.reserved_too.get() != 0 {
            return Err(StreamError::Version);
        }
        Ok(hello)
    }
}

impl StreamHeader {
    /// The header of a message of `length` bytes and the given form.
    #[must_use]
    pub fn new(form: u16, length: u32, source: u32, sequence: u64) -> Self {
        let prefix = StreamPrefix { magic: MESSAGE_MAGIC.into(), source: source.into(), sequence: sequence.into() };
        Self { length: length.into(), form: form.into(), prefix, ..Self::default() }
    }

    /// The header at the start of `bytes`, which are at least one.
    ///
    /// # Errors
    /// [`StreamError::NoHeader`], [`StreamError::Length`], [`StreamError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<&Self, StreamError> {
        let (header, _) = Self::ref_from_prefix(bytes).map_err(|_| StreamError::NoHeader)?;
        if header.prefix.magic.get() != MESSAGE_MAGIC || header.flags.get() != 0 || header.reserved != [0; 24] {
            return Err(StreamError::NoHeader);
        }
        if !(STANDARD_HEADER..=STREAM_MESSAGE_MAX).contains(&(header.length.get() as usize)) {
            return Err(StreamError::Length);
        }
        if !matches!(
            header.form.get(),
            crate::message::PORT_STANDARD | crate::message::PORT_MULTIMODAL | crate::message::PORT_BATCH
        ) {
            return Err(StreamError::Form);
        }
        Ok(header)
    }

    /// Bytes from the start of this header to the next one.
    #[must_use]
    pub fn stride(&self) -> usize {
        STREAM_HEADER + (self.length.get() as usize).next_multiple_of(STREAM_ALIGN)
    }
}

impl StreamWord {
    /// Bytes of a word.
    pub const SIZE: usize = core::mem::size_of::<Self>();

    /// A word without a reason.
    #[must_use]
    pub fn new(says: StreamSays, next: u64, credit: u64) -> Self {
        let (magic, kind) = (STREAM_MAGIC.into(), (says as u16).into());
        Self { magic, kind, next: next.into(), credit: credit.into(), ..Self::default() }
    }

    /// The last word of a connection.
    #[must_use]
    pub fn refused(reason: StreamError, next: u64) -> Self {
        Self { reason: (reason as u16).into(), ..Self::new(StreamSays::Refused, next, next) }
    }

    /// What the word in `bytes` (exactly one) says; `None` if it is no word.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(StreamSays, &Self)> {
        let word = Self::ref_from_bytes(bytes).ok().filter(|word| word.magic.get() == STREAM_MAGIC)?;
        Some((StreamSays::from_number(word.kind.get())?, word))
    }
}

const _: () = assert!(StreamHello::SIZE == 32 && StreamWord::SIZE == 32);
const _: () = assert!(STREAM_HEADER == 48 && STREAM_PREFIX == 16);
const _: () = assert!(STREAM_HEADER - STREAM_PREFIX == crate::meta::FrameMeta::SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_parsed_as_it_was_written() {
        let header = StreamHeader::new(48_100, 29, 7, 1 << 40);
        assert_eq!(StreamHeader::parse(header.as_bytes()), Ok(&header));
        assert_eq!(header.stride(), 48 + 32);
        assert_eq!(StreamHeader::parse(&header.as_bytes()[..47]), Err(StreamError::NoHeader));
        for (length, refused) in [(0, true), (27, true), (28, false), (65_504, false), (65_505, true), (u32::MAX, true)]
        {
            let header = StreamHeader::new(48_102, length, 7, 0);
            let expected = if refused { Err(StreamError::Length) } else { Ok(&header) };
            assert_eq!(StreamHeader::parse(header.as_bytes()), expected, "{length}");
        }
        assert_eq!(StreamHeader::parse(StreamHeader::new(80, 28, 7, 0).as_bytes()), Err(StreamError::Form));
        let dirty = StreamHeader { reserved: [1; 24], ..header };
        assert_eq!(StreamHeader::parse(dirty.as_bytes()), Err(StreamError::NoHeader));
    }

    #[test]
    fn a_hello_of_another_version_is_told_from_noise() {
        let hello = StreamHello::new(3, 9);
        assert_eq!(StreamHello::parse(hello.as_bytes()), Ok(&hello));
        let newer = StreamHello { version: 2.into(), ..hello };
        assert_eq!(StreamHello::parse(newer.as_bytes()), Err(StreamError::Version));
        assert_eq!(StreamHello::parse(b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n!!"), Err(StreamError::NoHello));
    }

    #[test]
    fn words_and_reasons_have_numbers_of_their_own() {
        let word = StreamWord::refused(StreamError::Gap, 5);
        let (says, read) = StreamWord::parse(word.as_bytes()).expect("a word");
        assert_eq!((says, StreamError::from_number(read.reason.get())), (StreamSays::Refused, Some(StreamError::Gap)));
        for (place, reason) in StreamError::ALL.into_iter().enumerate() {
            assert_eq!((reason as usize, StreamError::from_number(reason as u16)), (place + 1, Some(reason)));
        }
        assert_eq!(StreamWord::parse(&[0; 32]), None);
    }
}
