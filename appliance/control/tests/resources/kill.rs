//! What was acknowledged is there after any kill, and what was not is there whole or not at all.

use std::io::{BufRead, BufReader};
use std::sync::Arc;

use weir_appliance_control::resources::{DurableStore, ResourceStore, SystemClock};

use crate::child::{KEEPS, TOGETHER, command, value};
use crate::{Folder, origin};

/// Everything in the store is as the child wrote it: each change whole, in order, without a gap.
fn verify(store: &dyn ResourceStore) -> u64 {
    let (newest, floor) = (store.revision().expect("a revision"), store.floor().expect("a floor"));
    let mut seen = floor;
    while seen < newest {
        let page = store.changes(seen, 500).expect("a page");
        for changes in page.chunk_by(|one, other| one.revision == other.revision) {
            let revision = changes[0].revision;
            assert_eq!(revision.0, seen.0 + 1, "no revision is missing");
            assert_eq!(changes.len() as u64, TOGETHER, "revision {revision} is whole");
            for change in changes {
                let entry = change.after.as_ref().expect("the child only puts");
                assert_eq!(entry.value, value(revision.0).into_bytes());
                assert_eq!(change.origin, origin(&revision.to_string()));
            }
            seen = revision;
        }
    }
    for entry in store.at(newest).expect("the present") {
        assert_eq!(store.get(&entry.key).expect("readable").as_ref(), Some(&entry), "state and history agree");
        assert_eq!(entry.value, value(entry.modified.0).into_bytes());
    }
    newest.0
}

#[test]
fn every_acknowledged_change_survives_kill_9_and_none_is_half_there() {
    let folder = Folder::new("kill");
    let (changes, kills) = if std::env::var_os("WEIR_TEST_LONG").is_some() { (100_000, 400) } else { (4_000, 40) };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut total = 0;
    let mut killed = 0;
    while killed < kills || total < changes {
        let mut child = command(&[], &folder.file()).spawn().expect("the child starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let until = (random >> 33) % (2 * changes / kills);
        let mut acknowledged = total;
        for line in lines.by_ref().map_while(Result::ok) {
            assert!(!line.starts_with("refused"), "{line}");
            if let Some(revision) = line.strip_prefix("done ") {
                acknowledged = revision.parse().expect("a revision");
                if acknowledged >= total + until {
                    break;
                }
            }
        }
        child.kill().expect("killed");
        // What was in the pipe was acknowledged as well.
        for line in lines.map_while(Result::ok) {
            acknowledged = line.strip_prefix("done ").and_then(|text| text.parse().ok()).unwrap_or(acknowledged);
        }
        child.wait().expect("gone");
        killed += 1;
        let store = DurableStore::open(&folder.file(), Arc::new(SystemClock::default()), KEEPS);
        let store = store.unwrap_or_else(|error| panic!("after kill {killed}: {error}"));
        total = verify(&store);
        assert!(total >= acknowledged, "revision {acknowledged} was acknowledged, the newest is {total}");
        assert!(total <= acknowledged + 1, "one change at most was under way");
    }
}
