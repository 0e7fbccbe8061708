//! A full disk: one clear error for each change, nothing half applied, and on as soon as there is room.

use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::Arc;

use weir_appliance_control::resources::{
    DurableStore, Kind, ManualClock, ResourceStore, Retention, StoreError, SystemClock, Transaction,
};

use crate::child::{KEEPS, TOGETHER, command};
use crate::{Folder, key, origin};

#[test]
fn a_file_that_may_not_grow_refuses_changes_and_loses_none() {
    let folder = Folder::new("limit");
    // The file's size is limited for the child alone, in blocks of 1 KiB; the signal for it is ignored, as services do.
    let limited = ["bash", "-c", "trap '' XFSZ; ulimit -f 600; exec \"$0\" \"$@\""];
    let mut child = command(&limited, &folder.file()).spawn().expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let (mut acknowledged, mut refused) = (0, Vec::new());
    for line in lines.by_ref() {
        if let Some(revision) = line.strip_prefix("done ") {
            acknowledged = revision.parse().expect("a revision");
        } else if line.starts_with("refused") {
            refused.push(line);
        }
        if refused.len() == 20 || acknowledged > 20_000 {
            break;
        }
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(acknowledged > 10, "there was room at first: {acknowledged} {refused:?}");
    assert_eq!(refused.len(), 20, "{acknowledged}, {:?}", std::fs::metadata(folder.file()));
    assert!(refused.iter().all(|line| line.contains("state.redb: the disk has no room: ")), "{refused:?}");
    let store = DurableStore::open(&folder.file(), Arc::new(SystemClock::default()), KEEPS).expect("it opens");
    let newest = store.revision().expect("a revision").0;
    assert!(newest >= acknowledged, "{newest} of {acknowledged}");
    let page = store.changes(store.floor().expect("a floor"), usize::MAX).expect("a page");
    for changes in page.chunk_by(|one, other| one.revision == other.revision) {
        assert_eq!(changes.len() as u64, TOGETHER, "no change is half there");
    }
    store.commit(&Transaction::new(origin("room")).put(key(Kind::Rules, "x"), "1")).expect("it goes on");
}

/// A file system of one size in memory, mounted where nobody else is.
struct Disk(Folder);

impl Disk {
    fn new() -> Option<Self> {
        let folder = Folder::new("disk");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(&folder.0).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(folder)),
            _ => None,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0.0).output();
    }
}

#[test]
#[allow(clippy::print_stdout)] // a skip is told on the test's output
fn a_full_disk_refuses_changes_until_there_is_room() {
    let Some(disk) = Disk::new() else {
        println!("weir-skip: a_full_disk_refuses_changes_until_there_is_room: no right to mount a file system");
        return;
    };
    let path = disk.0.file();
    let keeps = Retention { changes: 1000, bytes: 1 << 20 };
    let store = DurableStore::open(&path, Arc::new(ManualClock::default()), keeps).expect("a store");
    let put = |name: &str, length: usize| {
        store.commit(&Transaction::new(origin("fill")).put(key(Kind::Rules, name), vec![1; length]))
    };
    let before = put("first", 100).expect("there is room");
    // Somebody else fills the disk.
    let ballast = disk.0.0.join("ballast");
    let _ = std::fs::write(&ballast, vec![0_u8; 8 << 20]);
    let mut newest = before;
    let refused = (0..200).find_map(|count| match put(&format!("more-{count}"), 50_000) {
        Ok(revision) => {
            newest = revision;
            None
        }
        Err(error) => Some(error),
    });
    let refused = refused.expect("a full disk takes no more");
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("; free some"), "{refused}");
    for _ in 0..5 {
        assert!(matches!(put("again", 500_000), Err(StoreError::Full { .. })));
    }
    assert_eq!(store.revision(), Ok(newest), "reading goes on, and nothing is half applied");
    assert_eq!(store.get(&key(Kind::Rules, "again")), Ok(None));
    std::fs::remove_file(&ballast).expect("room again");
    let after = put("after", 50_000).expect("it goes on by itself");
    assert_eq!(after.0, newest.0 + 1);
    drop(store);
    let store = DurableStore::open(&path, Arc::new(ManualClock::default()), keeps).expect("whole");
    assert_eq!(store.revision(), Ok(after));
}
