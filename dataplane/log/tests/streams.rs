//! Is every stream source's place known after a start, whatever was rotated, deleted, torn or damaged?

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod folder;

use std::collections::BTreeMap;
use std::path::PathBuf;

use folder::{Folder, frame, places, stamp};
use proptest::prelude::*;
use weir_dataplane_log::format::{STREAMS_MOST, StreamsHeader};
use weir_dataplane_log::{LogError, LogSpec, LogWriter, Recovery, Stamp, StreamsFrom};

fn put(writer: &mut LogWriter, stamp: &Stamp, frame: &[u8]) -> u64 {
    loop {
        match writer.append(stamp, &[frame]) {
            Err(LogError::Full { .. }) => _ = writer.wait().unwrap(),
            given => return given.unwrap(),
        }
    }
}

/// Opens the log and closes it again.
fn opened(folder: &Folder) -> Recovery {
    let (writer, recovery) = LogWriter::open(folder.spec()).unwrap();
    writer.close().unwrap();
    recovery
}

/// The files beside segments, oldest first.
fn files(folder: &Folder) -> Vec<PathBuf> {
    folder.ending("streams")
}

/// Writes records 0 to `end` of the folder's pattern, a few in each group.
fn written(folder: &Folder, end: u64) {
    let (mut writer, _) = LogWriter::open(folder.spec()).unwrap();
    for number in writer.next()..end {
        put(&mut writer, &stamp(number), &frame(number, 700));
    }
    writer.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_places_are_those_of_a_map(
        steps in prop::collection::vec((0..9_u32, 0..6_u64, any::<bool>(), 0..40_u8), 1..400),
        keep in prop_oneof![Just(None), Just(Some(64_u64 << 10))],
    ) {
        let folder = Folder::quick();
        let spec = LogSpec { keep_bytes: keep, ..folder.spec() };
        let (mut writer, _) = LogWriter::open(spec.clone()).unwrap();
        let mut model = BTreeMap::new();
        let mut next = 1 << 33;
        for (source, back, stream, then) in steps {
            next += 1;
            // A part of the records is sent again.
            let sequence = next - back * 3;
            put(&mut writer, &Stamp { source, sequence, stream, ..Stamp::default() }, &[7; 600]);
            if stream {
                let known = model.entry(source).or_insert(sequence);
                *known = sequence.max(*known);
            }
            match then {
                0..20 => writer.submit().unwrap(),
                20 => {
                    writer.close().unwrap();
                    let (again, recovery) = LogWriter::open(spec.clone()).unwrap();
                    prop_assert_eq!((&recovery.streams, recovery.streams_forgotten), (&model, 0));
                    prop_assert!(!matches!(recovery.streams_from, StreamsFrom::Scan { .. }), "{}", recovery);
                    writer = again;
                }
                _ => {}
            }
        }
        writer.close().unwrap();
        prop_assert_eq!(opened(&folder).streams, model);
        // Every segment has its file, but for the one that nothing is before.
        let stems = |paths: Vec<PathBuf>| paths.iter().map(|path| path.file_stem().unwrap().to_owned()).collect::<Vec<_>>();
        let mut expected = stems(folder.segments());
        expected.retain(|stem| !stem.to_str().unwrap().bytes().all(|byte| byte == b'0'));
        prop_assert_eq!(stems(files(&folder)), expected);
    }
}

#[test]
fn a_file_cut_or_with_a_flipped_bit_anywhere_is_not_believed() {
    let folder = Folder::quick();
    written(&folder, 200);
    let newest = files(&folder).pop().unwrap();
    let sound = std::fs::read(&newest).unwrap();
    let first = opened(&folder);
    assert_eq!((&first.streams, &first.streams_from), (&places(200), &StreamsFrom::File));
    let cut = (0..sound.len()).map(|length| sound[..length].to_vec());
    let flipped = (0..sound.len() * 8).map(|bit| {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    for wrong in cut.chain(flipped).chain([[sound.clone(), vec![0]].concat()]) {
        std::fs::write(&newest, wrong).unwrap();
        let recovery = opened(&folder);
        assert_eq!(recovery.streams, places(200), "{recovery}");
        // The segment before it is enough, and the file is mended at once.
        let StreamsFrom::Scan { segments: 1, complete: true, why } = &recovery.streams_from else {
            panic!("{recovery}")
        };
        assert!(why.contains("damaged"), "{why}");
        assert_eq!(std::fs::read(&newest).unwrap(), sound);
    }
}

#[test]
fn without_any_file_all_segments_are_read() {
    let folder = Folder::quick();
    written(&folder, 300);
    let segments = folder.segments().len();
    for file in files(&folder) {
        std::fs::remove_file(file).unwrap();
    }
    let recovery = opened(&folder);
    let scan = StreamsFrom::Scan { segments: segments - 1, why: "there is none".into(), complete: true };
    assert_eq!((recovery.streams, recovery.streams_from), (places(300), scan));
    assert_eq!(opened(&folder).streams_from, StreamsFrom::File);
}

#[test]
fn what_retention_deletes_is_still_known() {
    let folder = Folder::quick();
    let spec = LogSpec { keep_bytes: Some(64 << 10), ..folder.spec() };
    let (mut writer, _) = LogWriter::open(spec).unwrap();
    let silent = Stamp { source: 99, sequence: 1 << 50, stream: true, ..Stamp::default() };
    put(&mut writer, &silent, b"once");
    for number in 1..500 {
        put(&mut writer, &stamp(number), &frame(number, 700));
    }
    writer.close().unwrap();
    assert!(folder.segments().len() <= 3 && files(&folder).len() <= 3, "files go with their segments");
    let recovery = opened(&folder);
    assert_eq!((recovery.streams.get(&99), recovery.streams.len()), (Some(&(1 << 50)), 3));
    // Without the files nobody can know it, and that is said.
    for file in files(&folder) {
        std::fs::remove_file(file).unwrap();
    }
    let recovery = opened(&folder);
    assert!(matches!(recovery.streams_from, StreamsFrom::Scan { complete: false, .. }), "{recovery}");
    assert!(recovery.to_string().contains("begin anew"), "{recovery}");
    assert_eq!(recovery.streams.len(), 2);
}

#[test]
fn beyond_the_limit_those_silent_longest_are_forgotten_and_counted() {
    const MORE: u32 = 1_000;
    let most = STREAMS_MOST as u32;
    let folder = Folder::quick();
    let spec = LogSpec { segment_bytes: 1 << 20, group_bytes: 64 << 10, ..folder.spec() };
    let (mut writer, _) = LogWriter::open(spec.clone()).unwrap();
    for source in 0..2 * most + MORE {
        put(&mut writer, &Stamp { source, sequence: 7, stream: true, ..Stamp::default() }, b"");
        // Source 0 goes on talking.
        if source.is_multiple_of(1_000) {
            put(&mut writer, &Stamp { source: 0, sequence: u64::from(source), stream: true, ..Stamp::default() }, b"");
        }
    }
    writer.close().unwrap();
    let (writer, recovery) = LogWriter::open(spec).unwrap();
    drop(writer);
    assert_eq!(recovery.streams.len(), STREAMS_MOST);
    assert_eq!(recovery.streams_forgotten, u64::from(most + MORE));
    assert_eq!(recovery.streams.first_key_value(), Some((&0, &132_000)));
    assert_eq!(recovery.streams.keys().nth(1), Some(&(most + MORE + 1)));
}

#[test]
fn a_file_without_its_segment_goes_and_any_other_file_stays() {
    let folder = Folder::quick();
    written(&folder, 200);
    let (orphan, other) =
        (folder.path().join(format!("{:020}.streams", 1_u64 << 40)), folder.path().join("notes.streams"));
    std::fs::copy(files(&folder).pop().unwrap(), &orphan).unwrap();
    std::fs::write(&other, b"not ours").unwrap();
    opened(&folder);
    assert!(!orphan.exists() && other.exists());
}

#[test]
fn a_file_that_says_what_no_writer_writes_is_refused() {
    for bytes in [&[][..], &[0; 64], &[0xff; 64]] {
        assert!(StreamsHeader::parse(bytes, 0, &[0; 16]).is_err());
    }
}
