//! A damaged file is refused with its cure, or reads as it was written; it never reads as something else.

use std::fs;
use std::sync::Arc;

use weir_appliance_control::resources::{
    DurableStore, Kind, ManualClock, ResourceStore, Revision, StoreError, Transaction, good_copy,
};

use crate::{Folder, SHORT, key, open, origin};

fn filled(folder: &Folder) -> Revision {
    let clock = Arc::new(ManualClock::default());
    let store = open(&folder.file(), &clock);
    for count in 0..120 {
        let change =
            Transaction::new(origin("fill")).put(key(Kind::Rules, &format!("r{}", count % 9)), vec![count; 90]);
        store.commit(&change).expect("made");
    }
    store.revision().expect("a revision")
}

#[test]
fn a_damaged_file_is_refused_and_the_good_copy_is_offered() {
    let folder = Folder::new("damaged");
    let newest = filled(&folder);
    assert_eq!(good_copy(&folder.file()).expect("a copy").revision, newest);
    let whole = fs::read(folder.file()).expect("readable");
    for (name, bytes) in [
        ("text", b"this is no store at all, but a text of some length".to_vec()),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("zeros", vec![0; whole.len()]),
    ] {
        fs::write(folder.file(), bytes).expect("written");
        let refused = DurableStore::open(&folder.file(), Arc::new(ManualClock::default()), SHORT).err();
        let refused = refused.unwrap_or_else(|| panic!("{name} is taken for a store"));
        let StoreError::Damaged { copy: Some((copy, revision)), .. } = &refused else { panic!("{name}: {refused}") };
        assert_eq!(*revision, newest, "{name}");
        let line = refused.to_string();
        assert!(!line.contains('\n') && line.contains("state.redb: the store is damaged: "), "{line}");
        assert!(line.contains(&format!("mv {} {}", copy.display(), folder.file().display())), "{line}");
    }
    // The cure.
    fs::rename(folder.0.join("state.redb.last-good"), folder.file()).expect("moved");
    let store = open(&folder.file(), &Arc::new(ManualClock::default()));
    assert_eq!(store.revision(), Ok(newest));
}

#[test]
fn one_wrong_byte_is_refused_or_changes_nothing() {
    let folder = Folder::new("byte");
    filled(&folder);
    let whole = fs::read(folder.file()).expect("readable");
    let state = |store: &dyn ResourceStore| {
        let lists: Vec<_> = Kind::ALL.iter().map(|kind| store.list(*kind)).collect();
        format!("{lists:?} {:?}", store.history(None, None, 1000))
    };
    let expected = state(&open(&folder.file(), &Arc::new(ManualClock::default())));
    let (mut refused, mut random) = (0, 7_u64);
    let cases = if std::env::var_os("WEIR_TEST_LONG").is_some() { 2000 } else { 150 };
    for case in 0..cases {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut bytes = whole.clone();
        // Every third in the first page, where the file says how to read the rest.
        let range = if case % 3 == 0 { 512 } else { bytes.len() };
        let at = (random >> 33) as usize % range;
        bytes[at] ^= 1 << (random % 8);
        fs::write(folder.file(), bytes).expect("written");
        match DurableStore::open(&folder.file(), Arc::new(ManualClock::default()), SHORT) {
            Ok(store) => assert_eq!(state(&store), expected, "byte {at}"),
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "some bytes matter");
}

#[test]
fn a_store_has_one_owner() {
    let folder = Folder::new("owner");
    let clock = Arc::new(ManualClock::default());
    let _first = open(&folder.file(), &clock);
    let second = DurableStore::open(&folder.file(), clock, SHORT).err().expect("refused");
    assert_eq!(second, StoreError::Busy { path: folder.file() });
}
