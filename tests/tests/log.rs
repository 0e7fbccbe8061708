//! Is everything that the log calls durable in the log, once, whatever dies?

use std::collections::BTreeSet;
use std::path::Path;

use weir_appliance_control::message::{LogStatus, Status};
use weir_appliance_lab::load;
use weir_dataplane_io::wait::PidFd;
use weir_dataplane_log::{Audit, LogReader, verify};
use weir_tests::{BATCH, BOX, DEADLINE, Rig, StopOnDrop, scaled, send, wired};

/// A rule that delivers batches to streaming and to the log in `folder`, which is the test's own.
fn config(folder: &Path) -> String {
    format!(
        "features: {{streaming: {{enabled: true}}}}\n\
         rules: [{{name: all, match: \"udp dport 48102\", action: deliver, to: [streaming], durable: true}}]\n\
         log: {{folder: {}, segment_mib: 1, keep_mib: 512}}\n",
        folder.display()
    )
}

/// A folder of this test, empty.
fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("weir-log-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder); // of an earlier process with the same number
    folder
}

fn log(status: &Status) -> LogStatus {
    status.log.clone().unwrap_or_default()
}

#[test]
fn every_frame_of_a_durable_rule_is_in_the_log_once_and_whole() {
    wired!("every_frame_of_a_durable_rule_is_in_the_log_once_and_whole");
    let folder = folder("whole");
    let mut rig = Rig::new(&config(&folder));
    let before = rig.counters();
    let (mut sender, mut batches) = (rig.sender(), rig.traffic(BATCH, 4));
    let mut status = None;
    // Half a ring at a time: what arrives faster than the disk writes is dropped at the ring, counted, and not our question.
    for sent in (500..=3_000).step_by(500) {
        send(&mut sender, &mut batches, 500);
        let durable = |status: &Status| log(status).durable >= sent;
        status = Some(rig.appliance.wait_until("all is durable", DEADLINE, durable).expect("all is durable"));
    }
    let status = status.expect("some portions");
    let after = rig.counters_after(&before, 3_000);
    assert_eq!(after.dropped_total(), before.dropped_total(), "nothing is dropped at this rate: {after:?}");
    assert_eq!((log(&status).frames, log(&status).dropped), (3_000, 0), "{status:?}");
    let both = |status: &Status| {
        ["streaming", "log"].iter().all(|taker| status.counters.per_taker.get(*taker) == Some(&3_000))
    };
    rig.appliance.wait_until("both takers have every frame", DEADLINE, both).expect("the log takes nothing away");
    assert!(rig.appliance.stop(), "it ends by itself with code 0");

    let found = verify(&folder).expect("a log");
    assert!(found.is_sound() && found.records == 3_000, "{found:?}");
    let mut audit = Audit::new(16);
    let mut reader = LogReader::open(&folder).expect("a log");
    while let Some(record) = reader.next_record().expect("whole records") {
        audit.see(&record.stamp);
        let batch = weir_ebpf_abi::batch::Batch::parse(&record.frame[42..]).expect("the frame as it was sent");
        assert_eq!(batch.events().count(), 22);
    }
    let tallies: Vec<_> = audit.tallies().map(|(_, tally)| tally).collect();
    assert_eq!(tallies.len(), 4, "four sources");
    assert!(tallies.iter().all(|tally| tally.lost + tally.doubled + tally.reordered == 0), "{tallies:?}");
    std::fs::remove_dir_all(&folder).expect("the test's own folder");
}

#[test]
fn what_was_called_durable_outlives_the_dataplane() {
    wired!("what_was_called_durable_outlives_the_dataplane");
    let folder = folder("killed");
    let mut rig = Rig::soon(&config(&folder));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(BATCH, 2));
    let mut promised = 0;
    std::thread::scope(|scope| {
        // A failed expectation below has to end the generator too, or the test would hang instead of failing.
        let _stopped = StopOnDrop(&stop);
        let sending = scope.spawn(|| load::drive(&mut sender, &mut traffic, 20_000.0, &stop));
        for _ in 0..scaled(3, 300) {
            let moved = |status: &Status| log(status).durable > promised + 500;
            let status = rig.appliance.wait_until("the log goes on", DEADLINE, moved).expect("the log goes on");
            promised = log(&status).durable;
            let dataplane = status.processes.iter().find(|process| process.name == "dataplane").expect("it answered");
            PidFd::open(dataplane.pid).and_then(|process| process.kill()).expect("it runs");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        sending.join().expect("the generator ends").expect("the generator goes on");
    });
    rig.appliance.wait_until("a last dataplane", DEADLINE, |status| status.log.is_some()).expect("it is back");
    rig.appliance.stop();
    let found = verify(&folder).expect("a log");
    assert!(found.damage.is_empty() && found.torn.is_none(), "{found:?}");
    // Promised is a count from record 0 on, so the last of them may be the last there is.
    assert!(found.last.is_some_and(|last| last + 1 >= promised), "{promised} records were promised: {found:?}");
    let mut seen = BTreeSet::new();
    let mut reader = LogReader::open(&folder).expect("a log");
    while let Some(record) = reader.next_record().expect("whole records") {
        assert!(seen.insert((record.stamp.source, record.stamp.sequence)), "record {} stands twice", record.number);
    }
    assert_eq!(seen.len() as u64, found.records);
    std::fs::remove_dir_all(&folder).expect("the test's own folder");
}

#[test]
fn a_second_writer_is_refused_with_a_cure() {
    wired!("a_second_writer_is_refused_with_a_cure");
    let folder = folder("locked");
    let spec = weir_dataplane_log::LogSpec { segment_bytes: 2 << 20, ..weir_dataplane_log::LogSpec::new(&folder) };
    let held = weir_dataplane_log::LogWriter::open(spec).expect("a log");
    let error = match Rig::try_new(&format!("{BOX}{}", config(&folder))) {
        Ok(_) => panic!("two writers of one log"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("locked by another writer") && error.contains("stop that one first"), "{error}");
    drop(held);
    std::fs::remove_dir_all(&folder).expect("the test's own folder");
}

/// A file system of 3 MiB at `folder`, taken away again when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(folder: &'a Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let words = ["-t", "tmpfs", "-o", "size=3m", "weir-test"];
        let done = std::process::Command::new("mount").args(words).arg(folder).status().expect("mount runs");
        assert!(done.success(), "root may mount a tmpfs");
        Self(folder)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0).status(); // a leftover mount is seen in `mount`
        let _ = std::fs::remove_dir(self.0);
    }
}

#[test]
fn a_full_disk_costs_the_log_and_nobody_else() {
    wired!("a_full_disk_costs_the_log_and_nobody_else");
    let folder = folder("full");
    let disk = SmallDisk::mount(&folder);
    let mut rig = Rig::new(&config(&folder));
    let (mut sender, mut batches) = (rig.sender(), rig.traffic(BATCH, 1));
    let mut sent = 0;
    let mut dropped = 0;
    while dropped == 0 && sent < 20_000 {
        send(&mut sender, &mut batches, 200);
        sent += 200;
        let taken = |status: &Status| status.counters.per_taker.get("streaming") == Some(&sent);
        let status = rig.appliance.wait_until("streaming has all", DEADLINE, taken).expect("streaming does not notice");
        dropped = log(&status).dropped;
    }
    assert!(dropped > 0, "3 MiB hold {sent} batches of 2 KiB");
    let status = rig.appliance.status().expect("it answers");
    let (said, durable) = (log(&status).failure.unwrap_or_default(), log(&status).durable);
    assert!(said.contains("No space left"), "{said}");
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    let found = verify(&folder).expect("a log");
    assert!(found.damage.is_empty() && found.last.is_some_and(|last| last + 1 >= durable), "{durable}: {found:?}");
    drop(rig);
    drop(disk);
}
