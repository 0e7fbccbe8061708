//! Does the log's document tell the truth? Its golden bytes are read from it, read as a log, and written again.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod folder;

use std::time::{Duration, Instant};

use folder::{Folder, rest};
use weir_dataplane_log::format::{BLOCK, IndexHeader, SegmentHeader, StreamsHeader};
use weir_dataplane_log::{LogReader, LogSpec, LogWriter, Stamp, verify};

const DOCUMENT: &str = include_str!("../../../docs/log.md");
const FIRST: u64 = 41;

/// The 4096 bytes of the block named `name`: lines of an offset and up to 16 bytes in hexadecimal, zero elsewhere.
fn golden(name: &str) -> Vec<u8> {
    let (_, rest) = DOCUMENT.split_once(&format!("```log {name}\n")).expect("the document has the block");
    let (block, _) = rest.split_once("```").expect("the block ends");
    let mut bytes = vec![0; BLOCK as usize];
    for line in block.lines() {
        let mut words = line.split_whitespace();
        let offset = usize::from_str_radix(words.next().unwrap(), 16).expect("an offset");
        for (at, word) in words.enumerate() {
            bytes[offset + at] = u8::from_str_radix(word, 16).expect("two hexadecimal digits");
        }
    }
    bytes
}

fn records() -> [(u64, Stamp, Vec<u8>); 2] {
    let time_ns = 1_700_000_000_000_000_000;
    let first = Stamp { class: 1, source: 2, sequence: 42, stream: false, time_ns };
    let second = Stamp { class: 1, source: 3, sequence: 1 << 32 | 7, stream: true, time_ns: time_ns + 5 };
    [(FIRST, first, b"hi".to_vec()), (FIRST + 1, second, Vec::new())]
}

#[test]
fn a_log_of_the_documents_bytes_is_read() {
    let folder = Folder::quick();
    let mut bytes = golden("segment");
    bytes.extend(golden("group"));
    std::fs::write(folder.path().join(format!("{FIRST:020}.weirlog")), bytes).unwrap();
    assert_eq!(rest(&mut LogReader::open(folder.path()).unwrap()), records());
    assert!(verify(folder.path()).unwrap().is_sound());
}

#[test]
fn the_writer_writes_the_documents_bytes() {
    let id = std::array::from_fn(|at| at as u8 + 1);
    let header = SegmentHeader::block(FIRST, 1_700_000_000_000_000_000, id);
    let folder = Folder::quick();
    let path = folder.path().join(format!("{FIRST:020}.weirlog"));
    std::fs::write(&path, &header).unwrap();
    let (mut writer, _) = LogWriter::open(folder.spec()).unwrap();
    for (number, stamp, frame) in records() {
        assert_eq!(writer.append(&stamp, &[&frame]).unwrap(), number);
    }
    writer.close().unwrap();
    let written = std::fs::read(&path).unwrap();
    println!("{}\n{}", hexadecimal(&written[..4096]), hexadecimal(&written[4096..8192]));
    assert!(header == golden("segment"), "the segment's header");
    assert!(written[4096..8192] == golden("group"), "the group");
}

#[test]
fn the_places_of_the_document_are_read_and_written() {
    let folder = Folder::quick();
    let (log_id, stream) = (std::array::from_fn(|at| at as u8 + 1), |source, sequence| Stamp {
        source,
        sequence,
        stream: true,
        ..Stamp::default()
    });
    // A log that is about to begin its segment of record 41: one group more does not fit the first.
    let header = SegmentHeader::block(0, 1_700_000_000_000_000_000, log_id);
    std::fs::write(folder.path().join(format!("{:020}.weirlog", 0)), header).unwrap();
    let spec = LogSpec { segment_bytes: 4 * BLOCK, ..folder.spec() };
    let (mut writer, _) = LogWriter::open(spec).unwrap();
    for number in 0..=FIRST {
        let stamp = match number {
            12 => stream(6, 3),
            40 => stream(5, (1 << 40) + 9),
            FIRST => stream(7, 1),
            _ => Stamp::default(),
        };
        let length = if number % 20 == 0 { 4_000 } else { 0 };
        writer.append(&stamp, &[&vec![0; length]]).unwrap();
        if number == 40 {
            writer.submit().unwrap();
        }
    }
    writer.close().unwrap();
    let written = std::fs::read(folder.path().join(format!("{FIRST:020}.streams"))).unwrap();
    println!("{}", hexadecimal(&written));
    assert!(written == golden("streams")[..written.len()], "the places");
    let (header, lines) = StreamsHeader::parse(&written, FIRST, &log_id).unwrap();
    assert_eq!((header.forgotten.get(), lines.len()), (0, 2));
}

#[test]
fn the_index_of_the_document_is_written() {
    let folder = Folder::quick();
    let log_id = std::array::from_fn(|at| at as u8 + 1);
    let segment = [golden("segment"), golden("group")].concat();
    std::fs::write(folder.path().join(format!("{FIRST:020}.weirlog")), segment).unwrap();
    let newest = SegmentHeader::block(FIRST + 2, 1_700_000_000_000_000_001, log_id);
    std::fs::write(folder.path().join(format!("{:020}.weirlog", FIRST + 2)), newest).unwrap();
    let (writer, _) = LogWriter::open(folder.spec()).unwrap();
    let started = Instant::now();
    while !verify(folder.path()).unwrap().beside.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "the writer writes the missing index");
        std::thread::yield_now();
    }
    writer.close().unwrap();
    let written = std::fs::read(folder.path().join(format!("{FIRST:020}.index"))).unwrap();
    println!("{}", hexadecimal(&written));
    assert!(written == golden("index")[..written.len()], "the index");
    let (header, lines) = IndexHeader::parse(&written, FIRST, &log_id).unwrap();
    assert_eq!((header.end.get(), header.used.get(), lines.len()), (FIRST + 2, 2 * BLOCK, 1));
}

/// The bytes as the document has them, lines of zeros left out.
fn hexadecimal(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0));
    let line = |(at, line): (usize, &[u8])| {
        line.iter().fold(format!("{:04x} ", at * 16), |text, byte| format!("{text} {byte:02x}"))
    };
    lines.map(line).collect::<Vec<_>>().join("\n")
}
