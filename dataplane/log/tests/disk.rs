//! Does the disk ring write what it was given, and say so when it could not? By io_uring and by pwrite alike.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod folder;

use std::fs::File;
use std::sync::Arc;

use folder::Folder;
use weir_dataplane_io::disk;
use weir_dataplane_io::uring::{BLOCK, DiskRing};

fn both_ways() -> [DiskRing; 2] {
    [DiskRing::new(4, 2 * BLOCK).unwrap(), DiskRing::plain(4, 2 * BLOCK, "this test asks for it").unwrap()]
}

#[test]
fn every_buffer_arrives_at_its_place_and_comes_back_once() {
    for mut ring in both_ways() {
        let folder = Folder::on_disk();
        let path = folder.path().join("blocks");
        File::create(&path).unwrap();
        let (file, access) = disk::open_for_blocks(&path).unwrap();
        println!("{}; {access}", ring.way());
        let file = Arc::new(file);
        for round in 0..8_u64 {
            for index in 0..4 {
                ring.buffer(index).unwrap().fill((round * 4) as u8 + index as u8 + 1);
                let offset = (round * 4 + index as u64) * 2 * BLOCK as u64;
                ring.write(index, 2 * BLOCK, &file, offset).unwrap();
            }
            let mut back = Vec::new();
            while let Some(written) = ring.complete(true).unwrap() {
                written.result.unwrap();
                back.push(written.buffer);
            }
            back.sort_unstable();
            assert_eq!((back, ring.in_flight()), (vec![0, 1, 2, 3], 0));
        }
        let bytes = std::fs::read(&path).unwrap();
        let expected = |at: usize| (at / (2 * BLOCK)) as u8 + 1;
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == expected(at)) && bytes.len() == 64 * BLOCK);
    }
}

#[test]
fn a_write_that_the_file_refuses_is_told_and_gives_the_buffer_back() {
    for mut ring in both_ways() {
        let folder = Folder::on_disk();
        let path = folder.path().join("blocks");
        File::create(&path).unwrap();
        ring.write(1, BLOCK, &Arc::new(File::open(&path).unwrap()), 0).unwrap();
        let written = ring.complete(true).unwrap().unwrap();
        assert_eq!((written.buffer, written.result.unwrap_err().raw_os_error()), (1, Some(9)), "EBADF");
        assert!(ring.buffer(1).is_some());
    }
}

#[test]
fn what_is_no_whole_block_of_a_free_buffer_is_refused() {
    for mut ring in both_ways() {
        let folder = Folder::on_disk();
        let file = Arc::new(File::create(folder.path().join("blocks")).unwrap());
        for (index, length, offset) in [(4, BLOCK, 0), (0, 0, 0), (0, 100, 0), (0, 3 * BLOCK, 0), (0, BLOCK, 512)] {
            assert!(ring.write(index, length, &file, offset).is_err());
        }
        assert!(ring.buffer(4).is_none());
        assert!(ring.complete(true).unwrap().is_none());
    }
    for (count, length) in [(0, BLOCK), (1025, BLOCK), (1, 0), (1, 5000)] {
        assert!(DiskRing::new(count, length).is_err());
    }
}

#[test]
fn a_ring_that_is_dropped_has_written_what_was_started() {
    for mut ring in both_ways() {
        let folder = Folder::on_disk();
        let path = folder.path().join("blocks");
        let file = Arc::new(File::create(&path).unwrap());
        for index in 0..4 {
            ring.buffer(index).unwrap().fill(7);
            ring.write(index, 2 * BLOCK, &file, (index * 2 * BLOCK) as u64).unwrap();
        }
        drop(ring);
        assert_eq!(std::fs::read(&path).unwrap(), vec![7; 8 * BLOCK]);
    }
}
