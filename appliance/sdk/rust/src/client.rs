//! [`StreamClient`]: messages to a box over a stream, lossless from here to every feature that takes them.
//!
//! ```text
//! program ── try_send, send ──► window ──► writer thread ──► socket
//!                                 ▲ forgets                    │
//!                                 └──────── reader thread ◄────┘ acknowledged, credit
//! ```
//! A message that was accepted stays in the window until the box says that all who take it have worked on it. When the
//! connection breaks, the writer connects anew and sends on from where the box says. What the window cannot take is
//! refused, or waited for if the caller says so; nothing grows.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_ebpf_abi::message::STANDARD_HEADER;
use weir_ebpf_abi::stream::{STREAM_MESSAGE_MAX, StreamError};

use crate::address::{IngestAddress, Socket};
use crate::error::StreamFailure;
use crate::link;
use crate::window::{Window, footprint};

/// What a client sends as, how much it keeps and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Number of the source: one client at a time for each.
    pub source: u32,
    /// Sequence of its first message: where a program that kept count goes on.
    pub first: u64,
    /// Whether the box's count is taken over instead, if it is told before a message is accepted.
    pub adopt: bool,
    /// Messages that are kept until they are acknowledged.
    pub window: usize,
    /// Bytes that are kept, at least one message.
    pub window_bytes: usize,
    /// Longest wait for a connection and for the box's welcome.
    pub connect_within: Duration,
    /// A connection on which messages wait for acknowledgement and nothing was heard for so long is given up.
    pub silence: Duration,
    /// First pause before a broken connection is made again; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest.
    pub longest_pause: Duration,
}

impl StreamOptions {
    /// A source that begins at 0 and keeps 8192 messages or 32 MiB.
    #[must_use]
    pub fn new(source: u32) -> Self {
        Self {
            source,
            first: 0,
            adopt: false,
            window: 8192,
            window_bytes: 32 << 20,
            connect_within: Duration::from_secs(3),
            silence: Duration::from_secs(30),
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_secs(1),
        }
    }
}

/// What a client has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStatistics {
    /// Messages taken into the window.
    pub accepted: u64,
    /// Messages handed to the socket, those sent again included.
    pub sent: u64,
    /// Messages sent again after a broken connection.
    pub resent: u64,
    /// Messages that all who take them have worked on.
    pub acknowledged: u64,
    /// Calls that the window had no room for.
    pub refused: u64,
    /// Times that messages stood ready and the box gave no credit for them.
    pub waits: u64,
    /// Connections made.
    pub connected: u64,
    /// Bytes of the window in use.
    pub window_used: usize,
    /// Bytes of the window.
    pub window_size: usize,
}

/// How the connection stands.
#[derive(Debug)]
pub(crate) enum Link {
    /// Connected; the socket is kept so that it can be shut down from outside.
    Up(Socket),
    /// Being made anew. What happened to the last one, or to the last attempt.
    Down(String),
    /// Ended for good.
    Ended(Ending),
}

/// Why a stream ended for good.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// The box refused it.
    Refused(StreamError),
    /// What answers is no box: what it did.
    Foreign(String),
    /// It expects this message, which the window does not have.
    Ahead(u64),
    /// There was no thread for it.
    Thread(String),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) window: Window,
    pub(crate) credit: u64,
    pub(crate) link: Link,
    pub(crate) stop: bool,
    /// The writer waits for `work`.
    pub(crate) idle: bool,
    pub(crate) statistics: StreamStatistics,
}

/// What a client's threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: IngestAddress,
    pub(crate) options: StreamOptions,
    pub(crate) state: Mutex<State>,
    /// There may be something to send.
    pub(crate) work: Condvar,
    /// There may be room, or something was acknowledged, or the link has changed.
    pub(crate) progress: Condvar,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed by steps that do not panic; one that did would not make it less bounded.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends messages to one box as one source. Threads may share it.
#[derive(Debug)]
pub struct StreamClient {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl StreamClient {
    /// A stream to `address`. It connects at once, in a thread of its own, and again whenever the connection breaks;
    /// messages are accepted meanwhile.
    #[must_use]
    pub fn new(address: IngestAddress, options: StreamOptions) -> Self {
        let mut client = Self::idle(address, options);
        client.run(None);
        client
    }

    /// A stream to `address` that is connected: one attempt is made and waited for.
    ///
    /// # Errors
    /// [`StreamFailure::Unreachable`], [`StreamFailure::Refused`], [`StreamFailure::Foreign`], [`StreamFailure::Ahead`].
    pub fn connected(address: IngestAddress, options: StreamOptions) -> Result<Self, StreamFailure> {
        let mut client = Self::idle(address, options);
        let socket = link::open(&client.shared);
        let socket = socket.ok_or_else(|| client.unavailable(&client.shared.lock()))?;
        client.run(Some(socket));
        Ok(client)
    }

    /// One without a connection and without threads.
    fn idle(address: IngestAddress, options: StreamOptions) -> Self {
        let state = State {
            window: Window::new(options.source, options.first, options.adopt),
            credit: 0,
            link: Link::Down("it was not tried yet".to_owned()),
            stop: false,
            idle: false,
            statistics: StreamStatistics::default(),
        };
        let (state, work, progress) = (Mutex::new(state), Condvar::new(), Condvar::new());
        Self { shared: Arc::new(Shared { address, options, state, work, progress }), writer: None }
    }

    fn run(&mut self, socket: Option<Socket>) {
        let shared = Arc::clone(&self.shared);
        let writer = std::thread::Builder::new().name("weir-stream".to_owned());
        match writer.spawn(move || link::run(&shared, socket)) {
            Ok(writer) => self.writer = Some(writer),
            Err(cause) => self.shared.lock().link = Link::Ended(Ending::Thread(cause.to_string())),
        }
    }

    /// Waits up to `timeout` for a connection.
    ///
    /// # Errors
    /// [`StreamFailure::Unreachable`] when there is none in time, and as [`StreamClient::try_send`].
    pub fn connect(&self, timeout: Duration) -> Result<(), StreamFailure> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            let left = deadline.checked_duration_since(Instant::now());
            match (&state.link, left) {
                (Link::Up(_), _) => return Ok(()),
                (Link::Ended(_), _) | (_, None) => return Err(self.unavailable(&state)),
                (Link::Down(_), Some(left)) => state = self.wait(state, left),
            }
        }
    }

    /// Accepts a message of `form` (a UDP port of docs/wire.md) without waiting; gives its sequence, or `None` when the
    /// window is full.
    ///
    /// # Errors
    /// [`StreamFailure::Length`], [`StreamFailure::Refused`], [`StreamFailure::Ahead`], [`StreamFailure::Foreign`].
    pub fn try_send(&self, form: u16, message: &[u8]) -> Result<Option<u64>, StreamFailure> {
        match self.try_send_with(form, &[message.len()], |_, _, place| place.copy_from_slice(message)) {
            Ok(all) => Ok(Some(all.start)),
            Err(StreamFailure::Full { .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// As [`StreamClient::try_send`], but waits up to `timeout` for room.
    ///
    /// # Errors
    /// As [`StreamClient::try_send`], and [`StreamFailure::Full`].
    pub fn send(&self, form: u16, message: &[u8], timeout: Duration) -> Result<u64, StreamFailure> {
        let deadline = Instant::now() + timeout;
        let wanted = checked(&[message.len()])?;
        let mut state = self.shared.lock();
        loop {
            self.check(&state)?;
            if self.fits(&state, 1, wanted) {
                return Ok(self.push(&mut state, form, message.len(), |_, place| place.copy_from_slice(message)));
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                state.statistics.refused += 1;
                return Err(StreamFailure::Full { waiting: waiting(&state) });
            };
            state = self.wait(state, left);
        }
    }

    /// Takes messages of `lengths` into the window, all or none. `fill` writes each: it gets which one it is (from 0), its
    /// sequence and its bytes, which are zero. Gives their sequences. Does not wait.
    ///
    /// # Errors
    /// [`StreamFailure::Full`], [`StreamFailure::NeverFits`], and as [`StreamClient::try_send`].
    pub fn try_send_with(
        &self,
        form: u16,
        lengths: &[usize],
        mut fill: impl FnMut(usize, u64, &mut [u8]),
    ) -> Result<Range<u64>, StreamFailure> {
        let wanted = checked(lengths)?;
        if lengths.len() > 1
            && (wanted > self.shared.options.window_bytes || lengths.len() > self.shared.options.window)
        {
            return Err(StreamFailure::NeverFits { bytes: wanted });
        }
        let mut state = self.shared.lock();
        self.check(&state)?;
        if !self.fits(&state, lengths.len(), wanted) {
            state.statistics.refused += 1;
            return Err(StreamFailure::Full { waiting: waiting(&state) });
        }
        let first = state.window.accepted();
        for (which, length) in lengths.iter().enumerate() {
            self.push(&mut state, form, *length, |sequence, place| fill(which, sequence, place));
        }
        Ok(first..state.window.accepted())
    }

    fn push(&self, state: &mut State, form: u16, length: usize, fill: impl FnOnce(u64, &mut [u8])) -> u64 {
        let sequence = state.window.push(form, length, fill);
        state.statistics.accepted += 1;
        if state.idle {
            state.idle = false;
            self.shared.work.notify_one();
        }
        sequence
    }

    /// Waits up to `timeout` until everything accepted so far is acknowledged.
    ///
    /// # Errors
    /// As [`StreamClient::try_send`], and [`StreamFailure::Unacknowledged`].
    pub fn flush(&self, timeout: Duration) -> Result<(), StreamFailure> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        let goal = state.window.accepted();
        loop {
            if state.window.acknowledged() >= goal {
                return Ok(());
            }
            self.check(&state)?;
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(StreamFailure::Unacknowledged { waiting: waiting(&state) });
            };
            state = self.wait(state, left);
        }
    }

    /// What it has done.
    #[must_use]
    pub fn statistics(&self) -> StreamStatistics {
        let state = self.shared.lock();
        let (window_used, window_size) = (state.window.used(), self.shared.options.window_bytes);
        StreamStatistics { window_used, window_size, ..state.statistics }
    }

    /// How full the window is, in per cent, rounded up: of messages or of bytes, whichever is fuller. 0 when everything is
    /// acknowledged.
    #[must_use]
    pub fn pressure(&self) -> u32 {
        let state = self.shared.lock();
        let percent = |part: usize, whole: usize| part.saturating_mul(100).div_ceil(whole.max(1)).min(100) as u32;
        let options = &self.shared.options;
        percent(waiting(&state), options.window).max(percent(state.window.used(), options.window_bytes))
    }

    /// Whether `count` messages of `bytes` altogether would be accepted now.
    #[must_use]
    pub fn has_room(&self, count: usize, bytes: usize) -> bool {
        self.fits(&self.shared.lock(), count, bytes.saturating_add(count * footprint(0)))
    }

    /// Whether the box has said welcome and the connection stands.
    ///
    /// # Errors
    /// Why there is no connection, now or ever.
    pub fn standing(&self) -> Result<(), StreamFailure> {
        let state = self.shared.lock();
        if matches!(state.link, Link::Up(_)) { Ok(()) } else { Err(self.unavailable(&state)) }
    }

    /// Whether the box has said welcome and the connection stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.standing().is_ok()
    }

    /// Whether the stream has ended for good: a new client is needed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.shared.lock().link, Link::Ended(_))
    }

    /// Sequence that the next message gets.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.shared.lock().window.accepted()
    }

    /// Messages that are not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        waiting(&self.shared.lock())
    }

    /// Where the box is.
    #[must_use]
    pub fn address(&self) -> &IngestAddress {
        &self.shared.address
    }

    /// Who sends.
    #[must_use]
    pub fn source(&self) -> u32 {
        self.shared.options.source
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.shared.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether messages of so many bytes, headers included, fit. An empty window takes any one message.
    fn fits(&self, state: &State, count: usize, bytes: usize) -> bool {
        let (options, used) = (&self.shared.options, state.window.used());
        waiting(state) + count <= options.window && (used == 0 || used.saturating_add(bytes) <= options.window_bytes)
    }

    /// Whether the stream has not ended.
    fn check(&self, state: &State) -> Result<(), StreamFailure> {
        if matches!(state.link, Link::Ended(_)) { Err(self.unavailable(state)) } else { Ok(()) }
    }

    fn unavailable(&self, state: &State) -> StreamFailure {
        let address = self.shared.address.to_string();
        match &state.link {
            Link::Up(_) => StreamFailure::Unreachable { address, cause: io::ErrorKind::WouldBlock.into() },
            Link::Down(cause) => StreamFailure::Unreachable { address, cause: io::Error::other(cause.clone()) },
            Link::Ended(Ending::Refused(reason)) => StreamFailure::Refused { address, reason: *reason },
            Link::Ended(Ending::Foreign(cause)) => StreamFailure::Foreign { address, cause: cause.clone() },
            Link::Ended(Ending::Ahead(expected)) => {
                StreamFailure::Ahead { source_id: self.source(), expected: *expected }
            }
            Link::Ended(Ending::Thread(cause)) => StreamFailure::Thread { cause: cause.clone() },
        }
    }
}

impl Drop for StreamClient {
    /// Ends the connection. What is not acknowledged is given up: flush before.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stop = true;
        if let Link::Up(socket) = &state.link {
            socket.shutdown();
        }
        drop(state);
        self.shared.work.notify_all();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told so on standard error; there is nothing left to give back.
            let _ = writer.join();
        }
    }
}

/// Messages that are not acknowledged.
fn waiting(state: &State) -> usize {
    (state.window.accepted() - state.window.acknowledged()) as usize // as many as are in memory
}

/// Bytes that messages of these lengths take in a window.
fn checked(lengths: &[usize]) -> Result<usize, StreamFailure> {
    match lengths.iter().find(|length| !(STANDARD_HEADER..=STREAM_MESSAGE_MAX).contains(*length)) {
        Some(length) => Err(StreamFailure::Length { length: *length }),
        None => Ok(lengths.iter().map(|length| footprint(*length)).sum()),
    }
}
