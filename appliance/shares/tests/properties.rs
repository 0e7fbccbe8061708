//! Whatever is asked of whatever machine: is nothing given twice, and is nobody without a core?
#![allow(clippy::unwrap_used)] // a test may stop where it stands

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_appliance_shares::lease::{Because, Event, IDLE_PERIODS, Lease, Leases, Load, Member, Owner};
use weir_appliance_shares::{Ask, Machine, plan};

const FEATURES: [&str; 6] = ["fusion", "nas", "streaming", "test1", "test2", "twin"];

fn machines() -> impl Strategy<Value = Machine> {
    (1..12_u32, 0..24_u32, 1..4096_u64).prop_map(|(critical, batch, mib)| {
        let critical: Vec<u32> = (0..critical).collect();
        let batch: Vec<u32> = (critical.len() as u32..critical.len() as u32 + batch).collect();
        // As the roles are read: neither is ever without a core.
        let batch = if batch.is_empty() { critical.clone() } else { batch };
        Machine { critical, batch, memory: mib << 26, accelerators: Vec::new() }
    })
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let cores = || prop::option::weighted(0.3, 0..6_u32);
    let memory = prop::option::weighted(0.3, (32..8192_u64).prop_map(|mib| mib << 20));
    let one = (any::<bool>(), cores(), cores(), memory);
    prop::collection::vec(one, FEATURES.len()).prop_map(|all| {
        let asks = FEATURES.iter().zip(all).filter(|(_, (enabled, ..))| *enabled);
        asks.map(|(name, (_, critical, batch, memory))| Ask {
            feature: (*name).to_owned(),
            critical,
            batch,
            memory,
            ..Ask::default()
        })
        .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_given_twice_and_nobody_is_without_a_core(machine in machines(), asks in asks()) {
        let Ok(made) = plan(&machine, &asks) else {
            // Defaults always fit where each feature can have its least: a refusal names something that was written.
            prop_assert!(asks.iter().any(|ask| ask.critical.is_some() || ask.batch.is_some() || ask.memory.is_some())
                || machine.memory < 6 * (32 << 20));
            return Ok(());
        };
        prop_assert_eq!(&made, &plan(&machine, &asks).unwrap(), "the same asks, the same plan");
        prop_assert_eq!(made.grants.len(), asks.len());
        prop_assert!(made.grants.iter().map(|grant| grant.memory).sum::<u64>() <= machine.memory);
        let mut owners: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for (grant, ask) in made.grants.iter().zip(&asks) {
            prop_assert!(!grant.cpus().is_empty(), "{} has no core: {:?}", grant.feature, made);
            prop_assert!(grant.critical.iter().all(|cpu| machine.critical.contains(cpu)));
            prop_assert!(grant.batch.iter().all(|cpu| machine.batch.contains(cpu)));
            prop_assert!(ask.critical.is_none_or(|asked| grant.critical.len() == asked as usize), "as asked: {:?}", grant);
            prop_assert!(ask.batch.is_none_or(|asked| grant.batch.len() == asked as usize), "as asked: {:?}", grant);
            prop_assert!(ask.memory.is_none_or(|asked| grant.memory == asked));
            for cpu in grant.cpus() {
                owners.entry(cpu).or_default().push(&grant.feature);
            }
        }
        let roles_apart = machine.batch != machine.critical;
        let alone = asks.iter().zip(&made.grants).filter(|(ask, grant)| ask.batch.is_none() && grant.critical.is_empty());
        let asked: usize = asks.iter().filter_map(|ask| ask.batch).sum::<u32>() as usize;
        for (cpu, features) in &owners {
            if features.len() > 1 && roles_apart {
                // Only where batch cores are fewer than those who have no other.
                prop_assert!(alone.clone().count() > machine.batch.len() - asked, "CPU {} is of {:?}: {:?}", cpu, features, made);
            }
            for feature in features {
                prop_assert_eq!(made.of(feature).unwrap().shared, made.of(feature).unwrap().cpus().iter().any(|cpu| owners[cpu].len() > 1));
            }
            prop_assert!(!made.free.contains(cpu));
        }
    }
}

/// Features with one to three cores each, none of them in common, and what each does in each period.
fn loads() -> impl Strategy<Value = (Vec<u32>, u32, Vec<Vec<Option<Load>>>)> {
    let load =
        (0..2500_u32, 0..1000_u32, any::<bool>(), 0..4_u32).prop_map(|(used, waiting, spins, kind)| match kind {
            0 => Load::default(),
            1 => Load { used, waiting: 0, spins: false },
            _ => Load { used, waiting, spins: spins && kind == 3 },
        });
    (1..5_usize).prop_flat_map(move |features| {
        let period = prop::collection::vec(prop::option::weighted(0.9, load.clone()), features);
        (prop::collection::vec(1..4_u32, features), 0..3_u32, prop::collection::vec(period, 1..40))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_loan_ends_in_the_period_in_which_its_owner_works((sizes, free, periods) in loads()) {
        let mut first = 0;
        let own: Vec<Vec<u32>> = sizes.iter().map(|size| { first += size; (first - size..first).collect() }).collect();
        let free: Vec<u32> = (first..first + free).collect();
        let mut leases = Leases::default();
        let mut idle = vec![0_u32; own.len()];
        for loads in &periods {
            let members: BTreeMap<String, Member> = own.iter().zip(loads).enumerate().map(|(place, (cpus, load))| {
                (FEATURES[place].to_owned(), Member { cpus: cpus.clone(), shared: false, borrow: true, load: *load })
            }).collect();
            let events = leases.step(&members, &free);
            for (place, load) in loads.iter().enumerate() {
                let works = load.is_some_and(|load| load.spins || load.used >= 100 || load.waiting > 0);
                idle[place] = if works { 0 } else { idle[place] + 1 };
                let mine = |lease: &Lease| lease.from == Owner::Feature(FEATURES[place].to_owned());
                prop_assert!(!works || !leases.all().any(mine), "{} works and has lent a core", FEATURES[place]);
                prop_assert!(leases.all().filter(|lease| mine(lease)).all(|_| idle[place] >= IDLE_PERIODS));
                let borrows = leases.all().any(|lease| lease.to == FEATURES[place]);
                prop_assert!(!(borrows && leases.all().any(mine)), "who lends does not borrow");
                prop_assert!(load.is_some() || !borrows, "who does not run has borrowed nothing");
            }
            for event in &events {
                if let Event::Back(lease, Because::OwnerWorks) = event {
                    prop_assert!(leases.all().all(|now| now.cpu != lease.cpu), "it is not lent on in the same period");
                }
            }
            let mut lent: Vec<u32> = leases.all().map(|lease| lease.cpu).collect();
            lent.dedup();
            prop_assert_eq!(lent.len(), leases.all().count(), "a core is lent once");
            for (name, member) in &members {
                let cpus = leases.cpus_of(name, member);
                prop_assert!(member.cpus.iter().all(|cpu| cpus.contains(cpu)), "nobody loses a core of its own");
            }
        }
    }
}

#[test]
fn the_trace_of_a_load_step() {
    let mut leases = Leases::default();
    let mut step = |busy: u32, other: u32| {
        let member = |cpus: Vec<u32>, used| Member {
            cpus,
            shared: false,
            borrow: true,
            load: Some(Load { used, ..Load::default() }),
        };
        let members = BTreeMap::from([
            ("streaming".to_owned(), member(vec![1], busy)),
            ("twin".to_owned(), member(vec![2, 3], other)),
        ]);
        let events = leases.step(&members, &[]);
        let said = |event: &Event| match event {
            Event::Lent(lease) => format!("lent {}", lease.cpu),
            Event::Back(lease, because) => format!("back {}: {}", lease.cpu, because.as_str()),
        };
        (events.iter().map(said).collect::<Vec<_>>().join(", "), leases.all().count())
    };
    assert_eq!(step(10, 0), (String::new(), 0));
    assert_eq!(step(10, 0), (String::new(), 0));
    assert_eq!(step(990, 0), ("lent 3".into(), 1), "the load steps up: the idle core is lent");
    assert_eq!(step(1900, 0), ("lent 2".into(), 2), "and it is not enough");
    assert_eq!(step(1900, 0), (String::new(), 2));
    assert_eq!(step(1900, 500), ("back 2: its owner has work, back 3: its owner has work".into(), 0));
    assert_eq!(step(990, 0), (String::new(), 0));
    assert_eq!(step(990, 0), (String::new(), 0));
    assert_eq!(step(990, 0), ("lent 3".into(), 1));
    assert_eq!(step(10, 0), ("back 3: it is not needed any more".into(), 0), "the load steps down");
}
