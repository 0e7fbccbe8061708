//! Whatever the machine: does every role get cores, and those of the card's node first?
#![allow(clippy::unwrap_used)] // a test may stop where it stands

use proptest::prelude::*;
use weir_dataplane_io::cpu::{Core, CoreWish, Kind, Pick, Source, Topology, roles};

/// A machine of 1 to 4 nodes with 1 to 6 cores each of 1 or 2 threads, of which a cpuset leaves at least one CPU.
fn machines() -> impl Strategy<Value = Topology> {
    let sizes = prop::collection::vec(1..=6_u32, 1..=4);
    (sizes, 1..=2_u32, any::<bool>(), any::<u64>(), any::<u64>()).prop_map(
        |(sizes, threads, hybrid, isolated, left)| {
            let all: u32 = sizes.iter().sum();
            let mut cores = Vec::new();
            for thread in 0..threads {
                let mut number = 0;
                for (node, count) in sizes.iter().enumerate() {
                    for place in 0..*count {
                        let kind = match (hybrid, place % 3) {
                            (false, _) => Kind::Alike,
                            (true, 0) => Kind::Performance,
                            (true, _) => Kind::Efficient,
                        };
                        let id = thread * all + number;
                        let isolated = isolated & 1 << id != 0;
                        cores.push(Core { id, node: node as u32, kind, first_thread: number, isolated });
                        number += 1;
                    }
                }
            }
            let first = cores[0];
            cores.retain(|core| left & 1 << core.id != 0);
            if cores.is_empty() {
                cores.push(first);
            }
            Topology { cores, source: Source::Homogeneous }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_role_has_cores_and_the_cards_node_comes_first(
        topology in machines(), node in prop::option::of(0..4_u32), critical_count in 0..40_usize,
    ) {
        let plan = roles(&topology, &CoreWish { node, critical_count, ..CoreWish::default() });
        let core = |id: &u32| *topology.cores.iter().find(|core| core.id == *id).unwrap();
        prop_assert!(!plan.critical.is_empty() && !plan.batch.is_empty() && !plan.interrupts().is_empty());
        if plan.critical != plan.batch {
            prop_assert!(plan.critical.iter().all(|id| !plan.batch.contains(id)), "{:?}", plan);
        }
        prop_assert!(plan.interrupts().iter().all(|id| topology.cores.iter().any(|core| core.id == *id)));
        let far = |id: &u32| node.is_some_and(|node| core(id).node != node);
        let near_first = |list: &[u32]| list.windows(2).all(|pair| !far(&pair[0]) || far(&pair[1]));
        prop_assert!(near_first(&plan.critical) && near_first(&plan.batch), "{:?}", plan);
        // A far core is critical only when no near one could be: all near ones are critical, threads of critical ones, or
        // of the frugal kind beside performance cores.
        let hybrid = [Kind::Performance, Kind::Efficient].iter().all(|kind| topology.cores.iter().any(|core| core.kind == *kind));
        let could_be = |candidate: &&Core| {
            let other_thread = |id: &u32| core(id).first_thread == candidate.first_thread;
            !far(&candidate.id) && !plan.critical.iter().any(other_thread)
                && (!hybrid || candidate.kind == Kind::Performance)
        };
        if plan.critical.iter().any(far) {
            let missed = topology.cores.iter().find(could_be);
            prop_assert!(missed.is_none(), "{:?} could be critical: {:?}", missed, plan);
        }
    }

    #[test]
    fn a_configured_list_never_leaves_a_role_without_a_core(
        topology in machines(), critical in prop::collection::vec(0..60_u32, 0..5), batch in prop::collection::vec(0..60_u32, 0..5),
    ) {
        let wish = CoreWish { critical: Pick::These(critical.clone()), batch: Pick::These(batch), ..CoreWish::default() };
        let plan = roles(&topology, &wish);
        prop_assert!(!plan.critical.is_empty() && !plan.batch.is_empty(), "{:?}", plan);
        let here = |id: &u32| topology.cores.iter().any(|core| core.id == *id);
        prop_assert!(plan.critical.iter().chain(&plan.batch).all(here));
        if !critical.iter().any(here) {
            prop_assert!(plan.why.contains("none of the configured"), "{}", plan.why);
        }
    }
}
