//! Does the supervisor see what is wrong with its children, and is only that ended, given up or stopped which shall be?

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weir_appliance_control::client;
use weir_appliance_control::config::Run;
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{
    Answer, ConfigRequest, Counters, FeatureStanding, HexBytes, Reply, Request, Status, UpgradeState, WhyQuestion,
};
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::traffic::Traffic;
use weir_dataplane_io::wait::PidFd;
use weir_features_worker::audit::GIVE_ME_MY_FLOW;
use weir_tests::{
    BATCH, BOX, Background, DEADLINE, MESSAGE, RULES, Rig, StopOnDrop, kill, process, program, scaled, send,
    send_messages, small_message, wired,
};

/// Batches and UDP port 7 to one feature, UDP port 9 to another; base messages go on to their agents.
const TWO: &str = "\
features: {streaming: {enabled: false}, test1: {enabled: true}, test2: {enabled: true}}
rules:
  - {name: batches, match: \"udp dport 48102\", action: deliver, to: [test1]}
  - {name: others, match: \"udp dport 9\", action: deliver, to: [test2]}
  - {name: echo, match: \"udp dport 7\", action: deliver, to: [test1]}
";
const WORKER: &str = "worker test1";

/// A box that loses its patience after so many seconds.
fn impatient(seconds: u32, more: &str) -> Rig {
    let config = BOX.replace("stall_seconds: 600", &format!("stall_seconds: {seconds}"));
    Rig::try_new(&format!("{config}{more}")).unwrap_or_else(|error| panic!("{error}"))
}

fn is_running(status: &Status, name: &str) -> bool {
    status.processes.iter().any(|process| process.name == name && process.state.as_str() == "running")
}

#[test]
fn a_worker_that_hangs_while_frames_wait_is_started_again() {
    wired!("a_worker_that_hangs_while_frames_wait_is_started_again");
    let name = "worker streaming";
    let mut rig = impatient(6, RULES);
    let before = rig.counters();
    let first = rig.appliance.process(name).expect("a worker");
    let (mut sender, mut batches) = (rig.sender(), rig.traffic(BATCH, 1));
    // One that has nothing to do may stand as long as it likes; from the first frame on it is missed.
    PidFd::open(first).and_then(|process| process.stop()).expect("it stops");
    send(&mut sender, &mut batches, 100);
    let shown = |status: &Status| process(status, name).state.as_str() == "stalled";
    let status = rig.appliance.wait_until("it is shown as stalled", DEADLINE, shown).expect("it is seen");
    let reason = process(&status, name).reason.clone().unwrap_or_default();
    assert!(reason.starts_with("100 frames wait, none finished for"), "{reason}");
    let again = |status: &Status| is_running(status, name) && process(status, name).pid != first;
    let status = rig.appliance.wait_until("another worker", DEADLINE, again).expect("it is started again");
    let ended = process(&status, name).last_exit.clone().unwrap_or_default();
    assert!(ended.starts_with("stalled: 100 frames wait, none finished for "), "{ended}");
    assert_eq!(process(&status, name).restarts, 1);
    // What stood on its ring is counted, and what comes now is taken.
    send(&mut sender, &mut batches, 50);
    let after = rig.counters_after(&before, 150);
    assert_eq!(after.dropped.get("taker-died"), Some(&100), "{after:?}");
    let taken = |status: &Status| status.counters.per_taker.get("streaming") == Some(&50);
    rig.appliance.wait_until("the new one takes", DEADLINE, taken).expect("it works");
}

#[test]
fn a_worker_that_hangs_before_it_works_is_ended_and_counts_as_dead() {
    wired!("a_worker_that_hangs_before_it_works_is_ended_and_counts_as_dead");
    let supervise = "supervise: {stall_seconds: 600, start_seconds: 6, park_deaths: 2}";
    let config = BOX.replace("supervise: {stall_seconds: 600, park_deaths: 100}", supervise);
    let mut rig = Rig::try_new(&format!("{config}{TWO}")).unwrap_or_else(|error| panic!("{error}"));
    let other = rig.appliance.process("worker test2").expect("another worker");
    let feature = "test1".parse().expect("a feature");
    let hang = |rig: &Rig, after_hello, seconds| {
        rig.appliance.ask(&Request::ChaosHang { feature, after_hello, seconds }).expect("it is told");
    };
    let (mut sender, mut batches, mut messages) = (rig.sender(), rig.traffic(BATCH, 1), rig.traffic(MESSAGE, 1));
    let stages = [
        (false, "has not said a word to the dataplane", "it has not said a word to the dataplane after"),
        (true, "was lent its rings, and does not work yet", "it was lent its rings and has not come to work after"),
    ];
    for (after_hello, shown, ended) in stages {
        let before = rig.counters();
        let worked = process(&runs(&mut rig), WORKER).pid;
        hang(&rig, after_hello, 600);
        let request = Request::FeatureRestart { name: feature, reason: "a test".into() };
        rig.appliance.ask(&request).expect("it is started again");
        let status = wait(&mut rig, "it is seen to hang", |status| {
            let worker = process(status, WORKER);
            worker.pid != worked && worker.reason.as_ref().is_some_and(|reason| reason.contains(shown))
        });
        let hung = process(&status, WORKER);
        assert_eq!(hung.state.as_str(), "starting", "{hung:?}");
        // Its frames pass, and nobody else notices.
        send(&mut sender, &mut batches, 100);
        send(&mut sender, &mut messages, 200);
        for sequence in 0..50 {
            while !sender.send_bytes(&other_message(sequence)).unwrap_or_else(|error| panic!("{error}")) {}
            sender.flush().unwrap_or_else(|error| panic!("{error}"));
        }
        let after = rig.counters_after(&before, 350);
        let forwarded = after.forwarded - before.forwarded;
        let took = |counters: &Counters| counters.per_taker.get("test2").copied().unwrap_or(0);
        assert_eq!((forwarded, after.dropped_total(), taken(&after)), (200, 0, taken(&before)), "{after:?}");
        wait(&mut rig, "the other one has its frames", |status| took(&status.counters) == took(&before) + 50);
        // Each start that hangs counts, and is one too many at last.
        let status = wait(&mut rig, "it is parked", |status| state(status) == "parked");
        let reason = process(&status, WORKER).reason.clone().unwrap_or_default();
        let begins = "parked by supervisor: died 2 times within 60 s; last: hung at its start: ";
        assert!(reason.starts_with(begins) && reason.contains(ended), "{reason}");
        assert!(!Path::new(&format!("/proc/{}", hung.pid)).exists(), "what hung is gone");
        assert_eq!(process(&status, "worker test2").pid, other, "nobody else was started again");
        hang(&rig, after_hello, 0);
        set(&rig, Run::Started, "it was mended");
        runs(&mut rig);
        send(&mut sender, &mut batches, 100);
        wait(&mut rig, "it takes again", |status| taken(&status.counters) == taken(&before) + 100);
    }
}

/// A message for test2, which has UDP port 9.
fn other_message(sequence: u32) -> Vec<u8> {
    let mut frame = small_message(5001, 1, sequence);
    // Behind Ethernet and IPv4; zero is "no checksum".
    frame[36..38].copy_from_slice(&9_u16.to_be_bytes());
    frame[40..42].copy_from_slice(&[0, 0]);
    frame
}

#[test]
fn a_dataplane_that_hangs_is_started_again_and_base_messages_do_not_notice() {
    wired!("a_dataplane_that_hangs_is_started_again_and_base_messages_do_not_notice");
    let mut rig = impatient(2, RULES);
    let (before, first) = (rig.counters(), rig.appliance.process("dataplane").expect("a dataplane"));
    let background = Background::start(&rig, MESSAGE, 5_000.0);
    PidFd::open(first).and_then(|process| process.stop()).expect("it stops");
    let again = |status: &Status| {
        let dataplane = process(status, "dataplane");
        let ended = dataplane.last_exit.clone().unwrap_or_default();
        let why = ended.starts_with("stalled: its pool has not turned for ");
        why && dataplane.pid != first && is_running(status, "worker streaming")
    };
    rig.appliance.wait_until("another dataplane", DEADLINE, again).expect("it is started again");
    let sent = background.finish();
    let after = rig.counters_after(&before, sent);
    assert_eq!(after.forwarded - before.forwarded, sent, "not one base message was lost: {after:?}");
}

/// Starts, stops or parks test1.
fn set(rig: &Rig, run: Run, reason: &str) {
    let request = Request::FeatureRun { name: "test1".parse().expect("a feature"), run };
    let manner = Manner { reason: reason.to_owned(), ..Manner::default() };
    let answer = rig.appliance.ask(&Request::Change { manner, request: Box::new(request) });
    assert!(matches!(answer, Ok(Answer::Changed(_))), "{answer:?}");
}

/// test1, as `weir feature list` has it.
fn standing(rig: &Rig) -> FeatureStanding {
    let Ok(Answer::Features(features)) = rig.appliance.ask(&Request::FeatureList) else { panic!("no features") };
    let found = features.into_iter().find(|feature| feature.name.as_str() == "test1");
    found.expect("test1 is enabled")
}

fn wait(rig: &mut Rig, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
    rig.appliance.wait_until(what, DEADLINE, condition).unwrap_or_else(|error| panic!("{error}"))
}

fn state(status: &Status) -> &str {
    process(status, WORKER).state.as_str()
}

fn stops(rig: &mut Rig) {
    wait(rig, "test1 is stopped", |status| state(status) == "stopped");
}

fn runs(rig: &mut Rig) -> Status {
    wait(rig, "test1 runs", |status| is_running(status, WORKER))
}

fn taken(counters: &Counters) -> u64 {
    counters.per_taker.get("test1").copied().unwrap_or(0)
}

/// Frames of test1 that may wait for it: what it has is to be finished in time on a loaded machine, too.
const AT_ONCE: u64 = 100;

/// Frames that wait for test1; 0 while nobody knows.
fn behind(socket: &Path) -> u64 {
    match client::call(socket, &Request::Status) {
        Ok(Reply::Ok(Answer::Status(status))) => status.counters.delivered.saturating_sub(taken(&status.counters)),
        _ => 0,
    }
}

#[test]
fn a_feature_that_keeps_dying_is_parked_until_somebody_starts_it() {
    wired!("a_feature_that_keeps_dying_is_parked_until_somebody_starts_it");
    let mut rig = Rig::try_new(&format!("{}{TWO}", BOX.replace("park_deaths: 100", "park_deaths: 3"))).expect("a box");
    let before = rig.counters();
    let other = rig.appliance.process("worker test2").expect("another worker");
    for _ in 0..3 {
        let worker = process(&runs(&mut rig), WORKER).pid;
        kill(worker);
        wait(&mut rig, "it is gone", |status| process(status, WORKER).pid != worker);
    }
    let status = wait(&mut rig, "it is parked", |status| state(status) == "parked");
    let reason = process(&status, WORKER).reason.clone().unwrap_or_default();
    assert!(reason.starts_with("parked by supervisor: died 3 times within 60 s; last: killed by signal 9"), "{reason}");
    let listed = standing(&rig);
    assert_eq!((listed.run, listed.pid, listed.author.as_deref()), (Run::Parked, 0, Some("supervisor")));
    // Its frames pass, and the rest goes on as before.
    let (mut sender, mut batches, mut messages) = (rig.sender(), rig.traffic(BATCH, 1), rig.traffic(MESSAGE, 1));
    send(&mut sender, &mut batches, 200);
    send(&mut sender, &mut messages, 200);
    let after = rig.counters_after(&before, 400);
    assert_eq!((after.dropped_total(), after.delivered, after.forwarded - before.forwarded), (0, 0, 200), "{after:?}");
    assert!(after.passed - before.passed >= 200, "{after:?}");
    assert_eq!(process(&rig.appliance.status().expect("a status"), "worker test2").pid, other, "nobody else noticed");
    // It stays parked when the dataplane dies, and comes back when somebody says so.
    let dataplane = rig.appliance.process("dataplane").expect("a dataplane");
    kill(dataplane);
    wait(&mut rig, "another dataplane", |status| {
        process(status, "dataplane").pid != dataplane && is_running(status, "worker test2")
    });
    assert_eq!(standing(&rig).run, Run::Parked);
    set(&rig, Run::Started, "it was mended");
    runs(&mut rig);
    send(&mut sender, &mut batches, 100);
    wait(&mut rig, "it takes again", |status| {
        taken(&status.counters) == 100 && process(status, WORKER).reason.is_none()
    });
}

/// Sends eight frames of each kind after each pause until it is to stop, as long as few wait; adds up how many of each.
fn feed(
    sender: &mut XdpSender,
    kinds: [&mut Traffic; 2],
    socket: &Path,
    pause: Duration,
    stop: &AtomicBool,
    sent: &AtomicU64,
) {
    let [one, other] = kinds;
    while !stop.load(Ordering::Relaxed) {
        if behind(socket) < AT_ONCE {
            send(sender, one, 8);
            send(sender, other, 8);
            sent.fetch_add(8, Ordering::Relaxed);
        }
        std::thread::park_timeout(pause);
    }
}

#[test]
fn features_come_and_go_under_load_and_no_frame_is_lost() {
    wired!("features_come_and_go_under_load_and_no_frame_is_lost");
    let mut rig = Rig::new(TWO);
    let (mut sender, mut batches, mut messages) = (rig.sender(), rig.traffic(BATCH, 8), rig.traffic(MESSAGE, 8));
    let before = rig.counters();
    // It rests after each batch, so that at any time some frames wait for it.
    let feature = "test1".parse().expect("a feature");
    rig.appliance.ask(&Request::ChaosSlow { feature, delay_us: 80_000, seconds: 600 }).expect("a slow feature");
    let start = rig.appliance.status().expect("a status");
    let (stop, sent, socket) = (AtomicBool::new(false), AtomicU64::new(0), rig.appliance.socket().to_owned());
    let rounds = scaled(4, 200);
    std::thread::scope(|scope| {
        let end = StopOnDrop(&stop);
        scope.spawn(|| {
            feed(&mut sender, [&mut batches, &mut messages], &socket, Duration::from_millis(12), &stop, &sent);
        });
        for round in 0..rounds {
            let how = if round % 2 == 0 { (Run::Stopped, "stopped") } else { (Run::Parked, "parked") };
            set(&rig, how.0, "a test");
            wait(&mut rig, "its worker is gone", |status| state(status) == how.1 && process(status, WORKER).pid == 0);
            let passed = rig.counters().passed;
            wait(&mut rig, "its frames pass", |status| status.counters.passed > passed + 100);
            set(&rig, Run::Started, "a test");
            let running = process(&runs(&mut rig), WORKER).pid;
            let had = taken(&rig.counters());
            wait(&mut rig, "it has frames", |status| taken(&status.counters) > had + 100);
            let request =
                Request::FeatureRestart { name: "test1".parse().expect("a feature"), reason: "a test".into() };
            rig.appliance.ask(&request).expect("it is started again");
            let had = taken(&rig.counters());
            wait(&mut rig, "another worker has frames", |status| {
                let worker = process(status, WORKER);
                is_running(status, WORKER) && worker.pid != running && taken(&status.counters) > had + 100
            });
        }
        drop(end);
    });
    let sent = sent.load(Ordering::Relaxed);
    let after = rig.counters_after(&before, 2 * sent);
    assert_eq!(after.dropped_total(), 0, "{after:?}");
    assert_eq!(after.forwarded - before.forwarded, sent, "base messages do not notice: {after:?}");
    let (delivered, passed) = (after.delivered - before.delivered, after.passed - before.passed);
    assert!(delivered > 0 && passed > 0 && delivered + passed >= sent, "{after:?}");
    let status = wait(&mut rig, "delivered = taken", |status| taken(&status.counters) == status.counters.delivered);
    for name in ["dataplane", "worker test2"] {
        assert_eq!(process(&status, name).pid, process(&start, name).pid, "{name} went on");
    }
}

/// A folder with a copy of this test run's program, of which a box runs.
fn with_own_program(name: &str) -> (PathBuf, PathBuf, Rig) {
    let folder = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let lies = folder.join("weir");
    std::fs::copy(program("weir"), &lies).expect("a program");
    let rig = Rig::with_program(&lies, &format!("{BOX}{TWO}"), 1500, 1, |_| Ok(())).expect("a box");
    (folder, lies, rig)
}

/// The program that a box is of.
fn own(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).expect("it runs")
}

/// Does `act` while base messages and frames for test1 flow, and expects that none is lost.
fn and_no_frame_is_lost(rig: &mut Rig, act: impl FnOnce(&mut Rig)) {
    let (mut sender, mut batches, mut messages) = (rig.sender(), rig.traffic(BATCH, 8), rig.traffic(MESSAGE, 8));
    let before = rig.counters();
    let (stop, sent, socket) = (AtomicBool::new(false), AtomicU64::new(0), rig.appliance.socket().to_owned());
    std::thread::scope(|scope| {
        let end = StopOnDrop(&stop);
        scope.spawn(|| {
            feed(&mut sender, [&mut batches, &mut messages], &socket, Duration::from_millis(3), &stop, &sent);
        });
        wait(rig, "frames are taken", |status| taken(&status.counters) > taken(&before) + 100);
        act(rig);
        let had = taken(&rig.counters());
        wait(rig, "frames are taken again", |status| taken(&status.counters) > had + 100);
        drop(end);
    });
    let sent = sent.load(Ordering::Relaxed);
    let after = rig.counters_after(&before, 2 * sent);
    assert_eq!(after.dropped_total(), before.dropped_total(), "{after:?}");
    assert_eq!(after.forwarded - before.forwarded, sent, "base messages do not notice: {after:?}");
    wait(rig, "delivered = taken", |status| taken(&status.counters) == status.counters.delivered);
}

#[test]
fn another_program_takes_over_and_no_frame_is_lost() {
    wired!("another_program_takes_over_and_no_frame_is_lost");
    let (folder, lies, mut rig) = with_own_program("signal");
    let (next, pid) = (folder.join("next"), rig.appliance.pid());
    std::fs::copy(program("weir"), &next).and_then(|_| std::fs::rename(&next, &lies)).expect("another program");
    assert_ne!(own(pid), lies, "what runs is not what lies there");
    // Until it is told to, the box stays of one piece.
    let worker = rig.appliance.process(WORKER).expect("a worker");
    kill(worker);
    wait(&mut rig, "another worker of the same program", |status| {
        is_running(status, WORKER) && process(status, WORKER).pid != worker
    });
    let dataplane = rig.appliance.process("dataplane").expect("a dataplane");
    and_no_frame_is_lost(&mut rig, |rig| {
        let signal = Command::new("kill").args(["-USR2", &pid.to_string()]).status();
        assert!(signal.is_ok_and(|status| status.success()), "kill works");
        wait(rig, "the same process is another program", |status| {
            own(pid) == lies && process(status, "dataplane").pid != dataplane && is_running(status, WORKER)
        });
    });
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    std::fs::remove_dir_all(&folder).expect("removed");
}

/// `weir upgrade FILE`: its exit code, and what it says.
fn upgrade(rig: &Rig, file: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program("weir"));
    command.arg("upgrade").arg(file).arg("--socket").arg(rig.appliance.socket()).args(words);
    let said = command.output().expect("it runs");
    (said.status.code(), String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned())
}

#[test]
fn a_named_program_takes_over_and_says_so() {
    wired!("a_named_program_takes_over_and_says_so");
    let (folder, lies, mut rig) = with_own_program("upgrade");
    let (next, pid) = (folder.join("next"), rig.appliance.pid());
    std::fs::copy(program("weir"), &next).expect("another program");
    for (file, number) in [(&next, 1), (&lies, 2)] {
        and_no_frame_is_lost(&mut rig, |rig| {
            let (code, said) = upgrade(rig, file, &["--within", "60s"]);
            assert_eq!(code, Some(0), "{said}");
            let version = env!("CARGO_PKG_VERSION");
            assert!(said.contains(&format!("weir {version} has taken over from weir {version}")), "{said}");
            assert_eq!(&own(pid), file, "the same process is another program");
            let known = rig.appliance.status().expect("a status").weir.upgrade.expect("it is told");
            assert_eq!((known.number, known.state), (number, UpgradeState::InForce), "{known:?}");
        });
    }
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    std::fs::remove_dir_all(&folder).expect("removed");
}

/// A program in `folder` that does something else than weir when its first word is `word`.
fn broken(folder: &Path, name: &str, word: &str, deed: &str, mode: u32) -> PathBuf {
    let file = folder.join(name);
    let real = program("weir");
    let text = format!("#!/bin/sh\ncase \"$1\" in\n{word}) {deed} ;;\nesac\nexec {} \"$@\"\n", real.display());
    std::fs::write(&file, text).expect("a script");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its mode");
    file
}

#[test]
fn a_program_that_does_not_work_leaves_the_old_one_in_force() {
    wired!("a_program_that_does_not_work_leaves_the_old_one_in_force");
    let (folder, lies, mut rig) = with_own_program("broken");
    let pid = rig.appliance.pid();
    let old = "echo '{\"version\": \"0.0.9\", \"layout\": 0, \"pins\": 0}'; exit 0";
    let cases = [
        ("plain", "up", "exit 0", 0o644, "not executable"),
        ("open", "up", "exit 0", 0o777, "can change this file"),
        ("other", "--version", "echo other 1.0; exit 0", 0o755, "this is not weir"),
        ("mute", "--version", "exec sleep 1000", 0o755, "it said nothing within 10 s"),
        ("strict", "up", "echo 'weir: rules: no such rule' >&2; exit 2", 0o755, "code 2: weir: rules: no such rule"),
        ("old", "up", old, 0o755, "weir 0.0.9 has layout 0.0, older"),
        ("dies", "dataplane", "exit 3", 0o755, "its dataplane ended with code 3"),
        ("hangs", "dataplane", "exec sleep 1000", 0o755, "its dataplane is not ready after 4 s"),
        ("no-worker", "worker", "exit 4", 0o755, "ended with code 4"),
        ("mute-worker", "worker", "exec sleep 1000", 0o755, "is starting"),
    ];
    and_no_frame_is_lost(&mut rig, |rig| {
        let (code, said) = upgrade(rig, &folder.join("nothing"), &[]);
        assert!(code == Some(2) && said.contains("name the file of a weir program"), "{said}");
        for (name, word, deed, mode, why) in cases {
            let file = broken(&folder, name, word, deed, mode);
            let (code, said) = upgrade(rig, &file, &["--within", "4s"]);
            assert_eq!(code, Some(2), "{name}: {said}");
            assert!(said.contains(why) && said.contains("is still in force"), "{name}: {said}");
            let status = wait(rig, "it works as before", |status| {
                is_running(status, WORKER) && is_running(status, "worker test2")
            });
            assert_eq!(own(pid), lies, "{name}");
            let known = status.weir.upgrade.expect("it is told");
            assert_eq!(known.state, UpgradeState::Refused, "{name}: {known:?}");
            let parts = ["dataplane", WORKER, "worker test2"];
            assert!(
                parts.iter().all(|part| rig.appliance.process(part).is_ok_and(|pid| own(pid) == lies)),
                "{name}: all is of one piece"
            );
        }
    });
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_stop_outlives_the_dataplane_and_ends_with_a_change_that_is_taken_back() {
    wired!("a_stop_outlives_the_dataplane_and_ends_with_a_change_that_is_taken_back");
    let mut rig = Rig::new(TWO);
    set(&rig, Run::Stopped, "maintenance");
    stops(&mut rig);
    let dataplane = rig.appliance.process("dataplane").expect("a dataplane");
    kill(dataplane);
    let status = wait(&mut rig, "another dataplane", |status| {
        process(status, "dataplane").pid != dataplane && is_running(status, "worker test2")
    });
    let worker = process(&status, WORKER);
    let reason = worker.reason.clone().unwrap_or_default();
    assert_eq!((worker.state.as_str(), worker.pid), ("stopped", 0));
    assert!(reason.starts_with("stopped by ") && reason.ends_with(": maintenance"), "{reason}");
    let flow = "10.9.0.1:5000-10.9.1.1:7/udp".parse().expect("a flow");
    let Ok(Answer::Flow(why)) = rig.appliance.ask(&Request::Why(WhyQuestion::Flow(flow))) else { panic!("no answer") };
    assert!(why.steps[1].because.ends_with("who takes its frames does not run"), "{why:?}");
    let (mut sender, mut batches) = (rig.sender(), rig.traffic(BATCH, 1));
    let before = rig.counters();
    send(&mut sender, &mut batches, 100);
    let after = rig.counters_after(&before, 100);
    assert_eq!((after.delivered, after.dropped_total()), (before.delivered, before.dropped_total()), "{after:?}");
    set(&rig, Run::Started, "done");
    runs(&mut rig);
    // A stop that waits for its confirmation.
    let request = Box::new(Request::FeatureRun { name: "test1".parse().expect("a feature"), run: Run::Stopped });
    let manner = Manner { confirm_within_s: Some(600), ..Manner::default() };
    rig.appliance.ask(&Request::Change { manner, request }).expect("it is tried");
    stops(&mut rig);
    rig.appliance.ask(&Request::Config(ConfigRequest::Revert { reason: String::new() })).expect("it is taken back");
    runs(&mut rig);
    let refused =
        rig.appliance.ask(&Request::FeatureRun { name: "streaming".parse().expect("a feature"), run: Run::Started });
    assert!(refused.expect_err("it has no rings").to_string().contains("not enabled"));
}

#[test]
fn a_verdict_for_a_stopped_feature_passes_and_is_counted() {
    wired!("a_verdict_for_a_stopped_feature_passes_and_is_counted");
    let mut rig = Rig::new(
        "features: {streaming: {enabled: false}, test1: {enabled: true}}\n\
         rules: [{name: all, match: \"udp dport 48100\", action: deliver, to: [test1]}]\n",
    );
    let (mut sender, before) = (rig.sender(), rig.counters());
    send_messages(&mut sender, 5001, GIVE_ME_MY_FLOW, 1);
    send_messages(&mut sender, 5001, 1, 20);
    wait(&mut rig, "the feature has its flow", |status| taken(&status.counters) == 21);
    set(&rig, Run::Stopped, "a test");
    stops(&mut rig);
    send_messages(&mut sender, 5001, 1, 50);
    let after = rig.counters_after(&before, 71);
    let no_taker = after.noted.get("no-taker").copied().unwrap_or(0);
    assert_eq!((no_taker, after.delivered, after.dropped_total()), (50, 21, 0), "{after:?}");
    let why = || match rig.appliance.ask(&Request::Why(WhyQuestion::Frame(HexBytes(small_message(5001, 1, 99))))) {
        Ok(Answer::Frame(why)) => why.verdict,
        other => panic!("no explanation: {other:?}"),
    };
    let said = why();
    assert_eq!(
        (said.action.as_str(), said.reason.as_deref(), said.takers.len()),
        ("pass", Some("no-taker"), 0),
        "{said:?}"
    );
    set(&rig, Run::Started, "a test");
    runs(&mut rig);
    send_messages(&mut sender, 5001, 1, 30);
    wait(&mut rig, "the verdict is in force again", |status| taken(&status.counters) == 51);
}

/// What the box says last of all: its counters.
fn last_count(rig: &mut Rig) -> String {
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    let log = rig.appliance.log_tail();
    let last = log.split(" | ").find_map(|line| line.split_once("in the end: "));
    last.unwrap_or_else(|| panic!("no last count: {log}")).1.to_owned()
}

#[test]
fn workers_finish_what_they_have_when_all_ends() {
    wired!("workers_finish_what_they_have_when_all_ends");
    for (delay_us, is_finished) in [(100_000, true), (1_000_000, false)] {
        let mut rig = Rig::new(TWO);
        let feature = "test1".parse().expect("a feature");
        rig.appliance.ask(&Request::ChaosSlow { feature, delay_us, seconds: 600 }).expect("a slow feature");
        let slow = |status: &Status| status.features.iter().any(|feature| feature.slowed_us == delay_us);
        wait(&mut rig, "it is slow", slow);
        let (mut sender, mut batches, before) = (rig.sender(), rig.traffic(BATCH, 1), rig.counters());
        for _ in 0..5 {
            send(&mut sender, &mut batches, 200);
            let _ = rig.counters_after(&before, 200);
        }
        let _ = rig.counters_after(&before, 1_000);
        let said = last_count(&mut rig);
        let number = |before: &str| -> u64 {
            let Some((_, behind)) = said.split_once(before) else { return 0 };
            let digits = behind.split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number: {said}"))
        };
        // What a killed one leaves is among the lost as soon as the kernel has let go of it, and until then on its rings.
        let (taken, left) = (number("(taken: test1 "), number("taker-died ") + number("); "));
        assert_eq!((taken + left, left == 0), (1_000, is_finished), "every frame was finished or is counted: {said}");
    }
}
