//! Does a feature's verdict reach the classifier, and only for the flow it was given?

use weir_appliance_lab::packet::{Path, message};
use weir_ebpf_abi::message::{PORT_STANDARD, StandardHeader};
use weir_features_worker::audit::DROP_MY_FLOW;
use weir_tests::{DEADLINE, Rig, wired};

/// A message of `kind` from UDP port `port` of the left end to the box.
fn frame(port: u16, kind: u32, sequence: u32) -> Vec<u8> {
    let header = StandardHeader {
        message_type: kind.into(),
        source_agent_id: u32::from(port).into(),
        dest_agent_id: 0.into(),
        timestamp_ns: 0.into(),
        priority: 0.into(),
        sequence_number: sequence.into(),
    };
    let path = Path {
        source_mac: [0x02, 0x57, 0x45, 0x49, 0, 1],
        destination_mac: [0x02, 0x57, 0x45, 0x49, 0, 2],
        vlans: Vec::new(),
        source: [10, 9, 0, 1].into(),
        destination: [10, 9, 0, 2].into(),
        source_port: port,
        destination_port: PORT_STANDARD,
    };
    path.udp(&message(&header, b"measure")).0
}

#[test]
fn a_verdict_drops_its_own_flow_in_the_kernel_and_no_other() {
    wired!("a_verdict_drops_its_own_flow_in_the_kernel_and_no_other");
    let mut rig = Rig::new(
        "features: {streaming: {enabled: true}, test1: {enabled: true}}\n\
         rules: [{name: all, match: \"udp dport 48100\", action: deliver, to: [test1]}]\n",
    );
    let mut sender = rig.sender();
    let mut send = |port: u16, kind: u32, count: u32| {
        for sequence in 0..count {
            while !sender.send_bytes(&frame(port, kind, sequence)).expect("the wire is there") {}
            weir_appliance_lab::generate::Sender::flush(&mut sender).expect("the wire is there");
        }
    };
    let start = rig.counters();
    send(5001, 1, 50);
    send(5002, 1, 50);
    let before = rig.counters_after(&start, 100);
    assert_eq!(before.delivered - start.delivered, 100, "{before:?}");
    send(5001, DROP_MY_FLOW, 1);
    let taken = |status: &weir_appliance_control::message::Status| status.counters.per_taker.get("test1") == Some(&101);
    let asked = rig.appliance.wait_until("the feature has read its wish", DEADLINE, taken).expect("taken").counters;
    send(5001, 1, 50);
    send(5002, 1, 50);
    let after = rig.counters_after(&asked, 100);
    assert_eq!(after.dropped.get("flow-verdict-drop"), Some(&50), "{after:?}");
    assert_eq!(after.delivered - asked.delivered, 50, "the other flow goes on");
    let flow = "10.9.0.1:5001-10.9.0.2:48100/udp".parse().expect("a flow");
    let question =
        weir_appliance_control::message::Request::Why(weir_appliance_control::message::WhyQuestion::Flow(flow));
    let Ok(weir_appliance_control::message::Answer::Flow(why)) = rig.appliance.ask(&question) else {
        panic!("no explanation")
    };
    assert_eq!((why.steps[0].stage.as_str(), why.steps[0].found.as_str()), ("flow verdict", "drop"), "{why:?}");
}
