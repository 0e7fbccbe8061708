//! Does a feature's verdict reach the classifier, and only for the flow it was given?

use weir_features_worker::audit::DROP_MY_FLOW;
use weir_tests::{DEADLINE, Rig, send_messages, wired};

#[test]
fn a_verdict_drops_its_own_flow_in_the_kernel_and_no_other() {
    wired!("a_verdict_drops_its_own_flow_in_the_kernel_and_no_other");
    let mut rig = Rig::new(
        "features: {streaming: {enabled: true}, test1: {enabled: true}}\n\
         rules: [{name: all, match: \"udp dport 48100\", action: deliver, to: [test1]}]\n",
    );
    let mut sender = rig.sender();
    let mut send = |port: u16, kind: u32, count: u32| send_messages(&mut sender, port, kind, count);
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
