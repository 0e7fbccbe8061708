//! What if the disk fails? Writes and syncs that end with EIO, and no space left, under a taker of rings: nobody else is
//! harmed, every frame is counted once, and when the disk is back the log goes on with nothing lost that it had taken.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail the test")]

mod folder;

use std::sync::Arc;
use std::time::{Duration, Instant};

use folder::disk::Disk;
use folder::rest;
use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions, UmemView};
use weir_dataplane_log::{LogReader, LogSpec, LogTaker, LogWriter, LoggedRing, Now, WhenStuck, verify};
use weir_dataplane_ring::{
    Descriptor, HeapMemory, LaneRing, Memory, OwnerCursors, PAGE_LENGTH, RxOwner, RxReader, TakerCursors,
};

const DEADLINE: Duration = Duration::from_secs(30);
const SIZE: u32 = 64;
const FRAME: u32 = 2048;
const LENGTH: u32 = 1_200;
const SECOND: u64 = 1_000_000_000;

/// A ring, who fills it, who takes back what was read, and the log that takes it.
struct Rig {
    umem: Umem,
    lane: LaneRing,
    owner: RxOwner,
    cursors: OwnerCursors,
    taker: LogTaker,
    /// Frames that were due, and those of them for which the ring had no room.
    offered: u64,
    refused: u64,
    pushed: u64,
    now: Now,
}

impl Rig {
    fn new(spec: LogSpec, when_stuck: WhenStuck) -> Self {
        let options = UmemOptions { frames: SIZE, frame_size: FRAME, hugepages: HugePages::Never, node: None };
        let umem = Umem::create_with(options).unwrap();
        let memory: Arc<dyn Memory> = HeapMemory::zeroed(LaneRing::length(SIZE));
        let page: Arc<dyn Memory> = HeapMemory::zeroed(PAGE_LENGTH);
        let reader = RxReader::new(Arc::clone(&memory), LaneRing::OFFSETS, SIZE).unwrap();
        let (writer, recovery) = LogWriter::open(spec).unwrap();
        println!("{recovery}");
        let rings = vec![LoggedRing::new(reader, 0, 3, 0)];
        let cursors = TakerCursors::new(Arc::clone(&page), 0).unwrap();
        let taker = LogTaker::new(rings, UmemView::of(&umem), cursors, writer, when_stuck);
        Self {
            umem,
            lane: LaneRing::new(Arc::clone(&memory), SIZE).unwrap(),
            owner: RxOwner::new(memory, LaneRing::OFFSETS, SIZE).unwrap(),
            cursors: OwnerCursors::new(page, 0).unwrap(),
            taker,
            offered: 0,
            refused: 0,
            pushed: 0,
            now: Now { monotonic_ns: 1, realtime_ns: 1 },
        }
    }

    /// One frame arrives; the ring takes it or not.
    fn offer(&mut self) {
        self.offered += 1;
        if self.lane.free() == 0 {
            self.refused += 1;
            return;
        }
        let address = self.pushed % u64::from(SIZE) * u64::from(FRAME) + 256;
        let mut frame = [self.pushed as u8; LENGTH as usize];
        frame[..8].copy_from_slice(&self.pushed.to_le_bytes());
        assert!(self.umem.write(address, &frame));
        self.lane.push(Descriptor { address, length: LENGTH, options: 0 }).unwrap();
        self.lane.publish();
        self.pushed += 1;
    }

    /// A turn of the log, a second later, and the pool takes back what it has let go.
    fn turn(&mut self) {
        self.now.monotonic_ns += SECOND;
        self.now.realtime_ns += 1;
        self.taker.turn(self.now);
        let end = self.owner.judge(self.cursors.load(0)).unwrap();
        self.owner.release(end);
    }

    fn turn_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < DEADLINE, "{what}: {:?}", self.taker.writer().failure());
            self.turn();
        }
    }

    fn durable(&self) -> bool {
        self.taker.writer().failure().is_none() && self.taker.writer().durable() == self.taker.counts().frames
    }

    /// Offers frames until the disk has failed, and goes on for ten rings.
    fn fail(&mut self) -> String {
        self.turn_until("the disk fails", |rig| {
            // Until it does it may be slow, which is no question here.
            if rig.lane.free() > 0 {
                rig.offer();
            }
            rig.taker.writer().failure().is_some()
        });
        let cause = self.taker.writer().failure().unwrap().to_owned();
        for _ in 0..10 * SIZE {
            self.offer();
            self.turn();
        }
        cause
    }
}

fn spec(disk: &Disk, io_uring: bool) -> LogSpec {
    let folder = disk.path().join("log");
    LogSpec { segment_bytes: 512 << 10, group_bytes: 32 << 10, groups: 4, io_uring, ..LogSpec::new(folder) }
}

fn disk() -> Option<Disk> {
    Disk::new().inspect_err(|why| println!("weir-skip: a failing disk: {why} (run as root)")).ok()
}

/// Breaks the disk by `breaks` and mends it by `mends`, for each way of writing and of waiting; `said` is in the cause.
fn survives(said: &str, breaks: impl Fn(&Disk, &Rig), mends: impl Fn(&Disk)) {
    for (io_uring, when_stuck) in
        [true, false].into_iter().flat_map(|way| [(way, WhenStuck::Hold), (way, WhenStuck::Drop)])
    {
        let Some(disk) = disk() else { return };
        let mut rig = Rig::new(spec(&disk, io_uring), when_stuck);
        for _ in 0..50 {
            rig.offer();
        }
        rig.turn_until("fifty are durable", |rig| rig.taker.counts().frames == 50 && rig.durable());
        breaks(&disk, &rig);
        let cause = rig.fail();
        assert!(cause.contains(said), "{cause}");
        let (counts, durable) = (rig.taker.counts(), rig.taker.writer().durable());
        assert!(durable >= 50 && counts.frames > durable, "{durable} of {counts:?}");
        match when_stuck {
            // What waits is copied, so everything behind it goes by, and the ring is free for its other takers.
            WhenStuck::Drop => assert!(rig.refused == 0 && counts.dropped >= 9 * u64::from(SIZE), "{counts:?}"),
            WhenStuck::Hold => assert!(rig.refused >= 9 * u64::from(SIZE) && counts.dropped == 0, "{counts:?}"),
        }
        mends(&disk);
        rig.turn_until("the log goes on", |rig| rig.durable() && rig.owner.fill_level() == 0);
        for _ in 0..1_000 {
            rig.offer();
            rig.turn();
        }
        rig.turn_until("all is durable", |rig| rig.durable() && rig.owner.fill_level() == 0);
        let counts = rig.taker.counts();
        assert_eq!(rig.offered, rig.refused + counts.dropped + counts.frames, "{counts:?}");
        assert_eq!(rig.taker.close().unwrap(), counts.frames);
        let folder = spec(&disk, io_uring).folder;
        let records = rest(&mut LogReader::open(&folder).unwrap());
        let number = |frame: &[u8]| u64::from_le_bytes(frame[..8].try_into().unwrap());
        assert_eq!(records.len() as u64, counts.frames);
        assert!(records.is_sorted_by(|(_, _, one), (_, _, next)| number(one) < number(next)), "each once, in order");
        assert!(records.iter().all(|(_, _, frame)| frame[8..].iter().all(|byte| *byte == number(frame) as u8)));
        let found = verify(&folder).unwrap();
        assert!(found.is_sound() && found.beside.is_empty(), "{found:?}");
    }
}

#[test]
fn writes_that_end_with_eio_are_made_again() {
    let breaks = |disk: &Disk, _: &Rig| {
        let path = spec(disk, true).folder.join(format!("{:020}.weirlog", 0));
        // What is on the disk stays; the blocks behind it do not.
        let bytes = std::fs::read(&path).unwrap();
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        disk.cut_behind(&path, last as u64);
    };
    survives("Input/output error", breaks, Disk::heal);
}

#[test]
fn a_full_disk_is_waited_for() {
    let ballast = |disk: &Disk| disk.path().join("ballast");
    let breaks = |disk: &Disk, _: &Rig| {
        let full = std::fs::write(ballast(disk), vec![1; 16 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    };
    survives("No space left", breaks, |disk| std::fs::remove_file(ballast(disk)).unwrap());
}

#[test]
fn a_sync_that_ends_with_eio_begins_no_log_and_a_later_start_does() {
    let Some(disk) = disk() else { return };
    let folder = spec(&disk, true).folder;
    std::fs::create_dir(&folder).unwrap();
    let probe = folder.join("probe");
    std::fs::write(&probe, [1; 4096]).and_then(|()| std::fs::File::open(&probe)?.sync_all()).unwrap();
    disk.cut_behind(&probe, 0);
    let error = LogWriter::open(spec(&disk, true)).err().expect("no log").to_string();
    assert!(error.contains("Input/output error") && error.contains("header of"), "{error}");
    assert!(weir_dataplane_log::segments(&folder).unwrap().is_empty());
    disk.heal();
    let (writer, recovery) = LogWriter::open(spec(&disk, true)).unwrap();
    assert_eq!((recovery.next, recovery.segments), (0, 1));
    writer.close().unwrap();
    assert!(verify(&spec(&disk, true).folder).unwrap().is_sound());
}
