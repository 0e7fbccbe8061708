//! Are cores of every kind of machine recognised and given to the right role?
#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod trees;

use std::fs;

use trees::tree;
use weir_dataplane_io::cpu::{CorePlan, CoreWish, Kind, Pick, Source, Topology, parse_list, roles};

fn plan(name: &str, wish: &CoreWish) -> (Topology, CorePlan) {
    let root = tree(name);
    let topology = Topology::read(&root);
    fs::remove_dir_all(root).unwrap();
    let plan = roles(&topology, wish);
    (topology, plan)
}

fn count(topology: &Topology, kind: Kind) -> usize {
    topology.cores.iter().filter(|core| core.kind == kind).count()
}

#[test]
fn intel_hybrids_give_performance_cores_to_the_data_plane() {
    let (topology, plan) = plan("intel-12900k", &CoreWish::default());
    assert_eq!((count(&topology, Kind::Performance), count(&topology, Kind::Efficient)), (16, 8));
    assert_eq!((plan.source, plan.source.name()), (Source::CpuAtom, "cpu_atom"));
    assert_eq!(plan.critical, [0, 2, 4, 6, 8, 10, 12, 14]);
    assert_eq!(plan.batch, (16..24).collect::<Vec<_>>());
    assert_eq!(plan.idle, [1, 3, 5, 7, 9, 11, 13, 15], "second threads of critical cores stay idle");
    assert!(plan.why.contains("8 performance cores"), "{}", plan.why);
}

#[test]
fn eight_performance_and_sixteen_efficient_cores() {
    let (_, plan) = plan("intel-13900k", &CoreWish::default());
    assert_eq!((plan.critical.len(), plan.batch.len()), (8, 16));
}

#[test]
fn arm_capacities_split_at_the_widest_gap() {
    let (topology, two) = plan("arm-biglittle", &CoreWish::default());
    assert_eq!(topology.source, Source::Capacity);
    assert_eq!((two.critical, two.batch), (vec![4, 5, 6, 7], vec![0, 1, 2, 3]));
    let (_, three) = plan("arm-three-tiers", &CoreWish::default());
    assert_eq!((three.critical, three.batch), (vec![4, 5, 6, 7], vec![0, 1, 2, 3]));
}

#[test]
fn a_ranking_of_alike_cores_is_no_second_kind() {
    let wish = CoreWish { critical_count: 3, ..CoreWish::default() };
    let (topology, plan) = plan("amd-epyc-2-nodes", &wish);
    assert_eq!((topology.source, count(&topology, Kind::Alike)), (Source::Smt, 32));
    assert_eq!(plan.critical, [6, 7, 0], "isolated cores first");
    assert_eq!(plan.idle, [16, 22, 23], "their second threads stay idle");
    assert_eq!(plan.batch.len(), 26);
}

#[test]
fn the_cards_node_comes_before_isolation() {
    let wish = CoreWish { critical_count: 2, node: Some(1), ..CoreWish::default() };
    assert_eq!(plan("amd-epyc-2-nodes", &wish).1.critical, [8, 9]);
}

#[test]
fn two_cpus_are_one_for_frames_and_one_for_the_rest() {
    let (topology, plan) = plan("vm-2-amd", &CoreWish::default());
    assert_eq!((topology.source, plan.critical, plan.batch), (Source::Homogeneous, vec![1], vec![0]));
}

#[test]
fn a_configured_list_wins_and_unknown_cpus_are_left_out() {
    let wish = CoreWish { critical: Pick::These(vec![0, 99]), batch: Pick::These(vec![1]), ..CoreWish::default() };
    let (_, plan) = plan("vm-2-amd", &wish);
    assert_eq!((plan.critical, plan.batch, plan.idle), (vec![0], vec![1], vec![]));
}

#[test]
fn one_cpu_is_shared() {
    let (mut topology, _) = plan("vm-2-amd", &CoreWish::default());
    topology.cores.truncate(1);
    let plan = roles(&topology, &CoreWish::default());
    assert_eq!((plan.critical, plan.batch), (vec![0], vec![0]));
    assert!(plan.why.contains("share"), "{}", plan.why);
}

#[test]
fn this_machine_has_a_plan() {
    let topology = Topology::live();
    let plan = roles(&topology, &CoreWish::default());
    assert!(!plan.critical.is_empty() && !plan.batch.is_empty());
    assert!(plan.critical.iter().all(|id| topology.cores.iter().any(|core| core.id == *id)));
}

#[test]
fn lists_as_the_kernel_writes_them() {
    assert_eq!(parse_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
    assert_eq!(parse_list(""), [0_u32; 0]);
    assert_eq!(parse_list("nonsense,2"), [2]);
    assert!(parse_list("0-4294967295").len() < 10_000);
}
