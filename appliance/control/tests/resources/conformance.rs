//! The suite that every backend passes unchanged. It asks only what the trait promises; what a backend does by itself
//! (a cluster ends leases when it likes) is waited for.

use std::time::Duration;

use weir_appliance_control::resources::{
    Event, Expect, Kind, LEASE_LASTS, MAX_VALUE_BYTES, ResourceStore, Revision, StoreError, Transaction, Watch, restore,
};

use crate::{key, origin};

/// A backend under test: a fresh store whose history keeps at most 40 changes and 4000 bytes.
pub(crate) trait Rig {
    /// The store.
    fn store(&self) -> &dyn ResourceStore;
    /// Lets so much time pass for leases.
    fn pass(&self, time: Duration);
    /// Ends the store and opens what it left; false if the backend keeps nothing.
    fn reopen(&mut self) -> bool;
}

type Test<R> = (&'static str, fn(&mut R));

/// Every test, each on a store of its own.
pub(crate) fn whole<R: Rig>(make: impl Fn(&str) -> R) {
    let tests: [Test<R>; 11] = [
        ("empty", empty),
        ("writes", writes),
        ("checks", checks),
        ("transactions", transactions),
        ("refusals", refusals),
        ("history", history),
        ("restoring", restoring),
        ("watching", watching),
        ("slow_watcher", slow_watcher),
        ("leases", leases),
        ("pinned", pinned),
    ];
    for (name, test) in tests {
        test(&mut make(name));
    }
}

fn put(store: &dyn ResourceStore, name: &str, value: &str) -> Revision {
    store.commit(&Transaction::new(origin(name)).put(key(Kind::Rules, name), value)).expect("a good change")
}

fn value(store: &dyn ResourceStore, name: &str) -> Option<String> {
    let entry = store.get(&key(Kind::Rules, name)).expect("readable")?;
    Some(String::from_utf8(entry.value).expect("text"))
}

fn empty<R: Rig>(rig: &mut R) {
    let store = rig.store();
    assert_eq!(store.revision(), Ok(Revision(0)));
    assert_eq!(store.floor(), Ok(Revision(0)));
    assert_eq!(store.get(&key(Kind::Rules, "a")), Ok(None));
    assert_eq!(store.at(Revision(0)), Ok(Vec::new()));
    assert_eq!(store.history(None, None, 10), Ok(Vec::new()));
    for kind in Kind::ALL {
        assert_eq!(store.list(kind), Ok((Revision(0), Vec::new())));
    }
    let (asked, newest) = (Revision(1), Revision(0));
    assert_eq!(store.at(asked), Err(StoreError::Future { asked, newest }));
    assert_eq!(store.changes(asked, 1), Err(StoreError::Future { asked, newest }));
}

fn writes<R: Rig>(rig: &mut R) {
    let first = put(rig.store(), "b", "1");
    let second = put(rig.store(), "a", "2");
    let third = put(rig.store(), "b", "3");
    assert!(first < second && second < third, "one counter for all");
    let store = rig.store();
    let other = store.commit(&Transaction::new(origin("x")).put(key(Kind::Agents, "b"), "4")).expect("made");
    let (revision, rules) = store.list(Kind::Rules).expect("a list");
    assert_eq!(revision, other);
    let names: Vec<&str> = rules.iter().map(|entry| entry.key.name()).collect();
    assert_eq!(names, ["a", "b"], "by name, and no other kind");
    let b = &rules[1];
    assert_eq!((b.created, b.modified, b.version, b.lease), (first, third, 2, None));
    store.commit(&Transaction::new(origin("x")).delete(key(Kind::Rules, "b"))).expect("made");
    assert_eq!(value(store, "b"), None);
    let again = put(store, "b", "5");
    let entry = store.get(&key(Kind::Rules, "b")).expect("readable").expect("there");
    assert_eq!((entry.created, entry.modified, entry.version), (again, again, 1), "a new life");
    if rig.reopen() {
        let entry_again = rig.store().get(&key(Kind::Rules, "b")).expect("readable").expect("there");
        assert_eq!((entry_again, rig.store().revision()), (entry, Ok(again)));
    }
}

fn checks<R: Rig>(rig: &mut R) {
    let store = rig.store();
    let a = key(Kind::Rules, "a");
    let write = |expect| store.commit(&Transaction::new(origin("x")).check(a.clone(), expect).put(a.clone(), "v"));
    let conflict = |expected, found| Err(StoreError::Conflict { key: a.clone(), expected, found });
    assert_eq!(write(Expect::Present), conflict(Expect::Present, None));
    assert_eq!(write(Expect::Revision(Revision(7))), conflict(Expect::Revision(Revision(7)), None));
    let first = write(Expect::Absent).expect("it was not there");
    assert_eq!(write(Expect::Absent), conflict(Expect::Absent, Some(first)));
    let second = write(Expect::Revision(first)).expect("nobody came between");
    assert_eq!(write(Expect::Revision(first)), conflict(Expect::Revision(first), Some(second)));
    write(Expect::Present).expect("it is there");
    // A check of a resource that is not written.
    let order = key(Kind::Settings, "order");
    let guarded = Transaction::new(origin("x")).check(order.clone(), Expect::Present).put(a.clone(), "w");
    let found = store.commit(&guarded);
    assert_eq!(found, Err(StoreError::Conflict { key: order, expected: Expect::Present, found: None }));
}

fn transactions<R: Rig>(rig: &mut R) {
    let store = rig.store();
    let before = put(store, "a", "1");
    let (a, b, c) = (key(Kind::Rules, "a"), key(Kind::Rules, "b"), key(Kind::Settings, "order"));
    let good = Transaction::new(origin("order")).delete(a.clone()).put(b.clone(), "2").put(c.clone(), "b");
    // The last write is refused, so the others are not made either.
    let bad = Transaction::new(origin("bad")).put(b.clone(), "9").delete(key(Kind::Flags, "none"));
    assert_eq!(store.commit(&bad), Err(StoreError::Missing { key: key(Kind::Flags, "none") }));
    assert_eq!((store.revision(), value(store, "b")), (Ok(before), None));
    let revision = store.commit(&good).expect("all of it");
    assert_eq!(revision, Revision(before.0 + 1), "one revision for all writes");
    assert_eq!((value(store, "a"), value(store, "b").as_deref()), (None, Some("2")));
    let page = store.changes(before, 1).expect("a page");
    let written: Vec<_> =
        page.iter().map(|change| (change.revision, change.key.clone(), change.after.is_some())).collect();
    assert_eq!(written, [(revision, a, false), (revision, b, true), (revision, c, true)], "a page has whole revisions");
    assert!(page.iter().all(|change| change.origin == origin("order")));
}

fn refusals<R: Rig>(rig: &mut R) {
    let store = rig.store();
    let a = key(Kind::Rules, "a");
    let long = vec![0; MAX_VALUE_BYTES + 1];
    let mut large = Transaction::new(origin("x"));
    for part in 0..5 {
        large = large.put(key(Kind::Models, &part.to_string()), vec![0; MAX_VALUE_BYTES]);
    }
    for bad in [
        Transaction::new(origin("x")),
        Transaction::new(origin("x")).put(a.clone(), long),
        Transaction::new(origin("x")).put(a.clone(), "1").delete(a.clone()),
        large,
    ] {
        let refused = store.commit(&bad).expect_err("refused");
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
        assert!(!refused.to_string().contains('\n'));
    }
    assert_eq!(store.commit(&Transaction::new(origin("x")).delete(a.clone())), Err(StoreError::Missing { key: a }));
    assert_eq!(store.revision(), Ok(Revision(0)));
    let longest = Transaction::new(origin("x")).put(key(Kind::Models, "m"), vec![7; MAX_VALUE_BYTES]);
    store.commit(&longest).expect("the longest value");
}

fn history<R: Rig>(rig: &mut R) {
    for count in 0..200 {
        put(rig.store(), &format!("r{}", count % 7), &format!("value {count}"));
    }
    let store = rig.store();
    let (newest, floor) = (store.revision().expect("a revision"), store.floor().expect("a floor"));
    assert_eq!(newest, Revision(200));
    assert!(newest.0 - floor.0 >= 40, "as much as is promised is there");
    assert!(newest.0 - floor.0 <= 51, "and hardly more: {floor}");
    let all = store.history(None, None, 1000).expect("a history");
    assert!(all.windows(2).all(|pair| pair[0].revision > pair[1].revision), "newest first");
    assert_eq!(all[0].revision, newest);
    let some = store.history(Some(&key(Kind::Rules, "r3")), Some(Revision(195)), 2).expect("a history");
    let revisions: Vec<u64> = some.iter().map(|change| change.revision.0).collect();
    assert_eq!(revisions, [193, 186], "{some:?}");
    // Every state from the floor on is known, to the last value.
    for revision in floor.0..=newest.0 {
        let state = store.at(Revision(revision)).expect("known");
        assert_eq!(state.len(), 7);
        for entry in state {
            assert!(entry.modified.0 <= revision && entry.modified.0 + 7 > revision);
            assert_eq!(entry.value, format!("value {}", entry.modified.0 - 1).into_bytes());
        }
    }
    let asked = Revision(floor.0 - 1);
    assert_eq!(store.at(asked), Err(StoreError::Compacted { asked, floor }));
    if rig.reopen() {
        assert_eq!(rig.store().history(None, None, 1000).expect("a history"), all);
        assert_eq!(rig.store().floor(), Ok(floor));
    }
}

fn restoring<R: Rig>(rig: &mut R) {
    let store = rig.store();
    put(store, "kept", "1");
    put(store, "changed", "1");
    let then = put(store, "gone", "1");
    put(store, "changed", "2");
    store.commit(&Transaction::new(origin("x")).delete(key(Kind::Rules, "gone"))).expect("made");
    put(store, "new", "1");
    let token = store.commit(&Transaction::new(origin("x")).put(key(Kind::Tokens, "t"), "1")).expect("made");
    let back = restore(store, &[Kind::Rules], then, origin("back")).expect("restored").expect("something differed");
    assert_eq!(back, Revision(token.0 + 1), "a new change, nothing is rewritten");
    for (name, wanted) in [("kept", Some("1")), ("changed", Some("1")), ("gone", Some("1")), ("new", None)] {
        assert_eq!(value(store, name).as_deref(), wanted, "{name}");
    }
    assert!(store.get(&key(Kind::Tokens, "t")).expect("readable").is_some(), "another kind is left alone");
    assert_eq!(restore(store, &[Kind::Rules], then, origin("again")), Ok(None));
    let forth = restore(store, &[Kind::Rules], token, origin("forth")).expect("restored").expect("it differed");
    assert_eq!(store.at(forth).expect("known").len(), store.at(token).expect("known").len());
}

fn watching<R: Rig>(rig: &mut R) {
    let store = rig.store();
    let start = put(store, "a", "1");
    let mut all = Watch::new(store, None, start);
    let mut agents = Watch::new(store, Some(Kind::Agents), start);
    assert_eq!(all.next(Duration::ZERO), Ok(Event::Quiet));
    put(store, "a", "2");
    let last = store.commit(&Transaction::new(origin("x")).put(key(Kind::Agents, "7"), "x")).expect("made");
    let mut heard = Vec::new();
    while let Ok(Event::Changes(changes)) = all.next(Duration::ZERO) {
        heard.extend(changes.iter().map(|change| (change.revision, change.key.name().to_owned())));
    }
    assert_eq!(heard, [(Revision(2), "a".to_owned()), (last, "7".to_owned())]);
    let heard = loop {
        if let Event::Changes(changes) = agents.next(Duration::ZERO).expect("an event") {
            break changes;
        }
    };
    assert_eq!((heard.len(), heard[0].revision), (1, last), "only its kind");
    // A change wakes whoever waits.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Watch::new(store, None, last).next(Duration::from_secs(30)));
        put(store, "a", "3");
        let Ok(Event::Changes(changes)) = waiting.join().expect("a thread") else { panic!("no change") };
        assert_eq!(changes[0].revision, Revision(last.0 + 1));
    });
    let mut ahead = Watch::new(store, None, Revision(99));
    assert!(matches!(ahead.next(Duration::ZERO), Err(StoreError::Future { .. })));
}

fn slow_watcher<R: Rig>(rig: &mut R) {
    let store = rig.store();
    let mut slow = Watch::new(store, None, Revision(0));
    for count in 0..200 {
        put(store, "a", &count.to_string());
    }
    assert_eq!(slow.next(Duration::ZERO), Ok(Event::Resync(Revision(200))), "it is told to read all anew");
    assert_eq!(slow.next(Duration::ZERO), Ok(Event::Quiet));
    put(store, "a", "201");
    assert!(matches!(slow.next(Duration::ZERO), Ok(Event::Changes(changes)) if changes.len() == 1));
}

fn leases<R: Rig>(rig: &mut R) {
    let (short, second) = (*LEASE_LASTS.start(), Duration::from_secs(1));
    assert!(matches!(rig.store().grant(Duration::ZERO), Err(StoreError::Invalid(_))));
    let lease = rig.store().grant(short * 10).expect("a lease");
    let under = |name: &str, lease| {
        let mut change = Transaction::new(origin("lease")).put(key(Kind::Agents, name), "here");
        if let weir_appliance_control::resources::Write::Put { lease: held, .. } = &mut change.writes[0] {
            *held = Some(lease);
        }
        change
    };
    rig.store().commit(&under("1", lease)).expect("made");
    rig.store().commit(&under("2", lease)).expect("made");
    // A write without the lease keeps the resource.
    rig.store().commit(&Transaction::new(origin("keep")).put(key(Kind::Agents, "2"), "stays")).expect("made");
    for _ in 0..5 {
        rig.pass(second * 6);
        rig.store().renew(lease).expect("renewed in time");
        assert_eq!(rig.store().expire(), Ok(0));
    }
    rig.pass(second * 6);
    if rig.reopen() {
        // Nobody could renew it meanwhile: it has its whole time again.
        rig.pass(second * 6);
        assert_eq!(rig.store().expire(), Ok(0));
        rig.store().renew(lease).expect("still there");
    } else {
        rig.store().renew(lease).expect("still there");
    }
    rig.pass(second * 11);
    let before = rig.store().revision().expect("a revision");
    assert_eq!(rig.store().expire(), Ok(1));
    assert_eq!(rig.store().renew(lease), Err(StoreError::LeaseEnded { lease }));
    let (revision, agents) = rig.store().list(Kind::Agents).expect("a list");
    assert_eq!((revision, agents.len()), (Revision(before.0 + 1), 1), "gone as one change");
    let end = &rig.store().changes(before, 9).expect("a page")[0];
    assert_eq!((end.origin.author(), end.after.is_none()), ("weir", true));
    assert_eq!(rig.store().commit(&under("3", lease)), Err(StoreError::LeaseEnded { lease }));
    let other = rig.store().grant(short).expect("a lease");
    assert!(other > lease, "a number is never given twice");
    rig.store().commit(&under("4", other)).expect("made");
    assert!(rig.store().revoke(other, &origin("enough")).expect("revoked").is_some());
    assert_eq!(rig.store().get(&key(Kind::Agents, "4")), Ok(None));
    assert_eq!(rig.store().revoke(other, &origin("again")), Err(StoreError::LeaseEnded { lease: other }));
}

fn pinned<R: Rig>(rig: &mut R) {
    let store = rig.store();
    let then = put(store, "a", "then");
    store.pin(Some(then));
    let mut refused = None;
    for count in 0..400 {
        let change = Transaction::new(origin("x")).put(key(Kind::Rules, "a"), count.to_string());
        if let Err(error) = store.commit(&change) {
            refused = Some((count, error));
            break;
        }
    }
    let (count, error) = refused.expect("a pinned history does not grow without end");
    assert_eq!(error, StoreError::Pinned { pinned: then });
    assert!(count > 100, "much more than 40 changes fit: {count}");
    assert_eq!(store.at(then).expect("still known")[0].value, b"then");
    store.pin(None);
    put(store, "a", "on");
    assert!(store.floor().expect("a floor") > then, "what nobody needs goes");
}
