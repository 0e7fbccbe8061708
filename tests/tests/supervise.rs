//! Does the supervisor see what is wrong with its children, and is only that ended, given up or stopped which shall be?

use weir_appliance_control::message::{ProcessStatus, Status};
use weir_dataplane_io::wait::PidFd;
use weir_tests::{BATCH, BOX, Background, DEADLINE, MESSAGE, RULES, Rig, send, wired};

/// A box that loses its patience after so many seconds.
fn impatient(seconds: u32, more: &str) -> Rig {
    let config = BOX.replace("stall_seconds: 600", &format!("stall_seconds: {seconds}"));
    Rig::try_new(&format!("{config}{more}")).unwrap_or_else(|error| panic!("{error}"))
}

/// The process of this name.
fn process<'a>(status: &'a Status, name: &str) -> &'a ProcessStatus {
    let found = status.processes.iter().find(|process| process.name == name);
    found.unwrap_or_else(|| panic!("no process {name}: {:?}", status.processes))
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
    assert!(ended.starts_with("stalled: 100 frames wait, none finished for 6 s"), "{ended}");
    assert_eq!(process(&status, name).restarts, 1);
    // What stood on its ring is counted, and what comes now is taken.
    send(&mut sender, &mut batches, 50);
    let after = rig.counters_after(&before, 150);
    assert_eq!(after.dropped.get("taker-died"), Some(&100), "{after:?}");
    let taken = |status: &Status| status.counters.per_taker.get("streaming") == Some(&50);
    rig.appliance.wait_until("the new one takes", DEADLINE, taken).expect("it works");
}

#[test]
fn a_dataplane_that_hangs_is_started_again_and_base_messages_do_not_notice() {
    wired!("a_dataplane_that_hangs_is_started_again_and_base_messages_do_not_notice");
    let mut rig = impatient(2, RULES);
    let (before, first) = (rig.counters(), rig.appliance.process("dataplane").expect("a dataplane"));
    let background = Background::start(&rig, MESSAGE, 5_000.0);
    PidFd::open(first).and_then(|process| process.stop()).expect("it stops");
    let again = |status: &Status| process(status, "dataplane").pid != first && is_running(status, "worker streaming");
    let status = rig.appliance.wait_until("another dataplane", DEADLINE, again).expect("it is started again");
    let ended = process(&status, "dataplane").last_exit.clone().unwrap_or_default();
    assert!(ended.starts_with("stalled: its pool has not turned for 2 s"), "{ended}");
    let sent = background.finish();
    let after = rig.counters_after(&before, sent);
    assert_eq!(after.forwarded - before.forwarded, sent, "not one base message was lost: {after:?}");
}
