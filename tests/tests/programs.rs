//! Does what a program in C sends reach the box's features and its log, every event once?
#![allow(clippy::unwrap_used)]

#[path = "../../appliance/sdk/c/tests/program/mod.rs"]
mod program;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use program::{command, compile, source, succeed};
use weir_appliance_control::message::Status;
use weir_dataplane_log::{LogReader, verify};
use weir_ebpf_abi::batch::Batch;
use weir_ebpf_abi::stream::STREAM_PREFIX;
use weir_tests::{DEADLINE, Rig, wired};

/// Events that the program sends, in batches of 1 to 4096.
const EVENTS: u64 = 30_000;
/// The number under which the box counts them.
const SOURCE: u32 = 61;

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("weir-programs-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder); // of an earlier process with the same number
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn events_of_a_c_program_are_in_the_log_once_and_with_every_feature() {
    wired!("events_of_a_c_program_are_in_the_log_once_and_with_every_feature");
    let folder = folder();
    let mut rig = Rig::new(&format!(
        "features: {{streaming: {{enabled: true}}, test1: {{enabled: true}}}}\n\
         rules:\n  - {{name: events, match: \"udp dport 48102\", action: deliver, to: [streaming, test1], durable: true}}\n\
         log: {{folder: {0}/log, segment_mib: 4, keep_mib: 512}}\n\
         tcp: {{listen: [\"unix:{0}/ingest.sock\"], buffers_mib: 4}}\n",
        folder.display()
    ));
    let program = compile("cc", &source("verbatim.c"), "verbatim", &["-std=c11"]);
    let endpoint = format!("unix:{}/ingest.sock", folder.display());
    // It ends when the window is empty: everything is acknowledged, so everything is on the disk.
    succeed(command(&program, &endpoint, SOURCE).arg(EVENTS.to_string()));
    let all = |status: &Status| {
        status.streams.as_ref().is_some_and(|streams| {
            let has_all = |taker: &&str| streams.per_taker.get(*taker) == Some(&streams.messages);
            streams.messages > 10 && ["streaming", "test1", "log"].iter().all(has_all)
        })
    };
    rig.appliance.wait_until("every taker has every message", DEADLINE, all).unwrap();
    assert!(rig.appliance.stop(), "it ends by itself with code 0");
    let mut ids = BTreeSet::new();
    for message in kept(&folder) {
        let batch = Batch::parse(&message).unwrap();
        for event in batch.events() {
            let id = event.header.event_id.get();
            assert!(ids.insert(id), "event {id} stands twice");
            let payload: Vec<u8> = (0..id % 200).map(|at| (id % 256 + at) as u8).collect();
            assert_eq!((event.header.source_id.get(), event.payload), (3, &payload[..]), "event {id}");
        }
    }
    assert_eq!((ids.len() as u64, ids.last()), (EVENTS, Some(&(EVENTS - 1))));
    std::fs::remove_dir_all(folder).unwrap();
}

/// The program's messages in the log, in order.
fn kept(folder: &Path) -> Vec<Vec<u8>> {
    let log = folder.join("log");
    let found = verify(&log).unwrap();
    assert!(found.damage.is_empty(), "{found:?}");
    let mut reader = LogReader::open(&log).unwrap();
    let mut kept = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        assert_eq!((record.stamp.source, record.stamp.sequence), (SOURCE, kept.len() as u64), "nothing else was sent");
        kept.push(record.frame[STREAM_PREFIX..].to_vec());
    }
    kept
}
