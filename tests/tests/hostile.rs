//! What can a hostile worker do? It is found, counted and killed, and nobody else notices.

use std::process::Command;
use std::time::{Duration, Instant};

use weir_appliance_control::message::Status;
use weir_tests::{DEADLINE, MESSAGE, Rig, program, send, wired};

const FEATURES: &str = "features: {streaming: {enabled: true}, test1: {enabled: true}, test2: {enabled: true}}\n\
    rules:\n  - {name: one, match: \"udp dport 48100\", action: deliver, to: [test1]}\n";

/// Lets a hostile worker attach as `test2` and do its deed; true when it was killed.
fn is_killed(rig: &Rig, deed: &str) -> bool {
    let attach = rig.appliance.socket().with_file_name("attach.sock");
    let mut child = Command::new(program("hostile")).arg(attach).args(["test2", deed]).spawn().expect("hostile starts");
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        if let Ok(Some(status)) = child.try_wait() {
            return std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

#[test]
fn a_worker_that_lies_or_speaks_is_killed_and_the_others_lose_nothing() {
    wired!("a_worker_that_lies_or_speaks_is_killed_and_the_others_lose_nothing");
    let mut rig = Rig::new(FEATURES);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(MESSAGE, 1));
    let honest = |status: &Status| -> Vec<u32> { status.processes.iter().map(|process| process.pid).collect() };
    let before = honest(&rig.appliance.status().expect("a status"));
    let counters = rig.counters();
    let mut sent = 0;
    for deed in ["cursor-ahead", "cursor-back", "speak", "send-ahead", "send-back", "send-corrupt"] {
        send(&mut sender, &mut traffic, 500);
        assert!(is_killed(&rig, deed), "{deed} went unpunished");
        send(&mut sender, &mut traffic, 500);
        sent += 1_000;
    }
    let after = rig.counters_after(&counters, sent);
    assert!(after.is_balanced() && after.delivered - counters.delivered == sent, "{after:?}");
    let taken = |status: &Status| status.counters.per_taker.get("test1") == Some(&sent);
    let status = rig.appliance.wait_until("test1 has all", DEADLINE, taken).expect("the honest worker lost nothing");
    assert_eq!(honest(&status), before, "no honest process was restarted");
    assert_eq!(status.evicted, 6, "each is counted");
    let sends = status.features.iter().find(|feature| feature.name.as_str() == "test2").and_then(|it| it.sends.clone());
    let sends = sends.expect("test2 has named frames");
    assert_eq!((sends.requested, sends.abandoned, sends.sent), (2, 2, 0), "{sends:?}");
}

#[test]
fn a_record_ring_full_of_lies_is_not_read() {
    wired!("a_record_ring_full_of_lies_is_not_read");
    let rig = Rig::new(FEATURES);
    let attach = rig.appliance.socket().with_file_name("attach.sock");
    let mut child = Command::new(program("hostile"))
        .arg(attach)
        .args(["test2", "corrupt-records"])
        .spawn()
        .expect("hostile starts");
    let end = Instant::now() + DEADLINE;
    while !rig.appliance.log_tail().contains("claims more records than it holds") {
        assert!(Instant::now() < end, "the lie was not noticed: {}", rig.appliance.log_tail());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    assert!(rig.appliance.status().is_ok(), "the box goes on");
}
