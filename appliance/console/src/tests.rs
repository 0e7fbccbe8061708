//! What commands print: every table fits the columns there are, every page is printed from a literal, and a served socket is asked.

use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

use clap::Parser;
use serde_json::{Value, json};
use weir_appliance_control::message::{
    AgentStatus, BenchReport, BenchRow, Better, DoctorReport, ExperimentStatus, FeatureStanding, FlowExplanation,
    ReplayReport, Request, RuleStatus, Status, UpgradeState, UpgradeStatus, WhyFrame, read_line,
};
use weir_appliance_control::share::Share;
use weir_appliance_experiment::{Arms, Spec, Stage};

use crate::answer::{Exit, Failure, Outcome};
use crate::table::width;
use crate::{agent, doctor, feature, figures, replay, status, steer, why};

/// What a render function printed, after its lines were measured.
fn printed(render: impl FnOnce(&mut Vec<u8>) -> Outcome) -> (Exit, String) {
    let mut out = Vec::new();
    let exit = render(&mut out).expect("rendered");
    let text = String::from_utf8(out).expect("text");
    for line in text.lines() {
        assert!(line.chars().count() <= width() || line.starts_with('{'), "{} columns: {line}", line.chars().count());
    }
    (exit, text)
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a message")
}

#[test]
fn features_say_whether_they_run_and_why_not() {
    let feature = |state: &str, more: Value| {
        let mut feature = json!({"name": "streaming", "run": "started", "state": state, "pid": 0, "restarts": 3});
        feature.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        typed::<FeatureStanding>(feature)
    };
    let why = "parked by supervisor: died 5 times within 60 s; last: killed by signal 11";
    let parked = feature("parked", json!({"reason": why, "last_exit": "killed by signal 11", "revision": 7}));
    let (exit, text) = printed(|out| feature::render(&[parked], out));
    assert_eq!(exit, Exit::NotSo);
    assert!(text.contains("streaming  parked    -         3         7  killed by signal 11"), "{text}");
    assert!(text.contains("  streaming: parked by supervisor: died 5 times within 60 s; last: killed by"), "{text}");
    let stopped = feature("stopped", json!({"reason": "stopped by root (uid 0): maintenance"}));
    let (exit, text) = printed(|out| feature::render(&[stopped], out));
    assert!(exit == Exit::Done && text.contains("stopped by root (uid 0): maintenance"), "{text}");
    let waits = feature("backing-off", json!({"again_in_ms": 400}));
    let (exit, text) = printed(|out| feature::render(&[waits], out));
    assert!(exit == Exit::NotSo && text.contains("starts again in 0.4 s"), "{text}");
}

#[test]
fn status_is_one_page_and_says_what_is_wrong() {
    let mut state = crate::top::status_for_tests(3);
    let (_, text) = printed(|out| Ok(status::render(&state, out).map(|()| Exit::Done)?));
    for part in [
        "weir 0.1.0 on edge-1, up 2:03:07",
        "enp3s0f0np0  zero-copy",
        "wlan0        generic, down",
        "received         3 000 000  seen by the classifier",
        "  hop-limit          1 200  the TTL or hop limit is used up",
        "  unknown-agent         21  not dropped: the message names",
        "0% of 4096",
        "streaming  running    954k   1.44M     812       12      482k  38.2us  1.2ms",
        "streaming sent 1 234 of 1 300 frames it named, at most 100 Mbit/s\n  not sent: capped 60, unknown-agent 6\n",
        "worker streaming     -  backing-off",
        "  worker streaming: starts again in 1.6 s\n  worker fusion: parked by supervisor: died 5 times within 60 s",
        "memory  128 MiB of frames on hugepages-2M",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert_eq!(status::exit(&state), Exit::NotSo, "a worker does not run");
    state.processes.retain(|process| process.pid != 0);
    assert_eq!(status::exit(&state), Exit::Done);
    state.counters.received += 5;
    assert_eq!(status::exit(&state), Exit::NotSo, "five frames are not accounted for");
    let (_, text) = printed(|out| Ok(status::render(&state, out).map(|()| Exit::Done)?));
    assert!(text.contains("missing                  5"), "{text}");
    state.counters.dropped.insert("dataplane-died".to_owned(), 5);
    assert_eq!(status::exit(&state), Exit::Done, "now they are");
    let (_, text) = printed(|out| Ok(status::render(&state, out).map(|()| Exit::Done)?));
    assert!(text.contains("dataplane-died          5  it was on a ring when the dataplane died"), "{text}");
    printed(|out| Ok(status::render(&Default::default(), out).map(|()| Exit::Done)?));
}

/// A state with an experiment that waits, and a program that could not take over.
fn changing() -> Status {
    let arms = Arms::Variants { control: "old".to_owned(), candidate: "new".to_owned() };
    let experiment = ExperimentStatus {
        spec: Spec::new("canary".to_owned(), "base".to_owned(), arms),
        stage: Stage::Step(1),
        share: Share::from_basis_points(2_500).expect("a share"),
        windows: 3,
        slices: 0,
        waits: Some("flag base is off".to_owned()),
        latest: None,
        outcome: None,
        author: "root".to_owned(),
        reason: String::new(),
        created_ms: 0,
        bytes: 0,
    };
    let upgrade = UpgradeStatus {
        number: 1,
        program: "/opt/weir".to_owned(),
        state: UpgradeState::Refused,
        from: "0.1.0".to_owned(),
        to: None,
        text: "this is not weir".to_owned(),
    };
    let mut state = crate::top::status_for_tests(3);
    (state.experiments, state.weir.upgrade) = (vec![experiment], Some(upgrade));
    state
}

#[test]
fn status_and_top_name_what_changes_by_itself() {
    let mut state = changing();
    let (_, text) = printed(|out| Ok(status::render(&state, out).map(|()| Exit::Done)?));
    let row = text.lines().find(|line| line.starts_with("canary")).unwrap_or_else(|| panic!("no experiment:\n{text}"));
    for part in ["base", "25%", "3/", "waits", "flag base is off"] {
        assert!(row.contains(part), "{part:?} is missing in: {row}");
    }
    assert!(text.contains("upgrade refused, weir 0.1.0 is in force: /opt/weir: this is not weir\n"), "{text}");
    let screen = crate::top::screen_for_tests(&state);
    let line = screen
        .lines()
        .find(|line| line.trim_start().starts_with("experiment "))
        .unwrap_or_else(|| panic!("none:\n{screen}"));
    assert!(line.contains("canary on flag base at 25%, 3/") && line.contains("waits"), "{line}");
    assert!(
        screen.lines().any(|line| line.trim_start().starts_with("program ") && line.contains("refused")),
        "{screen}"
    );
    // Whoever reads JSON has all of it, and nothing where there is none.
    let json = serde_json::to_value(&state).expect("JSON");
    assert_eq!(json["experiments"][0]["waits"], "flag base is off");
    assert_eq!(json["weir"]["upgrade"]["state"], "refused");
    (state.experiments, state.weir.upgrade) = (Vec::new(), None);
    let json = serde_json::to_value(&state).expect("JSON");
    assert!(json.get("experiments").is_none() && json["weir"].get("upgrade").is_none(), "{json}");
}

#[test]
fn what_stands_still_is_said_whole_and_what_was_refused_with_its_reason() {
    let mut state = crate::top::status_for_tests(3);
    let cause = "No space left on device (os error 28) while a segment file of 64 MiB was made in /var/lib/weir/log; free space";
    state.log = Some(typed(json!({"folder": "/var/lib/weir/log", "frames": 5, "durable": 5, "next": 5, "dropped": 7,
        "failure": cause})));
    state.streams = Some(weir_appliance_control::message::StreamsStatus {
        refused: [("stalled".to_owned(), 7_200), ("too-many-connections".to_owned(), 501), ("gap".to_owned(), 0)]
            .into(),
        ..Default::default()
    });
    let (_, text) = printed(|out| Ok(status::render(&state, out).map(|()| Exit::Done)?));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        &format!("STANDS STILL at record 5, 7 NOT logged: {cause}") as &str,
        "connections refused: stalled 7 200, too-many-connections 501",
    ] {
        assert!(words.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(!text.contains("gap"), "{text}");
}

#[test]
fn rules_and_agents_fit_the_line() {
    let rules: Vec<RuleStatus> = typed(json!([
        {"place": 1, "name": "telemetry", "match": "udp dport 48102", "action": "deliver", "to": ["streaming"], "share": "2.5%", "class": 0,
            "packets": 1234567, "bytes": 99},
        {"place": 1024, "name": "x".repeat(40), "action": "mirror", "to": ["streaming", "test1", "test2"], "share": "100%", "class": 1,
            "match": "tcp src 2001:db8:1111:2222:3333::/80 dst 2001:db8::/32 sport 1000-2000 dport 1-65535 vlan 10-20 type 7 modality text|audio",
            "packets": u64::MAX, "bytes": u64::MAX},
    ]));
    let (_, text) = printed(|out| steer::render(&rules, out));
    assert!(
        text.lines().nth(1).is_some_and(|line| line.contains("1  teleme") && line.ends_with("1 234 567")),
        "{text}"
    );
    assert!(printed(|out| steer::render(&[], out)).1.starts_with("no rule"));

    let agents: Vec<AgentStatus> = typed(json!([
        {"id": 7, "address": "10.9.0.2", "mac": "02:00:00:00:00:07", "interface": "eth1", "reachable": true},
        {"id": 4_294_967_295_u32, "address": "2001:db8:1111:2222:3333:4444:5555:6666", "mac": "02:00:00:00:00:08", "interface": "enp129s0f0np0",
            "type": 4_294_967_295_u32, "weight": 1000, "modality": "text|audio|image|sensor", "reachable": false},
    ]));
    let (_, text) = printed(|out| agent::render(&agents, out));
    assert!(text.contains("02:00:00:00:00:07") && text.contains(" down"), "{text}");
}

fn frames() -> Vec<WhyFrame> {
    typed(json!([
        {"frame": 1, "length": 146, "ethertype": "0x0800", "vlans": [10],
            "ip": {"version": 4, "source": "10.0.0.1", "destination": "10.0.0.2", "protocol": 17, "fragment": null},
            "ports": {"source": 5000, "destination": 4789}, "tunnel": "vxlan",
            "inner": {"ethertype": "0x0800", "vlans": [], "ports": {"source": 1, "destination": 48100},
                "ip": {"version": 4, "source": "10.1.0.1", "destination": "10.1.0.2", "protocol": 17, "fragment": {"offset": 0, "more": true}}},
            "message": {"kind": "standard", "message_type": 7, "source_agent_id": 1, "dest_agent_id": 2, "timestamp_ns": 3, "priority": 0,
                "sequence_number": 9},
            "malformed": null,
            "verdict": {"action": "deliver", "takers": ["streaming"], "rule": "telemetry", "bucket": 42, "reason": null}},
        {"frame": 2, "length": 9, "ethertype": "", "vlans": [], "ip": null, "ports": null, "tunnel": null, "inner": null, "message": null,
            "malformed": "truncated-ethernet",
            "verdict": {"action": "pass", "takers": [], "rule": null, "bucket": null, "reason": "truncated-ethernet"}},
    ]))
}

#[derive(Debug, Parser)]
struct Why {
    #[command(flatten)]
    args: why::WhyArgs,
}

fn why_args(words: &str) -> why::WhyArgs {
    Why::try_parse_from(["why", "--pcap", "x.pcap"].into_iter().chain(words.split_whitespace())).expect("words").args
}

#[test]
fn a_frame_is_explained_in_two_lines_and_one_object() {
    let all =
        |words: &str| printed(|out| why_args(words).render_frames(frames().into_iter().map(Ok::<_, Failure>), out));
    let (exit, text) = all("");
    let want = "\
frame 1, 146 bytes: vlan 10 10.0.0.1:5000 > 10.0.0.2:4789 udp; in vxlan:
      10.1.0.1:1 > 10.1.0.2:48100 udp fragment at 0, more follow; message type 7
      from agent 1 to 2, number 9
    rule telemetry, bucket 42: deliver to streaming
frame 2, 9 bytes: no ethertype
    malformed (truncated-ethernet): the frame is shorter than an Ethernet
      header
    no rule: pass
";
    assert_eq!((exit, text.as_str()), (Exit::Done, want));
    let (_, text) = all("--json");
    let back: Vec<WhyFrame> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(back, frames());
    assert_eq!(all("--frame 2 --json").1.lines().count(), 1);
    assert_eq!(all("--frame 3").0, Exit::NotSo);
    let broken =
        [Err(weir_appliance_control::problem::Problem::new("x.pcap", "it ends inside a frame", "capture it again"))];
    let outcome = why_args("").render_frames(broken, &mut Vec::new());
    assert!(matches!(outcome, Err(Failure::Problem(_))), "{outcome:?}");
}

#[test]
fn a_flow_is_explained_station_by_station() {
    let explanation: FlowExplanation = typed(json!({
        "flow": "10.0.0.1:5000-10.0.0.2:48100/udp", "fingerprint": "00c0ffee00c0ffee", "bucket": 311,
        "verdict": {"action": "deliver", "takers": ["streaming"], "rule": "video", "bucket": 311, "reason": null},
        "steps": [
            {"stage": "flow verdict", "found": "none", "because": "no feature has written a verdict for this flow", "decided": false},
            {"stage": "rule", "found": "video", "decided": true,
                "because": "udp dport 48100 matches, and bucket 311 is below its share of 5%; it has decided 12345 frames so far"},
            {"stage": "ring", "found": "eth0 queue 2 class 0", "because": "12 of 4096 wait for streaming", "decided": false}],
    }));
    let (_, text) = printed(|out| Ok(why::render_flow(&explanation, out).map(|()| Exit::Done)?));
    let want = "\
10.0.0.1:5000-10.0.0.2:48100/udp  bucket 311  fingerprint 00c0ffee00c0ffee
  flow verdict  none: no feature has written a verdict for this flow
> rule          video: udp dport 48100 matches, and bucket 311 is below its
                share of 5%; it has decided 12345 frames so far
  ring          eth0 queue 2 class 0: 12 of 4096 wait for streaming
= rule video, bucket 311: deliver to streaming
";
    assert_eq!(text, want);
}

#[test]
fn figures_name_rig_host_peer_and_goal() {
    let row = |case: &str, better, runs: &[f64]| BenchRow::of_runs(case, "frames/s", better, runs).expect("runs");
    let mut report = BenchReport {
        bench: "journey".into(),
        rig: "one veth pair".into(),
        host: crate::top::status_for_tests(1).weir.host,
        rows: vec![
            row("receive 64 bytes", Better::Higher, &[1e6, 1.1e6, 1.2e6]).beside("xdp-bench 1.5.7", &[1e6], 0.9),
            row("idle CPU", Better::Lower, &[0.5]).bounded(1.0),
            row("no goal", Better::Lower, &[0.5]),
        ],
    };
    let (exit, text) = printed(|out| figures::render(&report, false, out));
    assert_eq!(exit, Exit::Done);
    let head = "journey on one veth pair; Xeon 6731E, 8 cores, 32 GiB, Linux 6.12.4, bare-metal";
    assert_eq!(text.lines().next(), Some(head));
    assert!(text.contains("1.00M..1.20M") && text.contains("1.10  >= 0.90 met") && text.contains("<= 1 met"), "{text}");
    report.rows.push(row("slow", Better::Higher, &[1.0]).bounded(2.0));
    assert_eq!(printed(|out| figures::render(&report, true, out)).0, Exit::NotSo);
}

#[test]
fn a_replay_and_the_doctor_report() {
    let report: ReplayReport =
        typed(json!({"frames": 3, "bytes": 300, "actions": {"pass": 1, "deliver": 2}, "takers": {"streaming": 2},
        "reasons": {"bad-batch": 1}, "records": {"streaming": [{"a": 1}, {"a": 2}]}}));
    let (_, text) = printed(|out| replay::render(&report, false, out));
    assert!(text.starts_with("3 frames, 300 B\n") && text.contains("bad-batch      1  the batch names"), "{text}");
    let (_, json) = printed(|out| replay::render(&report, true, out));
    assert_eq!(serde_json::from_str::<ReplayReport>(&json).expect("JSON"), report);

    let report: DoctorReport = typed(json!({"host": {}, "checks": [
        {"name": "kernel", "state": "good", "found": "6.12.4"},
        {"name": "huge pages", "state": "less", "found": "0 free of 0", "because": "frames are then on plain pages, and every access may miss the TLB",
            "cure": "echo 64 > /proc/sys/vm/nr_hugepages"}]}));
    let (exit, text) = printed(|out| doctor::render(&report, false, out));
    assert_eq!(exit, Exit::Done);
    assert!(text.contains("less  huge pages  0 free of 0\n") && text.contains("cure: echo 64"), "{text}");
    assert!(text.ends_with("weir runs here, with less than it could have\n"));
    let report: DoctorReport = typed(json!({"host": {}, "checks": [{"name": "root", "state": "bad", "found": "no"}]}));
    assert_eq!(printed(|out| doctor::render(&report, false, out)).0, Exit::NotSo);
}

/// Answers one caller with this reply and gives back what was asked.
fn serve(test: &str, reply: Value) -> (PathBuf, thread::JoinHandle<Request>) {
    let path = std::env::temp_dir().join(format!("weir-console-{test}-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).expect("bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let request = read_line(&mut BufReader::new(stream.try_clone().expect("cloned"))).expect("a request");
        writeln!(stream, "{reply}").expect("answered");
        request
    });
    (path, server)
}

#[derive(Debug, Parser)]
enum Nouns {
    #[command(subcommand)]
    Steer(steer::SteerCommand),
    Status(status::StatusArgs),
}

fn run(words: &[&str], reply: Value) -> (Request, Outcome, String) {
    let (path, server) = serve(&words.join("-").replace(['/', ' '], "_"), reply);
    let socket = path.to_str().expect("text");
    let words = ["weir"].into_iter().chain(words.iter().copied()).chain(["--socket", socket]);
    let mut out = Vec::new();
    let outcome = match Nouns::try_parse_from(words).expect("words") {
        Nouns::Steer(command) => command.run(&mut out),
        Nouns::Status(command) => command.run(&mut out),
    };
    let request = server.join().expect("served");
    std::fs::remove_file(path).expect("removed");
    (request, outcome, String::from_utf8(out).expect("text"))
}

#[test]
fn a_rule_travels_over_the_socket() {
    let reply = json!({"ok": {"done": {"text": "rule rule-1 added at place 1", "saved": true}}});
    let words = ["steer", "add", "--match", "udp:5004", "--to", "streaming", "--share", "5%", "--priority", "1"];
    let (request, outcome, text) = run(&words, reply);
    let want = json!({"op": "steer.add", "place": 1,
        "rule": {"match": "udp dport 5004", "action": "deliver", "to": ["streaming"], "share": "5%"}});
    assert_eq!(serde_json::to_value(&request).expect("JSON"), want);
    assert_eq!((outcome.ok(), text.as_str()), (Some(Exit::Done), "rule rule-1 added at place 1\n"));

    let reply = json!({"error": {"value": "x", "cause": "no rule has this name", "cure": "see the names with: weir steer list"}});
    let (_, outcome, _) = run(&["steer", "remove", "x"], reply);
    assert_eq!(
        outcome.expect_err("refused").to_string(),
        "x: no rule has this name; see the names with: weir steer list"
    );
    let (_, outcome, text) = run(&["steer", "show", "x"], json!({"ok": {"rules": []}}));
    assert_eq!((outcome.ok(), text.as_str()), (Some(Exit::NotSo), "no rule is called x\n"));
    let (_, outcome, _) = run(&["status"], json!({"ok": {"rules": []}}));
    assert!(outcome.expect_err("another question").to_string().contains("answered another question (rules)"));
    let state = serde_json::to_value(crate::top::status_for_tests(1)).expect("JSON");
    let (_, outcome, text) = run(&["status", "--json"], json!({"ok": {"status": state}}));
    assert_eq!(outcome.ok(), Some(Exit::NotSo));
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["counters"]["received"], json!(1_000_000));
}
