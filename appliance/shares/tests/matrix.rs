//! Allocation: does every feature get what the profile says on the machine of R-02, and its part of it on smaller ones?
#![allow(clippy::unwrap_used)] // a test may stop where it stands

use weir_appliance_shares::{Accelerator, AcceleratorAsk, Ask, Class, Machine, Plan, plan};

const GIB: u64 = 1 << 30;

fn machine(critical: impl IntoIterator<Item = u32>, batch: impl IntoIterator<Item = u32>, memory: u64) -> Machine {
    let (critical, batch) = (critical.into_iter().collect(), batch.into_iter().collect());
    Machine { critical, batch, memory, accelerators: Vec::new() }
}

/// 8 performance cores (their first threads), 16 efficient ones, an NPU and a GPU.
fn reference() -> Machine {
    let accelerators =
        vec![Accelerator { name: "npu".into(), memory: 0 }, Accelerator { name: "gpu".into(), memory: 48 * GIB }];
    Machine { accelerators, ..machine((0..8).map(|core| core * 2), 16..32, 192 * GIB) }
}

fn all() -> Vec<Ask> {
    ["fusion", "nas", "streaming", "twin"].map(ask).to_vec()
}

fn ask(feature: &str) -> Ask {
    Ask { feature: feature.into(), ..Ask::default() }
}

fn counts(plan: &Plan) -> Vec<(&str, usize, usize)> {
    plan.grants.iter().map(|grant| (grant.feature.as_str(), grant.critical.len(), grant.batch.len())).collect()
}

#[test]
fn the_machine_of_the_requirement_holds_the_whole_profile() {
    let plan = plan(&reference(), &all()).unwrap();
    assert_eq!(counts(&plan), [("fusion", 1, 0), ("nas", 2, 0), ("streaming", 3, 6), ("twin", 2, 4)]);
    let sum = |role: fn(&(&str, usize, usize)) -> usize| counts(&plan).iter().map(role).sum::<usize>();
    assert_eq!((sum(|grant| grant.1), sum(|grant| grant.2)), (8, 10), "8P, 10E");
    let memory: Vec<u64> = plan.grants.iter().map(|grant| grant.memory / GIB).collect();
    assert_eq!(memory, [16, 4, 32, 64]);
    let nas = plan.of("nas").unwrap();
    let devices: Vec<_> = nas.accelerators.iter().map(|it| (it.name.as_str(), it.share, it.memory / GIB)).collect();
    assert_eq!(devices, [("npu", 5000, 0), ("gpu", 10_000, 40)]);
    assert_eq!(plan.of("fusion").unwrap().accelerators[0].share, 5000);
    assert_eq!(nas.class, Class::Batch);
    assert!(plan.grants.iter().all(|grant| grant.why.is_empty() && !grant.shared), "{plan:?}");
    assert_eq!(plan.free, (26..32).collect::<Vec<_>>());
    // The data plane's own core is given out last.
    assert!(plan.grants.iter().take(3).all(|grant| !grant.critical.contains(&0)));
    assert_eq!(plan.of("twin").unwrap().critical, [14, 0]);
}

#[test]
fn one_feature_alone_leaves_the_rest_free() {
    let plan = plan(&reference(), &[ask("streaming")]).unwrap();
    let grant = &plan.grants[0];
    assert_eq!((grant.critical.as_slice(), grant.batch.len()), ([2, 4, 6].as_slice(), 6));
    assert_eq!(grant.cpus()[0], 16, "its thread is on a batch core");
    assert_eq!(plan.free, [8, 10, 12, 14, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31]);
}

#[test]
fn a_smaller_machine_shrinks_the_profile_and_says_so() {
    // An E-core-only Xeon: all cores alike, 4 of 64 critical for 4 queues.
    let efficient = plan(&machine(0..4, 4..64, 512 * GIB), &all()).unwrap();
    assert_eq!(counts(&efficient), [("fusion", 0, 1), ("nas", 1, 0), ("streaming", 1, 6), ("twin", 1, 4)]);
    assert_eq!(efficient.of("twin").unwrap().why, "1 of 2 critical cores of its profile");
    assert!(!efficient.grants.iter().any(|grant| grant.critical.contains(&0)), "the data plane has its core alone");
    // A P-core-only Xeon with fewer cores than the profile has.
    let performance = plan(&machine(0..2, 2..8, 24 * GIB), &all()).unwrap();
    assert_eq!(counts(&performance), [("fusion", 0, 1), ("nas", 0, 1), ("streaming", 1, 2), ("twin", 0, 2)]);
    assert!(performance.grants.iter().all(|grant| !grant.shared && grant.memory < 14 * GIB));
    assert_eq!(performance.of("nas").unwrap().accelerators, [], "what is not here is not given");
    assert!(performance.of("nas").unwrap().why.contains("0 of 50 % of npu"), "{performance:?}");
}

#[test]
fn two_cpus_and_one_cpu_are_shared_in_turn() {
    let two = plan(&machine([1], [0], 4 * GIB), &[ask("streaming")]).unwrap();
    assert_eq!((two.grants[0].cpus(), two.grants[0].shared), (vec![0], false));
    let two = plan(&machine([1], [0], 4 * GIB), &all()).unwrap();
    assert!(two.grants.iter().all(|grant| grant.cpus() == [0] && grant.shared), "{two:?}");
    let one = plan(&machine([0], [0], GIB), &all()).unwrap();
    assert!(one.grants.iter().all(|grant| grant.cpus() == [0] && grant.shared));
    assert_eq!((two.free, one.free), (vec![], vec![]));
    let three = plan(&machine([0], [1, 2], 4 * GIB), &all()).unwrap();
    let cpus: Vec<_> = three.grants.iter().map(|grant| grant.cpus()[0]).collect();
    assert_eq!(cpus, [1, 2, 1, 2]);
}

#[test]
fn what_is_asked_in_so_many_words_is_given_or_refused_with_the_sum() {
    let four = machine(0..4, 4..8, 8 * GIB);
    let with = |feature: &str, critical, batch| Ask { critical, batch, ..ask(feature) };
    let asks = [with("nas", Some(2), None), with("streaming", Some(3), None), with("twin", Some(2), None)];
    let refused = plan(&four, &asks).unwrap_err().to_string();
    assert_eq!(
        refused,
        "2 + 3 + 2 = 7 critical cores: nas, streaming, twin together ask for more than there is: this machine has 4; \
         lower `critical` of nas or streaming or twin, or disable a feature"
    );
    let given = plan(&four, &[with("streaming", Some(4), Some(1)), ask("twin")]).unwrap();
    assert_eq!(counts(&given), [("streaming", 4, 1), ("twin", 0, 3)]);
    for (asks, words) in [
        (vec![with("streaming", None, Some(9))], "9 batch cores"),
        (vec![with("streaming", None, Some(4)), with("test1", None, None)], "no core is left"),
        (vec![with("test1", None, Some(0))], "no core of either role"),
        (
            vec![Ask { memory: Some(6 * GIB), ..ask("nas") }, Ask { memory: Some(3 * GIB), ..ask("twin") }],
            "6 GiB + 3 GiB = 9 GiB of memory",
        ),
        (vec![Ask { memory: Some(8 * GIB), ..ask("nas") }, ask("twin")], "leaves 0 MiB of 8 GiB"),
        (
            vec![Ask { accelerator: Some(AcceleratorAsk { name: "npu".into(), share: 5000 }), ..ask("nas") }],
            "none was found",
        ),
    ] {
        let refused = plan(&four, &asks).unwrap_err().to_string();
        assert!(refused.contains(words) && !refused.contains('\n'), "{words}: {refused}");
    }
    let npu =
        |feature: &str, share| Ask { accelerator: Some(AcceleratorAsk { name: "npu".into(), share }), ..ask(feature) };
    let refused = plan(&reference(), &[npu("nas", 6000), npu("fusion", 4050)]).unwrap_err().to_string();
    assert!(refused.starts_with("60% + 40.50% = 100.50% of npu"), "{refused}");
    let given = plan(&reference(), &[npu("nas", 6000), ask("fusion")]).unwrap();
    assert_eq!(given.of("fusion").unwrap().accelerators[0].share, 4000, "the profile takes what is left");
}
