//! Does a compiled rule set match as the rules read? Against a linear search, for any rules and any frame.

use proptest::prelude::*;
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::decide::{Steered, Tables};
use weir_ebpf_abi::decode::{Address, Decoded, PORTS};
use weir_ebpf_abi::layout::{BUCKETS, MAX_RULES};
use weir_ebpf_abi::rules::{Match, Prefix, Rule};
use weir_ebpf_loader::compile::first_match_linear;
use weir_ebpf_loader::{FlagTable, HostTables, LoadError};

/// Few values, close together and at the ends, so that rules and frames meet.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![0..6u32, Just(u32::MAX), Just(u32::MAX - 1), (0..4u32).prop_map(|low| 0x0a00_0000 | low << 24 | low)]
}

fn long() -> impl Strategy<Value = u64> {
    prop_oneof![0..3u64, Just(u64::MAX), Just(u64::MAX - 1), Just(0x2001_0db8_0000_0000)]
}

fn prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (word(), 0..=32u8).prop_map(|(word, length)| {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&word.to_be_bytes());
        Prefix { address, length, version: 4 }
    });
    let v6 = (long(), long(), 0..=128u8).prop_map(|(high, low, length)| {
        let address = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        Prefix { address, length, version: 6 }
    });
    prop_oneof![v4, v6]
}

fn range16() -> impl Strategy<Value = (u16, u16)> {
    let end = || prop_oneof![0..6u16, Just(u16::MAX), Just(80)];
    (end(), end()).prop_map(|(one, other)| (one.min(other), one.max(other)))
}

fn range32() -> impl Strategy<Value = (u32, u32)> {
    (word(), word()).prop_map(|(one, other)| (one.min(other), one.max(other)))
}

fn rule() -> impl Strategy<Value = Rule> {
    let maybe = |percent: f64| proptest::option::weighted(percent, Just(()));
    (
        (proptest::option::weighted(0.3, prefix()), proptest::option::weighted(0.3, prefix())),
        (proptest::option::weighted(0.2, range16()), proptest::option::weighted(0.2, range16())),
        proptest::option::weighted(0.2, prop_oneof![Just(6u8), Just(17)]),
        proptest::option::weighted(0.2, range16()),
        proptest::option::weighted(0.2, range32()),
        (proptest::option::weighted(0.2, 0..=u16::MAX), maybe(0.5), 0..64u8, proptest::bool::weighted(0.2)),
        prop_oneof![3 => Just(10_000u16), 1 => 0..10_000u16],
    )
        .prop_map(|(addresses, ports, protocol, vlan, message_type, (modality, drop, class, no_ip), share)| Rule {
            matches: Match {
                source: addresses.0,
                destination: addresses.1,
                source_port: ports.0,
                destination_port: ports.1,
                protocol,
                vlan,
                message_type,
                modality,
                no_ip,
            },
            action: if drop.is_some() { Action::Drop } else { Action::Deliver },
            class,
            share,
        })
}

fn decoded() -> impl Strategy<Value = Decoded> {
    let address = |version: u8, high: u64, low: u64, word: u32| match version {
        4 => Address { high: 0, low: word.into() },
        6 => Address { high, low },
        _ => Address::default(),
    };
    (
        prop_oneof![Just(0u8), Just(4), Just(6)],
        (long(), long(), word()),
        (long(), long(), word()),
        (any::<bool>(), 0..90u16, prop_oneof![0..6u16, Just(u16::MAX)]),
        (prop_oneof![Just(6u8), Just(17), Just(1)], 0..3u8, 0..8u16),
        (0..4u8, word(), 0..16u32),
    )
        .prop_map(move |(version, source, destination, ports, rest, message)| {
            let mut decoded = Decoded::default();
            let outer = &mut decoded.outer;
            outer.version = version;
            outer.source = address(version, source.0, source.1, source.2);
            outer.destination = address(version, destination.0, destination.1, destination.2);
            if version != 0 {
                outer.protocol = rest.0;
            }
            if version != 0 && ports.0 {
                outer.flags = PORTS;
                (outer.source_port, outer.destination_port) = (ports.1, ports.2);
            }
            outer.vlan_count = rest.1;
            outer.vlans[0] = if rest.1 > 0 { rest.2 } else { 0 };
            decoded.kind = if version != 0 { message.0 } else { 0 }; // a message is in a datagram
            if decoded.kind > 0 {
                decoded.message.message_type = message.1;
            }
            if decoded.kind == 2 {
                decoded.message.modality = message.2;
            }
            decoded
        })
}

fn flags(widths: &[(u8, u16)]) -> FlagTable {
    FlagTable::of_widths(Match::default(), widths)
}

/// What goes in must come out: rules beyond the ranges of their table would match by accident.
fn agree(rules: &[Rule], frames: &[(Decoded, u16)]) -> Result<(), TestCaseError> {
    let tables = HostTables::new(rules, &[], &[]).map_err(|error| TestCaseError::fail(error.to_string()))?;
    for (decoded, bucket) in frames {
        let found = tables.rule_set().first_match(decoded, *bucket, 0);
        prop_assert_eq!(found, first_match_linear(rules, decoded, *bucket), "{:?} bucket {}", decoded, bucket);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn few_rules_match_as_they_read(
        rules in proptest::collection::vec(rule(), 0..12),
        frames in proptest::collection::vec((decoded(), 0..10_000u16), 40),
    ) {
        agree(&rules, &frames)?;
    }
}

/// A flow of this bucket.
fn flow(bucket: u16) -> u64 {
    ((u64::from(bucket) << 32).div_ceil(BUCKETS as u64)) << 32
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn flags_have_what_no_rule_took(
        rules in proptest::collection::vec(rule(), 0..4),
        targeted in proptest::collection::vec(rule(), 0..31),
        others in proptest::bool::ANY,
        frames in proptest::collection::vec((decoded(), 0..10_000u16), 40),
    ) {
        let targeted: Vec<Match> =
            targeted.iter().map(|rule| rule.matches).filter(|matches| *matches != Match::default()).collect();
        let of = |matches, number: usize| {
            FlagTable::new(matches, move |bucket| (usize::from(bucket) % 3 != number % 3).then_some(number as u8))
        };
        let mut tables: Vec<FlagTable> = targeted.iter().zip(1..).map(|(matches, number)| of(*matches, number)).collect();
        tables.extend(others.then(|| of(Match::default(), 40)));
        let host = HostTables::new(&rules, &tables, &[]).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let asking: Vec<Rule> = targeted
            .iter()
            .map(|matches| Rule { matches: *matches, action: Action::Deliver, class: 0, share: 10_000 })
            .collect();
        for (decoded, bucket) in &frames {
            let found = host.steer(decoded, flow(*bucket));
            if first_match_linear(&rules, decoded, *bucket).is_some() {
                prop_assert_ne!(found.0 as u16, u16::MAX);
                continue;
            }
            let table = match first_match_linear(&asking, decoded, *bucket) {
                Some(index) => tables.get(usize::from(index)),
                None => tables.get(targeted.len()),
            };
            let class = table.and_then(|table| table.class(*bucket));
            let expected = class.map(|class| u32::from(u16::MAX) | u32::from(class) << 16 | (Action::Deliver as u32 + 1) << 24);
            prop_assert_eq!(found, expected.map_or(Steered::NOTHING, Steered), "{:?} bucket {}", decoded, bucket);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn a_match_of_both_matches_what_both_match(
        one in rule(),
        other in rule(),
        frames in proptest::collection::vec(decoded(), 400),
    ) {
        let holds = |matches: Match, decoded: &Decoded| {
            first_match_linear(&[Rule { matches, share: 10_000, ..one }], decoded, 0).is_some()
        };
        let both = one.matches.both(&other.matches);
        for decoded in &frames {
            let expected = holds(one.matches, decoded) && holds(other.matches, decoded);
            prop_assert_eq!(both.is_some_and(|both| holds(both, decoded)), expected, "{:?}", decoded);
        }
    }

    #[test]
    fn all_rules_match_as_they_read(
        rules in proptest::collection::vec(rule(), MAX_RULES),
        frames in proptest::collection::vec((decoded(), 0..10_000u16), 400),
    ) {
        agree(&rules, &frames)?;
    }
}

/// 1,024 rules with nothing in common make as many boundaries and vectors as there can be.
#[test]
fn the_largest_rule_set_fits() {
    let rules: Vec<Rule> = (0..MAX_RULES as u32)
        .map(|number| {
            let range = |number: u32| (number as u16 * 30 + 1, number as u16 * 30 + 17);
            let mut v4 = [0; 16];
            v4[..4].copy_from_slice(&(number << 12).to_be_bytes());
            let v6 = (u128::from(number) << 40 | 1 << 39).to_be_bytes();
            let (source, destination) = if number % 2 == 0 { (v4, 4) } else { (v6, 6) };
            let prefix =
                Some(Prefix { address: source, length: if destination == 4 { 24 } else { 126 }, version: destination });
            let matches = Match {
                source: prefix,
                destination: prefix,
                source_port: Some(range(number)),
                destination_port: Some(range(number)),
                protocol: Some(number as u8),
                vlan: Some((number as u16 * 3 + 1, number as u16 * 3 + 2)),
                message_type: Some((number * 1_000 + 1, number * 1_000 + 9)),
                modality: Some(number as u16),
                no_ip: false,
            };
            Rule { matches, action: Action::Drop, class: 0, share: 9_999 - number as u16 }
        })
        .collect();
    HostTables::new(&rules, &[flags(&[(1, 10_000)])], &[]).expect("the worst rules fit");
    let one_more: Vec<Rule> = rules.iter().chain(&rules[..1]).copied().collect();
    let refused = HostTables::new(&one_more, &[], &[]);
    assert!(matches!(refused, Err(LoadError::TooMany { found: 1_025, limit: 1_024, .. })), "{refused:?}");
}

#[test]
fn nonsense_is_refused_with_its_value() {
    let all = Rule { matches: Match::default(), action: Action::Drop, class: 0, share: 10_000 };
    let refused = |rule: Rule| HostTables::new(&[rule], &[], &[]).expect_err("refused").to_string();
    assert!(refused(Rule { class: 64, ..all }).contains("class 64"));
    assert!(refused(Rule { share: 10_001, ..all }).contains("10001"));
    let ports = Match { source_port: Some((9, 8)), ..Match::default() };
    assert!(refused(Rule { matches: ports, ..all }).contains("9-8"));
    let long = Match { source: Some(Prefix { address: [0; 16], length: 33, version: 4 }), ..Match::default() };
    assert!(refused(Rule { matches: long, ..all }).contains("33"));
    assert!(HostTables::new(&[], &[flags(&[(64, 1)])], &[]).is_err());
    assert!(HostTables::new(&[], &[flags(&[(0, 1)]), flags(&[(1, 1)])], &[]).is_err(), "one table for all others");
}
