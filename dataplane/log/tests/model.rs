//! Is a log a list? What is put comes back whole and in order, by either way of writing, over restarts and segments, from
//! any number, time and source.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod folder;

use folder::{Folder, Owned, frame, rest, stamp};
use proptest::prelude::*;
use weir_dataplane_log::{LogError, LogReader, LogSpec, LogWriter, Verified, verify};

/// Puts a frame, waiting where the log asks for it.
fn put(writer: &mut LogWriter, list: &mut Vec<Owned>, length: usize, cut: usize) {
    let number = list.len() as u64;
    let (stamp, frame) = (stamp(number), frame(number, length));
    let (head, tail) = frame.split_at(cut.min(length));
    let given = match writer.append(&stamp, &[head, tail]) {
        Err(LogError::Full { .. }) => {
            writer.wait_for_room().unwrap();
            writer.append(&stamp, &[head, tail]).expect("there is room")
        }
        given => given.unwrap(),
    };
    assert_eq!(given, number);
    list.push((number, stamp, frame));
}

fn lengths() -> impl Strategy<Value = Vec<(usize, usize, u8)>> {
    let length = prop_oneof![Just(0), 1..200_usize, 200..9_000_usize, Just(65_536)];
    prop::collection::vec((length, 0..3_000_usize, 0..20_u8), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_is_put_comes_back(steps in lengths(), io_uring: bool, from in 0..120_u64, source in 0..5_u32) {
        let folder = Folder::quick();
        let spec = LogSpec { segment_bytes: 256 << 10, group_bytes: 80 << 10, io_uring, ..folder.spec() };
        let (mut list, mut writer) = (Vec::new(), LogWriter::open(spec.clone()).unwrap().0);
        for (length, cut, then) in steps {
            put(&mut writer, &mut list, length, cut);
            match then {
                0 | 1 => writer.submit().unwrap(),
                2 => prop_assert!(writer.poll().unwrap() <= list.len() as u64),
                3 => {
                    prop_assert_eq!(writer.close().unwrap(), list.len() as u64);
                    let (again, recovery) = LogWriter::open(spec.clone()).unwrap();
                    prop_assert_eq!((recovery.next, &recovery.cut), (list.len() as u64, &None));
                    writer = again;
                }
                _ => {}
            }
        }
        prop_assert_eq!(writer.close().unwrap(), list.len() as u64);

        let mut reader = LogReader::open(folder.path()).unwrap();
        prop_assert_eq!(&rest(&mut reader), &list);
        reader.seek_number(from).unwrap();
        prop_assert_eq!(rest(&mut reader), list.iter().skip(from as usize).cloned().collect::<Vec<_>>());
        reader.seek_time(from * 10 - from % 2).unwrap();
        prop_assert_eq!(rest(&mut reader), list.iter().skip(from as usize).cloned().collect::<Vec<_>>());
        reader.seek_number(0).unwrap();
        reader.only_source(Some(source));
        let theirs = list.iter().filter(|(_, stamp, _)| stamp.source == source).cloned().collect::<Vec<_>>();
        prop_assert_eq!(rest(&mut reader), theirs);

        let Verified { records, bytes, last, torn, damage, .. } = verify(folder.path()).unwrap();
        prop_assert_eq!((torn, damage), (None, Vec::new()));
        prop_assert_eq!((records, last), (list.len() as u64, Some(list.len() as u64 - 1)));
        prop_assert_eq!(bytes, list.iter().map(|(_, _, frame)| frame.len() as u64).sum::<u64>());
    }
}

#[test]
fn a_frame_that_fits_no_group_is_refused_and_nothing_is_put() {
    let folder = Folder::quick();
    let (mut writer, _) = LogWriter::open(folder.spec()).unwrap();
    let longest = folder.spec().longest_frame();
    assert!(matches!(writer.append(&stamp(0), &[&vec![0; longest + 1]]), Err(LogError::TooLong { .. })));
    assert_eq!(writer.append(&stamp(0), &[&vec![0; longest]]).unwrap(), 0);
    assert_eq!(writer.close().unwrap(), 1);
}

#[test]
fn nothing_is_called_durable_before_it_was_submitted() {
    let folder = Folder::on_disk();
    let (mut writer, recovery) = LogWriter::open(folder.spec()).unwrap();
    println!("{recovery}");
    writer.append(&stamp(0), &[b"one"]).unwrap();
    assert_eq!((writer.wait().unwrap(), writer.durable(), writer.next()), (0, 0, 1));
    writer.submit().unwrap();
    assert_eq!(writer.wait().unwrap(), 1);
}

#[test]
fn values_that_cannot_work_are_refused_with_a_cure() {
    let folder = Folder::quick();
    let wrong = [
        LogSpec { segment_bytes: 5000, ..folder.spec() },
        LogSpec { segment_bytes: 8192, ..folder.spec() },
        LogSpec { group_bytes: 100, ..folder.spec() },
        LogSpec { groups: 1, ..folder.spec() },
    ];
    for spec in wrong {
        let error = LogWriter::open(spec).err().unwrap().to_string();
        assert!(error.contains("cannot work: give"), "{error}");
    }
}
