//! Does memory go to the card's node, and to the next best one where that has too little?
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test may stop where it stands

mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use trees::tree;
use weir_dataplane_io::cpu::{CoreWish, Topology, roles};
use weir_dataplane_io::nic::{Vector, View, vectors};
use weir_dataplane_io::numa::{Source, nearest_first, node_of_interface, nodes, sources};
use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions};

const MIB: u64 = 1 << 20;

fn hugepages_of(node: u32) -> Source {
    Source { node: Some(node), huge: true }
}

fn plain_of(node: u32) -> Source {
    Source { node: Some(node), huge: false }
}

#[test]
fn a_card_says_its_node_or_it_is_unknown() {
    for (name, interface, node) in [
        ("intel-2-nodes", "ens1f0", Some(1)),
        ("intel-2-nodes", "eno1", Some(0)),
        ("intel-2-nodes", "lo", None),
        ("intel-2-nodes", "absent", None),
        ("amd-nps4", "enp65s0", Some(2)),
        ("vm-2-nodes", "eth0", Some(1)),
        ("vm-virtio", "eth0", None),
        ("vm-virtio", "veth0", None),
        ("no-nodes", "eth0", None),
    ] {
        let root = tree(name);
        assert_eq!(node_of_interface(&root.join("sys"), interface), node, "{interface} of {name}");
        fs::remove_dir_all(root).unwrap();
    }
}

#[test]
fn nodes_are_read_with_their_cpus_memory_and_hugepages() {
    let root = tree("intel-2-nodes");
    let both = nodes(&root.join("sys"));
    assert_eq!(both.len(), 2);
    assert_eq!(both[1].cpus, (8..16).chain(24..32).collect::<Vec<_>>());
    assert_eq!((both[0].huge_total, both[0].huge_free, both[1].huge_free), (512, 512, 16));
    assert_eq!(both[0].free, 62_000_000 * 1024, "free and unused cache, not used cache");
    assert_eq!(both[1].distances, [21, 10]);
    fs::remove_dir_all(root).unwrap();
    let root = tree("no-nodes");
    assert_eq!(nodes(&root.join("sys")), []);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn the_nearest_node_comes_next() {
    let root = tree("amd-nps4");
    let all = nodes(&root.join("sys"));
    assert_eq!(nearest_first(&all, 2), [2, 0, 1, 3, 4, 5, 6, 7]);
    assert_eq!(nearest_first(&all, 5), [5, 4, 6, 7, 0, 1, 2, 3]);
    assert_eq!(nearest_first(&all, 9), [0, 1, 2, 3, 4, 5, 6, 7], "an unknown home has no near ones");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn hugepages_of_the_node_then_its_plain_pages_then_the_next_node() {
    let root = tree("intel-2-nodes");
    let both = nodes(&root.join("sys"));
    let (ways, against) = sources(&both, 1, 32 * MIB, true, false);
    assert_eq!((ways[0], against.len()), (hugepages_of(1), 0), "16 pages are enough");
    let (ways, against) = sources(&both, 1, 34 * MIB, true, false);
    assert_eq!(ways[..3], [plain_of(1), hugepages_of(0), plain_of(0)]);
    assert_eq!(ways[3..], [Source { node: None, huge: true }, Source { node: None, huge: false }]);
    assert!(against[0].contains("node 1 has 16 of 17 hugepages free") && against[0].contains("by 1"), "{against:?}");
    let (ways, _) = sources(&both, 1, 34 * MIB, true, true);
    assert_eq!(ways, [hugepages_of(0), Source { node: None, huge: true }], "required: the nearest that has them");
    let (ways, _) = sources(&both, 0, 34 * MIB, false, false);
    assert_eq!(ways, [plain_of(0), plain_of(1), Source { node: None, huge: false }]);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_full_node_is_passed_over_and_said() {
    let root = tree("amd-nps4");
    let all = nodes(&root.join("sys"));
    let (ways, against) = sources(&all, 2, 9_000_000 * 1024, true, false);
    assert_eq!(ways, [Source { node: None, huge: true }, Source { node: None, huge: false }], "no node has 9 GB");
    assert_eq!(against.len(), 16, "each node, for its hugepages and its plain ones");
    let (ways, against) = sources(&all, 7, 100 * MIB, true, true);
    assert_eq!(ways[0], hugepages_of(4), "the nearest that has them, of the same package");
    assert!(against.iter().any(|line| line.starts_with("node 7 has 0 of 50")), "{against:?}");
    let (_, against) = sources(&all, 12, MIB, true, false);
    assert!(against[0].contains("no memory node 12"), "{against:?}");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn without_nodes_the_kernel_chooses() {
    let (ways, _) = sources(&[], 0, MIB, true, false);
    assert_eq!(ways, [Source { node: None, huge: true }, Source { node: None, huge: false }]);
}

#[test]
fn cores_come_from_the_cards_node_for_both_roles() {
    let root = tree("amd-nps4");
    let topology = Topology::read(&root.join("sys/devices"));
    let wish = CoreWish { critical_count: 2, node: Some(2), ..CoreWish::default() };
    let plan = roles(&topology, &wish);
    assert_eq!((plan.critical.as_slice(), &plan.batch[..3]), (&[10, 11][..], &[8, 9, 0][..]));
    assert_eq!(plan.interrupts(), [11, 10], "the pool's core comes last");
    assert!(plan.why.contains("node 2, 2 of 2 critical and 2 of 30 batch"), "{}", plan.why);
    fs::remove_dir_all(root).unwrap();
    let root = tree("vm-2-nodes");
    let plan = roles(
        &Topology::read(&root.join("sys/devices")),
        &CoreWish { critical_count: 4, node: Some(1), ..CoreWish::default() },
    );
    assert_eq!((plan.critical.as_slice(), plan.batch.as_slice()), (&[2, 3][..], &[0, 1][..]), "half at most");
    fs::remove_dir_all(root).unwrap();
    let root = tree("vm-virtio");
    let plan = roles(&Topology::read(&root.join("sys/devices")), &CoreWish::default());
    assert_eq!((plan.critical.as_slice(), plan.interrupts()), (&[1][..], vec![0]), "two CPUs: interrupts stay on 0");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn vectors_of_a_card_know_their_queues() {
    let root = tree("intel-2-nodes");
    let view = View::recorded(&root.join("sys"), &root.join("proc"));
    let found = vectors(&view, "ens1f0");
    assert_eq!(found.len(), 9);
    assert_eq!(found[0], Vector { irq: 120, name: "ice-0000:af:00.0:misc".into(), queue: None });
    assert_eq!(found[3], Vector { irq: 123, name: "ice-ens1f0-TxRx-2".into(), queue: Some(2) });
    assert_eq!(vectors(&view, "lo"), []);
    fs::remove_dir_all(root).unwrap();
    let root = tree("vm-2-nodes");
    let view = View::recorded(&root.join("sys"), &root.join("proc"));
    let queues: Vec<_> = vectors(&view, "eth0").into_iter().filter_map(|vector| vector.queue).collect();
    assert_eq!(queues, [0, 0, 1, 1, 2, 2, 3, 3], "one vector each way");
    fs::remove_dir_all(root).unwrap();
    let root = tree("vm-virtio");
    let view = View::recorded(&root.join("sys"), &root.join("proc"));
    let queues: Vec<_> = vectors(&view, "eth0").into_iter().map(|vector| (vector.irq, vector.queue)).collect();
    assert_eq!(queues, [(37, None), (38, Some(0)), (39, Some(0))], "the PCI device above has them");
    assert_eq!(vectors(&view, "veth0"), []);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn frames_are_on_the_node_that_was_asked_for() {
    let Some(home) = nodes(Path::new("/sys")).first().map(|node| node.id) else {
        return println!("weir-skip: frames_are_on_the_node: this kernel knows no NUMA nodes");
    };
    let options = UmemOptions { frames: 512, frame_size: 4096, hugepages: HugePages::Never, node: Some(home) };
    let umem = Umem::create_with(options).unwrap();
    assert_eq!((umem.residence().wished, umem.residence().bound), (Some(home), Some(home)));
    assert_eq!(umem.residence().why, "");
    let pages = umem.pages_by_node().unwrap();
    assert_eq!(pages.keys().collect::<Vec<_>>(), [&Some(home)], "every page that was asked is there: {pages:?}");
}

#[test]
fn a_node_that_is_not_there_is_said_and_memory_comes_all_the_same() {
    let options = UmemOptions { frames: 16, frame_size: 4096, hugepages: HugePages::Never, node: Some(777) };
    let umem = Umem::create_with(options).unwrap();
    assert!(umem.residence().why.contains("no memory node 777"), "{:?}", umem.residence());
    let seen: BTreeMap<_, _> = umem.pages_by_node().unwrap_or_default();
    assert!(!seen.contains_key(&Some(777)));
}
