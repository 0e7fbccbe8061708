//! Does the kernel take the classifier, and does it do what it was told? Needs CAP_BPF and CAP_NET_ADMIN.
#![allow(clippy::print_stdout)] // a skip is told on the test's output

use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::rules::{Match, Rule};
use weir_ebpf_loader::{Classifier, LoadError, LoadOptions, Verdict};

/// The classifier, or `None` with a printed reason where the kernel does not let us.
fn classifier(test: &str) -> Option<Classifier> {
    match Classifier::load(LoadOptions::default()) {
        Ok(classifier) => Some(classifier),
        Err(LoadError::Load { cause }) if !rustix::process::geteuid().is_root() => {
            println!("weir-skip: {test}: not root: {cause}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_rule_flips_in_and_out() {
    let Some(mut classifier) = classifier("a_rule_flips_in_and_out") else { return };
    let frame = [0u8; 60];
    assert_eq!(classifier.run(&frame).expect("runs").verdict, Verdict::Pass);
    let drop = Rule { matches: Match::default(), action: Action::Drop, class: 0, share: 10_000 };
    classifier.install_rules(&[drop], &[]).expect("installs");
    assert_eq!(classifier.run(&frame).expect("runs").verdict, Verdict::Drop);
    assert_eq!(classifier.rule_counters().expect("reads")[0].frames, 1);
    let counted = classifier.install_rules(&[], &[]).expect("installs");
    assert_eq!((counted[0].frames, counted[0].bytes), (1, 60));
    assert_eq!(classifier.run(&frame).expect("runs").verdict, Verdict::Pass);
    let counters = classifier.counters().expect("reads");
    assert_eq!((counters.received.frames, counters.passed.frames, counters.dropped.frames), (3, 2, 1));
}
