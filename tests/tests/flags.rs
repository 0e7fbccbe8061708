//! Do flags act on packets as they say: their share of the flows, in their order, at once, and without a frame lost?

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_appliance_control::client;
use weir_appliance_control::config::{FlagStep, Moment, VariantSpec};
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{
    Answer, Changed, ConfigRequest, Counters, FlagChange, FlagStatus, Reply, Request, Status, WhyQuestion,
};
use weir_appliance_control::name::FlagName;
use weir_appliance_control::share::Share;
use weir_appliance_lab::LabError;
use weir_dataplane_io::wait::PidFd;
use weir_tests::{BATCH, DEADLINE, Rig, scaled, send, wired};

const FLAGS: &str = "\
flags:
  - {name: base, to: [streaming], share: 0%}
  - {name: more, to: [streaming], share: 100%, match: udp dport 5004, requires: [base], state: off}
";

fn name(text: &str) -> FlagName {
    text.parse().expect("a name")
}

fn share(text: &str) -> Share {
    text.parse().expect("a share")
}

fn changed(answer: Result<Answer, LabError>) -> Result<Changed, String> {
    match answer {
        Ok(Answer::Changed(changed)) => Ok(changed),
        Ok(other) => panic!("another answer: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn set(rig: &Rig, flag: &str, change: FlagChange) -> Result<Changed, String> {
    changed(rig.appliance.ask(&Request::FlagSet { name: name(flag), change }))
}

fn grow(rig: &Rig, flag: &str, to: &str) {
    set(rig, flag, FlagChange { share: Some(share(to)), ..FlagChange::default() }).expect("it grows");
}

fn flags(rig: &Rig) -> BTreeMap<String, FlagStatus> {
    match rig.appliance.ask(&Request::FlagList) {
        Ok(Answer::Flags(flags)) => flags.into_iter().map(|status| (status.flag.name.to_string(), status)).collect(),
        other => panic!("no flags: {other:?}"),
    }
}

/// Which of these flows the classifier gives to streaming now, by source port.
fn delivered(rig: &Rig, ports: std::ops::Range<u16>) -> Vec<bool> {
    let ask = |port: u16| {
        let flow = format!("10.9.0.1:{port}-{}/udp", SocketAddr::from((Ipv4Addr::new(10, 9, 1, 1), 5_004)));
        match rig.appliance.ask(&Request::Why(WhyQuestion::Flow(flow.parse().expect("a flow")))) {
            Ok(Answer::Flow(why)) => why.verdict.takers == ["streaming"],
            other => panic!("no explanation: {other:?}"),
        }
    };
    ports.map(ask).collect()
}

#[test]
fn a_share_that_grows_moves_no_flow_away() {
    wired!("a_share_that_grows_moves_no_flow_away");
    let rig = Rig::new(FLAGS);
    let flows = scaled(600, 20_000) as u16;
    let mut before = delivered(&rig, 1_000..1_000 + flows);
    assert!(!before.contains(&true), "no share, no flow");
    for (step, part) in [("5%", 0.05), ("25%", 0.25), ("50%", 0.5), ("75%", 0.75), ("100%", 1.0)] {
        grow(&rig, "base", step);
        let now = delivered(&rig, 1_000..1_000 + flows);
        assert!(before.iter().zip(&now).all(|(before, now)| !before || *now), "{step} moved a flow back");
        let count = now.iter().filter(|taken| **taken).count() as f64;
        let due = f64::from(flows) * part;
        // Five standard deviations of so many throws.
        let bound = 5.0 * (due * (1.0 - part)).sqrt();
        assert!((count - due).abs() <= bound, "{step} is {count} of {flows} flows");
        before = now;
    }
    grow(&rig, "base", "5%");
    let again = delivered(&rig, 1_000..1_000 + flows);
    assert!(again.iter().zip(&before).all(|(now, before)| !now || *before));
}

/// Frames that may have been sent in all, so that a veth pair (256) and the ring (1,024) hold what was not met yet even if
/// nobody takes any; 0 while nobody knows.
fn may_be_sent(socket: &Path, before: &Counters) -> u64 {
    let Ok(Reply::Ok(Answer::Status(status))) = client::call(socket, &Request::Status) else { return 0 };
    let counters = status.counters;
    let taken = counters.per_taker.get("streaming").copied().unwrap_or(0);
    let waiting = counters.delivered.saturating_sub(taken);
    counters.received - before.received + 900_u64.saturating_sub(waiting).min(200)
}

#[test]
fn flags_under_load_lose_no_frame_and_leave_the_rest_on_its_way() {
    wired!("flags_under_load_lose_no_frame_and_leave_the_rest_on_its_way");
    let mut rig = Rig::new(FLAGS);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(BATCH, 64));
    let before = rig.counters();
    let (stop, allowed, socket) = (AtomicBool::new(false), AtomicU64::new(0), rig.appliance.socket().to_owned());
    let changes = scaled(150, 5_000);
    let sent = std::thread::scope(|scope| {
        // A worker without a core for a while fills its ring, with flags or without: the next frames wait until the last ones
        // were met. Whatever is dropped then was dropped by a change.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                allowed.fetch_max(may_be_sent(&socket, &before), Ordering::Relaxed);
            }
        });
        let load = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let burst = allowed.load(Ordering::Relaxed).saturating_sub(sent).min(4);
                send(&mut sender, &mut traffic, burst);
                sent += burst;
                std::thread::park_timeout(Duration::from_micros(50));
            }
            sent
        });
        for number in 0..changes {
            let points = (number * 37 % 101) as u16 * 100;
            let change = FlagChange { share: Share::from_basis_points(points), ..FlagChange::default() };
            set(&rig, "base", change).expect("a good share");
        }
        stop.store(true, Ordering::Relaxed);
        load.join().expect("the load")
    });
    let after = rig.counters_after(&before, sent);
    let dropped: u64 = after.dropped.values().sum::<u64>() - before.dropped.values().sum::<u64>();
    assert_eq!(dropped, 0, "{after:?}");
    let (delivered, forwarded) = (after.delivered - before.delivered, after.forwarded - before.forwarded);
    assert!(delivered > 0 && forwarded > 0, "{delivered} and {forwarded}: {after:?}");
    // The kernels at both ends send a few frames of their own, which a flag may have.
    assert!(delivered + forwarded >= sent, "a frame went neither to the feature nor on to its agent: {after:?}");
}

#[test]
fn flags_work_in_their_order_and_a_kill_does_not_wait() {
    wired!("flags_work_in_their_order_and_a_kill_does_not_wait");
    let rig = Rig::new(FLAGS);
    let on = |flag: &str, state: &str| {
        let state = Some(state.parse().expect("a state"));
        set(&rig, flag, FlagChange { state, ..FlagChange::default() })
    };
    on("base", "off").expect("nothing requires it yet");
    let refused = on("more", "on").expect_err("base is off");
    assert!(refused.contains("more: it requires base") && refused.contains("weir flag set base --on"), "{refused}");
    on("base", "on").expect("it requires nothing");
    grow(&rig, "base", "25%");
    let said = on("more", "on").expect("base works").text;
    assert!(said.contains("flag more has 25% of the flows"), "no more than what it requires: {said}");

    // A change that waits does not keep the kill from working, and taking it back does not undo the kill.
    let manner = Manner { confirm_within_s: Some(600), reason: "a try".to_owned(), ..Manner::default() };
    let all = FlagChange { share: Some(share("100%")), ..FlagChange::default() };
    let request = Box::new(Request::FlagSet { name: name("base"), change: all });
    changed(rig.appliance.ask(&Request::Change { manner, request })).expect("it waits");
    assert!(delivered(&rig, 1_000..1_020).iter().all(|taken| *taken));
    let refused = on("more", "off").expect_err("another change waits");
    assert!(refused.contains("confirm"), "{refused}");
    let kill = Request::FlagKill { name: name("base"), reason: "it hurts".to_owned() };
    let killed = changed(rig.appliance.ask(&kill)).expect("a kill does not wait");
    assert!(killed.text.contains("these wait for it: more"), "{killed:?}");
    assert!(!delivered(&rig, 1_000..1_100).contains(&true), "no flow is left to it");
    let status = flags(&rig);
    assert_eq!((status["base"].has, status["more"].has), (Share::NONE, Share::NONE));
    assert_eq!(status["more"].waits_for, Some(name("base")));
    let revert = Request::Config(ConfigRequest::Revert { reason: String::new() });
    changed(rig.appliance.ask(&revert)).expect("the change that waited is taken back");
    let status = flags(&rig);
    assert_eq!((status["base"].flag.share, status["base"].has), (share("25%"), Share::NONE), "and the flag stays off");
    assert!(!delivered(&rig, 1_000..1_100).contains(&true));
}

#[test]
fn steps_come_in_their_time_and_variants_have_their_flows() {
    wired!("steps_come_in_their_time_and_variants_have_their_flows");
    let mut rig = Rig::new(FLAGS);
    let variants = ["control=1:", "candidate=1:streaming"].map(|text| {
        let (name, to) = text.split_once("=1:").expect("a variant");
        let to = to.split(',').filter(|name| !name.is_empty()).map(|name| name.parse().expect("a feature"));
        VariantSpec { name: name.parse().expect("a name"), to: to.collect(), weight: 1 }
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    // A moment that is over comes with the next look at the clock.
    let at = Moment::from_unix_seconds(now - 5).expect("after 1970");
    let change = FlagChange {
        variants: Some(variants.to_vec()),
        schedule: Some(vec![FlagStep { at, share: share("100%") }]),
        ..FlagChange::default()
    };
    set(&rig, "base", change).expect("a good flag");
    let base =
        |status: &Status| status.flags.iter().any(|flag| flag.flag.name == name("base") && flag.has == share("100%"));
    rig.appliance.wait_until("the step is made", DEADLINE, base).unwrap_or_else(|error| panic!("{error}"));
    assert!(flags(&rig)["base"].flag.schedule.is_empty(), "a step is made once");
    let Ok(Answer::History(rows)) = rig.appliance.ask(&Request::Config(ConfigRequest::History { limit: 5 })) else {
        panic!("no history")
    };
    assert!(rows.iter().any(|row| row.author == "schedule" && row.reason.contains("base has 100%")), "{rows:?}");
    let count = delivered(&rig, 1_000..1_400).iter().filter(|taken| **taken).count();
    // Five standard deviations of 400 throws.
    assert!(count.abs_diff(200) <= 50, "the candidate has {count} of 400 flows");
}

/// A document whose one flag gives everybody `value`.
fn document(value: u32) -> String {
    format!(
        r#"{{"flags": {{"page": {{"state": "ENABLED", "variants": {{"old": 0, "new": {value}}}, "defaultVariant": "old",
            "targeting": {{"if": [{{"ends_with": [{{"var": "mail"}}, "@example.org"]}}, "new", null]}}}}}}}}"#
    )
}

#[test]
fn programs_are_answered_by_the_document_that_the_box_keeps() {
    wired!("programs_are_answered_by_the_document_that_the_box_keeps");
    let mut rig = Rig::new("");
    let ask = |rig: &Rig, flag: &str, mail: &str| {
        let context = serde_json::json!({ "mail": mail }).as_object().cloned().unwrap_or_default();
        rig.appliance.ask(&Request::FlagAsk { flag: flag.into(), key: "user-1".into(), context, at: None })
    };
    let answered = |rig: &Rig, mail: &str| match ask(rig, "page", mail) {
        Ok(Answer::Variant(found)) => (found.variant, found.value, found.reason),
        other => panic!("no variant: {other:?}"),
    };
    let new = |value: u32| (Some("new".to_owned()), value.into(), "TARGETING_MATCH".to_owned());
    let publish = |rig: &Rig, document: Option<String>| changed(rig.appliance.ask(&Request::FlagPublish { document }));
    let error = ask(&rig, "page", "a@example.org").expect_err("nothing is kept").to_string();
    assert!(error.contains("keeps no flags that programs ask") && error.contains("weir flag publish"), "{error}");

    let first = publish(&rig, Some(document(1))).expect("it is published").revision.expect("a revision");
    assert_eq!(answered(&rig, "a@example.org"), new(1));
    assert_eq!(answered(&rig, "a@example.com").0.as_deref(), Some("old"));
    match ask(&rig, "gone", "a@example.org") {
        Ok(Answer::Variant(found)) => assert_eq!(found.error.expect("an error").code, "FLAG_NOT_FOUND"),
        other => panic!("no variant: {other:?}"),
    }
    // What is refused changes nothing.
    let refused = publish(&rig, Some(document(2).replace("ends_with", "end_with"))).expect_err("no such operator");
    assert!(refused.contains("flag page") && refused.contains("end_with"), "{refused}");
    assert_eq!(answered(&rig, "a@example.org"), new(1));

    publish(&rig, Some(document(2))).expect("it is published");
    assert_eq!(answered(&rig, "a@example.org"), new(2));
    let status = rig.appliance.status().expect("a status");
    let dataplane = status.processes.iter().find(|process| process.name == "dataplane").expect("a dataplane").pid;
    PidFd::open(dataplane).and_then(|process| process.kill()).expect("killed");
    let back = |status: &Status| status.processes.iter().any(|it| it.name == "dataplane" && it.pid != dataplane);
    rig.appliance.wait_until("the next dataplane", DEADLINE, back).expect("it is back");
    assert_eq!(answered(&rig, "a@example.org"), new(2), "what was acknowledged is there after a kill");

    let rollback =
        Request::Config(ConfigRequest::Rollback { revision: Some(first), live_only: false, manner: Manner::default() });
    changed(rig.appliance.ask(&rollback)).expect("rolled back");
    assert_eq!(answered(&rig, "a@example.org"), new(1));
    publish(&rig, None).expect("taken away");
    assert!(ask(&rig, "page", "a@example.org").is_err());
}
