//! What a feature sends: answers, frames sent on, and what became of every one of them.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use weir_appliance_control::message::{SendStatus, Status};
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::packet::{Path, message};
use weir_ebpf_abi::message::{PORT_STANDARD, StandardHeader};
use weir_features_worker::audit::ANSWER_ME;
use weir_tests::{DEADLINE, Rig, scaled, send, wired};
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
        let home = |queue: &weir_appliance_control::message::QueueStatus| {
            queue.on_rings == 0 && queue.on_the_way == 0 && queue.lent == u64::from(queue.frames)
        };
        sends.requested >= requested && sends.waiting + sends.in_flight == 0 && status.queues.iter().all(home)
    };
    let status = rig.appliance.wait_until("all frames are home", DEADLINE, still);
    sends(&status.unwrap_or_else(|error| panic!("{error}")), feature)
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
    let _ = send;
}
