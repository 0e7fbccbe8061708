//! The same random calls on the durable store and on the model give the same answers.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use weir_appliance_control::resources::{
    Check, Expect, Kind, LeaseId, ManualClock, MemoryStore, ResourceStore, Revision, Transaction, Write, restore,
};

use crate::{Folder, SHORT, key, open, origin};

#[derive(Clone, Debug)]
enum Call {
    Commit(Vec<(u8, u8)>, Vec<(u8, u8, Option<u8>)>),
    Changes(u64, usize),
    History(Option<u8>, Option<u64>, usize),
    At(u64),
    Restore(u64),
    Pin(Option<u64>),
    Grant(u64),
    Renew(u64),
    Revoke(u64),
    Pass(u64),
    Reopen,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let checks = prop::collection::vec((0..6u8, 0..4u8), 0..2);
    let writes = prop::collection::vec((0..6u8, any::<u8>(), prop::option::of(0..4u8)), 0..4);
    let call = prop_oneof![
        12 => (checks, writes).prop_map(|(checks, writes)| Call::Commit(checks, writes)),
        2 => (0..90u64, 0..9usize).prop_map(|(after, limit)| Call::Changes(after, limit)),
        2 => (prop::option::of(0..6u8), prop::option::of(0..90u64), 0..99usize)
            .prop_map(|(key, before, limit)| Call::History(key, before, limit)),
        2 => (0..90u64).prop_map(Call::At),
        1 => (0..90u64).prop_map(Call::Restore),
        1 => prop::option::of(0..90u64).prop_map(Call::Pin),
        1 => (0..30u64).prop_map(Call::Grant),
        1 => (0..5u64).prop_map(Call::Renew),
        1 => (0..5u64).prop_map(Call::Revoke),
        1 => (0..9u64).prop_map(Call::Pass),
        1 => Just(Call::Reopen),
    ];
    prop::collection::vec(call, 1..120)
}

fn transaction(checks: &[(u8, u8)], writes: &[(u8, u8, Option<u8>)], newest: Revision) -> Transaction {
    let name = |number: u8| key(Kind::ALL[usize::from(number) % 2], &number.to_string());
    let mut transaction = Transaction::new(origin("model"));
    for (number, expect) in checks {
        let expect = match expect {
            0 => Expect::Absent,
            1 => Expect::Present,
            back => Expect::Revision(Revision(newest.0.saturating_sub(u64::from(*back) - 2))),
        };
        transaction.checks.push(Check { key: name(*number), expect });
    }
    for (number, value, lease) in writes {
        transaction.writes.push(if *value < 60 {
            Write::Delete { key: name(*number) }
        } else {
            let lease = lease.filter(|lease| *lease > 1).map(|lease| LeaseId(u64::from(lease)));
            Write::Put { key: name(*number), value: vec![*value; usize::from(*value)], lease }
        });
    }
    transaction
}

/// What a call answers, as text: both stores must say the same.
fn answer(store: &dyn ResourceStore, call: &Call) -> String {
    let newest = store.revision().expect("a revision");
    let said = match call {
        Call::Commit(checks, writes) => format!("{:?}", store.commit(&transaction(checks, writes, newest))),
        Call::Changes(after, limit) => format!("{:?}", store.changes(Revision(*after), *limit)),
        Call::History(number, before, limit) => {
            let key = number.map(|number| key(Kind::ALL[usize::from(number) % 2], &number.to_string()));
            format!("{:?}", store.history(key.as_ref(), before.map(Revision), *limit))
        }
        Call::At(revision) => format!("{:?}", store.at(Revision(*revision))),
        Call::Restore(revision) => {
            format!("{:?}", restore(store, &[Kind::Agents], Revision(*revision), origin("back")))
        }
        Call::Pin(revision) => {
            store.pin(revision.map(Revision));
            String::new()
        }
        Call::Grant(seconds) => format!("{:?}", store.grant(Duration::from_secs(*seconds))),
        Call::Renew(lease) => format!("{:?}", store.renew(LeaseId(*lease))),
        Call::Revoke(lease) => format!("{:?}", store.revoke(LeaseId(*lease), &origin("enough"))),
        Call::Pass(_) => format!("{:?}", store.expire()),
        Call::Reopen => String::new(),
    };
    let lists: Vec<_> = Kind::ALL.iter().map(|kind| store.list(*kind)).collect();
    format!("{said} {:?} {lists:?}", store.floor())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_durable_store_answers_as_the_model(calls in calls()) {
        let (clock, folder) = (Arc::new(ManualClock::default()), Folder::new("model"));
        let model = MemoryStore::new(Arc::clone(&clock) as _, SHORT);
        let mut durable = Some(open(&folder.file(), &clock));
        let mut pinned = None;
        let mut leases = false;
        for call in &calls {
            match call {
                Call::Pass(seconds) => clock.advance(Duration::from_secs(*seconds)),
                Call::Pin(revision) => pinned = revision.map(Revision),
                Call::Grant(_) => leases = true,
                // A store that is opened anew gives leases their whole time, which the model, never closed, does not.
                Call::Reopen if !leases => {
                    drop(durable.take());
                    let again = open(&folder.file(), &clock);
                    again.pin(pinned);
                    durable = Some(again);
                }
                _ => {}
            }
            let durable = durable.as_ref().expect("open");
            prop_assert_eq!(answer(durable, call), answer(&model, call), "{:?}", call);
        }
    }
}
