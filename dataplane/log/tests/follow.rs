//! Does a follower see every record once and in order, while the log is written, cut and deleted under it?

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail the test")]

mod folder;

use std::thread;
use std::time::{Duration, Instant};

use folder::{Folder, frame, stamp};
use weir_dataplane_log::{Audit, LogError, LogReader, LogSpec, LogWriter};

const DEADLINE: Duration = Duration::from_secs(60);

fn length(number: u64) -> usize {
    (number * 37 % 1500) as usize
}

fn follows(io_uring: bool) {
    const RECORDS: u64 = 6_000;
    let folder = Folder::on_disk();
    let spec = LogSpec { segment_bytes: 256 << 10, group_bytes: 16 << 10, io_uring, ..folder.spec() };
    let (mut writer, recovery) = LogWriter::open(spec).unwrap();
    println!("{recovery}");
    let mut reader = LogReader::open(folder.path()).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..RECORDS {
                let frame = frame(number, length(number));
                while let Err(error) = writer.append(&stamp(number), &[&frame]) {
                    assert!(matches!(error, LogError::Full { .. }), "{error}");
                    writer.wait().unwrap();
                }
                if number % 7 == 0 {
                    writer.submit().unwrap();
                    writer.poll().unwrap();
                }
            }
            assert_eq!(writer.close().unwrap(), RECORDS);
        });
        let (mut next, mut audit, started) = (0, Audit::new(100), Instant::now());
        while next < RECORDS {
            assert!(started.elapsed() < DEADLINE, "only {next} records came");
            let Some(record) = reader.next_record().unwrap() else {
                thread::yield_now();
                continue;
            };
            assert_eq!((record.number, record.stamp), (next, stamp(next)));
            assert!(record.frame == frame(next, length(next)), "frame {next}");
            audit.see(&record.stamp);
            next += 1;
        }
        assert_eq!(reader.next_record().unwrap(), None);
        assert_eq!(audit.tallies().map(|(_, tally)| tally.records).sum::<u64>(), RECORDS);
        assert!(audit.tallies().all(|(_, tally)| tally.doubled + tally.reordered == 0));
    });
    assert!(folder.segments().len() > 5);
}

#[test]
fn a_follower_sees_every_record_once_and_in_order() {
    follows(true);
}

#[test]
fn a_follower_of_a_plain_writer_does_too() {
    follows(false);
}

#[test]
fn a_follower_whose_next_segment_was_deleted_is_told_which_record_is_the_oldest() {
    let folder = Folder::quick();
    let spec = LogSpec { keep_bytes: Some(64 << 10), ..folder.spec() };
    let (mut writer, _) = LogWriter::open(spec).unwrap();
    let mut reader = LogReader::open(folder.path()).unwrap();
    for number in 0..60 {
        writer.append(&stamp(number), &[&frame(number, 3000)]).unwrap();
        writer.submit().unwrap();
        writer.wait().unwrap();
    }
    let mut next = 0;
    let (wanted, first) = loop {
        match reader.next_record() {
            Ok(record) => {
                assert_eq!(record.unwrap().number, next);
                next += 1;
            }
            Err(LogError::Gone { wanted, first }) => break (wanted, first),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(wanted, next);
    assert!(first > wanted);
    assert!(matches!(reader.seek_number(wanted), Err(LogError::Gone { .. })));
    reader.seek_number(first).unwrap();
    assert_eq!(folder::rest(&mut reader).len() as u64, 60 - first);
}
