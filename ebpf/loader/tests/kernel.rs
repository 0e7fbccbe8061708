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

/// A message of `source` for agent 7, stamped `stamp_ns`.
fn message(source: u32, stamp_ns: u64) -> Vec<u8> {
    let mut frame = weir_ebpf_loader::measure::Case::Forward.frame();
    // Ethernet, IPv4, UDP, and the fields of the header behind them.
    frame[42 + 4..42 + 8].copy_from_slice(&source.to_le_bytes());
    frame[42 + 12..42 + 20].copy_from_slice(&stamp_ns.to_le_bytes());
    frame
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[test]
fn forwarded_frames_are_watched_exactly_while_somebody_asks() {
    let Some(mut classifier) = classifier("forwarded_frames_are_watched_exactly_while_somebody_asks") else { return };
    let case = weir_ebpf_loader::measure::Case::Forward;
    case.prepare(&mut classifier, weir_ebpf_loader::measure::Rules(0)).expect("prepares");
    let forward = |classifier: &mut Classifier, stamp_ns| {
        let ran = classifier.run(&message(9, stamp_ns)).expect("runs");
        assert!(matches!(ran.verdict, Verdict::Redirect | Verdict::Transmit), "{ran:?}");
    };
    forward(&mut classifier, monotonic_ns());
    let none = classifier.watched().expect("reads");
    assert_eq!((none.costs.iter().sum::<u64>(), none.late.iter().sum::<u64>()), (0, 0), "nobody asked");

    classifier.watch_forwarded(std::num::NonZeroU8::new(1)).expect("asks");
    forward(&mut classifier, monotonic_ns());
    // The same source, half a second late.
    forward(&mut classifier, monotonic_ns() - 500_000_000);
    classifier.watch_forwarded(None).expect("asks no longer");
    forward(&mut classifier, monotonic_ns());
    let seen = classifier.watched().expect("reads");
    assert_eq!((seen.costs.iter().sum::<u64>(), seen.late.iter().sum::<u64>(), seen.crowded), (2, 2, 0));
    let cost: u64 = seen.cost_ns.iter().sum();
    assert!(cost > 0 && cost < 1_000_000_000, "{cost}");
    let half = weir_ebpf_abi::watched::bucket(500_000_000);
    assert_eq!(seen.late[half - 2..half + 2].iter().sum::<u64>(), 1, "{:?}", seen.late);
    // A frame that is not forwarded is not counted.
    classifier.watch_forwarded(std::num::NonZeroU8::new(1)).expect("asks");
    classifier.run(&[0; 60]).expect("runs");
    assert_eq!(classifier.watched().expect("reads").costs, seen.costs);
}

#[test]
fn every_program_that_measures_is_taken() {
    use weir_ebpf_loader::measure::{Case, Rules, Subject};
    let Some(mut classifier) = classifier("every_program_that_measures_is_taken") else { return };
    Case::Forward.prepare(&mut classifier, Rules(10)).expect("prepares");
    for subject in [Subject::Classifier, Subject::NewConnection, Subject::EmptyPass, Subject::EmptyRedirect] {
        classifier.measure(subject, &Case::Forward.frame(), 10).unwrap_or_else(|error| panic!("{subject:?}: {error}"));
    }
}
