//! Does a torn or damaged log lie? Whole groups before the tear come back, nothing else does, and the tear is named.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod folder;

use std::path::Path;

use folder::{Folder, Owned, frame, rest, stamp};
use weir_dataplane_log::{LogError, LogReader, LogWriter, verify};

/// A log of `groups` groups of three small records each; gives its records.
fn written(folder: &Folder, groups: u64) -> Vec<Owned> {
    let (mut writer, _) = LogWriter::open(folder.spec()).unwrap();
    let mut list = Vec::new();
    for number in 0..groups * 3 {
        let frame = frame(number, 20 + number as usize);
        writer.append(&stamp(number), &[&frame]).unwrap();
        list.push((number, stamp(number), frame));
        if number % 3 == 2 {
            writer.submit().unwrap();
            writer.wait().unwrap();
        }
    }
    list
}

/// Opens the log, checks that exactly `list` is left, and that writing goes on behind it.
fn goes_on(folder: &Folder, list: &[Owned]) {
    let next = list.len() as u64;
    let (mut writer, recovery) = LogWriter::open(folder.spec()).unwrap();
    assert_eq!(recovery.next, next, "{recovery}");
    assert!(verify(folder.path()).unwrap().is_sound());
    assert_eq!(writer.append(&stamp(next), &[b"behind"]).unwrap(), next);
    writer.close().unwrap();
    let all = rest(&mut LogReader::open(folder.path()).unwrap());
    assert_eq!(all[..list.len()], *list);
    assert_eq!(all[list.len()..], [(next, stamp(next), b"behind".to_vec())]);
    assert!(verify(folder.path()).unwrap().is_sound());
}

#[test]
fn a_log_cut_at_any_byte_keeps_the_groups_before_and_goes_on() {
    let folder = Folder::quick();
    let list = written(&folder, 3);
    let path = folder.segments().pop().unwrap();
    let sound = std::fs::read(&path).unwrap();
    let last = 3 * 4096; // header block, two groups before
    for byte in last..last + 4096 {
        // The file ends there.
        std::fs::write(&path, &sound[..byte]).unwrap();
        goes_on(&folder, &list[..6]);
        // The file was made in advance, and what follows has not reached the disk.
        let mut torn = sound.clone();
        torn[byte..].fill(0);
        let left = if torn == sound { 9 } else { 6 };
        std::fs::write(&path, torn).unwrap();
        goes_on(&folder, &list[..left]);
        // What follows has reached the disk, and what is before it has not.
        let mut torn = sound.clone();
        torn[last..=byte].fill(0);
        std::fs::write(&path, torn).unwrap();
        goes_on(&folder, &list[..6]);
    }
}

#[test]
fn what_was_cut_off_never_comes_back() {
    let folder = Folder::quick();
    let list = written(&folder, 4);
    let path = folder.segments().pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3 * 4096 + 70] ^= 1; // in the third group; the fourth is whole
    std::fs::write(&path, bytes).unwrap();
    let (writer, recovery) = LogWriter::open(folder.spec()).unwrap();
    let cut = recovery.cut.unwrap();
    assert_eq!((cut.byte, cut.whole_groups, recovery.next), (3 * 4096, 1, 6));
    drop(writer);
    goes_on(&folder, &list[..6]);
}

/// Every record that is given is one that was written; damage may cost records, never change them.
fn gives_only_what_was_written(folder: &Path, list: &[Owned]) {
    let Ok(mut reader) = LogReader::open(folder) else { return };
    let mut expected = 0;
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                assert_eq!((record.number, record.stamp, record.frame.to_vec()), list[record.number as usize]);
                assert_eq!(record.number, expected);
                expected += 1;
            }
            Ok(None) => return,
            Err(error) => return assert!(matches!(error, LogError::Damaged { .. }), "{error}"),
        }
    }
}

#[test]
fn one_flipped_bit_anywhere_is_reported_and_never_read() {
    let folder = Folder::quick();
    let list = written(&folder, 10); // two segments
    let segments = folder.segments();
    assert_eq!(segments.len(), 2);
    for path in &segments {
        let sound = std::fs::read(path).unwrap();
        // Zeros are all alike: of them every 61st byte, which meets every place within a word.
        let places = (0..sound.len()).filter(|at| sound[*at] != 0 || at % 61 == 0);
        for at in places {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(path, &bytes).unwrap();
            let found = verify(folder.path()).unwrap();
            assert!(!found.is_sound(), "{} byte {at} was not noticed", path.display());
            let spot = found.damage.iter().chain(&found.torn).next().unwrap();
            assert!(spot.file == *path && spot.byte <= at as u64 && spot.byte + 4096 > at as u64, "{at}: {spot}");
            gives_only_what_was_written(folder.path(), &list);
        }
        std::fs::write(path, &sound).unwrap();
    }
    assert!(verify(folder.path()).unwrap().is_sound());
}

#[test]
fn a_reader_says_where_the_damage_is_and_can_be_led_around_it() {
    let folder = Folder::quick();
    let list = written(&folder, 10);
    let path = folder.segments().remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[2 * 4096 + 100] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let mut reader = LogReader::open(folder.path()).unwrap();
    for number in 0..3 {
        assert_eq!(reader.next_record().unwrap().unwrap().number, number);
    }
    let error = reader.next_record().unwrap_err();
    assert!(matches!(&error, LogError::Damaged { byte: 8192, file, .. } if *file == path), "{error}");
    let second = list.iter().position(|(number, ..)| folder.segments()[1].ends_with(format!("{number:020}.weirlog")));
    reader.seek_number(second.unwrap() as u64).unwrap();
    assert_eq!(rest(&mut reader), list[second.unwrap()..]);
}
