//! Does a C program that has only the contract's declarations compile, link and run, and arrive its events exactly once?
#![allow(clippy::unwrap_used)]

mod program;
#[path = "../../rust/tests/receiver/mod.rs"]
mod receiver;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

use program::{SANITIZED, command, compile, source, succeed};
use receiver::{Manners, Message, Receiver};
use weir_ebpf_abi::batch::Batch;
use weir_ebpf_abi::message::PORT_BATCH;

/// An event as it arrived: id, time, type, source, payload.
type Arrived = (u64, u64, u32, u32, Vec<u8>);

/// Where events go. A box that listens at another endpoint takes this value's place.
fn receiver(name: &str, manners: Manners) -> Receiver {
    Receiver::start(name, manners)
}

/// The program without and with the sanitizers.
fn both(name: &str, compiler: &str) -> [PathBuf; 2] {
    let stem = name.split('.').next().unwrap();
    let plain = compile(compiler, &source(name), stem, &["-std=c11"]);
    let watched = [&SANITIZED[..], &["-std=c11"]].concat();
    [plain, compile(compiler, &source(name), &format!("{stem}-sanitized"), &watched)]
}

/// The events of messages, in the order of their arrival.
fn events(messages: &[Message]) -> Vec<Arrived> {
    let mut found = Vec::new();
    for message in messages {
        assert_eq!(message.form, PORT_BATCH);
        let batch = Batch::parse(&message.bytes).unwrap();
        let mut walk = batch.events();
        for event in walk.by_ref() {
            let header = event.header;
            let (id, time) = (header.event_id.get(), header.timestamp_ns.get());
            found.push((id, time, header.event_type.get(), header.source_id.get(), event.payload.to_vec()));
        }
        assert!(!walk.is_broken() && walk.left() == 0);
    }
    found
}

#[test]
fn the_declarations_verbatim_are_enough() {
    for (program, goal, source) in both("verbatim.c", "cc").iter().zip([100_000_u64, 20_000]).zip(21..).map(flat) {
        let receiver = receiver("verbatim", Manners { cut_every: 11, ..Manners::default() });
        succeed(command(program, &receiver.endpoint(), source).arg(goal.to_string()));
        let known = receiver.wait(source, |_| true);
        assert!(known.connections > 1, "the connection was cut");
        let arrived = events(&known.messages);
        assert_eq!(arrived.len() as u64, goal);
        for (id, (number, arrived)) in (0..).zip(arrived.into_iter().enumerate()) {
            let payload: Vec<u8> = (0..id % 200).map(|at| (id % 256 + at) as u8).collect();
            assert_eq!(arrived, (id, 1000 * id, 1 + (id % 5) as u32, 3, payload), "event {number}");
        }
    }
}

fn flat(((program, goal), source): ((&PathBuf, u64), u32)) -> (&PathBuf, u64, u32) {
    (program, goal, source)
}

#[test]
fn the_header_has_the_contracts_layout_in_c_and_in_cpp() {
    compile("cc", &source("layout.c"), "layout", &["-std=c11", "-pedantic"]);
    for standard in ["-std=c++11", "-std=c++20"] {
        let program = compile("c++", &source("plus.cpp"), "plus", &[standard]);
        let output = succeed(&mut command(&program, "", 0));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn shared_buffers_between_threads_and_processes_and_in_wrong_hands() {
    for (program, messages) in both("buffer.c", "cc").iter().zip(["100000", "10000"]) {
        succeed(command(program, "", 0).arg(messages));
    }
}

#[test]
fn threads_send_and_the_limit_holds() {
    for ((program, batches), source) in both("ingest.c", "cc").iter().zip([500_u64, 100]).zip(31..) {
        let receiver = receiver("ingest", Manners { cut_every: 150, ..Manners::default() });
        succeed(command(program, &receiver.endpoint(), source).arg(batches.to_string()).arg("limit"));
        let known = receiver.wait(source, |_| true);
        let mut counts = BTreeMap::new();
        for (id, _, _, sender, payload) in events(&known.messages) {
            let next = counts.entry(sender).or_insert(0_u64);
            if sender < 4 {
                assert_eq!((id, payload), (*next, next.to_le_bytes().to_vec()), "in each thread's order");
            }
            *next += 1;
        }
        let each = batches * 50;
        // The limit let 200, 2000 and 500 events through, and 1000 came without one.
        assert_eq!(counts, BTreeMap::from([(0, each), (1, each), (2, each), (3, each), (4, 3700)]));
    }
}

#[test]
fn a_box_that_does_not_read_is_felt() {
    let programs = both("pressure.c", "cc");
    for (program, source) in programs.iter().zip(41..) {
        let receiver = receiver("pressure", Manners { credit: 30, ..Manners::default() });
        let mut child = command(program, &receiver.endpoint(), source)
            .env("WEIR_WINDOW_MIB", "4")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut input = child.stdin.take().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "connected 0");
        receiver.hold(true);
        input.write_all(b"\n").unwrap();
        let full = lines.next().unwrap().unwrap();
        let taken: u64 = full.strip_prefix("full ").unwrap().parse().unwrap();
        assert!(taken > 30, "{full}");
        receiver.hold(false);
        input.write_all(b"\n").unwrap();
        assert!(child.wait().unwrap().success());
        let ids: Vec<u64> = events(&receiver.wait(source, |_| true).messages).iter().map(|event| event.0).collect();
        // The batch that was refused is sent once more at the end.
        let expected: Vec<u64> = (0..taken * 100).chain(taken * 100..taken * 100 + 100).collect();
        assert_eq!(ids, expected);
    }
}
