//! Does what is in force change as a whole, live through bad files, and come back when nobody confirms it?

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_appliance_control::config::Layer;
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{Answer, Changed, ConfigRequest, HistoryRow, Request};
use weir_appliance_control::resources::Revision;
use weir_appliance_lab::appliance::Appliance;
use weir_dataplane_io::wait::PidFd;
use weir_tests::{BOX, DEADLINE, MESSAGE, RULES, Rig, program, scaled, send, wired};

/// The files of a rig that runs [`BOX`] and `more`.
fn layers(rig: &Rig, more: &str) -> Vec<Layer> {
    let text = format!("{BOX}{more}\ncontrol: {{socket: {}}}\n", rig.appliance.socket().display());
    vec![Layer { name: "test.yaml".to_owned(), text }]
}

fn apply(rig: &Rig, more: &str, manner: Manner) -> Result<Changed, String> {
    let request = ConfigRequest::Apply { layers: layers(rig, more), live_only: false, manner };
    ask(rig, request)
}

fn ask(rig: &Rig, request: ConfigRequest) -> Result<Changed, String> {
    match rig.appliance.ask(&Request::Config(request)) {
        Ok(Answer::Changed(changed)) => Ok(changed),
        Ok(other) => panic!("another answer: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn within(seconds: u64) -> Manner {
    Manner { confirm_within_s: Some(seconds), reason: "a test".to_owned(), ..Manner::default() }
}

/// The rules in force, by name.
fn rules(appliance: &Appliance) -> Vec<String> {
    let Ok(Answer::Rules(rules)) = appliance.ask(&Request::SteerList) else { panic!("no list of rules") };
    rules.iter().map(|rule| rule.rule.name.to_string()).collect()
}

fn history(appliance: &Appliance) -> Vec<HistoryRow> {
    match appliance.ask(&Request::Config(ConfigRequest::History { limit: 50 })) {
        Ok(Answer::History(rows)) => rows,
        other => panic!("no history: {other:?}"),
    }
}

/// A rule set that leaves base messages alone, other for each number.
fn harmless(number: u64) -> String {
    format!(
        "rules: [{{name: a, match: \"udp dport {}\", action: drop}}, {{name: b, match: \"udp dport 9\", action: drop, share: {}%}}]",
        10_000 + number % 50_000,
        number % 101
    )
}

#[test]
fn reloads_under_load_half_of_them_bad_lose_no_frame_and_leave_the_last_good_one() {
    wired!("reloads_under_load_half_of_them_bad_lose_no_frame_and_leave_the_last_good_one");
    let mut rig = Rig::new(RULES);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(MESSAGE, 4));
    let before = rig.counters();
    let sunk = rig.sinks[1].count().expect("the sink counts").frames;
    let stop = AtomicBool::new(false);
    let reloads = scaled(300, 10_000);
    let (sent, good) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                send(&mut sender, &mut traffic, 64);
                sent += 64;
                std::thread::park_timeout(std::time::Duration::from_micros(200));
            }
            sent
        });
        let mut good = 0;
        let mut last = history(&rig.appliance)[0].revision;
        for number in 0..reloads {
            let bad = match number % 8 {
                1 => Some("rules: [{match: udp dport 99999, action: drop}]".to_owned()),
                3 => Some(harmless(number).replace("action: drop", "action: eat")),
                5 => Some(format!("{}\nwait: spin", harmless(number))), // cannot change live
                7 => Some(harmless(number).replace('}', "")),
                _ => None,
            };
            let outcome = apply(&rig, bad.as_deref().unwrap_or(&harmless(number)), Manner::default());
            match (bad, outcome) {
                (None, Ok(changed)) => {
                    last = changed.revision.expect("something changed");
                    good += 1;
                }
                (Some(_), Err(_)) => {}
                (bad, outcome) => panic!("{number}: {bad:?}: {outcome:?}"),
            }
            if number % 50 == 0 {
                assert_eq!(history(&rig.appliance)[0].revision, last, "a bad file leaves no trace");
                assert_eq!(rules(&rig.appliance), ["a", "b"]);
            }
        }
        stop.store(true, Ordering::Relaxed);
        (load.join().expect("the load"), good)
    });
    assert_eq!(good, reloads / 2);
    let after = rig.counters_after(&before, sent);
    assert_eq!(after.forwarded - before.forwarded, sent, "every message was forwarded: {after:?}");
    let arrived = rig.arrives(1, sunk + sent) - sunk;
    assert!(arrived >= sent, "the right end saw {arrived} of {sent}");
}

#[test]
fn what_cannot_change_live_is_named_and_nothing_is_changed() {
    wired!("what_cannot_change_live_is_named_and_nothing_is_changed");
    let rig = Rig::new(RULES);
    let file = "rules: []\nwait: spin\nlog: {keep_mib: 2048}";
    let said = apply(&rig, file, Manner::default()).expect_err("refused");
    for word in ["wait", "log.keep_mib", "cannot change while weir runs", "--live-only"] {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert_eq!(rules(&rig.appliance), ["telemetry", "no-discard"]);
    let request = ConfigRequest::Apply { layers: layers(&rig, file), live_only: true, manner: Manner::default() };
    ask(&rig, request).expect("the rest is applied");
    assert_eq!(rules(&rig.appliance), Vec::<String>::new());
    let Ok(Answer::Differences(left)) =
        rig.appliance.ask(&Request::Config(ConfigRequest::Diff { layers: layers(&rig, file) }))
    else {
        panic!("no differences")
    };
    let left: Vec<(&str, bool)> = left.iter().map(|one| (one.path.as_str(), one.live)).collect();
    assert_eq!(left, [("log.keep_mib", false), ("wait", false)]);
    ask(&rig, ConfigRequest::Rollback { revision: Some(Revision(1)), live_only: false, manner: Manner::default() })
        .expect("rolled back");
    assert_eq!(rules(&rig.appliance), ["telemetry", "no-discard"]);
}

#[test]
fn a_change_that_nobody_confirms_is_taken_back() {
    wired!("a_change_that_nobody_confirms_is_taken_back");
    let mut rig = Rig::new(RULES);
    let changed = apply(&rig, &harmless(1), within(1)).expect("applied");
    assert!(!changed.saved && changed.confirm_within_s == Some(1));
    let taken = rig.appliance.wait_until("the change is taken back", DEADLINE, |status| status.pending.is_none());
    taken.expect("taken back");
    assert_eq!(rules(&rig.appliance), ["telemetry", "no-discard"]);
    assert_eq!(history(&rig.appliance)[0].reason, "nobody confirmed it in time");
    // A confirmed one stays, and meanwhile no other may come between.
    apply(&rig, &harmless(2), within(600)).expect("applied");
    let pending = rig.appliance.status().expect("a status").pending.expect("it waits");
    assert_eq!((pending.reason.as_str(), pending.left_s > 500), ("a test", true), "{pending:?}");
    let said = apply(&rig, RULES, Manner::default()).expect_err("refused");
    assert!(said.contains("weir confirm"), "{said}");
    ask(&rig, ConfigRequest::Confirm { reason: "it works".into() }).expect("confirmed");
    assert!(ask(&rig, ConfigRequest::Revert { reason: String::new() }).is_err(), "nothing waits any more");
    assert_eq!(rules(&rig.appliance), ["a", "b"]);
    apply(&rig, RULES, within(600)).expect("applied");
    ask(&rig, ConfigRequest::Revert { reason: String::new() }).expect("taken back at once");
    assert_eq!(rules(&rig.appliance), ["a", "b"]);
}

#[test]
fn an_unconfirmed_change_does_not_outlive_the_dataplane_or_the_box() {
    wired!("an_unconfirmed_change_does_not_outlive_the_dataplane_or_the_box");
    let mut rig = Rig::new(RULES);
    let kept = apply(&rig, &harmless(1), Manner::default()).expect("applied").revision.expect("a revision");
    apply(&rig, "rules: []", within(600)).expect("applied");
    assert_eq!(rules(&rig.appliance), Vec::<String>::new());
    let dataplane = rig.appliance.process("dataplane").expect("it runs");
    PidFd::open(dataplane).and_then(|process| process.kill()).expect("killed");
    let back = rig.appliance.wait_until("a new dataplane", DEADLINE, |status| {
        status.processes.iter().any(|process| process.name == "dataplane" && process.pid != dataplane)
    });
    assert_eq!(back.expect("it is back").pending, None);
    assert_eq!(rules(&rig.appliance), ["a", "b"], "the last confirmed state");
    rig.appliance.wait_ready().expect("all run again");
    // The same when everything dies at once, and the file says what it said before.
    apply(&rig, "rules: []", within(600)).expect("applied");
    rig.appliance.kill();
    let config = format!("{BOX}{RULES}");
    let inside = rig.lab.node("box").expect("the box");
    rig.appliance = Appliance::start(&rig.lab, inside, &program("weir"), &config).expect("weir starts again");
    assert_eq!(rules(&rig.appliance), ["a", "b"], "the store wins over a file that was not changed");
    let rows = history(&rig.appliance);
    assert!(rows.iter().any(|row| row.revision == kept), "{rows:?}");
    assert!(rows.iter().filter(|row| row.reason.contains("was not confirmed")).count() == 2, "{rows:?}");
    // A file that was changed wins over the store.
    assert!(rig.appliance.stop());
    let config = format!("{BOX}rules: [{{name: new, match: \"udp dport 9\", action: drop}}]\n");
    rig.appliance = Appliance::start(&rig.lab, inside, &program("weir"), &config).expect("weir starts again");
    assert_eq!(rules(&rig.appliance), ["new"]);
}

#[test]
fn a_rule_that_could_cut_ssh_off_needs_force_and_a_confirmation() {
    wired!("a_rule_that_could_cut_ssh_off_needs_force_and_a_confirmation");
    let rig = Rig::new(RULES);
    let add = |manner: Manner| {
        let rule = serde_json::json!({"name": "all", "match": "any", "action": "drop"});
        let rule = serde_json::from_value(rule).expect("a rule");
        let request = Box::new(Request::SteerAdd { rule, place: None });
        rig.appliance.ask(&Request::Change { manner, request }).map(drop).map_err(|error| error.to_string())
    };
    assert!(add(Manner::default()).expect_err("refused").contains("could keep ssh (tcp dport 22) from this box"));
    assert!(add(within(600)).expect_err("refused").contains("--force"));
    let forced = Manner { force: true, ..Manner::default() };
    assert!(add(forced.clone()).expect_err("refused").contains("--confirm-within"));
    add(Manner { confirm_within_s: Some(600), ..forced }).expect("forced and to be confirmed");
    assert_eq!(rules(&rig.appliance), ["telemetry", "no-discard", "all"]);
}

#[test]
fn a_port_of_the_management_is_guarded_from_the_moment_that_it_is_written_down() {
    wired!("a_port_of_the_management_is_guarded_from_the_moment_that_it_is_written_down");
    let rig = Rig::new(RULES);
    let apply = |more: &str| apply(&rig, &format!("{RULES}{more}"), Manner::default());
    let add = |name: &str, port: u16| {
        let matches = format!("tcp dport {port}");
        let rule = serde_json::json!({"name": name, "match": matches, "action": "drop"});
        let rule = serde_json::from_value(rule).expect("a rule");
        rig.appliance.ask(&Request::SteerAdd { rule, place: None }).map(drop).map_err(|error| error.to_string())
    };
    add("first", 2200).expect("nobody said that 2200 is the management's");
    apply("management: {ports: [22, 2222]}\n").expect("it changes live");
    let refused = add("x", 2222).expect_err("refused");
    for part in ["x: this rule (drop tcp dport 2222)", "keep tcp dport 2222", "pass tcp dport 2222", "--force"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(add("x", 68).is_ok(), "DHCP is no TCP");
    apply("management: {ports: [22]}\n").expect("it changes live");
    add("y", 2222).expect("it is the management's no longer");
}

#[test]
fn the_commands_and_sighup_do_the_same() {
    wired!("the_commands_and_sighup_do_the_same");
    let mut rig = Rig::new(RULES);
    let socket = rig.appliance.socket().display().to_string();
    let weir = |words: &[&str]| {
        let output = Command::new(program("weir")).args(words).args(["--socket", &socket]).output().expect("it runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().expect("a code"), text)
    };
    let (code, text) =
        weir(&["steer", "add", "--match", "udp:7", "--action", "drop", "--name", "x", "--reason", "echo is off"]);
    assert!(code == 0 && text.contains("rule x added at place 3 (revision 2)"), "{text}");
    let (_, text) = weir(&["config", "history"]);
    assert!(text.contains("echo is off") && text.contains("the first start"), "{text}");
    assert!(!text.contains('…'), "in a pipe nothing is cut: {text}");
    let (_, text) = weir(&["config", "show"]);
    let line = |path: &str| text.lines().find(|line| line.starts_with(path)).unwrap_or_default().to_owned();
    assert!(line("rules[x].match").ends_with(" (uid 0))"), "{text}");
    assert!(line("rules[telemetry].action").contains("weir.yaml:"), "{text}");
    assert!(line("wait:").ends_with("# default"), "{text}");
    let (code, text) = weir(&["config", "diff"]);
    assert!(code == 1 && text.contains("- rules[x].match: udp dport 7"), "{code} {text}");
    // The file is edited, badly at first.
    let file = rig.appliance.config().to_owned();
    let written = std::fs::read_to_string(&file).expect("readable");
    let hup = || Command::new("kill").args(["-HUP", &rig.appliance.pid().to_string()]).status().expect("sent");
    std::fs::write(&file, written.replace("udp dport 9", "udp dport 99999")).expect("written");
    hup();
    let end = std::time::Instant::now() + DEADLINE;
    while !rig.appliance.log_tail().contains("99999") {
        assert!(std::time::Instant::now() < end, "{}", rig.appliance.log_tail());
        std::thread::yield_now();
    }
    assert_eq!(rules(&rig.appliance), ["telemetry", "no-discard", "x"], "the last good stays in force");
    std::fs::write(&file, written.replace("no-discard", "discard")).expect("written");
    hup();
    let applied = rig.appliance.wait_until("the file is applied", DEADLINE, |status| status.revision == 3);
    applied.expect("applied");
    assert_eq!(rules(&rig.appliance), ["telemetry", "discard"]);
    let (code, text) = weir(&["config", "rollback", "2", "--confirm-within", "10m"]);
    assert!(code == 0 && text.contains("(revision 4)") && text.contains("weir confirm"), "{text}");
    let (_, text) = weir(&["status"]);
    assert!(text.contains("UNCONFIRMED for "), "{text}");
    let (code, text) = weir(&["confirm", "--reason", "seen"]);
    assert!(code == 0 && text.contains("revision 4 is kept"), "{text}");
    assert_eq!(rules(&rig.appliance), ["telemetry", "no-discard", "x"]);
}
