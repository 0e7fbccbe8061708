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

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_ebpf_abi::message::STANDARD_HEADER;
use weir_ebpf_abi::stream::STREAM_MESSAGE_MAX;

use crate::endpoint::{Endpoint, Socket};
use crate::error::SdkError;
use crate::link;
use crate::window::{Window, footprint};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Who sends. The box counts each source's messages, and takes one connection of a source at a time.
    pub source: u32,
    /// Sequence of its first message, for a program that kept count. `None`: what the box expects first.
    pub first: Option<u64>,
    /// Bytes of messages not acknowledged yet; at least what the longest message takes.
    pub window: usize,
    /// Longest wait for a connection and for the box's welcome.
    pub connect_timeout: Duration,
    /// A connection on which messages wait for acknowledgement and nothing was heard for so long is given up.
    pub silence: Duration,
    /// Shortest and longest pause between two attempts to connect anew.
    pub pause: Range<Duration>,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            source: 0,
            first: None,
            window: 32 << 20,
            connect_timeout: Duration::from_secs(3),
            silence: Duration::from_secs(30),
            pause: Duration::from_millis(20)..Duration::from_secs(2),
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
    pub credit_waits: u64,
    /// Connections made.
    pub connections: u64,
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
    /// What the box said.
    Said(String),
    /// It expects this message, which the window does not have.
    Ahead(u64),
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
    pub(crate) endpoint: Endpoint,
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
    /// Connects to the box at `endpoint`, and waits for its welcome.
    ///
    /// # Errors
    /// [`SdkError::NotConnected`] when nobody answers in time; [`SdkError::Refused`] and [`SdkError::Ahead`] when the box
    /// does not want this stream; [`SdkError::Invalid`] for a window that the longest message does not fit.
    pub fn connect(endpoint: Endpoint, options: StreamOptions) -> Result<Self, SdkError> {
        let mut client = Self::idle(endpoint, options)?;
        // The first connection is made here, so that a caller learns at once whether there is a box.
        let socket = link::open(&client.shared);
        let socket = socket.ok_or_else(|| client.unavailable(&client.shared.lock()))?;
        client.run(Some(socket))?;
        Ok(client)
    }

    /// A stream to the box at `endpoint`, connected as soon as there is one: messages are accepted meanwhile, from
    /// sequence [`StreamOptions::first`] or 0 on.
    ///
    /// # Errors
    /// [`SdkError::Invalid`] for a window that the longest message does not fit.
    pub fn start(endpoint: Endpoint, options: StreamOptions) -> Result<Self, SdkError> {
        let mut client = Self::idle(endpoint, options)?;
        client.run(None)?;
        Ok(client)
    }

    /// One without a connection and without threads.
    fn idle(endpoint: Endpoint, options: StreamOptions) -> Result<Self, SdkError> {
        let least = footprint(STREAM_MESSAGE_MAX);
        if options.window < least {
            let what = format!("a window of {} bytes is below the {least} that a message may take", options.window);
            return Err(SdkError::Invalid { what, cure: "give it 1 MiB or more" });
        }
        let state = State {
            window: Window::new(options.source, options.window, options.first),
            credit: 0,
            link: Link::Down("it was not tried yet".to_owned()),
            stop: false,
            idle: false,
            statistics: StreamStatistics::default(),
        };
        let (state, work, progress) = (Mutex::new(state), Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { endpoint, options, state, work, progress });
        Ok(Self { shared, writer: None })
    }

    fn run(&mut self, socket: Option<Socket>) -> Result<(), SdkError> {
        let shared = Arc::clone(&self.shared);
        let writer = std::thread::Builder::new().name("weir-stream".to_owned());
        let writer = writer.spawn(move || link::run(&shared, socket)).map_err(|cause| SdkError::Invalid {
            what: format!("no thread for a stream: {cause}"),
            cure: "raise the limit of threads (ulimit -u)",
        })?;
        self.writer = Some(writer);
        Ok(())
    }

    /// Takes a message of `form` (the UDP port of that form: 48100, 48101 or 48102) into the window; gives its sequence.
    /// Does not wait.
    ///
    /// # Errors
    /// [`SdkError::Full`], [`SdkError::Length`], [`SdkError::Refused`], [`SdkError::Ahead`].
    pub fn try_send(&self, form: u16, message: &[u8]) -> Result<u64, SdkError> {
        self.try_send_with(form, &[message.len()], |_, _, place| place.copy_from_slice(message)).map(|all| all.start)
    }

    /// As [`StreamClient::try_send`], but waits up to `timeout` for room.
    ///
    /// # Errors
    /// [`SdkError::Full`] when there was none in time, [`SdkError::Length`], [`SdkError::Refused`], [`SdkError::Ahead`].
    pub fn send(&self, form: u16, message: &[u8], timeout: Duration) -> Result<u64, SdkError> {
        let deadline = Instant::now() + timeout;
        let wanted = checked(&[message.len()])?;
        let mut state = self.shared.lock();
        loop {
            if let Link::Ended(_) = state.link {
                return Err(self.unavailable(&state));
            }
            if state.window.free() >= wanted {
                return Ok(self.push(&mut state, form, message.len(), |_, place| place.copy_from_slice(message)));
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                state.statistics.refused += 1;
                return Err(full(&state.window, wanted));
            };
            state = self.wait(state, left);
        }
    }

    /// Takes messages of `lengths` into the window, all or none. `fill` writes each: it gets which one it is (from 0), its
    /// sequence and its bytes, which are zero. Gives their sequences. Does not wait.
    ///
    /// # Errors
    /// [`SdkError::Full`], [`SdkError::NeverFits`], [`SdkError::Length`], [`SdkError::Refused`].
    pub fn try_send_with(
        &self,
        form: u16,
        lengths: &[usize],
        mut fill: impl FnMut(usize, u64, &mut [u8]),
    ) -> Result<Range<u64>, SdkError> {
        let wanted = checked(lengths)?;
        let mut state = self.shared.lock();
        if let Link::Ended(_) = state.link {
            return Err(self.unavailable(&state));
        }
        if wanted > state.window.free() {
            state.statistics.refused += 1;
            return Err(full(&state.window, wanted));
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

    /// Waits until everything accepted so far is acknowledged.
    ///
    /// # Errors
    /// [`SdkError::Timeout`] when that takes longer than `timeout`; [`SdkError::Refused`].
    pub fn flush(&self, timeout: Duration) -> Result<(), SdkError> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        let goal = state.window.accepted();
        loop {
            let left = goal.saturating_sub(state.window.acknowledged());
            if left == 0 {
                return Ok(());
            }
            if let Link::Ended(_) = state.link {
                return Err(self.unavailable(&state));
            }
            let Some(rest) = deadline.checked_duration_since(Instant::now()) else {
                return Err(SdkError::Timeout { waited: timeout, left });
            };
            state = self.wait(state, rest);
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> StreamStatistics {
        let state = self.shared.lock();
        StreamStatistics { window_used: state.window.used(), window_size: state.window.size(), ..state.statistics }
    }

    /// Per cent of the window in use, rounded up: 0 when everything is acknowledged, 100 when nothing more fits.
    ///
    /// # Errors
    /// [`SdkError::NotConnected`] while there is no connection, [`SdkError::Refused`] when there will be none.
    pub fn fullness(&self) -> Result<u8, SdkError> {
        let state = self.shared.lock();
        match state.link {
            Link::Up(_) => {
                let per_cent = (state.window.used() * 100).div_ceil(state.window.size()).min(100);
                Ok(per_cent as u8) // at most 100
            }
            Link::Down(_) | Link::Ended(_) => Err(self.unavailable(&state)),
        }
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
    pub fn waiting(&self) -> u64 {
        let state = self.shared.lock();
        state.window.accepted() - state.window.acknowledged()
    }

    /// Where the box is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Who sends.
    #[must_use]
    pub fn source(&self) -> u32 {
        self.shared.options.source
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.shared.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    fn unavailable(&self, state: &State) -> SdkError {
        let endpoint = self.shared.endpoint.to_string();
        match &state.link {
            Link::Up(_) => SdkError::NotConnected { endpoint, cause: "it is being made".to_owned() },
            Link::Down(cause) => SdkError::NotConnected { endpoint, cause: cause.clone() },
            Link::Ended(Ending::Said(cause)) => SdkError::Refused { endpoint, cause: cause.clone() },
            Link::Ended(Ending::Ahead(expected)) => SdkError::Ahead {
                endpoint,
                source_id: self.source(),
                expected: *expected,
                from: state.window.acknowledged(),
                to: state.window.accepted(),
            },
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

/// Bytes that messages of these lengths take in a window.
fn checked(lengths: &[usize]) -> Result<usize, SdkError> {
    let (least, most) = (STANDARD_HEADER, STREAM_MESSAGE_MAX);
    match lengths.iter().find(|length| !(least..=most).contains(*length)) {
        Some(length) => Err(SdkError::Length { length: *length, least, most }),
        None => Ok(lengths.iter().map(|length| footprint(*length)).sum()),
    }
}

fn full(window: &Window, wanted: usize) -> SdkError {
    let (free, size) = (window.free(), window.size());
    if wanted > size { SdkError::NeverFits { wanted, size } } else { SdkError::Full { wanted, free, size } }
}
