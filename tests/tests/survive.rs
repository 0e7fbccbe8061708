//! What happens when something dies? Base forwarding goes on, counters add up, nobody is given a frame twice.

use std::time::{Duration, Instant};

use weir_appliance_control::message::{Counters, Status};
use weir_dataplane_io::wait::PidFd;
use weir_tests::{BATCH, Background, DEADLINE, MESSAGE, RULES, Rig, kill, scaled, send, wired};

fn worker(status: &Status) -> Option<(u32, u32)> {
    let worker = status.processes.iter().find(|process| process.name == "worker streaming")?;
    (worker.state.as_str() == "running").then_some((worker.pid, worker.restarts))
}

#[test]
fn a_worker_killed_again_and_again_loses_only_what_was_on_its_ring() {
    wired!("a_worker_killed_again_and_again_loses_only_what_was_on_its_ring");
    let mut rig = Rig::soon(RULES);
    let before = rig.counters();
    let background = Background::start(&rig, BATCH, 20_000.0);
    let mut last = 0;
    for _ in 0..scaled(12, 1_000) {
        let status = rig
            .appliance
            .wait_until("a new worker runs", DEADLINE, |status| worker(status).is_some_and(|(pid, _)| pid != last));
        let (pid, _) = worker(&status.expect("a new worker")).expect("a running worker");
        last = pid;
        kill(pid);
    }
    rig.appliance
        .wait_until("the last worker runs", DEADLINE, |status| worker(status).is_some_and(|(pid, _)| pid != last))
        .expect("a worker");
    let sent = background.finish();
    let after = rig.counters_after(&before, sent);
    assert!(after.is_balanced(), "{after:?}");
    let met = after.delivered - before.delivered + after.dropped_total() - before.dropped_total();
    assert_eq!(met, sent, "every batch was delivered or dropped for a reason: {after:?}");
    // Once the ring is empty every delivered frame was taken, exactly once: what died with a worker is among the drops.
    let settled =
        |status: &Status| status.counters.per_taker.get("streaming").copied().unwrap_or(0) == status.counters.delivered;
    let status =
        rig.appliance.wait_until("taken = delivered", DEADLINE, settled).expect("every delivered frame is taken once");
    assert!(status.counters.is_balanced());
}

#[test]
fn base_forwarding_does_not_notice_that_the_dataplane_dies() {
    wired!("base_forwarding_does_not_notice_that_the_dataplane_dies");
    let mut rig = Rig::soon(RULES);
    let before = rig.counters();
    let sunk = rig.sinks[1].count().expect("the sink counts").frames;
    let background = Background::start(&rig, MESSAGE, 20_000.0);
    for _ in 0..scaled(3, 100) {
        let dataplane = rig.appliance.process("dataplane").expect("a dataplane");
        kill_and_wait(&mut rig, dataplane);
    }
    let sent = background.finish();
    let after = rig.counters_after(&before, sent);
    assert_eq!(after.forwarded - before.forwarded, sent, "not one base message was lost: {after:?}");
    let arrived = rig.arrives(1, sunk + sent) - sunk;
    assert!(arrived >= sent, "the right end saw {arrived} of {sent}");
}

#[test]
fn what_was_on_rings_when_the_dataplane_died_is_counted_as_lost() {
    wired!("what_was_on_rings_when_the_dataplane_died_is_counted_as_lost");
    let mut rig = Rig::soon(RULES);
    let ring = 1_024;
    let kills = scaled(2, 100);
    let before = rig.counters();
    let (mut sent, mut stood, mut full) = (0, 0, 0);
    for kill in 0..kills {
        let status = rig.appliance.wait_until("a worker", DEADLINE, |status| worker(status).is_some());
        let (pid, _) = worker(&status.expect("a worker")).expect("a running worker");
        let now = rig.counters();
        // A worker that is stopped takes nothing, so it is known what stands on the ring and what finds it full.
        PidFd::open(pid).and_then(|process| process.stop()).expect("it stops");
        let count = if kill % 2 == 0 { ring + 476 } else { 300 };
        let (mut sender, mut batches) = (rig.sender(), rig.traffic(BATCH, 2));
        for portion in (0..count).step_by(200) {
            send(&mut sender, &mut batches, (count - portion).min(200)); // a veth pair holds 256
            let arrived = |status: &Status| status.counters.received >= now.received + (portion + 200).min(count);
            rig.appliance.wait_until("a portion arrives", DEADLINE, arrived).expect("it arrives");
        }
        drop(sender); // its queue is the next one's
        let after = rig.counters_after(&now, count);
        (sent, stood, full) = (sent + count, stood + count.min(ring), full + count.saturating_sub(ring));
        let reason = |counters: &Counters, name| counters.dropped.get(name).copied().unwrap_or(0);
        assert_eq!(reason(&after, "ring-full"), full, "{after:?}");
        let dataplane = rig.appliance.process("dataplane").expect("a dataplane");
        kill_and_wait(&mut rig, dataplane);
        let after = rig.counters();
        assert_eq!((reason(&after, "ring-full"), reason(&after, "dataplane-died")), (full, stood), "{after:?}");
        // With a worker at work nobody knows how much stands on the ring; the books know.
        let background = Background::start(&rig, BATCH, 1_000.0);
        let moved = |status: &Status| status.counters.per_taker.get("streaming") > after.per_taker.get("streaming");
        rig.appliance.wait_until("frames are taken", DEADLINE, moved).expect("the worker works");
        let dataplane = rig.appliance.process("dataplane").expect("a dataplane");
        kill_and_wait(&mut rig, dataplane);
        sent += background.finish();
        let _ = rig.counters_after(&before, sent); // none is on its way
        let settled = |status: &Status| status.counters.per_taker.get("streaming") == Some(&status.counters.delivered);
        let status = rig.appliance.wait_until("taken = delivered", DEADLINE, settled).expect("the books balance");
        assert!(status.counters.is_balanced() && status.counters.delivered > 0, "{status:?}");
        (stood, full) = (reason(&status.counters, "dataplane-died"), reason(&status.counters, "ring-full"));
    }
}

/// Kills the dataplane, and waits for its successor and a worker of that.
fn kill_and_wait(rig: &mut Rig, dataplane: u32) {
    kill(dataplane);
    let back = |status: &Status| {
        worker(status).is_some()
            && status.processes.iter().any(|process| process.name == "dataplane" && process.pid != dataplane)
    };
    rig.appliance.wait_until("a new dataplane", DEADLINE, back).expect("a new dataplane and worker");
}

#[test]
fn a_stopped_worker_costs_its_own_class_and_nothing_else() {
    wired!("a_stopped_worker_costs_its_own_class_and_nothing_else");
    let features = "features: {streaming: {enabled: true}, test1: {enabled: true}}\n\
        rules:\n  - {name: one, match: \"udp dport 48102\", action: deliver, to: [streaming]}\n  \
        - {name: two, match: \"udp dport 48100\", action: deliver, to: [test1]}\n";
    let mut rig = Rig::new(features);
    let pid = rig.appliance.process("worker streaming").expect("the worker runs");
    let stopped = PidFd::open(pid).expect("the worker runs");
    stopped.stop().expect("it stops");
    let before = rig.counters();
    let (mut sender, mut batches, mut messages) = (rig.sender(), rig.traffic(BATCH, 1), rig.traffic(MESSAGE, 1));
    // The next portion waits until this one was taken, so that neither a veth pair (256) nor the other class's ring is full for
    // lack of speed.
    for sent in (100..=2_000).step_by(100) {
        send(&mut sender, &mut batches, 100);
        send(&mut sender, &mut messages, 100);
        let taken = |status: &Status| {
            let met = status.counters.received >= before.received + 2 * sent;
            met && status.counters.per_taker.get("test1") == Some(&sent)
        };
        rig.appliance.wait_until("test1 has its portion", DEADLINE, taken).expect("the other class loses nothing");
    }
    let after = rig.counters_after(&before, 4_000);
    let full = after.dropped.get("ring-full").copied().unwrap_or(0);
    assert_eq!(full, 2_000 - 1_024, "the stopped class holds its ring of 1024 and no more: {after:?}");
    assert_eq!(after.per_taker.get("test1"), Some(&2_000), "the other class lost nothing: {after:?}");
    stopped.resume().expect("it goes on");
    let taken = |status: &Status| status.counters.per_taker.get("streaming").copied().unwrap_or(0) == 1_024;
    rig.appliance.wait_until("the ring is emptied", DEADLINE, taken).expect("the stopped worker goes on where it was");
}

#[test]
fn stopping_returns_traffic_to_the_stack_and_leaves_nothing() {
    wired!("stopping_returns_traffic_to_the_stack_and_leaves_nothing");
    let mut rig = Rig::new(RULES);
    let (socket, folder) =
        (rig.appliance.socket().to_owned(), rig.appliance.socket().parent().expect("a folder").to_owned());
    let start = Instant::now();
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(!socket.exists() && !folder.join("attach.sock").exists(), "its sockets are gone");
    let box_node = rig.lab.node("box").expect("the box");
    let shown =
        box_node.run(|| std::process::Command::new("ip").args(["link", "show", "eth0"]).output()).expect("a thread");
    let shown = String::from_utf8_lossy(&shown.expect("ip runs").stdout).into_owned();
    assert!(!shown.contains("xdp"), "no program is attached any more: {shown}");
}
