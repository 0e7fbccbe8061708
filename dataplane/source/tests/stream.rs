//! Are messages of a stream on their lane once and in order, however they come, and does a slow taker stop the sender?
#![allow(clippy::print_stdout)] // how many connections the long form got is told on the test's output

mod senders;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use senders::{Conduct, SENDING_PROCESSES, Sending};
use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_io::fds::allow_descriptors;
use weir_dataplane_io::shared::{SharedMemory, Writers};
use weir_dataplane_io::sockets::Listening;
use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions};
use weir_dataplane_ring::{LaneRing, RxOwner};
use weir_dataplane_source::stream::{BUFFER_BYTES, Fate, Receiver, Steering, StreamCounts, StreamLimits, StreamSetup};
use weir_ebpf_abi::message::{PORT_STANDARD, StandardHeader};
use weir_ebpf_abi::meta::{FrameMeta, META_MAGIC};
use weir_ebpf_abi::stream::{
    STREAM_FIRST_MOST, STREAM_HEADER, STREAM_MESSAGE_MAX, STREAM_PREFIX, StreamError, StreamHeader, StreamHello,
    StreamSays, StreamWord,
};
use zerocopy::{FromBytes, IntoBytes};

const DEADLINE: Duration = Duration::from_secs(20);
/// How long a receiver that holds nothing waits, unless a test is about that.
const IDLE: Duration = Duration::from_millis(5);
const LANE: u32 = 64;
const LENT: u16 = 4;
const SPARE: u16 = 2;

/// Everything to the one lane; type 9 is dropped and type 8 goes to nobody.
struct ToOne;

impl Steering for ToOne {
    fn fate(&mut self, _: &[SocketAddr; 2], form: u16, message: &[u8]) -> Fate {
        let Ok((header, _)) = StandardHeader::read_from_prefix(message) else { return Fate::Malformed };
        match header.message_type.get() {
            9 => Fate::Drop,
            8 => Fate::Untaken,
            7 => Fate::Malformed,
            _ => {
                assert_eq!(form, PORT_STANDARD);
                let (offset, length) = (STREAM_PREFIX as u16, message.len() as u16);
                let meta = FrameMeta {
                    payload_offset: offset,
                    payload_length: length,
                    magic: META_MAGIC,
                    ..FrameMeta::default()
                };
                Fate::Deliver { lane: 0, meta }
            }
        }
    }
}

/// What the taker found: source, sequence and the message of each frame.
type Taken = Vec<(u32, u64, Vec<u8>)>;

/// A receiver and a taker in a thread.
struct Box {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// The taker takes nothing while this is set.
    hold: Arc<AtomicBool>,
    messages: Arc<AtomicU64>,
    thread: Option<JoinHandle<(Taken, StreamCounts)>>,
    idle: Duration,
}

impl Box {
    fn start(io_uring: bool, limits: StreamLimits, known: BTreeMap<u32, u64>) -> Self {
        Self::start_with(io_uring, limits, known, IDLE)
    }

    /// One that waits for news as long as `idle` when it holds nothing.
    fn start_with(io_uring: bool, limits: StreamLimits, known: BTreeMap<u32, u64>, idle: Duration) -> Self {
        let listener = Listening::tcp(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.address().expect("an address");
        let (stop, hold) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let messages = Arc::new(AtomicU64::new(0));
        let (ended, held, count) = (Arc::clone(&stop), Arc::clone(&hold), Arc::clone(&messages));
        let thread = std::thread::spawn(move || serve(io_uring, listener, limits, known, &ended, &held, &count, idle));
        Self { address, stop, hold, messages, thread: Some(thread), idle }
    }

    fn finish(mut self) -> (Taken, StreamCounts) {
        self.stop.store(true, Ordering::Relaxed);
        // One that waits for an hour needs news to see that it is to stop.
        let _news = (self.idle > IDLE).then(|| TcpStream::connect(self.address));
        self.thread.take().expect("once").join().expect("the receiver ends")
    }
}

#[expect(clippy::too_many_arguments, reason = "what a receiver is made of, and the strings it hangs on")]
fn serve(
    io_uring: bool,
    listener: Listening,
    limits: StreamLimits,
    known: BTreeMap<u32, u64>,
    stop: &AtomicBool,
    hold: &AtomicBool,
    messages: &AtomicU64,
    idle: Duration,
) -> (Taken, StreamCounts) {
    let frames = u32::from(LENT + SPARE) * (BUFFER_BYTES / 2048);
    let options = UmemOptions { frames, frame_size: 2048, hugepages: HugePages::Never, node: None };
    let umem = Arc::new(Umem::create_with(options).expect("memory"));
    let length = LaneRing::length(LANE).next_multiple_of(4096);
    let memory = SharedMemory::create("test-lane", length, Writers::Creator).expect("a lane");
    let lane: Arc<dyn weir_dataplane_ring::Memory> = memory.mapping().clone();
    let mut owner = RxOwner::new(Arc::clone(&lane), LaneRing::OFFSETS, LANE).expect("an owner");
    let setup = StreamSetup {
        umem: Arc::clone(&umem),
        start: 0,
        lent: LENT,
        spare: SPARE,
        listeners: vec![listener],
        lanes: vec![(lane, LANE)],
        durable: 0,
        limits,
        known,
        io_uring,
    };
    let mut receiver = Receiver::new(setup).expect("a receiver");
    let mut taken = Taken::new();
    loop {
        let timeout = if receiver.is_holding() { Duration::from_millis(1) } else { idle };
        receiver.turn(timeout, monotonic_ns(), &mut ToOne).expect("a turn");
        let end = if hold.load(Ordering::Relaxed) { owner.consumer() } else { owner.producer() };
        let mut finished = 0;
        for descriptor in owner.until(end) {
            let front =
                umem.bytes(descriptor.address - FrameMeta::SIZE as u64, FrameMeta::SIZE as u32).expect("inside");
            let meta = FrameMeta::read_before(front, FrameMeta::SIZE).expect("words in front of every frame");
            let frame = umem.bytes(descriptor.address, descriptor.length).expect("inside");
            let message = &frame[usize::from(meta.payload_offset)..][..usize::from(meta.payload_length)];
            let prefix =
                weir_ebpf_abi::stream::StreamPrefix::read_from_bytes(&frame[..STREAM_PREFIX]).expect("16 bytes");
            taken.push((prefix.source.get(), prefix.sequence.get(), message.to_vec()));
            finished += 1;
        }
        owner.release(end);
        (0..finished).for_each(|_| receiver.finished(0));
        messages.store(receiver.counts().messages, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) && owner.producer() == owner.consumer() {
            return (taken, receiver.counts());
        }
    }
}

fn message(kind: u32, length: usize, fill: u8) -> Vec<u8> {
    let header = StandardHeader { message_type: kind.into(), ..StandardHeader::default() };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(length, fill);
    bytes
}

fn framed(source: u32, sequence: u64, message: &[u8]) -> Vec<u8> {
    let header = StreamHeader::new(PORT_STANDARD, message.len() as u32, source, sequence);
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes.resize(header.stride(), 0);
    bytes
}

/// Says hello; gives the connection and the sequence that is expected.
fn hello(address: SocketAddr, source: u32, next: u64) -> (TcpStream, u64) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.write_all(StreamHello::new(source, next).as_bytes()).expect("sent");
    let (says, word) = word(&mut stream).expect("a welcome");
    assert_eq!(says, StreamSays::Welcome);
    (stream, word.next.get())
}

fn word(stream: &mut TcpStream) -> Option<(StreamSays, StreamWord)> {
    let mut bytes = [0; StreamWord::SIZE];
    stream.read_exact(&mut bytes).ok()?;
    StreamWord::parse(&bytes).map(|(says, word)| (says, *word))
}

/// The word with which the connection ends.
fn refusal(stream: &mut TcpStream) -> (StreamSays, StreamWord) {
    std::iter::from_fn(|| word(stream)).find(|(says, _)| *says != StreamSays::Progress).expect("a last word")
}

/// Reads words until everything below `sequence` is acknowledged.
fn acknowledged(stream: &mut TcpStream, sequence: u64) {
    loop {
        let (says, word) = word(stream).expect("an acknowledgement");
        assert_eq!(says, StreamSays::Progress, "{word:?}");
        if word.next.get() >= sequence {
            return;
        }
    }
}

/// The same numbers in every run.
fn random(state: &mut u64, below: u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) % below) as usize
}

fn however_a_stream_is_cut_its_messages_are_the_same(io_uring: bool) {
    for seed in 1..=6_u64 {
        let receiver = Box::start(io_uring, StreamLimits::default(), BTreeMap::new());
        let (mut stream, next) = hello(receiver.address, 3, 10);
        assert_eq!(next, 10);
        let mut state = seed;
        let longest = [60, 2_000, STREAM_MESSAGE_MAX as u64 - 28][seed as usize % 3];
        let messages: Vec<Vec<u8>> = (0..300).map(|n| message(1, 28 + random(&mut state, longest), n as u8)).collect();
        let bytes: Vec<u8> = (10..).zip(&messages).flat_map(|(n, message)| framed(3, n, message)).collect();
        let mut rest = bytes.as_slice();
        let mut reading = stream.try_clone().expect("a handle");
        let acks = std::thread::spawn(move || acknowledged(&mut reading, 310));
        while !rest.is_empty() {
            // From single bytes to more than a buffer.
            let most = [3, 1_500, 200_000][random(&mut state, 3)];
            let cut = 1 + random(&mut state, most);
            let (now, later) = rest.split_at(cut.min(rest.len()));
            stream.write_all(now).expect("sent");
            rest = later;
        }
        acks.join().expect("all are acknowledged");
        let (taken, counts) = receiver.finish();
        assert_eq!(taken.len(), 300, "{counts:?}");
        for ((n, message), taken) in (10..).zip(&messages).zip(&taken) {
            assert!(taken.0 == 3 && taken.1 == n && taken.2 == *message, "message {n} of seed {seed}");
        }
        assert_eq!((counts.messages, counts.delivered, counts.held), (300, 300, 0));
    }
}

fn a_taker_that_stands_still_stops_the_sender_and_loses_nothing(io_uring: bool) {
    let receiver = Box::start(io_uring, StreamLimits { credit: 1 << 40, ..StreamLimits::default() }, BTreeMap::new());
    receiver.hold.store(true, Ordering::Relaxed);
    let (mut stream, _) = hello(receiver.address, 1, 0);
    stream.set_nonblocking(true).expect("a mode");
    let (mut sent, mut bytes, mut at) = (0_u64, Vec::new(), 0);
    // Until the way is full: the sender's buffer, the receiver's, ours, and the lane. They have some megabytes.
    let deadline = Instant::now() + DEADLINE;
    let mut full_since = None;
    while Instant::now() < deadline {
        if at == bytes.len() {
            (bytes, at) = (framed(1, sent, &message(1, 4_000, sent as u8)), 0);
            sent += 1;
        }
        match stream.write(&bytes[at..]) {
            Ok(count) => (at, full_since) = (at + count, None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let since = *full_since.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_millis(300) {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(full_since.is_some() && sent > u64::from(LANE), "the sender was stopped after {sent}");
    let taken = receiver.messages.load(Ordering::Relaxed);
    assert_eq!(taken, u64::from(LANE), "what has no room on the lane is not taken");
    receiver.hold.store(false, Ordering::Relaxed);
    stream.set_nonblocking(false).expect("a mode");
    stream.write_all(&bytes[at..]).expect("it goes on");
    acknowledged(&mut stream, sent);
    let (taken, counts) = receiver.finish();
    assert!((0..sent).eq(taken.iter().map(|taken| taken.1)), "every message once and in order: {counts:?}");
    assert!(counts.waits > 0);
}

/// What waited for room on a lane goes on it with nothing else to come: no turn may wait before takers can see it.
fn what_waited_for_a_lane_is_shown_before_anything_is_waited_for(io_uring: bool) {
    let limits = StreamLimits { credit: 1 << 40, ..StreamLimits::default() };
    let receiver = Box::start_with(io_uring, limits, BTreeMap::new(), Duration::from_secs(3600));
    let (mut stream, _) = hello(receiver.address, 1, 0);
    let count = 20 * u64::from(LANE);
    let bytes: Vec<u8> = (0..count).flat_map(|n| framed(1, n, &message(1, 200, n as u8))).collect();
    stream.write_all(&bytes).expect("sent");
    acknowledged(&mut stream, count);
    let (taken, counts) = receiver.finish();
    assert!((0..count).eq(taken.iter().map(|taken| taken.1)), "every message once and in order: {counts:?}");
    assert!(counts.waits > 0, "the lane was full: {counts:?}");
}

fn who_breaks_the_rules_is_told_why(io_uring: bool) {
    let limits = StreamLimits { credit: 100, stall: Duration::from_millis(200), ..StreamLimits::default() };
    let receiver = Box::start(io_uring, limits, BTreeMap::new());
    let plain = message(1, 40, 0);
    let with = |change: fn(&mut StreamHeader)| {
        let mut header = StreamHeader::new(PORT_STANDARD, 40, 5, 0);
        change(&mut header);
        [header.as_bytes(), &plain].concat()
    };
    let cases: Vec<(StreamError, Vec<u8>)> = vec![
        (StreamError::NoHeader, vec![0xee; 100]),
        (StreamError::Length, with(|header| header.length = 0.into())),
        (StreamError::Length, with(|header| header.length = u32::MAX.into())),
        (StreamError::Form, with(|header| header.form = 80.into())),
        (StreamError::Source, with(|header| header.prefix.source = 6.into())),
        (StreamError::Gap, with(|header| header.prefix.sequence = 1.into())),
        (StreamError::BadMessage, framed(5, 0, &message(7, 40, 0))),
        (StreamError::Stalled, framed(5, 0, &plain)[..60].to_vec()),
    ];
    for (reason, bytes) in &cases {
        let (mut stream, _) = hello(receiver.address, 5, 0);
        stream.write_all(bytes).expect("sent");
        let (says, word) = refusal(&mut stream);
        assert_eq!((says, StreamError::from_number(word.reason.get())), (StreamSays::Refused, Some(*reason)));
        assert!(self::word(&mut stream).is_none(), "the connection ends");
    }
    let mut stranger = TcpStream::connect(receiver.address).expect("a connection");
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n!!!!").expect("sent");
    let (says, word) = word(&mut stranger).expect("a last word");
    assert_eq!((says, word.reason.get()), (StreamSays::Refused, StreamError::NoHello as u16));
    let mut silent = TcpStream::connect(receiver.address).expect("a connection");
    let (says, word) = self::word(&mut silent).expect("a last word");
    assert_eq!((says, word.reason.get()), (StreamSays::Refused, StreamError::Stalled as u16));
    // The receiver is as it was.
    let (mut stream, next) = hello(receiver.address, 5, 0);
    assert_eq!(next, 0);
    stream.write_all(&framed(5, 0, &plain)).expect("sent");
    acknowledged(&mut stream, 1);
    drop(stream);
    let (taken, counts) = receiver.finish();
    assert_eq!(taken, [(5, 0, plain)]);
    let refused: BTreeMap<&str, u64> = counts.refused().map(|(reason, count)| (reason.name(), count)).collect();
    assert_eq!(refused.values().sum::<u64>(), cases.len() as u64 + 2, "{refused:?}");
    assert_eq!((refused["length"], refused["stalled"], refused["no-hello"]), (2, 2, 1));
}

fn a_sequence_at_its_end_ends_nobody_but_its_source(io_uring: bool) {
    let known = BTreeMap::from([(5, u64::MAX - 2), (6, u64::MAX - 1), (9, u64::MAX)]);
    let receiver = Box::start(io_uring, StreamLimits { credit: 100, ..StreamLimits::default() }, known);
    let plain = message(1, 40, 0);
    let (mut stream, next) = hello(receiver.address, 5, u64::MAX - 1);
    assert_eq!(next, u64::MAX - 1);
    stream.write_all(&framed(5, next, &plain)).expect("sent");
    acknowledged(&mut stream, u64::MAX);
    // One more would leave no sequence to be expected: it is never taken, whether it was sent before, is new or was durable.
    for source in [5, 6, 9] {
        let (mut stream, next) = hello(receiver.address, source, u64::MAX);
        assert_eq!(next, u64::MAX);
        stream.write_all(&framed(source, next, &plain)).expect("sent");
        let (says, word) = refusal(&mut stream);
        assert_eq!((says, word.reason.get()), (StreamSays::Refused, StreamError::Credit as u16));
    }
    let (mut other, next) = hello(receiver.address, 7, 0);
    other.write_all(&framed(7, next, &plain)).expect("sent");
    acknowledged(&mut other, 1);
    let (taken, _) = receiver.finish();
    assert_eq!(taken, [(5, u64::MAX - 1, plain.clone()), (7, 0, plain)]);
}

fn a_sender_that_comes_back_sends_what_is_missing_and_nothing_twice(io_uring: bool) {
    let receiver = Box::start(io_uring, StreamLimits::default(), BTreeMap::from([(9, 99)]));
    // 100 is the first that is not durable; the sender has not heard so.
    let (mut stream, next) = hello(receiver.address, 9, 95);
    assert_eq!(next, 100);
    let send = |stream: &mut TcpStream, sequence| {
        stream.write_all(&framed(9, sequence, &message(1, 64, sequence as u8))).expect("sent");
    };
    (100..150).for_each(|sequence| send(&mut stream, sequence));
    acknowledged(&mut stream, 150);
    // It lost its acknowledgements and begins again where it last heard of them.
    let (mut again, next) = hello(receiver.address, 9, 120);
    assert_eq!(next, 150);
    let superseded = std::iter::from_fn(|| word(&mut stream)).last().expect("a last word");
    assert_eq!(superseded.1.reason.get(), StreamError::Superseded as u16);
    (140..160).for_each(|sequence| send(&mut again, sequence));
    acknowledged(&mut again, 160);
    // Dropped and untaken messages are finished at once, and in their place.
    again.write_all(&framed(9, 160, &message(9, 64, 0))).expect("sent");
    again.write_all(&framed(9, 161, &message(8, 64, 0))).expect("sent");
    acknowledged(&mut again, 162);
    let (taken, counts) = receiver.finish();
    assert!((100..160).eq(taken.iter().map(|taken| taken.1)));
    assert_eq!((counts.duplicates, counts.dropped, counts.untaken, counts.messages), (10, 1, 1, 62));
}

fn a_hello_that_is_ahead_silences_nobody(io_uring: bool) {
    let receiver = Box::start(io_uring, StreamLimits::default(), BTreeMap::from([(6, 41)]));
    let send = |stream: &mut TcpStream, source, sequence| {
        stream.write_all(&framed(source, sequence, &message(1, 64, sequence as u8))).expect("sent");
        acknowledged(stream, sequence + 1);
    };
    let refused = |source, next: u64| {
        let mut stream = TcpStream::connect(receiver.address).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.write_all(StreamHello::new(source, next).as_bytes()).expect("sent");
        let (says, word) = refusal(&mut stream);
        assert_eq!((says, word.reason.get()), (StreamSays::Refused, StreamError::Ahead as u16));
        assert!(self::word(&mut stream).is_none(), "the connection ends");
    };
    // Before the real source has ever come: too far is refused, and what is not borne out by a message does not count.
    refused(5, STREAM_FIRST_MOST + 1);
    let (_liar, next) = hello(receiver.address, 5, STREAM_FIRST_MOST);
    assert_eq!(next, STREAM_FIRST_MOST);
    let (mut real, next) = hello(receiver.address, 5, 10);
    assert_eq!(next, 10);
    (10..20).for_each(|sequence| send(&mut real, 5, sequence));
    // While it sends: the connection of the real one is not ended, and its messages are new.
    refused(5, 21);
    refused(5, u64::MAX);
    (20..30).for_each(|sequence| send(&mut real, 5, sequence));
    // One of which there is a record goes on beyond it, since not everything was durable, and not below it.
    let (_liar, next) = hello(receiver.address, 6, 1 << 40);
    assert_eq!(next, 1 << 40);
    let (mut real, next) = hello(receiver.address, 6, 7);
    assert_eq!(next, 42);
    send(&mut real, 6, 42);
    let (taken, counts) = receiver.finish();
    let taken: Vec<(u32, u64)> = taken.iter().map(|taken| (taken.0, taken.1)).collect();
    assert_eq!(taken, (10..30).map(|sequence| (5, sequence)).chain([(6, 42)]).collect::<Vec<_>>());
    let refused: Vec<(&str, u64)> = counts.refused().map(|(reason, count)| (reason.name(), count)).collect();
    assert_eq!((refused, counts.duplicates), (vec![("superseded", 2), ("ahead", 3)], 0));
}

/// Descriptors of this process that are no connection of the test with thousands.
const BESIDE_CONNECTIONS: u64 = 1_000;

fn thousands_of_slow_connections_hold_little_and_hinder_nobody(io_uring: bool) {
    // Both ways of receiving are tested beside each other.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let long = std::env::var_os("WEIR_TEST_LONG").is_some();
    let wanted = if long { 10_000 } else { 400 };
    let allowed = allow_descriptors(wanted + BESIDE_CONNECTIONS).saturating_sub(BESIDE_CONNECTIONS);
    let count = wanted.min(allowed) as u32; // 10,000 at most
    println!("{count} of {wanted} connections: {allowed} have descriptors here");
    let stall = Duration::from_secs(3600); // who is hostile stays to the end
    let limits = StreamLimits { connections: count as usize, stall, ..StreamLimits::default() };
    let receiver = Box::start(io_uring, limits, BTreeMap::new());
    let each = (count - 1).div_ceil(SENDING_PROCESSES);
    let mut senders: Vec<Sending> = (1..count)
        .step_by(each as usize)
        .map(|first| Sending::start(receiver.address, first, each.min(count - first)))
        .collect();
    senders.iter_mut().for_each(|sending| sending.wait_for("READY"));
    let (mut fast, _) = hello(receiver.address, 0, 0);
    let plain = message(1, 100, 1);
    for sequence in 0..1_000 {
        fast.write_all(&framed(0, sequence, &plain)).expect("sent");
        if (sequence + 1) % 50 == 0 {
            acknowledged(&mut fast, sequence + 1); // so few fit one segment, and none is cut in two
        }
    }
    // All are open at once: one more is refused.
    let mut beyond = TcpStream::connect(receiver.address).expect("a connection");
    let (says, word) = word(&mut beyond).expect("a last word");
    assert_eq!((says, word.reason.get()), (StreamSays::Refused, StreamError::TooMany as u16));
    for sending in &mut senders {
        sending.process.stdin.take().expect("its input").write_all(b"go\n").expect("told");
    }
    for sending in &mut senders {
        sending.wait_for("DONE");
        assert!(sending.process.wait().expect("it ends").success());
    }
    drop(fast);
    let (taken, counts) = receiver.finish();
    let slow = (1..count).filter(|source| Conduct::of(*source) == Conduct::Slow).count() as u64;
    assert_eq!((taken.len() as u64, counts.connected), (1_000 + slow, u64::from(count)), "{counts:?}");
    // A few of the fast ones lie across the end of a buffer.
    let copied = counts.copied / (STREAM_HEADER as u64 + 104);
    assert!((slow..slow + 50).contains(&copied), "only what came in pieces: {copied}");
}

/// A receiver with two lanes, of which the second is the log's, turned by the test itself.
struct Turned {
    receiver: Receiver,
    address: SocketAddr,
    owners: Vec<RxOwner>,
    _lanes: Vec<SharedMemory>,
}

impl Turned {
    fn new(io_uring: bool, limits: StreamLimits) -> Self {
        let listener = Listening::tcp(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.address().expect("an address");
        let frames = u32::from(LENT + SPARE) * (BUFFER_BYTES / 2048);
        let options = UmemOptions { frames, frame_size: 2048, hugepages: HugePages::Never, node: None };
        let umem = Arc::new(Umem::create_with(options).expect("memory"));
        let length = LaneRing::length(LANE).next_multiple_of(4096);
        let lanes: Vec<SharedMemory> =
            (0..2).map(|_| SharedMemory::create("test-lane", length, Writers::Creator).expect("a lane")).collect();
        let memory = |lane: &SharedMemory| -> Arc<dyn weir_dataplane_ring::Memory> { lane.mapping().clone() };
        let owner = |lane| RxOwner::new(memory(lane), LaneRing::OFFSETS, LANE).expect("an owner");
        let owners = lanes.iter().map(owner).collect();
        let setup = StreamSetup {
            umem,
            start: 0,
            lent: LENT,
            spare: SPARE,
            listeners: vec![listener],
            lanes: lanes.iter().map(|lane| (memory(lane), LANE)).collect(),
            durable: 0b10,
            limits,
            known: BTreeMap::new(),
            io_uring,
        };
        Self { receiver: Receiver::new(setup).expect("a receiver"), address, owners, _lanes: lanes }
    }

    /// Turns until `done` says so.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.receiver.counts());
            self.receiver.turn(Duration::from_millis(1), monotonic_ns(), &mut ByType).expect("a turn");
        }
    }

    /// Turns long enough for everything that is on its way to be worked on.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.receiver.turn(Duration::from_millis(2), monotonic_ns(), &mut ByType).expect("a turn");
        }
    }

    /// One turn in which what has come is worked on.
    fn settle_once(&mut self) {
        let refused = self.refused();
        self.until("somebody is turned away", |turned| turned.refused() > refused);
    }

    fn refused(&self) -> u64 {
        self.receiver.counts().refused().map(|(_, count)| count).sum()
    }

    /// Messages on a lane that nobody has passed.
    fn lying(&self, lane: usize) -> u64 {
        self.owners[lane].producer() - self.owners[lane].consumer()
    }

    /// All takers of a lane pass what lies there.
    fn pass(&mut self, lane: usize) {
        let (from, end) = (self.owners[lane].consumer(), self.owners[lane].producer());
        self.owners[lane].release(end);
        (from..end).for_each(|_| self.receiver.finished(lane));
    }
}

/// Messages of type 2 go to the second lane, others to the first.
struct ByType;

impl Steering for ByType {
    fn fate(&mut self, ends: &[SocketAddr; 2], form: u16, message: &[u8]) -> Fate {
        let second = message.first() == Some(&2);
        match ToOne.fate(ends, form, message) {
            Fate::Deliver { meta, .. } => Fate::Deliver { lane: usize::from(second), meta },
            fate => fate,
        }
    }
}

/// A connection that has said hello and not looked at the answer.
fn greeted(address: SocketAddr, source: u32) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.write_all(StreamHello::new(source, 0).as_bytes()).expect("sent");
    stream
}

fn nothing_is_durable_before_what_came_before_it_was_passed(io_uring: bool) {
    // After a kill the log's last sequence of a source counts as acknowledged, with everything below.
    let mut turned = Turned::new(io_uring, StreamLimits::default());
    let mut stream = greeted(turned.address, 5);
    let bytes: Vec<u8> =
        [1, 1, 2, 2, 1, 2].into_iter().zip(0..).flat_map(|(kind, n)| framed(5, n, &message(kind, 60, 0))).collect();
    stream.write_all(&bytes).expect("sent");
    turned.until("the first two are on their lane", |turned| turned.lying(0) == 2);
    turned.settle();
    assert_eq!(turned.lying(1), 0, "messages 0 and 1 are lost if message 2 is durable and the box dies");
    turned.pass(0);
    turned.until("the durable ones follow", |turned| turned.lying(1) == 2 && turned.lying(0) == 1);
    turned.settle();
    assert_eq!(turned.lying(1), 2, "message 5 waits for message 4");
    turned.pass(0);
    turned.until("the last one follows", |turned| turned.lying(1) == 3);
    turned.pass(1);
    turned.settle();
    assert_eq!(word(&mut stream).map(|(says, _)| says), Some(StreamSays::Welcome));
    acknowledged(&mut stream, 6);
}

fn begun_messages_at_their_limit_keep_nobody_waiting_for_ever(io_uring: bool) {
    let limits = StreamLimits { carried: 1_000, stall: Duration::from_millis(300), ..StreamLimits::default() };
    let mut turned = Turned::new(io_uring, limits);
    let long = framed(1, 0, &message(1, 600, 0));
    let mut begun = greeted(turned.address, 1);
    begun.write_all(&long[..500]).expect("sent");
    turned.settle();
    let mut other = greeted(turned.address, 2);
    let second = framed(2, 0, &message(1, 600, 0));
    other.write_all(&second[..300]).expect("sent");
    turned.settle();
    // Neither fits beside the other; the one that goes on ends, and then there is room.
    begun.write_all(&long[500..]).expect("sent");
    turned.until("the first message is whole", |turned| turned.lying(0) == 1);
    other.write_all(&second[300..]).expect("sent");
    turned.until("the second message is whole", |turned| turned.lying(0) == 2);
    // One that never goes on gives its room back when it is ended.
    let mut never = greeted(turned.address, 3);
    never.write_all(&framed(3, 0, &message(1, 900, 0))[..900]).expect("sent");
    turned.settle();
    let mut last = greeted(turned.address, 4);
    let fourth = framed(4, 0, &message(1, 900, 0));
    last.write_all(&fourth[..400]).expect("sent");
    turned.settle();
    last.write_all(&fourth[400..]).expect("sent");
    turned.until("the last message is whole", |turned| turned.lying(0) == 3);
}

fn a_message_that_comes_byte_by_byte_has_its_time_too(io_uring: bool) {
    let mut turned =
        Turned::new(io_uring, StreamLimits { stall: Duration::from_millis(400), ..StreamLimits::default() });
    let mut stream = greeted(turned.address, 1);
    let bytes = framed(1, 0, &message(1, 600, 0));
    let mut sent = bytes.iter();
    turned.until("it is refused in the middle", |turned| {
        if let Some(byte) = sent.next() {
            let _ = stream.write_all(&[*byte]); // once it is refused nobody takes more
            std::thread::park_timeout(Duration::from_millis(5));
        }
        turned.receiver.counts().refused().any(|(reason, count)| reason == StreamError::Stalled && count == 1)
    });
    assert!(sent.next().is_some(), "it was refused before its end");
}

/// Sends `bytes` and hangs up with a reset: what is on its way to the sender is thrown away.
fn reset_after(address: SocketAddr, source: u32, bytes: &[u8]) {
    let mut stream = greeted(address, source);
    stream.write_all(bytes).expect("sent");
    drop(stream); // the welcome was not read, so the kernel resets
}

fn a_class_that_stands_still_leaves_the_others_their_buffers(io_uring: bool) {
    let mut turned = Turned::new(io_uring, StreamLimits { credit: 1 << 40, ..StreamLimits::default() });
    let (mut stuck, mut lively) = (greeted(turned.address, 1), greeted(turned.address, 2));
    let (still, going) = (message(2, 60, 0), message(1, 20_000, 0));
    // One small message for nobody who moves, between every twenty kilobytes for somebody who does: over all buffers.
    for n in 0..u64::from(LANE) + 20 {
        stuck.write_all(&framed(1, n, &still)).expect("sent");
        lively.write_all(&framed(2, n, &going)).expect("sent");
        turned.until("the one that moves is served", |turned| {
            let served = turned.lying(0) > 0;
            turned.pass(0);
            served
        });
    }
    assert_eq!(turned.lying(1), u64::from(LANE), "the class that stands still has its lane full");
    for n in u64::from(LANE) + 20..500 {
        lively.write_all(&framed(2, n, &going)).expect("sent");
        turned.until("the one that moves is served", |turned| {
            let served = turned.lying(0) > 0;
            turned.pass(0);
            served
        });
    }
    // And what stood still goes on where it was.
    turned.until("all of it comes", |turned| {
        turned.pass(1);
        turned.receiver.counts().delivered == 500 + u64::from(LANE) + 20 && turned.lying(1) == 0
    });
}

fn connections_that_break_leave_nothing_behind(io_uring: bool) {
    let mut turned = Turned::new(io_uring, StreamLimits { connections: 64, ..StreamLimits::default() });
    let whole = framed(1, 0, &message(1, 5_000, 0));
    for round in 0..200_usize {
        let cut = (round * 53) % whole.len();
        match round % 4 {
            0 => reset_after(turned.address, 1, &whole[..cut]),
            1 => drop(TcpStream::connect(turned.address).expect("a connection")),
            2 => {
                let stream = greeted(turned.address, 1);
                stream.shutdown(std::net::Shutdown::Write).expect("a mode"); // half open, and then gone
            }
            _ => {
                let mut stream = TcpStream::connect(turned.address).expect("a connection");
                stream.write_all(&whole[..cut.min(31)]).expect("sent");
            }
        }
        turned.until("it is noticed", |turned| {
            let counts = turned.receiver.counts();
            counts.connected == round as u64 + 1 && counts.connections <= 8
        });
    }
    turned.until("all are gone", |turned| turned.receiver.counts().connections == 0);
    turned.pass(0);
    // Every buffer is free again: more than all of them goes through.
    let (mut stream, count) = (greeted(turned.address, 9), 1_000_u64);
    for n in 0..count {
        stream.write_all(&framed(9, n, &message(1, 5_000, 0))).expect("sent");
        turned.until("it is served", |turned| {
            let served = turned.lying(0) > 0;
            turned.pass(0);
            served
        });
    }
}

fn a_flood_of_connections_is_turned_away_and_ends(io_uring: bool) {
    let mut turned = Turned::new(io_uring, StreamLimits { connections: 10, ..StreamLimits::default() });
    let mut inside: Vec<TcpStream> = (0..10).map(|source| greeted(turned.address, source)).collect();
    turned.until("ten are in", |turned| turned.receiver.counts().connections == 10);
    for _ in 0..300 {
        let mut beyond = TcpStream::connect(turned.address).expect("the kernel takes it");
        beyond.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        turned.settle_once();
        let (says, word) = word(&mut beyond).expect("a last word");
        assert_eq!((says, word.reason.get()), (StreamSays::Refused, StreamError::TooMany as u16));
    }
    assert_eq!((turned.receiver.counts().connections, turned.receiver.counts().connected), (10, 10));
    for (stream, source) in inside.iter_mut().zip(0..) {
        stream.write_all(&framed(source, 0, &message(1, 60, 0))).expect("sent");
    }
    turned.until("those inside are served", |turned| turned.lying(0) == 10);
    inside.clear();
    turned.until("their places are free", |turned| turned.receiver.counts().connections == 0);
    let _late = greeted(turned.address, 77);
    turned.until("somebody takes one", |turned| turned.receiver.counts().connections == 1);
}

/// Every test over io_uring, and over what is there where the kernel refuses that.
macro_rules! both_ways {
    ($($name:ident)*) => {
        mod io_uring { $(#[test] fn $name() { super::$name(true); })* }
        mod epoll { $(#[test] fn $name() { super::$name(false); })* }
    };
}

both_ways! {
    a_class_that_stands_still_leaves_the_others_their_buffers
    connections_that_break_leave_nothing_behind
    a_flood_of_connections_is_turned_away_and_ends
    however_a_stream_is_cut_its_messages_are_the_same
    a_taker_that_stands_still_stops_the_sender_and_loses_nothing
    what_waited_for_a_lane_is_shown_before_anything_is_waited_for
    who_breaks_the_rules_is_told_why
    a_sequence_at_its_end_ends_nobody_but_its_source
    a_sender_that_comes_back_sends_what_is_missing_and_nothing_twice
    a_hello_that_is_ahead_silences_nobody
    thousands_of_slow_connections_hold_little_and_hinder_nobody
    nothing_is_durable_before_what_came_before_it_was_passed
    begun_messages_at_their_limit_keep_nobody_waiting_for_ever
    a_message_that_comes_byte_by_byte_has_its_time_too
}
