//! Sharing an accelerator, on a clock of the test's own: does everybody get its share of the time, and its memory in its turn?
//! There is no device in this: what is tested is the order of work.
#![allow(clippy::unwrap_used)] // a test may stop where it stands

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_appliance_shares::accelerator::memory::{Asked, HIGHEST, Memory};
use weir_appliance_shares::accelerator::time::{Executor, Next, QUEUE};

const SECOND: u64 = 1_000_000_000;
const WINDOW: u64 = SECOND / 10;

/// Runs for 60 s users that always have a job waiting; each job takes the next of `costs`. Gives the part of the time that each
/// had, in thousandths.
fn run(shares: &[u32], spare: bool, costs: &[u64]) -> Vec<u64> {
    let mut device = Executor::new(WINDOW, spare);
    let names: Vec<String> = (0..shares.len()).map(|number| format!("user{number}")).collect();
    for (name, share) in names.iter().zip(shares) {
        device.set_share(name, *share);
        (0..2).for_each(|_| device.submit(name, ()).unwrap());
    }
    let (mut now, mut cost) = (0, costs.iter().cycle());
    while now < 60 * SECOND {
        match device.next(now) {
            Next::Run(name, ()) => {
                let took = *cost.next().unwrap();
                now += took;
                device.done(took, now);
                device.submit(&name, ()).unwrap();
            }
            Next::Wait(until) => {
                assert!(until > now, "the clock goes on");
                now = until;
            }
            Next::Nothing => panic!("everybody has work"),
        }
    }
    names.iter().map(|name| device.figures(name).0 * 1000 / now).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everybody_gets_its_share_of_the_time(
        parts in prop::collection::vec(1..10_u32, 1..5), total in 2000..=10_000_u32, costs in prop::collection::vec(100_000..20_000_000_u64, 1..50),
    ) {
        let sum: u32 = parts.iter().sum();
        let shares: Vec<u32> = parts.iter().map(|part| part * total / sum).collect();
        for (share, had) in shares.iter().zip(run(&shares, false, &costs)) {
            let (least, most) = (u64::from(*share) * 95 / 1000, u64::from(*share) * 105 / 1000);
            prop_assert!((least.saturating_sub(2)..=most + 2).contains(&had), "{} of 1000 for a share of {}", had, share);
        }
        // With spare time for all, the whole device is used and nobody has less than its share.
        let had = run(&shares, true, &costs);
        prop_assert!(had.iter().sum::<u64>() > 990, "{:?}", had);
        for (share, had) in shares.iter().zip(had) {
            prop_assert!(had + 2 >= u64::from(*share) * 95 / 1000, "{} of 1000 for a share of {}", had, share);
        }
    }
}

#[test]
fn half_of_the_npu_is_half_of_it() {
    let costs = [3_000_000, 11_000_000, 7_000_000];
    let had = run(&[5000, 5000], false, &costs);
    assert!(had.iter().all(|had| (475..=525).contains(had)), "{had:?}");
    let alone = run(&[5000], false, &costs);
    assert!((475..=525).contains(&alone[0]), "a share is a cap where spare time is not given: {alone:?}");
    assert!(run(&[5000], true, &costs)[0] > 990);
}

#[test]
fn queues_are_bounded_and_a_share_that_goes_takes_its_jobs_along() {
    let mut device = Executor::new(WINDOW, false);
    assert_eq!(device.submit("nas", 1), Err(1), "no share, no job");
    device.set_share("nas", 5000);
    assert!((0..QUEUE).all(|job| device.submit("nas", job).is_ok()));
    assert_eq!((device.submit("nas", 7), device.figures("nas")), (Err(7), (0, 1)));
    assert_eq!(device.next(0), Next::Run("nas".into(), 0));
    assert_eq!(device.next(5), Next::Nothing, "one job at a time");
    device.set_share("nas", 0);
    device.done(5, 10);
    assert_eq!(device.next(20), Next::Nothing);
}

#[derive(Clone, Debug)]
enum Deed {
    Ask(u64, u8),
    Release(usize),
}

fn deeds() -> impl Strategy<Value = Vec<(u64, Deed)>> {
    let deed = prop_oneof![
        (1..=120_u64, 0..=9_u8).prop_map(|(bytes, priority)| Deed::Ask(bytes, priority)),
        any::<usize>().prop_map(Deed::Release),
    ];
    prop::collection::vec((0..8_u64, deed), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_highest_comes_first_and_nothing_is_given_twice(deeds in deeds()) {
        const AGE: u64 = 10;
        let mut memory = Memory::new(100, AGE);
        let (mut held, mut waits) = (BTreeMap::new(), BTreeMap::new());
        let mut now = 0;
        let rank = |(_, priority, since): (u64, u8, u64), now: u64| u64::from(priority.min(HIGHEST)) + (now - since) / AGE;
        for (passed, deed) in deeds {
            now += passed;
            let granted = match deed {
                Deed::Ask(bytes, priority) => {
                    let asked = memory.request(bytes, priority, now);
                    prop_assert_eq!(asked.is_err(), bytes > 100);
                    let Ok(Asked { number, granted }) = asked else { continue };
                    waits.insert(number, (bytes, priority, now));
                    granted
                }
                Deed::Release(which) => {
                    let all: Vec<u64> = held.keys().chain(waits.keys()).copied().collect();
                    if all.is_empty() { continue }
                    let number = all[which % all.len()];
                    held.remove(&number);
                    waits.remove(&number);
                    memory.release(number, now)
                }
            };
            for number in granted {
                let got = waits.remove(&number).unwrap();
                let before = |other: &u64, it: (u64, u8, u64)| {
                    (rank(it, now), std::cmp::Reverse(*other)) > (rank(got, now), std::cmp::Reverse(number))
                };
                prop_assert!(!waits.iter().any(|(other, it)| before(other, *it)), "{:?} came before {:?}", got, waits);
                held.insert(number, got.0);
            }
            let used: u64 = held.values().sum();
            prop_assert!(used <= 100);
            prop_assert_eq!(memory.free_bytes(), 100 - used);
            prop_assert_eq!(memory.waiting(), waits.len());
        }
    }

    #[test]
    fn nobody_starves(low in 1..=100_u64, others in prop::collection::vec((1..=100_u64, 1..=HIGHEST), 1..40), age in 1..50_u64) {
        // Each holds its memory for one tick, and with every tick another important request comes, without end.
        let mut memory = Memory::new(100, age);
        let blocker = memory.request(100, HIGHEST, 0).unwrap().number;
        let Asked { number: mine, granted } = memory.request(low, 0, 0).unwrap();
        prop_assert!(granted.is_empty());
        let mut held = vec![blocker];
        let mut stream = others.iter().cycle();
        // After so long it is above everything that comes new, and all that came before needs a tick each at most.
        let bound = u64::from(HIGHEST + 1) * age * 2 + 2;
        for now in 1..=bound {
            let (bytes, priority) = *stream.next().unwrap();
            let mut next = memory.request(bytes, priority, now).unwrap().granted;
            for number in std::mem::take(&mut held) {
                next.extend(memory.release(number, now));
            }
            if next.contains(&mine) { return Ok(()) }
            held = next;
        }
        prop_assert!(false, "it waits after {} ticks", bound);
    }
}
