//! A small honest receiver of streams, for tests: it frames, checks every word, acknowledges with credit, and plays the
//! accidents it is told to.
//!
//! It keeps what it saw of each source and says whether every message came exactly once and in order. A real box behind
//! the same endpoint makes the tests' first half (what the client is told) the same; only what arrived is read elsewhere.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)] // each test uses its part

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use weir_ebpf_abi::stream::{STREAM_HEADER, StreamError, StreamHeader, StreamHello, StreamSays, StreamWord};
use zerocopy::IntoBytes;

/// Longest wait for a condition, on a loaded machine of two cores.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What the receiver does besides receiving.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Messages of credit beyond what is acknowledged.
    pub credit: u64,
    /// Cut the connection after each so many messages, in the middle of the next one; 0 never.
    pub cut_every: u64,
    /// Forget what was received and not acknowledged when the connection is cut, as a box that dies would.
    pub forgetful: bool,
    /// Acknowledge after so many messages, and when the credit is used up.
    pub acknowledge_every: u64,
}

impl Default for Manners {
    fn default() -> Self {
        Self { credit: 1 << 20, cut_every: 0, forgetful: false, acknowledge_every: 1 }
    }
}

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub form: u16,
    pub bytes: Vec<u8>,
}

/// What the receiver knows of a source.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Every message once, in order, from the first one expected on.
    pub messages: Vec<Message>,
    /// Of those, how many were acknowledged.
    pub acknowledged: usize,
    /// Sequence of the first one.
    pub first: u64,
    pub connections: u64,
}

#[derive(Debug, Default)]
struct Told {
    sources: BTreeMap<u32, Source>,
    /// While true nothing is read, as by a box whose rings are full.
    held: bool,
    /// What broke the rules.
    complaints: Vec<String>,
    open: Vec<UnixStream>,
    refuse: Option<StreamError>,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    told: Mutex<Told>,
    changed: Condvar,
    manners: Manners,
}

/// The receiver; it ends with the value.
#[derive(Debug)]
pub struct Receiver {
    path: PathBuf,
    shared: Arc<Shared>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// Listens at a socket of its own. Its path is short wherever the repository lies: a socket's may have 107 bytes.
    pub fn start(name: &str, manners: Manners) -> Self {
        let path = std::env::temp_dir().join(format!("weir-{name}-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let shared = Arc::new(Shared { told: Mutex::default(), changed: Condvar::new(), manners });
        let threads = Arc::clone(&shared);
        let listener = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for stream in listener.incoming() {
                    if threads.told.lock().unwrap().stop {
                        return;
                    }
                    let stream = stream.unwrap();
                    threads.told.lock().unwrap().open.push(stream.try_clone().unwrap());
                    let threads = &threads;
                    scope.spawn(move || threads.serve(stream));
                }
            });
        });
        Self { path, shared, listener: Some(listener) }
    }

    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Stops (or goes on) reading.
    pub fn hold(&self, held: bool) {
        self.shared.told.lock().unwrap().held = held;
        self.shared.changed.notify_all();
    }

    /// Refuses every connection from now on, or none.
    pub fn refuse(&self, reason: Option<StreamError>) {
        self.shared.told.lock().unwrap().refuse = reason;
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for stream in self.shared.told.lock().unwrap().open.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Waits until `holds` of what is known of `source`, then gives it.
    pub fn wait(&self, source: u32, holds: impl Fn(&Source) -> bool) -> Source {
        let deadline = Instant::now() + DEADLINE;
        let mut told = self.shared.told.lock().unwrap();
        loop {
            assert_eq!(told.complaints, Vec::<String>::new());
            if let Some(source) = told.sources.get(&source).filter(|source| holds(source)) {
                return source.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "in time, of {source}: {:?}", told.sources.get(&source).map(|s| s.messages.len()));
            told = self.shared.changed.wait_timeout(told, left).unwrap().0;
        }
    }

    /// The only source there is.
    pub fn only_source(&self) -> u32 {
        let told = self.shared.told.lock().unwrap();
        assert_eq!(told.complaints, Vec::<String>::new());
        assert_eq!(told.sources.len(), 1);
        *told.sources.keys().next().unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.told.lock().unwrap().stop = true;
        self.shared.told.lock().unwrap().held = false;
        self.shared.changed.notify_all();
        self.cut();
        let _ = UnixStream::connect(&self.path); // wakes the listener
        let ended = self.listener.take().unwrap().join();
        let _ = std::fs::remove_file(&self.path);
        if !std::thread::panicking() {
            ended.unwrap();
            assert_eq!(self.shared.told.lock().unwrap().complaints, Vec::<String>::new());
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: UnixStream) {
        // A connection that ends in the middle of anything is an accident, not a breach.
        let _ = self.receive(&mut stream);
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }

    fn receive(&self, stream: &mut UnixStream) -> std::io::Result<()> {
        let mut hello = [0; StreamHello::SIZE];
        stream.read_exact(&mut hello)?;
        let hello = *StreamHello::parse(&hello).unwrap();
        if let Some(reason) = self.told.lock().unwrap().refuse {
            return stream.write_all(StreamWord::refused(reason, 0).as_bytes());
        }
        let (source, mut next) = self.greet(hello.source.get(), hello.next.get());
        let mut credit = next + self.manners.credit;
        stream.write_all(StreamWord::new(StreamSays::Welcome, next, credit).as_bytes())?;
        let (mut here, mut unsaid) = (0, 0);
        loop {
            self.while_held();
            let mut header = [0; STREAM_HEADER];
            stream.read_exact(&mut header)?;
            if self.manners.cut_every != 0 && here >= self.manners.cut_every {
                return Ok(());
            }
            let header = *StreamHeader::parse(&header).unwrap();
            let mut bytes = vec![0; header.stride() - STREAM_HEADER];
            stream.read_exact(&mut bytes)?;
            let sequence = header.prefix.sequence.get();
            let mut told = self.told.lock().unwrap();
            if header.prefix.source.get() != source || sequence != next || sequence >= credit {
                told.complaints.push(format!("{header:?} with {next} expected of {source} and credit {credit}"));
                return Ok(());
            }
            let length = header.length.get() as usize;
            if bytes[length..].iter().any(|byte| *byte != 0) {
                told.complaints.push(format!("message {sequence} is padded with something"));
            }
            bytes.truncate(length);
            (next, here, unsaid) = (next + 1, here + 1, unsaid + 1);
            let known = told.sources.get_mut(&source).unwrap();
            known.messages.push(Message { form: header.form.get(), bytes });
            let acknowledged = unsaid >= self.manners.acknowledge_every || next == credit;
            if acknowledged {
                known.acknowledged = known.messages.len();
            }
            drop(told);
            self.changed.notify_all();
            if acknowledged {
                (unsaid, credit) = (0, next + self.manners.credit);
                stream.write_all(StreamWord::new(StreamSays::Progress, next, credit).as_bytes())?;
            }
        }
    }

    /// Books a connection of `source`; gives where it is to go on.
    fn greet(&self, source: u32, next: u64) -> (u32, u64) {
        let mut told = self.told.lock().unwrap();
        let known = told.sources.entry(source).or_insert(Source { first: next, ..Source::default() });
        known.connections += 1;
        if self.manners.forgetful {
            known.messages.truncate(known.acknowledged);
        }
        let expected = known.first + known.messages.len() as u64;
        let acknowledged = known.first + known.acknowledged as u64;
        if next > acknowledged && known.connections > 1 {
            let complaint = format!("{next} said to be acknowledged, {acknowledged} were");
            told.complaints.push(complaint);
        }
        drop(told);
        self.changed.notify_all();
        (source, expected)
    }

    fn while_held(&self) {
        let mut told = self.told.lock().unwrap();
        while told.held {
            told = self.changed.wait(told).unwrap();
        }
    }
}
