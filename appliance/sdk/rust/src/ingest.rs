//! Batches of events, packed into messages, paced, and sent: what stands behind the C library's `stream_` calls.

use std::env;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use weir_dataplane_io::clock::monotonic_ns;
use weir_ebpf_abi::message::PORT_BATCH;

use crate::address::IngestAddress;
use crate::client::{StreamClient, StreamOptions, StreamStatistics};
use crate::error::{SdkError, StreamFailure};
use crate::limit::RateLimit;
use crate::pack::{self, EventView, Part, Stamp};

/// Where to send, and how.
#[derive(Clone, Debug)]
pub struct IngestOptions {
    /// Where the box listens.
    pub address: IngestAddress,
    /// How its client behaves.
    pub stream: StreamOptions,
}

impl IngestOptions {
    /// What `WEIR_INGEST` (a place; else [`IngestAddress::LOCAL`]), `WEIR_SOURCE` (a number; else one made up for this process) and
    /// `WEIR_WINDOW_MIB` say.
    ///
    /// # Errors
    /// [`SdkError::Invalid`] for a value that is none.
    pub fn from_environment() -> Result<Self, SdkError> {
        let place = env::var("WEIR_INGEST").ok().filter(|value| !value.is_empty());
        let source = number("WEIR_SOURCE")?.unwrap_or_else(made_up);
        // Batches are few messages or many; only their bytes are bounded.
        let mut stream = StreamOptions { adopt: true, window: usize::MAX, ..StreamOptions::new(source) };
        if let Some(mebibytes) = number("WEIR_WINDOW_MIB")? {
            stream.window_bytes = (mebibytes as usize) << 20;
        }
        Ok(Self { address: place.as_deref().unwrap_or(IngestAddress::LOCAL).parse()?, stream })
    }
}

fn number(name: &str) -> Result<Option<u32>, SdkError> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    let invalid = |_| SdkError::Invalid {
        what: format!("{name} is `{text}`, which is no number of 32 bits"),
        cure: "set a whole number, or leave the variable out",
    };
    text.parse().map(Some).map_err(invalid)
}

/// A source that hardly another process has: its upper half keeps away from numbers that people choose.
fn made_up() -> u32 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mixed = (time ^ (u64::from(std::process::id()) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32 | 1 << 31 // the best mixed bits
}

/// Sends events to a box. It connects with the first batch; threads may share it.
#[derive(Debug, Default)]
pub struct Ingest {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    client: Option<Arc<StreamClient>>,
    limit: RateLimit,
    parts: Vec<Part>,
}

impl Ingest {
    /// One that is not connected yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects; a connection that was there before is given up with what is not acknowledged on it.
    ///
    /// # Errors
    /// As [`StreamClient::connected`].
    pub fn connect(&self, options: IngestOptions) -> Result<(), SdkError> {
        let mut inner = self.lock();
        inner.client = None;
        inner.client = Some(Arc::new(StreamClient::connected(options.address, options.stream)?));
        Ok(())
    }

    /// Ends the connection; the next batch makes another.
    pub fn close(&self) {
        let client = self.lock().client.take();
        drop(client);
    }

    /// Takes a batch of 1 to [`EVENTS_MAX`](pack::EVENTS_MAX) events, all or none. Does not wait, except for the first
    /// connection.
    ///
    /// # Errors
    /// [`StreamFailure::Full`] and [`SdkError::Limited`] pass with time; the others are the batch's or the connection's.
    pub fn send<'a, I>(&self, events: I) -> Result<(), SdkError>
    where
        I: ExactSizeIterator<Item = EventView<'a>> + Clone,
    {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let count = events.len();
        pack::plan(events.clone(), &mut inner.parts)?;
        let now = monotonic_ns();
        if let Some(wait_ns) = inner.limit.wait_ns(now) {
            return Err(SdkError::Limited { per_second: inner.limit.per_second(), wait_ns });
        }
        let client = inner.client()?;
        let now_ns = if client.address().is_local() { now } else { realtime_ns() };
        let source = client.source();
        let lengths: Vec<usize> = inner.parts.iter().map(|part| part.length).collect();
        let mut events = events;
        client.try_send_with(PORT_BATCH, &lengths, |which, sequence, message| {
            pack::write(message, inner.parts[which], Stamp { source, sequence, now_ns }, &mut events);
        })?;
        inner.limit.charge(count, now);
        Ok(())
    }

    /// Lets so many events a second through from now on; 0 is no limit.
    pub fn set_limit(&self, per_second: u32) {
        self.lock().limit.set(per_second, monotonic_ns());
    }

    /// Waits until every batch taken so far is acknowledged.
    ///
    /// # Errors
    /// [`StreamFailure::Unacknowledged`], or why the stream has ended and nothing will be acknowledged.
    pub fn flush(&self, timeout: Duration) -> Result<(), SdkError> {
        let client = self.lock().client.clone();
        client.map_or(Ok(()), |client| Ok(client.flush(timeout)?))
    }

    /// Per cent of the window in use, rounded up.
    ///
    /// # Errors
    /// [`StreamFailure::Unreachable`] before the first batch and while the connection is made anew; why it has ended.
    pub fn fullness(&self) -> Result<u8, SdkError> {
        let client = self.lock().client.clone();
        let never = || {
            let cause = io::Error::other("nothing was sent yet");
            StreamFailure::Unreachable { address: IngestAddress::LOCAL.to_owned(), cause }
        };
        let client = client.ok_or_else(never)?;
        client.standing()?;
        Ok(client.pressure() as u8) // at most 100
    }

    /// What was done on this connection.
    #[must_use]
    pub fn statistics(&self) -> StreamStatistics {
        let client = self.lock().client.clone();
        client.map(|client| client.statistics()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A caller's iterator may have panicked meanwhile; what is kept here is whole between any two steps.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The client, connected as the environment says if there is none yet.
    fn client(&mut self) -> Result<Arc<StreamClient>, SdkError> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let IngestOptions { address, stream } = IngestOptions::from_environment()?;
        let client = Arc::new(StreamClient::connected(address, stream)?);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }
}

fn realtime_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
