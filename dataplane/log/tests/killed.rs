//! Does a record that was called durable survive the sudden death of its writer?
//!
//! The writer is a process of its own, killed at any moment, 20 times (300 with `WEIR_TEST_LONG=1`), by turns with
//! io_uring and with pwrite. Every record that it has called durable must be in the log once, whole, at its number, and
//! every stream source's place is known; the next writer goes on behind it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "the killed writer speaks over its standard output")]

mod folder;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use folder::{Folder, frame, places, stamp};
use weir_dataplane_log::{LogError, LogReader, LogSpec, LogWriter, StreamsFrom, verify};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("writer") => writer(Path::new(&arguments[2]), arguments[3] == "ring"),
        _ => println!("{}", killed_writers(if std::env::var_os("WEIR_TEST_LONG").is_some() { 300 } else { 20 })),
    }
}

fn spec(folder: &Path, io_uring: bool) -> LogSpec {
    let keep_bytes = Some(8 << 20);
    LogSpec { segment_bytes: 512 << 10, group_bytes: 64 << 10, keep_bytes, io_uring, ..LogSpec::new(folder) }
}

fn length(number: u64) -> usize {
    (number * 1_103 % 4_000) as usize
}

/// Writes until it is killed, and tells up to which record all is durable.
fn writer(folder: &Path, io_uring: bool) {
    let (mut writer, recovery) = LogWriter::open(spec(folder, io_uring)).unwrap();
    let mut told = recovery.next;
    let mut out = std::io::stdout();
    writeln!(out, "{told}").unwrap();
    loop {
        let number = writer.next();
        match writer.append(&stamp(number), &[&frame(number, length(number))]) {
            Err(LogError::Full { .. }) => _ = writer.wait().unwrap(),
            given => assert_eq!(given.unwrap(), number),
        }
        if number.is_multiple_of(11) {
            writer.submit().unwrap();
        }
        let durable = writer.poll().unwrap();
        if durable > told {
            told = durable;
            writeln!(out, "{told}").unwrap();
        }
    }
}

fn killed_writers(kills: u64) -> String {
    let folder = Folder::on_disk();
    let (mut cuts, mut promised) = (0, 0);
    for kill in 0..kills {
        let way = if kill.is_multiple_of(2) { "ring" } else { "plain" };
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg("writer").arg(folder.path()).arg(way).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The number of lines has no pattern and the writer does not wait to be read: the death falls anywhere.
        for _ in 0..((kill * 2_654_435_761) >> 3) % 60 + 1 {
            promised = lines.next().expect("the writer runs").unwrap().parse().unwrap();
        }
        child.kill().unwrap();
        // What it said before its death counts too; its last line may be cut short.
        let rest: Vec<u8> = lines.map_while(Result::ok).flat_map(|line| (line + "\n").into_bytes()).collect();
        child.wait().unwrap();
        let rest = String::from_utf8(rest).unwrap();
        let said = rest.lines().rev().skip(1).filter_map(|line| line.parse::<u64>().ok()).next();
        promised = promised.max(said.unwrap_or(0));
        all_there(folder.path(), promised, kill);
        // The next writer finds them too, and after it not a byte is wrong.
        let (writer, recovery) = LogWriter::open(spec(folder.path(), true)).unwrap();
        assert!(recovery.next >= promised, "kill {kill}: {promised} were durable; {recovery}");
        assert_eq!(recovery.streams, places(recovery.next), "kill {kill}: {recovery}");
        assert!(!matches!(recovery.streams_from, StreamsFrom::Scan { .. }), "kill {kill}: {recovery}");
        cuts += u64::from(recovery.cut.is_some());
        drop(writer);
        let found = verify(folder.path()).unwrap();
        assert!(found.is_sound(), "kill {kill}: {found:?}");
        all_there(folder.path(), promised, kill);
    }
    format!("{kills} writers killed, {cuts} torn tails cut, {promised} records durable and there")
}

/// Every record from the oldest on is whole and at its number, up to all that were promised.
fn all_there(folder: &Path, promised: u64, kill: u64) {
    let mut reader = LogReader::open(folder).unwrap();
    let mut next = reader.position();
    while let Some(record) = reader.next_record().unwrap() {
        assert_eq!((record.number, record.stamp), (next, stamp(next)), "kill {kill}");
        assert!(record.frame == frame(next, length(next)), "kill {kill}: frame {next}");
        next += 1;
    }
    assert!(next >= promised, "kill {kill}: {promised} were durable, {next} are there");
}
