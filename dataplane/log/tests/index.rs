//! Are records by time and source those that a walk through all of them finds, and found without reading it all? Even when
//! the clock was set back, and when the index is missing, torn, damaged or untrue.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod folder;

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use folder::{Folder, Owned, frame, rest};
use proptest::prelude::*;
use weir_dataplane_log::format::{IndexHeader, SegmentHeader};
use weir_dataplane_log::{LogError, LogReader, LogWriter, Stamp, verify};

const DEADLINE: Duration = Duration::from_secs(30);

/// Writes the records, a group of 1 to 4 each time.
fn written(folder: &Folder, stamps: &[Stamp], length: usize) -> Vec<Owned> {
    let (mut writer, _) = LogWriter::open(folder.spec()).unwrap();
    let mut list = Vec::new();
    for (number, stamp) in stamps.iter().enumerate() {
        let bytes = frame(number as u64, length);
        while let Err(error) = writer.append(stamp, &[&bytes]) {
            assert!(matches!(error, LogError::Full { .. }), "{error}");
            writer.wait().unwrap();
        }
        list.push((number as u64, *stamp, bytes));
        if stamp.sequence.is_multiple_of(3) {
            writer.submit().unwrap();
        }
    }
    writer.close().unwrap();
    list
}

fn found(folder: &Folder, times: Range<u64>, source: Option<u32>, from: u64) -> (Vec<Owned>, u64) {
    let mut reader = LogReader::open(folder.path()).unwrap();
    reader.seek_number(from).unwrap();
    reader.only_times(times);
    reader.only_source(source);
    let records = rest(&mut reader);
    (records, reader.read_bytes())
}

fn expected(list: &[Owned], times: &Range<u64>, source: Option<u32>, from: u64) -> Vec<Owned> {
    let wanted = |(number, stamp, _): &&Owned| {
        *number >= from && times.contains(&stamp.time_ns) && source.is_none_or(|source| source == stamp.source)
    };
    list.iter().filter(wanted).cloned().collect()
}

/// `count` records of 40 sources; every 50th record the clock is set back a little, once by much.
fn stamps(count: u64) -> Vec<Stamp> {
    let time =
        |number: u64| 1_000_000 + number * 100 - number / 50 * 1_000 - if number > count / 2 { 30_000 } else { 0 };
    let stamp = |number| Stamp {
        source: (number / 7 % 40) as u32,
        sequence: number,
        time_ns: time(number),
        ..Stamp::default()
    };
    (0..count).map(stamp).collect()
}

fn indexes(folder: &Folder) -> Vec<PathBuf> {
    folder.ending("index")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn times_and_sources_are_found_whatever_the_clock_did(
        steps in prop::collection::vec((0..12_u32, prop_oneof![Just(1_i64), 0..30_i64, -400..400_i64]), 1..300),
        (start, length) in (0..6_000_u64, 0..3_000_u64),
        source in prop::option::of(0..12_u32),
        from in 0..300_u64,
    ) {
        let folder = Folder::quick();
        let mut time_ns = 3_000_i64;
        let stamps: Vec<Stamp> = steps.iter().zip(0..).map(|((source, step), sequence)| {
            time_ns = (time_ns + step).max(0);
            Stamp { source: *source, sequence, time_ns: time_ns as u64, ..Stamp::default() }
        }).collect();
        let list = written(&folder, &stamps, 900);
        let times = start..start + length;
        prop_assert_eq!(found(&folder, times.clone(), source, from).0, expected(&list, &times, source, from));
        prop_assert_eq!(found(&folder, 0..u64::MAX, source, from).0, expected(&list, &(0..u64::MAX), source, from));
        // The oldest record of a time and all behind it, whatever their times.
        let mut reader = LogReader::open(folder.path()).unwrap();
        reader.seek_time(start).unwrap();
        let behind = list.iter().skip_while(|(_, stamp, _)| stamp.time_ns < start).cloned().collect::<Vec<_>>();
        prop_assert_eq!(rest(&mut reader), behind);
        let found = verify(folder.path()).unwrap();
        prop_assert!(found.is_sound() && found.beside.is_empty(), "{:?}", found);
    }
}

#[test]
fn what_is_not_wanted_is_not_read() {
    let folder = Folder::quick();
    let mut stamps = stamps(1_500);
    stamps[700].source = 4_000;
    let list = written(&folder, &stamps, 900);
    let segment = folder.spec().segment_bytes;
    let (all, whole) = found(&folder, 0..u64::MAX, None, 0);
    assert_eq!(all, list);
    assert!(whole > 40 * segment, "{whole} bytes of many segments");
    let indexes: u64 = indexes(&folder).iter().map(|path| path.metadata().unwrap().len()).sum();
    // The index of every closed segment with a look at four groups' headers each, the newest segment, and a few groups.
    let least = indexes + folder.segments().len() as u64 * 4 * 4096 + segment;
    let (one, read) = found(&folder, 0..u64::MAX, Some(4_000), 0);
    assert_eq!(one, list[700..701]);
    assert!(read < least + 4 * segment, "{read} bytes for one source, {whole} for all");
    let times = list[700].1.time_ns..list[720].1.time_ns;
    let (few, read) = found(&folder, times.clone(), None, 0);
    assert_eq!(few, expected(&list, &times, None, 0));
    assert!(few.len() >= 20 && read < least + 8 * segment, "{read} bytes for {} records, {whole} for all", few.len());
}

#[test]
fn an_index_cut_or_with_a_flipped_bit_anywhere_changes_nothing_and_is_mended() {
    let folder = Folder::quick();
    let list = written(&folder, &stamps(120), 900);
    let path = indexes(&folder).remove(1);
    let sound = std::fs::read(&path).unwrap();
    let times = list[20].1.time_ns..list[90].1.time_ns;
    let cut = (0..sound.len()).step_by(7).map(|length| sound[..length].to_vec());
    // The set of the segment's sources is long and its bytes are alike: of them every 13th.
    let flipped = (0..sound.len()).filter(|at| !(72..584).contains(at) || at % 13 == 0).map(|at| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    for wrong in cut.chain(flipped) {
        std::fs::write(&path, wrong).unwrap();
        for source in [None, Some(5)] {
            assert_eq!(found(&folder, times.clone(), source, 3).0, expected(&list, &times, source, 3));
        }
    }
    let found = verify(folder.path()).unwrap();
    assert!(found.is_sound() && found.beside.len() == 1, "{found:?}");
    assert_eq!(found.beside[0].file, path);
    std::fs::remove_file(&indexes(&folder)[0]).unwrap();
    let (writer, _) = LogWriter::open(folder.spec()).unwrap();
    let started = Instant::now();
    while !verify(folder.path()).unwrap().beside.is_empty() {
        assert!(started.elapsed() < DEADLINE, "the writer mends what is missing or damaged");
        std::thread::yield_now();
    }
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), sound);
}

#[test]
fn an_index_that_is_whole_but_untrue_is_not_followed() {
    let folder = Folder::quick();
    let list = written(&folder, &stamps(120), 900);
    let path = indexes(&folder).remove(1);
    let sound = std::fs::read(&path).unwrap();
    let times = list[20].1.time_ns..list[90].1.time_ns;
    let lines = (sound.len() - 640) / 64;
    assert!(lines > 5);
    // The first line is always compared, the second one only met on the way.
    for (line, field) in (0..lines).flat_map(|line| [(line, 0), (line, 8)]) {
        let mut bytes = sound.clone();
        bytes[640 + line * 64 + field] ^= 1;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..636]), &bytes[640..]);
        bytes[636..640].copy_from_slice(&checksum.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        for source in [None, Some(5)] {
            let wanted = expected(&list, &times, source, 0);
            assert_eq!(found(&folder, times.clone(), source, 0).0, wanted, "line {line}, byte {field}");
        }
        assert_eq!(verify(folder.path()).unwrap().beside.len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_index_that_says_anything_leads_to_no_wrong_record_and_no_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), any::<bool>()), 1..4),
        count in prop::option::weighted(0.2, 0..40_u32),
        source in prop::option::of(0..40_u32),
    ) {
        let folder = Folder::quick();
        let list = written(&folder, &stamps(60), 900);
        let path = indexes(&folder).remove(1);
        let mut bytes = std::fs::read(&path).unwrap();
        // Any numbers, or ones close to those that stand there; sometimes fewer or more lines.
        for (place, value, near) in changes {
            let word = place.index((bytes.len() - 16) / 8) * 8 + 16;
            let known = u64::from_le_bytes(bytes[word..word + 8].try_into().unwrap());
            let value = if near { known.wrapping_add(value % 5).wrapping_sub(2) } else { value };
            bytes[word..word + 8].copy_from_slice(&value.to_le_bytes());
        }
        if let Some(count) = count {
            bytes.resize(640 + 64 * count as usize, 0);
            bytes[12..16].copy_from_slice(&count.to_le_bytes());
        }
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..636]), &bytes[640..]);
        bytes[636..640].copy_from_slice(&checksum.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let times = list[10].1.time_ns..list[50].1.time_ns;
        let (given, wanted) = (found(&folder, times.clone(), source, 2).0, expected(&list, &times, source, 2));
        prop_assert!(given.is_sorted_by_key(|(number, ..)| *number));
        prop_assert!(given.iter().all(|record| wanted.contains(record)));
    }
}

#[test]
fn an_index_of_another_log_or_of_none_is_refused() {
    let folder = Folder::quick();
    written(&folder, &stamps(120), 900);
    let path = indexes(&folder).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    let segment = std::fs::read(&folder.segments()[0]).unwrap();
    let log_id = SegmentHeader::parse(&segment[..4096], 0).unwrap().log_id;
    assert!(IndexHeader::parse(&bytes, 0, &log_id).is_ok());
    assert!(IndexHeader::parse(&bytes, 1, &log_id).is_err());
    assert!(IndexHeader::parse(&bytes, 0, &[0; 16]).is_err());
    for bytes in [&[][..], &[0; 640], &[0xff; 640]] {
        assert!(IndexHeader::parse(bytes, 0, &log_id).is_err());
    }
}
