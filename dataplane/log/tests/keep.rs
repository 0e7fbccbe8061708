//! What is kept: segments by bytes and age, one writer at a time, and every record when the disk is full.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod folder;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use folder::{Folder, frame, rest, stamp};
use weir_dataplane_log::{LogError, LogReader, LogSpec, LogWriter, WhenFull, verify};

/// Writes records up to number `end`, a group each.
fn write(writer: &mut LogWriter, end: u64) -> Result<(), LogError> {
    while writer.next() < end {
        let number = writer.next();
        writer.append(&stamp(number), &[&frame(number, 3000)])?;
        writer.submit()?;
        writer.wait()?;
    }
    Ok(())
}

#[test]
fn the_oldest_segments_go_when_there_are_too_many_bytes() {
    let folder = Folder::quick();
    let spec = LogSpec { keep_bytes: Some(100 << 10), ..folder.spec() };
    let (mut writer, _) = LogWriter::open(spec).unwrap();
    write(&mut writer, 100).unwrap();
    writer.close().unwrap();
    assert_eq!(folder.segments().len(), 3);
    let found = verify(folder.path()).unwrap();
    assert!(found.is_sound(), "{found:?}");
    assert_eq!((found.last, found.records), (Some(99), 100 - found.first.unwrap()));
    // A limit below one segment keeps the newest all the same.
    let (writer, _) = LogWriter::open(LogSpec { keep_bytes: Some(1), ..folder.spec() }).unwrap();
    writer.close().unwrap();
    assert_eq!(folder.segments().len(), 1);
}

#[test]
fn segments_go_when_their_last_record_is_old_enough() {
    let folder = Folder::quick();
    let hour = Duration::from_secs(3600);
    let (mut writer, _) = LogWriter::open(LogSpec { keep_age: Some(hour), ..folder.spec() }).unwrap();
    write(&mut writer, 40).unwrap();
    let (now, segments) = (weir_dataplane_io::clock::realtime_ns(), folder.segments().len() as u64);
    assert_eq!(writer.retire(now).unwrap().segments, 0);
    let retired = writer.retire(now + hour.as_nanos() as u64).unwrap();
    assert_eq!((retired.segments, retired.bytes), (segments - 1, (segments - 1) * folder.spec().segment_bytes));
    assert_eq!(folder.segments().len(), 1);
}

#[test]
fn a_second_writer_is_refused_until_the_first_has_gone() {
    let folder = Folder::quick();
    let (first, _) = LogWriter::open(folder.spec()).unwrap();
    let error = LogWriter::open(folder.spec()).err().unwrap();
    assert!(matches!(error, LogError::Locked { .. }));
    assert!(error.to_string().contains("stop that one first"), "{error}");
    drop(first);
    LogWriter::open(folder.spec()).unwrap();
}

#[test]
fn a_folder_without_a_log_says_so() {
    let folder = Folder::quick();
    assert!(matches!(LogReader::open(folder.path()), Err(LogError::NoLog { .. })));
    assert!(matches!(verify(folder.path()), Err(LogError::NoLog { .. })));
}

/// A file system of its own, so that it can be full.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path, bytes: u64) -> Option<Self> {
        let options = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "weir-log"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        // Lazily: the kernel may hold a ring's file for a moment after its writer has gone.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_log_and_loses_nothing() {
    let folder = Folder::on_disk();
    let Some(small) = Small::mount(folder.path(), 200 << 10) else {
        println!("weir-skip: a full disk: no file system can be mounted here (run as root)");
        return;
    };
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![1; 64 << 10]).unwrap();
    let (mut writer, recovery) = LogWriter::open(LogSpec { groups: 8, ..folder.spec() }).unwrap();
    println!("{recovery}");
    let error = write(&mut writer, 1000).unwrap_err();
    assert!(matches!(error, LogError::Failed { .. }), "{error}");
    let (durable, next) = (writer.durable(), writer.next());
    assert!(durable >= 7 && next > durable, "{durable} of {next}");
    // It says so again and again, and nothing acknowledged is lost.
    assert!(matches!(writer.append(&stamp(next), &[b"x"]), Err(LogError::Failed { .. })));
    assert!(matches!(writer.poll(), Err(LogError::Failed { .. })));
    assert!(matches!(writer.retry(), Err(LogError::Failed { .. })));
    assert_eq!(rest(&mut LogReader::open(folder.path()).unwrap()).len() as u64, durable);
    // With room again what waited is written, under its old numbers.
    std::fs::remove_file(&ballast).unwrap();
    writer.retry().unwrap();
    assert_eq!(writer.wait().unwrap(), next);
    write(&mut writer, next + 1).unwrap();
    writer.close().unwrap();
    let records = rest(&mut LogReader::open(folder.path()).unwrap());
    assert!(records.iter().enumerate().all(|(at, (number, ..))| at as u64 == *number));
    assert_eq!(records.len() as u64, next + 1);
    drop(small);
}

#[test]
fn a_full_disk_costs_the_oldest_segments_where_that_is_wished() {
    let folder = Folder::on_disk();
    let Some(small) = Small::mount(folder.path(), 200 << 10) else {
        println!("weir-skip: a full disk: no file system can be mounted here (run as root)");
        return;
    };
    let (mut writer, _) = LogWriter::open(LogSpec { when_full: WhenFull::DeleteOldest, ..folder.spec() }).unwrap();
    write(&mut writer, 500).unwrap();
    assert_eq!(writer.close().unwrap(), 500);
    let found = verify(folder.path()).unwrap();
    assert!(found.is_sound() && found.first > Some(400) && found.last == Some(499), "{found:?}");
    drop(small);
}

#[test]
fn no_room_for_the_next_segment_is_no_matter_until_it_is_needed() {
    let folder = Folder::on_disk();
    let Some(small) = Small::mount(folder.path(), 200 << 10) else {
        println!("weir-skip: a full disk: no file system can be mounted here (run as root)");
        return;
    };
    let ballast = folder.path().join("ballast");
    for round in 0..3 {
        let (mut writer, _) = LogWriter::open(folder.spec()).unwrap();
        let end = writer.next() + 5; // a segment has room for seven
        let full = std::fs::write(&ballast, vec![1; 300 << 10]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        write(&mut writer, end).unwrap();
        std::fs::remove_file(&ballast).unwrap();
        write(&mut writer, end + 3).unwrap();
        assert_eq!(writer.close().unwrap(), end + 3);
        assert_eq!(folder.segments().len(), round + 2);
    }
    drop(small);
}

#[test]
fn what_a_dead_writer_left_unfinished_is_removed() {
    let folder = Folder::quick();
    let (mut writer, _) = LogWriter::open(folder.spec()).unwrap();
    write(&mut writer, 10).unwrap();
    writer.close().unwrap();
    let unfinished = folder.path().join("next.weirlog.new");
    assert!(!unfinished.exists(), "a writer that ends leaves none");
    std::fs::copy(&folder.segments()[0], &unfinished).unwrap();
    let (mut writer, recovery) = LogWriter::open(folder.spec()).unwrap();
    assert_eq!((recovery.next, recovery.cut), (10, None));
    assert!(!unfinished.exists());
    write(&mut writer, 30).unwrap();
    writer.close().unwrap();
    assert_eq!(rest(&mut LogReader::open(folder.path()).unwrap()).len(), 30);
}

#[test]
fn writes_that_fail_within_a_segment_are_tried_again_at_their_place() {
    for io_uring in [true, false] {
        let folder = Folder::on_disk();
        let Some(small) = Small::mount(folder.path(), 256 << 10) else {
            println!("weir-skip: a failing write: no file system can be mounted here (run as root)");
            return;
        };
        let spec = LogSpec { segment_bytes: 128 << 10, groups: 8, io_uring, ..folder.spec() };
        let (mut writer, _) = LogWriter::open(spec).unwrap();
        write(&mut writer, 2).unwrap();
        // The blocks that the segment was given in advance are taken away, and all others with them.
        let segment = std::fs::File::options().write(true).open(&folder.segments()[0]).unwrap();
        segment.set_len(3 * 4096).unwrap();
        drop(segment); // an open file would keep the file system
        let ballast = folder.path().join("ballast");
        let full = std::fs::write(&ballast, vec![1; 300 << 10]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        // Several groups are on their way when the first fails.
        for number in 2..6 {
            writer.append(&stamp(number), &[&frame(number, 3000)]).unwrap();
            if writer.submit().and_then(|()| writer.poll()).is_err() {
                break;
            }
        }
        let error = writer.wait().unwrap_err();
        assert!(matches!(&error, LogError::Failed { .. }), "{error}");
        assert!(writer.failure().unwrap().contains("record 2"), "{error}");
        assert_eq!(writer.durable(), 2);
        std::fs::remove_file(&ballast).unwrap();
        let next = writer.next();
        writer.retry().unwrap();
        writer.submit().unwrap();
        assert_eq!(writer.wait().unwrap(), next);
        write(&mut writer, 20).unwrap();
        writer.close().unwrap();
        let records = rest(&mut LogReader::open(folder.path()).unwrap());
        let whole =
            |(number, stamped, bytes): &folder::Owned| *stamped == stamp(*number) && *bytes == frame(*number, 3000);
        assert!(records.len() == 20 && records.iter().all(whole), "{} records", records.len());
        assert!(verify(folder.path()).unwrap().is_sound());
        drop(small);
    }
}
