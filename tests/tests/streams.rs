//! Does a message over a stream get where the same datagram would, and is it there once, whatever dies?

use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_appliance_control::config::Run;
use weir_appliance_control::message::{NewRule, ProcessState, Request, Status, StreamsStatus};
use weir_appliance_sdk_rust::{IngestAddress, StreamClient, StreamOptions};
use weir_dataplane_io::wait::PidFd;
use weir_dataplane_log::{LogReader, verify};
use weir_ebpf_abi::message::{PORT_STANDARD, StandardHeader};
use weir_ebpf_abi::stream::{StreamHello, StreamSays, StreamWord};
use weir_features_worker::audit::ANSWER_ME;
use weir_tests::{BOX, DEADLINE, Rig, program, scaled, wired};
use zerocopy::IntoBytes;

/// Time a box has to be back after a kill: it is started again with a back-off of up to five seconds.
const BACK: Duration = Duration::from_secs(60);

/// A folder of this test, empty.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("weir-streams-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder); // of an earlier process with the same number
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Type 1 is audited, type 2 is audited and kept, type 3 is dropped, the rest goes to nobody.
fn config(folder: &Path) -> String {
    format!(
        "features: {{streaming: {{enabled: false}}, test1: {{enabled: true}}}}\n\
         rules:\n  \
           - {{name: audited, match: \"type 1\", action: deliver, to: [test1]}}\n  \
           - {{name: kept, match: \"type 2\", action: deliver, to: [test1], durable: true}}\n  \
           - {{name: unwanted, match: \"type 3\", action: drop}}\n\
         log: {{folder: {0}/log, segment_mib: 4, keep_mib: 512}}\n\
         tcp: {{listen: [\"unix:{0}/ingest.sock\"], buffers_mib: 1}}\n",
        folder.display()
    )
}

fn client(folder: &Path, source: u32) -> StreamClient {
    StreamClient::new(address(folder), StreamOptions::new(source))
}

fn address(folder: &Path) -> IngestAddress {
    format!("unix:{}/ingest.sock", folder.display()).parse().expect("an address")
}

fn message(kind: u32, source: u32, sequence: u32, length: usize) -> Vec<u8> {
    let header = StandardHeader {
        message_type: kind.into(),
        source_agent_id: source.into(),
        sequence_number: sequence.into(),
        ..StandardHeader::default()
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(length, sequence as u8);
    bytes
}

fn streams(status: &Status) -> StreamsStatus {
    status.streams.clone().unwrap_or_default()
}

#[test]
fn a_message_over_a_stream_goes_where_its_datagram_would() {
    wired!("a_message_over_a_stream_goes_where_its_datagram_would");
    let folder = folder("steered");
    let mut rig = Rig::new(&config(&folder));
    let client = client(&folder, 7);
    for n in 0..4_000_u32 {
        let length = 28 + (n as usize * 37) % 4_000;
        client.send(PORT_STANDARD, &message(n % 5, 7, n, length), DEADLINE).expect("it is accepted");
    }
    client.flush(DEADLINE).expect("everything is acknowledged");
    let all = |status: &Status| {
        let streams = streams(status);
        streams.messages == 4_000 && streams.per_taker.get("test1") == Some(&1_600)
    };
    let status = rig.appliance.wait_until("the feature has its messages", DEADLINE, all).expect("it has them");
    let found = streams(&status);
    assert_eq!(
        (found.messages, found.delivered, found.dropped, found.untaken),
        (4_000, 1_600, 800, 1_600),
        "{found:?}"
    );
    assert_eq!((found.per_taker.get("log"), found.duplicates), (Some(&800), 0), "{found:?}");
    assert!(found.refused.is_empty(), "{found:?}");
    // What the wire counts is not touched.
    assert_eq!(status.counters.per_taker.get("test1").copied().unwrap_or(0), 0);
    // A rule that is made now holds for the next message.
    let rule: NewRule =
        serde_json::from_str(r#"{"match":"type 4","action":"deliver","to":["test1"]}"#).expect("a rule");
    rig.appliance.ask(&Request::SteerAdd { rule, place: None }).expect("one rule more");
    for n in 0..10 {
        client.send(PORT_STANDARD, &message(4, 7, n, 100), DEADLINE).expect("it is accepted");
    }
    client.flush(DEADLINE).expect("everything is acknowledged");
    let more = |status: &Status| streams(status).per_taker.get("test1") == Some(&1_610);
    rig.appliance.wait_until("the new rule is in force", DEADLINE, more).expect("it is");
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    assert_eq!(kept(&folder), (0..4_000).filter(|n| n % 5 == 2).map(|n| (7, n)).collect::<Vec<_>>());
}

#[test]
fn a_stopped_feature_holds_nobody_back() {
    wired!("a_stopped_feature_holds_nobody_back");
    let folder = folder("stopped");
    let mut rig = Rig::new(&config(&folder));
    let client = client(&folder, 7);
    let send = |numbers: Range<u32>| {
        for n in numbers {
            client.send(PORT_STANDARD, &message(1 + n % 2, 7, n, 200), DEADLINE).expect("it is accepted");
        }
        client.flush(DEADLINE).expect("everything is acknowledged");
    };
    let set = |rig: &mut Rig, run: Run, state: &str| {
        let name = "test1".parse().expect("a feature");
        rig.appliance.ask(&Request::FeatureRun { name, run }).expect("a change");
        let is_so = |status: &Status| {
            let mut workers = status.processes.iter().filter(|process| process.name == "worker test1");
            workers.any(|process| process.state.as_str() == state)
        };
        rig.appliance.wait_until(state, DEADLINE, is_so).expect("it becomes so");
    };
    send(0..200);
    set(&mut rig, Run::Stopped, "stopped");
    send(200..1_200); // more than its lane would hold with what the log has of it
    let counted = |status: &Status| (streams(status).messages, streams(status).untaken) == (1_200, 500);
    rig.appliance.wait_until("half of them are nobody's", DEADLINE, counted).expect("they are");
    set(&mut rig, Run::Started, "running");
    send(1_200..1_300);
    let all = |status: &Status| {
        let taken = streams(status).per_taker;
        taken.get("test1") == Some(&300) && taken.get("log") == Some(&650)
    };
    rig.appliance.wait_until("both have theirs", DEADLINE, all).expect("they have");
}

#[test]
fn a_message_that_a_feature_wants_sent_is_refused_with_a_reason_and_acknowledged() {
    wired!("a_message_that_a_feature_wants_sent_is_refused_with_a_reason_and_acknowledged");
    let folder = folder("unsendable");
    let mut rig = Rig::new(&config(&folder));
    let client = client(&folder, 7);
    for n in 0..100 {
        let header = StandardHeader {
            message_type: 1.into(),
            source_agent_id: 7.into(),
            dest_agent_id: ANSWER_ME.into(),
            sequence_number: n.into(),
            ..StandardHeader::default()
        };
        client.send(PORT_STANDARD, header.as_bytes(), DEADLINE).expect("it is accepted");
    }
    client.flush(DEADLINE).expect("everything is acknowledged");
    let sends = |status: &Status| status.features.iter().find_map(|feature| feature.sends.clone()).unwrap_or_default();
    let all = |status: &Status| sends(status).requested == 100 && streams(status).per_taker.get("test1") == Some(&100);
    let status = rig.appliance.wait_until("the pool has heard of all", DEADLINE, all).expect("it has");
    let found = sends(&status);
    assert_eq!((found.refused, found.reasons.get("stream-message")), (100, Some(&100)), "{found:?}");
    assert_eq!(status.evicted, 0, "{found:?}");
}

/// (source, sequence) of every record of a stream in the log, in order.
fn kept(folder: &Path) -> Vec<(u32, u64)> {
    let log = folder.join("log");
    let found = verify(&log).expect("a log");
    assert!(found.damage.is_empty(), "{found:?}");
    let mut reader = LogReader::open(&log).expect("a log");
    let mut kept = Vec::new();
    while let Some(record) = reader.next_record().expect("sound records") {
        if record.stamp.stream {
            kept.push((record.stamp.source, record.stamp.sequence));
        }
    }
    kept
}

#[test]
fn source_0_of_a_stream_is_a_source_and_no_capture_has_its_messages() {
    wired!("source_0_of_a_stream_is_a_source_and_no_capture_has_its_messages");
    let folder = folder("nought");
    let mut rig = Rig::new(&config(&folder));
    let client = client(&folder, 0);
    for n in 0..5 {
        client.send(PORT_STANDARD, &message(2, 0, n, 64), DEADLINE).expect("it is accepted");
    }
    client.flush(DEADLINE).expect("everything is acknowledged");
    drop(client);
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    let log = folder.join("log");
    let weir = |words: &[&std::ffi::OsStr]| {
        let output = std::process::Command::new(program("weir")).arg("log").args(words).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let verdict = weir(&["verify".as_ref(), log.as_os_str(), "--json".as_ref()]);
    assert!(verdict.contains(r#""source":0,"stream":true,"records":5,"lost":0,"#), "{verdict}");
    let capture = folder.join("frames.pcap");
    let said = weir(&["cat".as_ref(), log.as_os_str(), "--pcap".as_ref(), capture.as_os_str()]);
    assert!(said.starts_with("5 messages of streams are left out"), "{said}");
    assert_eq!(std::fs::metadata(&capture).expect("a file").len(), 24, "a capture's header and no frame");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_hello_under_a_foreign_number_does_not_silence_its_source() {
    const FAR: u64 = 1 << 40;
    wired!("a_hello_under_a_foreign_number_does_not_silence_its_source");
    let folder = folder("ahead");
    let mut rig = Rig::new(&config(&folder));
    let hello = |next: u64| {
        let mut stream = UnixStream::connect(folder.join("ingest.sock")).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.write_all(StreamHello::new(7, next).as_bytes()).expect("sent");
        let mut bytes = [0; StreamWord::SIZE];
        stream.read_exact(&mut bytes).expect("an answer");
        let (says, word) = StreamWord::parse(&bytes).expect("a word");
        ((says, word.reason.get(), word.next.get()), stream)
    };
    let refused = (StreamSays::Refused, 13, 0);
    // Before the source has ever come: nobody's first word uses its numbers up, and one that may stand binds nobody.
    assert_eq!(hello((1 << 63) + 1).0, refused);
    let (said, liar) = hello(FAR);
    assert_eq!(said, (StreamSays::Welcome, 0, FAR));
    let client = client(&folder, 7);
    let send = |numbers: Range<u32>| {
        for n in numbers {
            client.send(PORT_STANDARD, &message(2, 7, n, 200), DEADLINE).expect("it is accepted");
        }
        client.flush(DEADLINE).expect("everything is acknowledged");
    };
    send(0..100);
    drop(liar);
    // While it sends.
    assert_eq!(hello(FAR).0, refused);
    send(100..200);
    assert_eq!(client.statistics().connected, 1, "its connection was left alone");
    let wrong = StreamClient::connected(address(&folder), StreamOptions { first: FAR, ..StreamOptions::new(7) });
    let said = wrong.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("beyond what this box has taken"), "the cause and a cure: {said}");
    let counted = |status: &Status| streams(status).refused.get("ahead") == Some(&3);
    let status = rig.appliance.wait_until("the refusals are counted", DEADLINE, counted).expect("they are");
    assert_eq!((streams(&status).messages, streams(&status).duplicates), (200, 0));
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    assert_eq!(kept(&folder), (0..200).map(|n| (7, n)).collect::<Vec<_>>());
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_flood_of_connections_leaves_everybody_else_descriptors() {
    const DESCRIPTORS: usize = 400;
    wired!("a_flood_of_connections_leaves_everybody_else_descriptors");
    let folder = folder("flood");
    let narrow = folder.join("weir");
    let script = format!("#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec {} \"$@\"\n", program("weir").display());
    std::fs::write(&narrow, script).expect("written");
    std::fs::set_permissions(&narrow, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    let mut rig = Rig::with_program(&narrow, &format!("{BOX}{}", config(&folder)), 1500, 1, |_| Ok(())).expect("a rig");
    let flood: Vec<UnixStream> =
        (0..DESCRIPTORS).map(|_| UnixStream::connect(folder.join("ingest.sock")).expect("a connection")).collect();
    let turned_away = |status: &Status| {
        let streams = streams(status);
        let refused = streams.refused.get("too-many-connections").copied().unwrap_or(0);
        streams.connections > 0 && streams.connected + refused >= flood.len() as u64
    };
    rig.appliance.wait_until("the flood is turned away", DEADLINE, turned_away).expect("the box answers");
    // Who needs descriptors meanwhile gets them: a worker that is started again above all.
    let worker = |status: &Status| {
        status
            .processes
            .iter()
            .find(|process| process.name == "worker test1")
            .map(|process| (process.pid, process.state))
    };
    let status = rig.appliance.status().expect("it answers");
    let (pid, _) = worker(&status).expect("a worker");
    weir_tests::kill(pid);
    let again =
        |status: &Status| worker(status).is_some_and(|(now, state)| now != pid && state == ProcessState::Running);
    rig.appliance.wait_until("the worker is there again", BACK, again).expect("it is");
    drop(flood);
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    std::fs::remove_dir_all(&folder).expect("removed");
}

/// Whom the kill hits.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Dataplane,
    Worker,
    Sender,
}

#[test]
fn what_is_acknowledged_is_in_the_log_once_whoever_dies() {
    wired!("what_is_acknowledged_is_in_the_log_once_whoever_dies");
    let folder = folder("killed");
    let mut rig = Rig::soon(&config(&folder));
    let kills = scaled(6, 300);
    let shared = Arc::new(Shared::default());
    let (stop, acknowledged) = (&shared.stop, &shared.acknowledged);
    let mut sender = Sending::start(&folder, 0, &shared);
    for kill in 0..kills {
        let victim = [Victim::Worker, Victim::Sender, Victim::Dataplane][kill as usize % 3];
        let enough = acknowledged.load(Ordering::Relaxed) + 200;
        let deadline = Instant::now() + BACK;
        while acknowledged.load(Ordering::Relaxed) < enough {
            assert!(
                Instant::now() < deadline,
                "no more is acknowledged before kill {kill}: {:?}",
                rig.appliance.status()
            );
            std::thread::park_timeout(Duration::from_millis(2));
        }
        match victim {
            Victim::Dataplane => end(&rig, "dataplane"),
            Victim::Worker => end(&rig, "worker test1"),
            Victim::Sender => {
                // A sender that dies forgets what it kept, and its successor knows only what was acknowledged.
                let known = sender.die();
                sender = Sending::start(&folder, known, &shared);
            }
        }
    }
    let until = sender.finish(stop);
    rig.appliance.wait_ready().expect("everything runs again");
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    let kept = kept(&folder);
    let once: std::collections::BTreeSet<u64> = kept.iter().map(|(_, sequence)| *sequence).collect();
    assert_eq!(once.len(), kept.len(), "no message stands twice");
    let orphans = shared.orphans.lock().expect("no panic");
    let orphan = |sequence: &u64| orphans.iter().any(|range| range.contains(sequence));
    let missing: Vec<u64> = (0..until).filter(|sequence| !once.contains(sequence) && !orphan(sequence)).collect();
    assert!(missing.is_empty(), "acknowledged and not in the log: {missing:?} of {until}, orphans {orphans:?}");
    let orphaned: u64 = orphans.iter().map(|range| range.end - range.start).sum();
    println!("{until} messages, {} kept, {orphaned} orphans of {kills} kills", kept.len());
}

/// What senders have in common.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Everything below was acknowledged to a sender.
    acknowledged: AtomicU64,
    /// What a sender had sent when it died and was not told of: nobody has it if the box dies before it is on the disk.
    orphans: Mutex<Vec<Range<u64>>>,
}

fn end(rig: &Rig, name: &str) {
    if let Ok(pid) = rig.appliance.process(name) {
        PidFd::open(pid).and_then(|process| process.kill()).expect("it can be killed");
    } // else it has not come back from the kill before
}

/// A sender in a thread that sends durable messages without a pause.
struct Sending {
    die: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Sending {
    fn start(folder: &Path, first: u64, shared: &Arc<Shared>) -> Self {
        let die = Arc::new(AtomicBool::new(false));
        let (dead, shared, address) = (Arc::clone(&die), Arc::clone(shared), address(folder));
        let thread = std::thread::spawn(move || {
            let Shared { stop, acknowledged, orphans } = &*shared;
            let mut options = StreamOptions { first, window: 256, ..StreamOptions::new(5) };
            let mut client = StreamClient::new(address.clone(), options);
            while !stop.load(Ordering::Relaxed) && !dead.load(Ordering::Relaxed) {
                let sequence = client.sequence() as u32;
                match client.send(PORT_STANDARD, &message(2, 5, sequence, 300), Duration::from_millis(50)) {
                    Ok(_) | Err(weir_appliance_sdk_rust::StreamFailure::Full { .. }) => {}
                    // The box has more than was acknowledged to the predecessor: the next number is what it expects.
                    Err(weir_appliance_sdk_rust::StreamFailure::Ahead { expected, .. }) => {
                        orphans.lock().expect("no panic").push(options.first..expected);
                        options.first = expected;
                        client = StreamClient::new(address.clone(), options);
                    }
                    Err(failure) => panic!("{failure}"),
                }
                acknowledged.store(client.sequence() - client.waiting() as u64, Ordering::Relaxed);
            }
            if !dead.load(Ordering::Relaxed) {
                client.flush(BACK).expect("the rest is acknowledged");
            }
            client.sequence() - client.waiting() as u64
        });
        Self { die, thread }
    }

    /// Ends without a word more; gives the first sequence that was not acknowledged.
    fn die(self) -> u64 {
        self.die.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender ends")
    }

    /// Sends the rest; gives the first sequence that was never given.
    fn finish(self, stop: &AtomicBool) -> u64 {
        stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender ends")
    }
}
