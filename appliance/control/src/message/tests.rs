//! The shapes that other programs read, against literal JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::problem::Problem;

/// The JSON is read into `T` and written again: every field of the literal must come back as it was, others may be added.
fn keeps<T: Serialize + DeserializeOwned>(literal: &Value) -> T {
    let typed: T = serde_json::from_value(literal.clone()).unwrap_or_else(|error| panic!("{error} in {literal}"));
    let written = serde_json::to_value(&typed).expect("JSON");
    contains(&written, literal, "");
    typed
}

fn contains(have: &Value, want: &Value, path: &str) {
    match (have, want) {
        (Value::Object(have), Value::Object(want)) => {
            for (key, want) in want {
                contains(
                    have.get(key).unwrap_or_else(|| panic!("{path}.{key} is missing")),
                    want,
                    &format!("{path}.{key}"),
                );
            }
        }
        (Value::Array(have), Value::Array(want)) if have.len() == want.len() => {
            have.iter().zip(want).for_each(|(have, want)| contains(have, want, path));
        }
        _ => assert_eq!(have, want, "{path}"),
    }
}

#[test]
fn status() {
    let status: Status = keeps(&json!({
        "interfaces": [
            {"name": "eth0", "mode": "zero-copy", "why": "driver i40e", "queues": 4},
            {"name": "eth1", "mode": "native-copy", "why": "x", "queues": 1},
            {"name": "lo", "mode": "generic", "why": "x", "queues": 1},
        ],
        "processes": [
            {"name": "dataplane", "pid": 7, "state": "running", "pss_bytes": 1, "cpu_percent": 2.5, "restarts": 0},
            {"name": "worker streaming", "pid": 0, "state": "backing-off", "pss_bytes": 0, "cpu_percent": 0.0, "restarts": 3},
        ],
        "rings": [{"interface": "eth0", "queue": 0, "class": 1, "takers": ["streaming"], "size": 4096, "fill": 12, "dropped": 3}],
        "counters": {"received": 10, "passed": 1, "dropped": {"rule-drop": 2}, "forwarded": 3, "delivered": 4, "mirrored": 1,
            "per_taker": {"streaming": 5}},
    }));
    assert!(status.counters.is_balanced());
    assert_eq!(status.counters.dropped_total(), 2);
}

#[test]
fn features_and_their_workers() {
    keeps::<FeatureStanding>(&json!({"name": "streaming", "run": "parked", "state": "parked", "pid": 0, "restarts": 5,
        "reason": "parked by supervisor: died 5 times within 60 s", "last_exit": "killed by signal 9", "author": "supervisor",
        "revision": 7}));
    let waits: FeatureStanding = keeps(
        &json!({"name": "streaming", "run": "started", "state": "backing-off", "pid": 0, "restarts": 1, "again_in_ms": 400}),
    );
    assert_eq!(waits.notes().collect::<Vec<_>>(), ["starts again in 0.4 s"]);
    keeps::<Request>(&json!({"op": "feature.list"}));
    keeps::<Request>(&json!({"op": "feature.restart", "name": "streaming", "reason": "stuck"}));
    keeps::<Request>(&json!({"op": "change", "reason": "maintenance", "confirm_within_s": 60,
        "request": {"op": "feature.run", "name": "streaming", "run": "stopped"}}));
    let process: ProcessStatus =
        keeps(&json!({"name": "worker streaming", "pid": 9, "state": "stalled", "pss_bytes": 1,
        "cpu_percent": 0.0, "restarts": 0, "reason": "100 frames wait, none finished for 3 s"}));
    assert_eq!(process.notes().count(), 1);
}

#[test]
fn why() {
    keeps::<WhyFrame>(&json!({
        "frame": 1, "length": 98, "captured": 96, "time_ns": 1_700_000_000_000_000_001_u64, "note": null, "ethertype": "0x0800", "vlans": [10, 20],
        "ip": {"version": 4, "source": "10.0.0.1", "destination": "10.0.0.2", "protocol": 17, "fragment": {"offset": 0, "more": true}},
        "ports": {"source": 5000, "destination": 48100}, "tunnel": "vxlan",
        "inner": {"ethertype": "0x86dd", "vlans": [],
            "ip": {"version": 6, "source": "2001:db8::1", "destination": "2001:db8::2", "protocol": 6, "fragment": null},
            "ports": null},
        "message": {"kind": "standard", "message_type": 7, "source_agent_id": 1, "dest_agent_id": 2, "timestamp_ns": 3, "priority": 0,
            "sequence_number": 9},
        "malformed": null,
        "verdict": {"action": "mirror", "takers": ["streaming", "sender"], "rule": "telemetry", "bucket": 42, "reason": null},
    }));
    for action in ["pass", "drop", "forward", "deliver", "mirror"] {
        keeps::<WhyFrame>(&json!({
            "frame": 2, "length": 9, "captured": 9, "time_ns": 0, "note": "Ethernet header made up from PPP", "ethertype": "", "vlans": [], "ip": null, "ports": null, "tunnel": null, "inner": null,
            "message": null, "malformed": "truncated-ethernet",
            "verdict": {"action": action, "takers": [], "rule": null, "bucket": null, "reason": "truncated-ethernet"},
        }));
    }
    for tunnel in ["vxlan", "geneve", "gre"] {
        keeps::<Tunnel>(&json!(tunnel));
    }
}

#[test]
fn replay_and_bench() {
    keeps::<ReplayReport>(&json!({
        "frames": 3, "bytes": 300, "actions": {"pass": 3}, "takers": {"streaming": 1}, "reasons": {"bad-batch": 1},
        "records": {"streaming": [{"window": 1}]},
    }));
    keeps::<BenchReport>(&json!({
        "bench": "journey", "rig": "veth", "host": {"cpu": "x"},
        "rows": [
            {"case": "rx", "unit": "frames/s", "better": "higher", "value": 2.0, "min": 1.0, "max": 3.0, "n": 5, "peer": "tool 1.0",
                "peer_value": 1.0, "ratio": 2.0, "goal": 0.9},
            {"case": "p99", "unit": "us", "better": "lower", "value": 2.0, "min": 1.0, "max": 3.0, "n": 5, "peer": null,
                "peer_value": null, "ratio": null, "goal": 50.0},
        ],
    }));
}

#[test]
fn requests() {
    for literal in [
        json!({"op": "status"}),
        json!({"op": "steer.list"}),
        json!({"op": "steer.add", "rule": {"match": "udp dport 5004", "action": "deliver", "to": ["streaming"], "share": "5%"}, "place": 1}),
        json!({"op": "steer.add", "rule": {"name": "x", "match": "any", "action": "drop", "share": "100%"}}),
        json!({"op": "steer.remove", "name": "telemetry"}),
        json!({"op": "agent.list"}),
        json!({"op": "agent.set", "agent": {"id": 7, "address": "10.9.0.2", "mac": "02:00:00:00:00:07", "interface": "eth1", "type": 1,
            "weight": 1, "modality": "text|audio"}}),
        json!({"op": "agent.remove", "id": 7}),
        json!({"op": "why", "flow": "10.0.0.1:5000-10.0.0.2:48100/udp"}),
        json!({"op": "why", "frame": "00ff10"}),
        json!({"op": "records", "feature": "streaming", "limit": 10}),
        json!({"op": "stop"}),
    ] {
        let request: Request = keeps(&literal);
        assert_eq!(serde_json::to_value(&request).expect("JSON"), literal);
    }
    for bad in [
        json!({"op": "reboot"}),
        json!({"op": "steer.remove", "name": "a b"}),
        json!({"op": "steer.add", "rule": {"match": "udp dport 99999", "action": "drop"}}),
        json!({"op": "why"}),
    ] {
        assert!(serde_json::from_value::<Request>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn replies() {
    let refused = Reply::Error(Problem::new("x", "no rule has this name", "see the names with: weir steer list"));
    let literal = json!({"error": {"value": "x", "cause": "no rule has this name", "cure": "see the names with: weir steer list"}});
    assert_eq!(serde_json::to_value(&refused).expect("JSON"), literal);
    keeps::<Reply>(&literal);
    keeps::<Reply>(
        &json!({"ok": {"done": {"text": "rule x removed", "saved": false, "unsaved_because": "started without a file"}}}),
    );
    keeps::<Reply>(&json!({"ok": {"records": {"feature": "streaming", "records": [{"a": 1}]}}}));
    let config = Config::parse("rules: [{match: udp:1, action: drop}]").expect("a good configuration");
    let rule = RuleStatus { place: 1, rule: config.rules()[0].clone(), class: None, packets: 5, bytes: 300 };
    let literal = json!({"ok": {"rules": [{"place": 1, "name": "rule-1", "match": "udp dport 1", "action": "drop", "share": "100%",
        "class": null, "packets": 5, "bytes": 300}]}});
    assert_eq!(serde_json::to_value(Reply::Ok(Answer::Rules(vec![rule]))).expect("JSON"), literal);
    keeps::<Reply>(&literal);
    keeps::<Reply>(
        &json!({"ok": {"agents": [{"id": 7, "address": "10.9.0.2", "mac": "02:00:00:00:00:07", "interface": "eth1", "type": 1,
        "weight": 1, "reachable": true}]}}),
    );
    keeps::<Reply>(
        &json!({"ok": {"flow": {"flow": "10.0.0.1:1-10.0.0.2:2/udp", "fingerprint": "00000000000000ff", "bucket": 3,
        "verdict": {"action": "pass", "takers": [], "rule": null, "bucket": 3, "reason": null},
        "steps": [{"stage": "rule", "found": "none", "because": "no rule matches", "decided": false}]}}}),
    );
}

#[test]
fn changes_of_what_is_in_force() {
    keeps::<Request>(&json!({"op": "change", "reason": "x", "confirm_within_s": 60, "force": true,
        "request": {"op": "steer.remove", "name": "telemetry"}}));
    keeps::<Request>(&json!({"op": "config", "do": "show"}));
    keeps::<Request>(
        &json!({"op": "config", "do": "apply", "layers": [{"name": "/etc/weir.yaml", "text": "wait: poll"}],
        "live_only": true, "reason": "x", "confirm_within_s": 60}),
    );
    keeps::<Request>(&json!({"op": "config", "do": "rollback", "revision": 7}));
    keeps::<Request>(&json!({"op": "config", "do": "history", "limit": 20}));
    keeps::<Request>(&json!({"op": "config", "do": "confirm"}));
    keeps::<Reply>(&json!({"ok": {"changed": {"text": "rule x added", "saved": false, "revision": 7,
        "confirm_within_s": 60}}}));
    keeps::<Reply>(&json!({"ok": {"history": [{"revision": 7, "time_ms": 1, "author": "root (uid 0)", "reason": "",
        "writes": ["rules/x", "-rules/y"]}]}}));
    keeps::<Reply>(&json!({"ok": {"values": [{"path": "wait", "value": "poll", "origin": "default"}]}}));
    keeps::<Reply>(
        &json!({"ok": {"differences": [{"path": "wait", "before": "poll", "after": "spin", "live": false}]}}),
    );
}

#[test]
fn experiments() {
    let spec = json!({"name": "try", "flag": "canary", "arms": {"variants": {"control": "old", "candidate": "new"}},
        "guardrails": [{"metric": "latency_p99", "tolerance_ppm": 50_000}], "window_ms": 10_000, "windows": 48,
        "noise_windows": 1, "patience": 3, "steps": [500, 10_000], "alpha_ppm": 50_000, "beta_ppm": 50_000});
    keeps::<Request>(&json!({"op": "experiment.create", "spec": spec, "reason": "a try"}));
    keeps::<Request>(&json!({"op": "experiment.stop", "name": "try", "roll_back": true}));
    let decision = json!({"verdict": "roll_back", "next": "ended", "reason": "x", "evidence": [{"metric": "latency_p99",
        "tolerance_ppm": 50_000, "floor": 0.02, "control": 1000.0, "candidate": 5000.0, "loss": 0.8, "slices": 40,
        "worse": 1e3, "worse_needs": 20.0, "fine": 0.1, "fine_needs": 20.0}]});
    let outcome = json!({"ending": "rolled-back", "reason": "x", "time_ms": 1});
    let status = json!({"spec": spec, "stage": {"step": 1}, "share": "5%", "windows": 2, "slices": 0, "latest": decision,
        "outcome": outcome, "author": "root (uid 0)", "reason": "a try", "created_ms": 1, "bytes": 20_000});
    keeps::<Answer>(&json!({"experiments": [status]}));
    let window =
        json!({"number": 1, "stage": "noise", "share": "5%", "began_ms": 1, "decision": decision, "revision": 7});
    keeps::<Answer>(&json!({"experiment": {"experiment": status, "windows": [window]}}));
    keeps::<Answer>(&json!({"replayed": {"name": "try", "windows": 1, "same": true, "decisions": [decision]}}));
}
