//! One source's stream: what is not acknowledged is kept and sent again.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use weir_ebpf_abi::message::STANDARD_HEADER;
use weir_ebpf_abi::stream::{STREAM_MESSAGE_MAX, StreamError, StreamHeader, StreamHello, StreamSays, StreamWord};
use zerocopy::IntoBytes;

use crate::address::IngestAddress;
use crate::error::StreamFailure;
use crate::socket::Socket;

/// First pause before a broken connection is tried again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait before the connection is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a client sends as, and how much it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Number of the source: one client at a time for each.
    pub source: u32,
    /// Sequence of its first message: where a program that kept count goes on.
    pub first: u64,
    /// Messages that are kept until they are acknowledged.
    pub window: usize,
    /// Bytes that are kept, at least one message.
    pub window_bytes: usize,
}

impl StreamOptions {
    /// A source that begins at 0 and keeps 8192 messages or 32 MiB.
    #[must_use]
    pub fn new(source: u32) -> Self {
        Self { source, first: 0, window: 8192, window_bytes: 32 << 20 }
    }
}

/// What a client has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStatistics {
    /// Messages accepted from the caller.
    pub accepted: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages sent again after a broken connection.
    pub resent: u64,
    /// Connections made.
    pub connected: u64,
    /// Times that a message had to wait for credit.
    pub waits: u64,
}

/// A connection and how far it has come.
struct Link {
    socket: Socket,
    welcomed: bool,
    /// The rest of the hello.
    hello: Vec<u8>,
    /// Bytes of a word that has not come whole.
    word: Vec<u8>,
    /// Bytes of the next message that have gone out.
    gone: usize,
}

/// A stream to a box.
pub struct StreamClient {
    address: IngestAddress,
    options: StreamOptions,
    link: Option<Link>,
    /// Messages with their headers; the first has the sequence `base`.
    kept: VecDeque<Vec<u8>>,
    kept_bytes: usize,
    base: u64,
    /// Sequence of the message that goes out next.
    next: u64,
    /// Highest sequence that ever went out, plus one.
    sent: u64,
    /// Messages below this may go out.
    credit: u64,
    retry_at: Instant,
    pause: Duration,
    statistics: StreamStatistics,
}

impl StreamClient {
    /// A stream to `address`; it connects when there is something to send.
    #[must_use]
    pub fn new(address: IngestAddress, options: StreamOptions) -> Self {
        let first = options.first;
        Self {
            address,
            options,
            link: None,
            kept: VecDeque::new(),
            kept_bytes: 0,
            base: first,
            next: first,
            sent: first,
            credit: 0,
            retry_at: Instant::now(),
            pause: FIRST_PAUSE,
            statistics: StreamStatistics::default(),
        }
    }

    /// What it has done.
    #[must_use]
    pub fn statistics(&self) -> StreamStatistics {
        self.statistics
    }

    /// Messages that are not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.kept.len()
    }

    /// How full the window is, in per cent: of messages or of bytes, whichever is fuller.
    #[must_use]
    pub fn pressure(&self) -> u32 {
        let percent = |part: usize, whole: usize| (part.saturating_mul(100) / whole.max(1)).min(100) as u32;
        percent(self.kept.len(), self.options.window).max(percent(self.kept_bytes, self.options.window_bytes))
    }

    /// Whether the box has said welcome and the connection stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.welcomed)
    }

    /// Sequence that the next message gets.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.base + self.kept.len() as u64
    }

    /// Whether `count` messages of `bytes` altogether would be accepted now.
    #[must_use]
    pub fn has_room(&self, count: usize, bytes: usize) -> bool {
        let fits = self.kept.len() + count <= self.options.window;
        fits && (self.kept.is_empty() || self.kept_bytes + bytes <= self.options.window_bytes)
    }

    /// Accepts a message of `form` (a UDP port of docs/wire.md) without waiting; gives its sequence, or `None` when the
    /// window is full. A broken connection is no error here: the message is kept, and sent when there is a box again.
    ///
    /// # Errors
    /// [`StreamFailure::Length`], [`StreamFailure::Refused`], [`StreamFailure::Ahead`], [`StreamFailure::Foreign`].
    pub fn try_send(&mut self, form: u16, message: &[u8]) -> Result<Option<u64>, StreamFailure> {
        if !(STANDARD_HEADER..=STREAM_MESSAGE_MAX).contains(&message.len()) {
            return Err(StreamFailure::Length { length: message.len() });
        }
        if !self.has_room(1, message.len()) {
            self.pump()?;
        }
        if !self.has_room(1, message.len()) {
            self.statistics.waits += 1;
            return Ok(None);
        }
        let sequence = self.sequence();
        let header = StreamHeader::new(form, message.len() as u32, self.options.source, sequence);
        let mut bytes = Vec::with_capacity(header.stride());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(message);
        bytes.resize(header.stride(), 0);
        self.kept_bytes += bytes.len();
        self.kept.push_back(bytes);
        self.statistics.accepted += 1;
        self.pump()?;
        Ok(Some(sequence))
    }

    /// As [`StreamClient::try_send`], but waits up to `timeout` for room.
    ///
    /// # Errors
    /// As [`StreamClient::try_send`], and [`StreamFailure::Full`].
    pub fn send(&mut self, form: u16, message: &[u8], timeout: Duration) -> Result<u64, StreamFailure> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(sequence) = self.try_send(form, message)? {
                return Ok(sequence);
            }
            if Instant::now() >= deadline {
                return Err(StreamFailure::Full { waiting: self.kept.len() });
            }
            self.rest(deadline);
        }
    }

    /// Waits up to `timeout` until everything is acknowledged.
    ///
    /// # Errors
    /// As [`StreamClient::try_send`], and [`StreamFailure::Unacknowledged`].
    pub fn flush(&mut self, timeout: Duration) -> Result<(), StreamFailure> {
        let deadline = Instant::now() + timeout;
        loop {
            self.pump()?;
            if self.kept.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(StreamFailure::Unacknowledged { waiting: self.kept.len() });
            }
            self.rest(deadline);
        }
    }

    /// Connects if need be and waits up to `timeout` for the welcome.
    ///
    /// # Errors
    /// As [`StreamClient::try_send`], and [`StreamFailure::Unreachable`].
    pub fn connect(&mut self, timeout: Duration) -> Result<(), StreamFailure> {
        let deadline = Instant::now() + timeout;
        self.retry_at = Instant::now();
        loop {
            let tried = self.step();
            if self.is_connected() {
                return Ok(());
            }
            match tried {
                Err(failure) if !is_passing(&failure) || Instant::now() >= deadline => return Err(failure),
                Ok(()) if Instant::now() >= deadline => {
                    let cause = io::ErrorKind::TimedOut.into();
                    return Err(StreamFailure::Unreachable { address: self.address.to_string(), cause });
                }
                _ => self.rest(deadline),
            }
        }
    }

    /// Reads what the box says and sends what may go out, without waiting. What breaks and passes is tried again later.
    ///
    /// # Errors
    /// As [`StreamClient::try_send`].
    pub fn pump(&mut self) -> Result<(), StreamFailure> {
        match self.step() {
            Err(failure) if is_passing(&failure) => Ok(()),
            done => done,
        }
    }

    fn step(&mut self) -> Result<(), StreamFailure> {
        if self.link.is_none() {
            if Instant::now() < self.retry_at {
                return Ok(());
            }
            self.link()?;
        }
        let done = self.hear().and_then(|()| self.say());
        if done.is_err() {
            self.unlink();
        }
        done
    }

    fn link(&mut self) -> Result<(), StreamFailure> {
        let socket = Socket::connect(&self.address).map_err(|cause| {
            self.unlink();
            StreamFailure::Unreachable { address: self.address.to_string(), cause }
        })?;
        let hello = StreamHello::new(self.options.source, self.base).as_bytes().to_vec();
        self.link = Some(Link { socket, welcomed: false, hello, word: Vec::new(), gone: 0 });
        self.statistics.connected += 1;
        Ok(())
    }

    fn unlink(&mut self) {
        self.link = None;
        self.retry_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Reads words.
    fn hear(&mut self) -> Result<(), StreamFailure> {
        let mut bytes = [0; 64 * StreamWord::SIZE];
        loop {
            let Some(link) = &mut self.link else { return Ok(()) };
            let read = link.socket.read(&mut bytes).map_err(|cause| broken(&self.address, cause))?;
            let Some(read) = read else { return Ok(()) };
            if read == 0 {
                return Err(broken(&self.address, io::ErrorKind::UnexpectedEof.into()));
            }
            link.word.extend_from_slice(bytes.get(..read).unwrap_or_default());
            let whole = link.word.len() / StreamWord::SIZE * StreamWord::SIZE;
            let words: Vec<u8> = link.word.drain(..whole).collect();
            for word in words.chunks_exact(StreamWord::SIZE) {
                self.heard(word)?;
            }
        }
    }

    fn heard(&mut self, bytes: &[u8]) -> Result<(), StreamFailure> {
        let address = || self.address.to_string();
        let foreign = || StreamFailure::Foreign { address: address() };
        let (says, word) = StreamWord::parse(bytes).ok_or_else(foreign)?;
        let (next, credit, end) = (word.next.get(), word.credit.get(), self.sequence());
        match says {
            StreamSays::Refused => {
                let reason = StreamError::from_number(word.reason.get()).ok_or_else(foreign)?;
                return Err(StreamFailure::Refused { address: address(), reason });
            }
            StreamSays::Welcome => {
                if next > end {
                    return Err(StreamFailure::Ahead { source_id: self.options.source, expected: next });
                }
                let Some(link) = &mut self.link else { return Ok(()) };
                (link.welcomed, self.pause) = (true, FIRST_PAUSE);
                // What the box has and has not acknowledged is kept, but not sent again.
                self.next = next.max(self.base);
                self.statistics.resent += self.sent.saturating_sub(self.next);
            }
            StreamSays::Progress => {
                if next > end {
                    return Err(foreign());
                }
                while self.base < next {
                    self.kept_bytes -= self.kept.pop_front().map_or(0, |message| message.len());
                    self.base += 1;
                    self.statistics.acknowledged += 1;
                }
                self.next = self.next.max(self.base);
            }
        }
        self.credit = credit;
        Ok(())
    }

    /// Sends what may go out.
    fn say(&mut self) -> Result<(), StreamFailure> {
        let Some(link) = &mut self.link else { return Ok(()) };
        while !link.hello.is_empty() {
            match link.socket.write(&link.hello).map_err(|cause| broken(&self.address, cause))? {
                Some(count) => drop(link.hello.drain(..count.min(link.hello.len()))),
                None => return Ok(()),
            }
        }
        let end = self.base + self.kept.len() as u64;
        while link.welcomed && self.next < end.min(self.credit) {
            let Some(message) = self.kept.get((self.next - self.base) as usize) else { return Ok(()) };
            let rest = message.get(link.gone..).unwrap_or_default();
            match link.socket.write(rest).map_err(|cause| broken(&self.address, cause))? {
                Some(count) if count == rest.len() => {
                    (link.gone, self.next) = (0, self.next + 1);
                    self.sent = self.sent.max(self.next);
                }
                Some(count) => link.gone += count,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits for news, at most until the deadline.
    fn rest(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
        match &self.link {
            Some(link) => {
                let to_write = !link.hello.is_empty() || link.welcomed && self.next < self.sequence().min(self.credit);
                link.socket.wait(to_write, left);
            }
            None => std::thread::sleep(self.retry_at.saturating_duration_since(Instant::now()).min(left)),
        }
    }
}

fn broken(address: &IngestAddress, cause: io::Error) -> StreamFailure {
    StreamFailure::Broken { address: address.to_string(), cause }
}

/// Whether trying again can help without anybody doing something.
fn is_passing(failure: &StreamFailure) -> bool {
    match failure {
        StreamFailure::Unreachable { .. } | StreamFailure::Broken { .. } => true,
        StreamFailure::Refused { reason, .. } => matches!(reason, StreamError::TooMany | StreamError::Stalled),
        _ => false,
    }
}
