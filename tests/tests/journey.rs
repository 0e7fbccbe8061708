//! Does a frame arrive where the rules say, and do all counters add up?

use weir_appliance_control::message::{Answer, ConfigRequest, Request, WhyQuestion};
use weir_tests::{BATCH, DEADLINE, MESSAGE, RULES, Rig, scaled, send, wired};

#[test]
fn base_messages_are_forwarded_inside_the_kernel() {
    wired!("base_messages_are_forwarded_inside_the_kernel");
    let mut rig = Rig::new(RULES);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(MESSAGE, 4));
    let (before, count) = (rig.counters(), scaled(20_000, 1_000_000));
    let arrived = rig.sinks[1].count().expect("the sink counts").frames;
    send(&mut sender, &mut traffic, count);
    let after = rig.counters_after(&before, count);
    assert_eq!(after.forwarded - before.forwarded, count, "every message names a known agent");
    assert!(after.is_balanced(), "{after:?}");
    let arrived = rig.arrives(1, arrived + count) - arrived;
    assert!(arrived >= count, "the right end saw {arrived} of {count}");
}

#[test]
fn batches_reach_the_feature_and_every_event_is_counted() {
    wired!("batches_reach_the_feature_and_every_event_is_counted");
    let mut rig = Rig::new(RULES);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(BATCH, 3));
    let (before, count) = (rig.counters(), scaled(5_000, 200_000));
    send(&mut sender, &mut traffic, count);
    let after = rig.counters_after(&before, count);
    let lost = after.dropped_total() - before.dropped_total();
    assert_eq!(after.delivered - before.delivered + lost, count);
    let delivered = after.delivered - before.delivered;
    let taken = |status: &weir_appliance_control::message::Status| {
        status.counters.per_taker.get("streaming").copied().unwrap_or(0)
    };
    let status = rig
        .appliance
        .wait_until("streaming has taken all", DEADLINE, |status| taken(status) >= delivered)
        .expect("taken");
    assert_eq!(taken(&status), delivered, "a frame is taken once");
    let events = |status: &weir_appliance_control::message::Status| status.features[0].events;
    // One message a batch and 22 events in it, once the window they are in has closed.
    let status = rig
        .appliance
        .wait_until("windows closed", DEADLINE, |status| events(status) >= delivered * 23)
        .expect("counted");
    assert_eq!(events(&status), delivered * 23);
}

#[test]
fn a_rule_set_while_traffic_flows_acts_on_the_next_frame_and_lists_its_count() {
    wired!("a_rule_set_while_traffic_flows_acts_on_the_next_frame_and_lists_its_count");
    let mut rig = Rig::new(RULES);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(MESSAGE, 1));
    let before = rig.counters();
    send(&mut sender, &mut traffic, 1_000);
    let forwarded = rig.counters_after(&before, 1_000);
    assert_eq!(forwarded.forwarded - before.forwarded, 1_000);
    let rule = serde_json::json!({"name": "stop-base", "match": "udp dport 48100", "action": "drop"});
    let rule = serde_json::from_value(rule).expect("a rule");
    rig.appliance.ask(&Request::SteerAdd { rule, place: Some(1) }).expect("the rule is taken");
    send(&mut sender, &mut traffic, 1_000);
    let dropped = rig.counters_after(&forwarded, 1_000);
    assert_eq!(dropped.dropped.get("rule-drop").copied().unwrap_or(0), 1_000, "{dropped:?}");
    let Ok(Answer::Rules(rules)) = rig.appliance.ask(&Request::SteerList) else { panic!("no list of rules") };
    assert_eq!((rules[0].rule.name.as_str(), rules[0].packets), ("stop-base", 1_000));
    let history = Request::Config(ConfigRequest::History { limit: 1 });
    let Ok(Answer::History(rows)) = rig.appliance.ask(&history) else { panic!("no history") };
    assert!(rows[0].writes.contains(&"rules/stop-base".to_owned()), "the store has the rule: {rows:?}");
    assert!(rows[0].author.contains("uid 0"), "{rows:?}");
    let name = "stop-base".parse().expect("a name");
    rig.appliance.ask(&Request::SteerRemove { name }).expect("the rule goes");
    send(&mut sender, &mut traffic, 1_000);
    let again = rig.counters_after(&dropped, 1_000);
    assert_eq!(again.forwarded - dropped.forwarded, 1_000);
}

#[test]
fn a_mirrored_frame_is_both_delivered_and_sent_on() {
    wired!("a_mirrored_frame_is_both_delivered_and_sent_on");
    let rules = "rules: [{name: both, match: \"udp dport 48100\", action: mirror, to: [streaming]}]\n";
    let mut rig = Rig::new(rules);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(MESSAGE, 2));
    let (before, count) = (rig.counters(), scaled(2_000, 50_000));
    let sunk = rig.sinks[1].count().expect("the sink counts").frames;
    send(&mut sender, &mut traffic, count);
    let after = rig.counters_after(&before, count);
    let lost = after.dropped_total() - before.dropped_total();
    assert_eq!(after.mirrored - before.mirrored + lost, count, "{after:?}");
    let status = rig.appliance.wait_until("streaming has its copy", DEADLINE, |status| {
        status.counters.per_taker.get("streaming").copied().unwrap_or(0) >= after.mirrored - before.mirrored
    });
    status.expect("streaming has its copy");
    let sent_on = after.mirrored - before.mirrored;
    assert!(sent_on > 0, "{after:?}");
    let arrived = rig.arrives(1, sunk + sent_on) - sunk;
    assert!(arrived >= sent_on, "the right end saw {arrived} of {sent_on}");
}

#[test]
fn a_flow_is_explained_station_by_station() {
    wired!("a_flow_is_explained_station_by_station");
    let rig = Rig::new("rules: [{name: sensors, match: \"udp dport 5004\", action: deliver, to: [streaming]}]\n");
    let flow = "10.9.0.1:4000-10.9.0.2:5004/udp".parse().expect("a flow");
    let Ok(Answer::Flow(why)) = rig.appliance.ask(&Request::Why(WhyQuestion::Flow(flow))) else {
        panic!("no explanation")
    };
    assert_eq!(why.verdict.rule.as_deref(), Some("sensors"));
    assert_eq!(why.verdict.takers, ["streaming"]);
    let stages: Vec<&str> = why.steps.iter().map(|step| step.stage.as_str()).collect();
    assert_eq!(stages, ["flow verdict", "rule", "bucket", "ring", "feature"]);
    assert!(why.steps[1].decided);
    let flow = "10.9.0.1:4000-10.9.0.2:22/tcp".parse().expect("a flow");
    let Ok(Answer::Flow(why)) = rig.appliance.ask(&Request::Why(WhyQuestion::Flow(flow))) else {
        panic!("no explanation")
    };
    assert_eq!(why.verdict.action.as_str(), "pass", "what no rule names goes to the stack");
}

#[test]
fn a_jumbo_frame_in_several_pieces_is_taken_as_one() {
    wired!("a_jumbo_frame_in_several_pieces_is_taken_as_one");
    let rule = "rules: [{name: big, match: \"udp dport 5004\", action: deliver, to: [streaming]}]\n";
    let mut rig =
        Rig::with_links(&format!("{}{rule}", weir_tests::BOX), 9000, 1).unwrap_or_else(|error| panic!("{error}"));
    let left = rig.lab.node("left").expect("left");
    let socket =
        left.run(|| std::net::UdpSocket::bind("10.9.0.1:4000")).expect("a thread").expect("the address is ours");
    let before = rig.counters();
    let payload = vec![7_u8; 6000];
    for _ in 0..50 {
        socket.send_to(&payload, "10.9.0.2:5004").expect("the wire takes it");
    }
    let taken =
        |status: &weir_appliance_control::message::Status| status.counters.per_taker.get("streaming") == Some(&50);
    let after = rig.appliance.wait_until("50 jumbo frames are taken", DEADLINE, taken).expect("taken").counters;
    assert_eq!(after.delivered - before.delivered, 50, "{after:?}");
    let records = |status: &weir_appliance_control::message::Status| status.features[0].records > 0;
    rig.appliance.wait_until("a window has closed", DEADLINE, records).expect("a window");
    let rows = rig.appliance.records("streaming".parse().expect("a feature"), 1000).expect("records");
    let bytes: u64 = rows
        .iter()
        .filter(|row| row["window_ms"] == 1000 && row["frames"].is_u64() && row["rows"].is_u64())
        .filter_map(|row| row["bytes"].as_u64())
        .sum();
    assert_eq!(bytes, 50 * (6000 + 8 + 20 + 14), "every piece is counted: {rows:?}");
}

#[test]
fn every_queue_of_every_interface_has_rings_of_its_own() {
    wired!("every_queue_of_every_interface_has_rings_of_its_own");
    let rule = "rules: [{name: all, match: \"udp dport 5004\", action: deliver, to: [streaming]}]\n";
    let mut rig =
        Rig::with_links(&format!("{}{rule}", weir_tests::BOX), 1500, 2).unwrap_or_else(|error| panic!("{error}"));
    let status = rig.appliance.status().expect("a status");
    assert_eq!(status.interfaces.iter().map(|port| port.queues).collect::<Vec<_>>(), [2, 2]);
    // One class for streaming alone and one for each way out of a mirrored frame, on each of four queues.
    assert_eq!(status.rings.len(), 4 * 3, "{:?}", status.rings);
    for (node, near, far) in [("left", "10.9.0.1", "10.9.0.2:5004"), ("right", "10.9.1.1", "10.9.1.2:5004")] {
        let node = rig.lab.node(node).expect("a node");
        for port in 4000..4016 {
            let socket =
                node.run(|| std::net::UdpSocket::bind((near, port))).expect("a thread").expect("the address is ours");
            for _ in 0..10 {
                socket.send_to(b"measure", far).expect("the wire takes it");
            }
        }
    }
    let taken =
        |status: &weir_appliance_control::message::Status| status.counters.per_taker.get("streaming") == Some(&320);
    let after = rig.appliance.wait_until("both interfaces' frames are taken", DEADLINE, taken).expect("taken").counters;
    assert!(after.is_balanced(), "{after:?}");
}
