//! From a recorded machine to what every feature has on it: do roles and plan fit together?
#![allow(clippy::unwrap_used)] // a test may stop where it stands

#[path = "../../dataplane/io/tests/trees/mod.rs"]
mod trees;

use weir_appliance_shares::{Ask, Machine, Plan, plan};
use weir_dataplane_io::cpu::{CoreWish, Topology, roles};

const GIB: u64 = 1 << 30;

/// The plan of `features` on a recorded machine of which so many queues are polled.
fn planned(name: &str, queues: usize, features: &[&str]) -> (Machine, Plan) {
    let root = trees::tree(name);
    let topology = Topology::read(&root);
    std::fs::remove_dir_all(root).unwrap();
    let cores = roles(&topology, &CoreWish { critical_count: queues, ..CoreWish::default() });
    let machine = Machine { critical: cores.critical, batch: cores.batch, memory: 192 * GIB, accelerators: Vec::new() };
    let asks: Vec<Ask> = features.iter().map(|name| Ask { feature: (*name).to_owned(), ..Ask::default() }).collect();
    let plan = plan(&machine, &asks).unwrap();
    (machine, plan)
}

const ALL: [&str; 4] = ["fusion", "nas", "streaming", "twin"];

#[test]
fn the_allocation_matrix() {
    // Critical and batch cores of fusion, nas, streaming and twin; a star where batch cores are shared.
    for (name, queues, wanted) in [
        ("intel-13900k", 1, "1/0 2/0 3/6 2/4"), // 8 performance and 16 efficient cores: the machine of the requirement
        ("intel-12900k", 1, "1/0 2/0 3/5 2/3"),
        ("xeon-e-cores", 8, "1/0 2/0 3/6 2/4"),
        ("xeon-e-cores", 4, "0/1 1/0 1/6 1/4"),
        ("xeon-p-cores", 4, "0/1 1/0 1/4 1/3"), // second threads of the others are batch cores too
        ("arm-biglittle", 1, "0/1 1/0 1/2 1/1"),
        ("amd-epyc-2-nodes", 8, "1/0 2/0 3/6 2/4"),
        ("vm-2-amd", 1, "0/1* 0/1* 0/1* 0/1*"),
    ] {
        let (machine, plan) = planned(name, queues, &ALL);
        let one = |grant: &weir_appliance_shares::Grant| {
            format!("{}/{}{}", grant.critical.len(), grant.batch.len(), if grant.shared { "*" } else { "" })
        };
        let found: Vec<String> = plan.grants.iter().map(one).collect();
        assert_eq!(found.join(" "), wanted, "{name}: {machine:?}");
        let cpus: Vec<u32> = plan.grants.iter().flat_map(weir_appliance_shares::Grant::cpus).collect();
        assert!(
            cpus.iter().all(|cpu| machine.critical.contains(cpu) || machine.batch.contains(cpu)),
            "{name}: {plan:?}"
        );
    }
}

#[test]
fn one_feature_has_the_first_batch_core_as_before() {
    for name in ["intel-13900k", "xeon-e-cores", "xeon-p-cores", "amd-epyc-2-nodes", "vm-2-amd", "arm-three-tiers"] {
        let (machine, plan) = planned(name, 1, &["streaming"]);
        let grant = &plan.grants[0];
        assert_eq!(grant.cpus()[0], machine.batch[0], "{name}");
        assert!(!grant.critical.contains(&machine.critical[0]), "{name}: the data plane's core is its own");
    }
}
