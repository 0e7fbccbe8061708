//! What a feature sends: answers, frames sent on, and what became of every one of them.

use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use weir_appliance_control::config::Layer;
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{ConfigRequest, QueueStatus, Request, SendStatus, Status};
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::load;
use weir_appliance_lab::packet::{Path, message};
use weir_appliance_lab::traffic::Content;
use weir_dataplane_io::wait::PidFd;
use weir_ebpf_abi::message::{PORT_STANDARD, StandardHeader};
use weir_features_worker::audit::{ANSWER_ME, SEND_ME_ON, SEND_ME_OUT};
use weir_tests::{BOX, DEADLINE, MESSAGE, Rig, StopOnDrop, program, scaled, send, wired};
use zerocopy::FromBytes;

const ONE: &str = "features: {streaming: {enabled: true}, test1: {enabled: true}}\n\
    rules: [{name: all, match: \"udp dport 48100\", action: deliver, to: [test1]}]\n";

/// A message for agent `wish` from UDP port `port` of the left end to the box, over IP version 4 or 6.
fn frame(v6: bool, port: u16, wish: u32, priority: u32, sequence: u32) -> Vec<u8> {
    let header = StandardHeader {
        message_type: 9.into(),
        source_agent_id: u32::from(port).into(),
        dest_agent_id: wish.into(),
        timestamp_ns: 77.into(),
        priority: priority.into(),
        sequence_number: sequence.into(),
    };
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let (source, destination) = if v6 { ("fd09::1", "fd09::2") } else { ("10.9.0.1", "10.9.0.2") };
    let path = Path {
        source_mac: [0x02, 0x57, 0x45, 0x49, 0, 1],
        destination_mac: [0x02, 0x57, 0x45, 0x49, 0, 2],
        vlans: Vec::new(),
        source: address(source),
        destination: address(destination),
        source_port: port,
        destination_port: PORT_STANDARD,
    };
    path.udp(&message(&header, b"echo")).0
}

fn put(sender: &mut XdpSender, frame: &[u8]) {
    while !sender.send_bytes(frame).expect("the wire is there") {}
    sender.flush().expect("the wire is there");
}

/// A socket of the kernel's at `address` in `node`, which takes datagrams with right checksums only.
fn socket(rig: &Rig, node: &str, address: &str) -> UdpSocket {
    let node = rig.lab.node(node).unwrap_or_else(|error| panic!("{error}"));
    let socket = node.run(|| UdpSocket::bind(address)).expect("a thread").expect("the address is the node's");
    socket.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    socket
}

fn sends(status: &Status, feature: &str) -> SendStatus {
    let found = status.features.iter().find(|found| found.name.as_str() == feature);
    found.and_then(|found| found.sends.clone()).unwrap_or_default()
}

/// The status once `feature` has named `requested` frames and each has met its fate, and every frame is where it belongs.
fn at_rest(rig: &mut Rig, feature: &str, requested: u64) -> SendStatus {
    let still = |status: &Status| {
        let sends = sends(status, feature);
        let home =
            |queue: &QueueStatus| queue.on_rings == 0 && queue.on_the_way == 0 && queue.lent == u64::from(queue.frames);
        sends.requested >= requested && sends.waiting + sends.in_flight == 0 && status.queues.iter().all(home)
    };
    let status = rig.appliance.wait_until("all frames are home", DEADLINE, still).unwrap_or_else(|error| {
        let status = rig.appliance.status().unwrap_or_default();
        panic!("{error}: {:?} {:?}", sends(&status, feature), status.queues)
    });
    sends(&status, feature)
}

fn adds_up(sends: &SendStatus) {
    let ended = sends.sent + sends.capped + sends.full + sends.already_sent + sends.abandoned + sends.refused;
    assert_eq!(sends.requested, ended + sends.waiting, "{sends:?}");
    assert_eq!(sends.sent, sends.completed + sends.in_flight, "{sends:?}");
}

#[test]
fn answers_reach_the_kernels_socket_once_with_everything_turned_around() {
    wired!("answers_reach_the_kernels_socket_once_with_everything_turned_around");
    let mut rig = Rig::new(ONE);
    let mut sender = rig.sender();
    let count = scaled(500, 50_000) as u32;
    for (v6, own, port) in [(false, "10.9.0.1:5001", 5001), (true, "[fd09::1]:5002", 5002)] {
        let socket = socket(&rig, "left", own);
        for sequence in 0..count {
            put(&mut sender, &frame(v6, port, ANSWER_ME, 3, sequence));
            let mut bytes = [0_u8; 64];
            let (length, from) = socket.recv_from(&mut bytes).unwrap_or_else(|error| panic!("{sequence}: {error}"));
            let (header, rest) = StandardHeader::read_from_prefix(&bytes[..length]).expect("a header");
            assert_eq!((header.sequence_number.get(), rest), (sequence, &b"echo"[..]), "in order, once, untouched");
            assert_eq!((header.source_agent_id.get(), header.dest_agent_id.get()), (ANSWER_ME, u32::from(port)));
            assert_eq!(from.port(), PORT_STANDARD, "from the port that was asked");
        }
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a time-out");
        assert!(socket.recv(&mut [0; 64]).is_err(), "nothing comes twice");
    }
    let sends = at_rest(&mut rig, "test1", 2 * u64::from(count));
    assert_eq!((sends.requested, sends.sent), (2 * u64::from(count), 2 * u64::from(count)), "{sends:?}");
    assert_eq!(sends.bytes, u64::from(count) * (14 + 20 + 14 + 40 + 2 * (8 + 28 + 4)), "{sends:?}");
    adds_up(&sends);
}

#[test]
fn a_frame_is_sent_on_to_an_agent_or_out_of_an_interface_or_refused_with_a_reason() {
    wired!("a_frame_is_sent_on_to_an_agent_or_out_of_an_interface_or_refused_with_a_reason");
    // The right end's own address on the link, so that its kernel takes the datagram and not a sink alone.
    let agents = BOX.replace("02:57:45:49:01:02", "02:57:45:49:01:01");
    let mut rig = Rig::try_new(&format!("{agents}{ONE}")).unwrap_or_else(|error| panic!("{error}"));
    let mut sender = rig.sender();
    let right = socket(&rig, "right", "10.9.1.1:48100");
    for sequence in 0..100 {
        put(&mut sender, &frame(false, 5_001, SEND_ME_ON, 2, sequence));
        let mut bytes = [0_u8; 64];
        let length = right.recv(&mut bytes).unwrap_or_else(|error| panic!("{sequence}: {error}"));
        let (header, rest) = StandardHeader::read_from_prefix(&bytes[..length]).expect("a header");
        assert_eq!((header.sequence_number.get(), rest), (sequence, &b"echo"[..]));
        assert_eq!((header.source_agent_id.get(), header.dest_agent_id.get()), (5_001, 2), "the agent is named");
    }
    let seen = rig.sinks[1].count().expect("the sink counts").frames;
    for (wish, target) in [(SEND_ME_OUT, 1), (SEND_ME_ON, 77), (SEND_ME_OUT, 9)] {
        (0..10).for_each(|sequence| put(&mut sender, &frame(false, 5_001, wish, target, sequence)));
    }
    // An agent with an address of version 4 does not take what came over version 6.
    put(&mut sender, &frame(true, 5_001, SEND_ME_ON, 2, 0));
    let sends = at_rest(&mut rig, "test1", 131);
    assert_eq!((sends.sent, sends.refused), (110, 21), "{sends:?}");
    let reason = |name: &str| sends.reasons.get(name).copied();
    assert_eq!((reason("unknown-agent"), reason("unknown-interface")), (Some(10), Some(10)), "{sends:?}");
    assert_eq!(reason("other-ip-version"), Some(1), "{sends:?}");
    assert!(rig.arrives(1, seen + 10) >= seen + 10, "what goes out as it is arrives");
    adds_up(&sends);
}

#[test]
fn a_frame_that_two_features_name_is_sent_once() {
    wired!("a_frame_that_two_features_name_is_sent_once");
    // The right end's agent has the number that asks for an answer, so that a mirror rule knows where such a message goes.
    let agents = BOX.replace("id: 2", &format!("id: {ANSWER_ME}"));
    let rules = "features: {streaming: {enabled: true}, test1: {enabled: true}, test2: {enabled: true}}\n\
         rules:\n  - {name: both, match: \"udp sport 1-9999\", action: deliver, to: [test1, test2]}\n  \
         - {name: mirrored, match: \"udp dport 48100\", action: mirror, to: [test1]}\n";
    let mut rig = Rig::try_new(&format!("{agents}{rules}")).unwrap_or_else(|error| panic!("{error}"));
    let mut sender = rig.sender();
    let seen = rig.sinks[0].count().expect("the sink counts").frames;
    for sequence in 0..500 {
        put(&mut sender, &frame(false, 5_001, ANSWER_ME, 0, sequence));
    }
    let (first, second) = (at_rest(&mut rig, "test1", 500), at_rest(&mut rig, "test2", 500));
    for sends in [&first, &second] {
        assert_eq!((sends.requested, sends.sent + sends.already_sent), (500, 500), "{sends:?}");
        adds_up(sends);
    }
    assert_eq!(first.sent + second.sent, 500, "{first:?} {second:?}");
    assert!(rig.arrives(0, seen + 500) >= seen + 500);
    // A mirror rule has sent its frames on already, so nobody can send them again.
    (0..50).for_each(|sequence| put(&mut sender, &frame(false, 20_000, ANSWER_ME, 0, sequence)));
    let sends = at_rest(&mut rig, "test1", 550);
    assert_eq!(sends.already_sent, first.already_sent + 50, "{sends:?}");
}

#[test]
fn a_capped_feature_sends_its_cap_and_its_neighbour_all_it_wants() {
    wired!("a_capped_feature_sends_its_cap_and_its_neighbour_all_it_wants");
    let mut rig = Rig::new(
        "features: {streaming: {enabled: true}, test1: {send_mbit: 8}, test2: {enabled: true}}\n\
         rules:\n  - {name: one, match: \"type 1\", action: deliver, to: [test1]}\n  \
         - {name: two, match: \"udp dport 48100\", action: deliver, to: [test2]}\n",
    );
    let (mut sender, mut traffic) =
        (rig.sender(), rig.traffic_for(ANSWER_ME, Content::Message { frame_bytes: 500 }, 4));
    let (stop, rate) = (AtomicBool::new(false), 20_000.0); // 80 Mbit/s, 40 % of it of type 1: four times the cap
    let off = std::thread::scope(|scope| {
        let generator = scope.spawn(|| load::drive(&mut sender, &mut traffic, rate, &stop));
        let stopped = StopOnDrop(&stop);
        let off = nearest_to_its_cap(&mut rig);
        drop(stopped);
        generator.join().expect("the generator ends").expect("the wire is there");
        off
    });
    // A starved host may leave too little to send in one window, never in all; no window may hold more than the cap.
    assert!(off.abs() <= 0.05, "{:+.1} % off its cap", off * 100.0);
    let sends = at_rest(&mut rig, "test1", 1);
    assert!(sends.capped > 0 && sends.cap_mbit == Some(8), "{sends:?}");
    adds_up(&sends);
    let free = at_rest(&mut rig, "test2", 1);
    assert_eq!((free.sent, free.cap_mbit), (free.requested, None), "nobody else is held back: {free:?}");
    // Another cap is in force at once, and nobody is restarted for it.
    let file = std::fs::read_to_string(rig.appliance.config()).expect("the rig's file");
    let layers = vec![Layer { name: "test.yaml".to_owned(), text: file.replace("send_mbit: 8", "send_mbit: 400000") }];
    let apply = ConfigRequest::Apply { layers, live_only: false, manner: Manner::default() };
    rig.appliance.ask(&Request::Config(apply)).expect("a cap changes live");
    for _ in 0..20 {
        send(&mut sender, &mut traffic, 100);
    }
    let wide = at_rest(&mut rig, "test1", sends.requested + 1);
    assert_eq!((wide.capped, wide.cap_mbit), (sends.capped, Some(400_000)), "{wide:?}");
    adds_up(&wide);
}

/// How far off its cap of 1 MB/s `test1` was in the best of some windows of a second of the pool's own clock.
fn nearest_to_its_cap(rig: &mut Rig) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let start = sends(&rig.appliance.status().expect("a status"), "test1");
        let a_second_later = |status: &Status| sends(status, "test1").clock_ns > start.clock_ns + 1_000_000_000;
        let status = rig.appliance.wait_until("a second of the pool's clock", DEADLINE, a_second_later);
        let end = sends(&status.expect("a status"), "test1");
        let seconds = (end.clock_ns - start.clock_ns) as f64 / 1e9;
        let off = (end.bytes - start.bytes) as f64 / (1e6 * seconds) - 1.0;
        assert!(start.clock_ns == 0 || off <= 0.05, "{:+.1} % over its cap: {start:?} {end:?}", off * 100.0);
        if start.clock_ns != 0 && off.abs() < f64::abs(best) {
            best = off;
        }
        if best.abs() <= 0.05 {
            break;
        }
    }
    best
}

#[test]
fn a_worker_killed_while_it_sends_leaves_no_frame_behind() {
    wired!("a_worker_killed_while_it_sends_leaves_no_frame_behind");
    let mut rig = Rig::new(ONE);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic_for(ANSWER_ME, MESSAGE, 2));
    let seen = rig.sinks[0].count().expect("the sink counts").frames;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let generator = scope.spawn(|| load::drive(&mut sender, &mut traffic, 20_000.0, &stop));
        let stopped = StopOnDrop(&stop);
        // A worker that dies young is started again later each time, so a few deaths are the supervised one's and most those of
        // another one beside it, which takes the same frames and names them as well.
        let mut last = 0;
        for _ in 0..scaled(5, 30) {
            last = supervised(&mut rig, last);
            let _ = PidFd::open(last).and_then(|process| process.kill());
        }
        supervised(&mut rig, last);
        for _ in 0..scaled(30, 300) {
            let mut command = Command::new(program("weir"));
            command.args(["worker", "test1", "--state", "/dev/null", "--control"]).arg(rig.appliance.socket());
            command.stdin(Stdio::null());
            let mut worker = command.spawn().expect("a worker starts");
            let attached = |status: &Status| running(status).any(|pid| pid == worker.id());
            let outcome = rig.appliance.wait_until("it is attached", DEADLINE, attached).map(|_| ());
            worker.kill().expect("it can be killed");
            worker.wait().expect("it ends");
            outcome.unwrap_or_else(|error| panic!("{error}"));
        }
        let sent = sends(&rig.appliance.status().expect("a status"), "test1").sent;
        let goes_on = |status: &Status| sends(status, "test1").sent > sent;
        rig.appliance.wait_until("the last worker answers", DEADLINE, goes_on).expect("it answers");
        drop(stopped);
        generator.join().expect("the generator ends").expect("the wire is there");
    });
    let sends = at_rest(&mut rig, "test1", 1);
    adds_up(&sends);
    assert_eq!((sends.refused, sends.full), (0, 0), "{sends:?}");
    assert!(sends.already_sent > 0, "two workers named the same frames: {sends:?}");
    let arrived = rig.arrives(0, seen + sends.sent) - seen;
    assert!(arrived >= sends.sent, "{arrived} of {} answers arrived", sends.sent);
    // The box is as good as new: every frame is home, and the next thousand are answered.
    let (mut sender, mut traffic) = (sender, traffic);
    let before = sends.sent;
    for portion in 1..=10 {
        send(&mut sender, &mut traffic, 100);
        let enough = |status: &Status| self::sends(status, "test1").sent == before + portion * 100;
        rig.appliance.wait_until("all are answered", DEADLINE, enough).expect("all are answered");
    }
}

/// The supervised worker's process, once it is another than `last` and runs.
fn supervised(rig: &mut Rig, last: u32) -> u32 {
    let other = |status: &Status| running(status).any(|pid| pid != last);
    let status = rig.appliance.wait_until("a new worker", DEADLINE, other).expect("a new worker");
    running(&status).find(|pid| *pid != last).expect("a running worker")
}

fn running(status: &Status) -> impl Iterator<Item = u32> {
    let workers = status.processes.iter().filter(|process| process.name == "worker test1");
    workers.filter(|worker| worker.state.as_str() == "running").map(|worker| worker.pid)
}
