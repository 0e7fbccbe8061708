use proptest::prelude::*;
use weir_ebpf_abi::layout::BUCKETS;

use super::*;
use crate::config::{Config, VariantSpec};
use crate::taker::Taker;

fn config(flags: &str) -> Result<Config, String> {
    let text = format!("features: {{test1: {{}}, test2: {{}}}}\nflags:\n{flags}");
    Config::parse(&text).map_err(|error| error.to_string())
}

fn good(flags: &str) -> Config {
    config(flags).unwrap_or_else(|error| panic!("{error}"))
}

fn set(features: &[Taker]) -> TakerSet {
    features.iter().copied().collect()
}

#[test]
fn flags_decide_each_for_itself() {
    let config = good(
        "  - {name: a, to: [streaming], share: 5%}\n  - {name: b, to: [test1], share: 25%}\n  - {name: c, to: [test2], share: 100%, state: off}\n",
    );
    let tables = tables(config.flags(), &config.management().ports);
    let [ssh, dhcp, dhcp_v6, discovery, no_ip, table] = tables.as_slice() else { panic!("{tables:?}") };
    for kept in [ssh, dhcp, dhcp_v6, discovery, no_ip] {
        assert!(kept.takers.iter().all(|set| set.is_empty()), "no flag has what the box is reached by: {kept:?}");
    }
    assert_eq!((ssh.matches.protocol, ssh.matches.destination_port), (Some(6), Some((22, 22))));
    for (kept, server, client) in [(dhcp, 67, 68), (dhcp_v6, 547, 546)] {
        let Match { protocol, source_port, destination_port, .. } = kept.matches;
        assert_eq!(
            (protocol, source_port, destination_port),
            (Some(17), Some((server, server)), Some((client, client)))
        );
    }
    assert_eq!((discovery.matches.protocol, no_ip.matches.no_ip), (Some(58), true));
    let both = set(&[Taker::Streaming, Taker::Test1]);
    for (bucket, expected) in [
        (0, both),
        (499, both),
        (500, set(&[Taker::Test1])),
        (2_499, set(&[Taker::Test1])),
        (2_500, TakerSet::EMPTY),
        (9_999, TakerSet::EMPTY),
    ] {
        assert_eq!(table.takers[bucket], expected, "bucket {bucket}");
    }
    let sets = taker_sets(config.flags());
    assert_eq!(sets.len(), 7, "every set that a change of shares could make: {sets:?}");
}

#[test]
fn a_flag_of_all_flows_has_no_connection_to_the_managements_ports() {
    let text = "flags: [{name: all, to: [streaming], share: 100%}]\nmanagement: {ports: [2222, 22]}\n";
    let config = Config::parse(text).expect(text);
    let tables = tables(config.flags(), &config.management().ports);
    for port in [22, 2222] {
        let connection = Match { protocol: Some(6), destination_port: Some((port, port)), ..Match::default() };
        let first = tables.iter().find(|table| table.matches.both(&connection).is_some()).expect("a table");
        assert!(first.takers.iter().all(|set| set.is_empty()), "{port}: {:?}", first.matches);
    }
}

#[test]
fn a_flag_waits_for_what_it_requires_and_has_no_flow_that_is_not_theirs() {
    let text = |a: &str| {
        format!(
            "  - {{name: a, to: [streaming], share: 5%, match: udp, {a}}}\n  - {{name: b, to: [test1], share: 25%, match: dport 7, requires: [a]}}\n  - {{name: c, to: [test2], share: 1%, requires: [b]}}\n"
        )
    };
    let standings = |config: &Config| {
        resolve(config.flags())
            .into_iter()
            .map(|one| (one.standing.share().to_string(), one.standing))
            .collect::<Vec<_>>()
    };
    let on = standings(&good(&text("state: on").replace("match: dport 7", "match: udp dport 7")));
    assert_eq!(on.iter().map(|(share, _)| share.as_str()).collect::<Vec<_>>(), ["5%", "5%", "1%"]);
    let off = standings(&good(&text("state: off").replace("match: dport 7", "match: udp dport 7")));
    let name = |text: &str| text.parse::<FlagName>().expect("a name");
    assert_eq!(off[0].1, Standing::Off);
    assert_eq!(off[1].1, Standing::Waits(name("a")));
    assert_eq!(off[2].1, Standing::Waits(name("b")));
    let config = good(&text("state: on").replace("match: dport 7", "match: udp dport 7"));
    assert_eq!(
        dependents(config.flags(), &name("a")).iter().map(|flag| flag.name.as_str()).collect::<Vec<_>>(),
        ["b", "c"]
    );
}

#[test]
fn what_flags_cannot_mean_together_is_refused_where_it_stands() {
    for (flags, parts) in [
        ("  - {name: a, to: [streaming], share: 5%, requires: [b]}\n", ["3:", "b: flag a requires", "add it"]),
        ("  - {name: a, to: [streaming], share: 5%, requires: [a]}\n", ["3:", "a -> a: these flags", "take one"]),
        (
            "  - {name: b, to: [streaming], share: 5%, requires: [a]}\n  - {name: a, to: [streaming], share: 5%, requires: [c]}\n  - {name: c, to: [streaming], share: 5%, requires: [b]}\n",
            ["3:", "b -> a -> c -> b", "circle"],
        ),
        (
            "  - {name: a, to: [streaming], share: 5%, match: udp}\n  - {name: b, to: [streaming], share: 5%, match: tcp, requires: [a]}\n",
            ["4:", "tcp: no flow can match", "match what"],
        ),
        ("  - {name: a, to: [streaming], share: 105%}\n", ["3:", "105%", "more than 100%"]),
        ("  - {name: a, share: 5%}\n", ["3:", "nobody who takes", "name a feature"]),
        (
            "  - {name: a, share: 5%, to: [test1], variants: [{name: x, to: [test2]}]}\n",
            ["3:", "with variants", "move the features"],
        ),
        ("  - {name: a, share: 5%, variants: [{name: x}]}\n", ["3:", "no variant has somebody", "name a feature"]),
        (
            "  - {name: a, share: 5%, variants: [{name: x, to: [test1], weight: 0}]}\n",
            ["3:", "no variant has a weight", "above 0"],
        ),
        (
            "  - {name: a, to: [test1], share: 5%, schedule: [{at: 2026-12-01T06:00:00Z, share: 1%}, {at: 2026-12-01T06:00:00+01:00, share: 2%}]}\n",
            ["3:", "follow each other", "after 2026-12-01T06:00:00Z"],
        ),
        (
            "  - {name: a, to: [test1], share: 5%, schedule: [{at: tomorrow, share: 1%}]}\n",
            ["3:", "tomorrow: this is not a moment", "2026-12-01T06:00:00Z"],
        ),
        (
            "  - {name: a, to: [test1], share: 5%}\n  - {name: a, to: [test1], share: 5%}\n",
            ["4:", "another flag", "choose a name"],
        ),
    ] {
        let error = config(flags).expect_err(flags);
        assert!(parts.iter().all(|part| error.contains(part)), "{flags}{error}");
    }
    let many: String = (0..5)
        .map(|port| format!("  - {{name: f{port}, to: [test1], share: 5%, match: 'udp dport {port}'}}\n"))
        .collect();
    let error = config(&many).expect_err("five matches");
    assert!(error.contains("more than 4 different matches"), "{error}");
    let rules: String = (0..1_010).map(|port| format!("  - {{match: 'udp dport {port}', action: drop}}\n")).collect();
    let four: String = many.lines().take(4).map(|line| format!("{line}\n")).collect();
    let text = format!("features: {{test1: {{}}}}\nrules:\n{rules}flags:\n{four}");
    let error = Config::parse(&text).expect_err("1,010 and 27").to_string();
    assert!(error.contains("flags take 27 rules") && error.contains("1010"), "{error}");
}

#[test]
fn a_flag_with_everything_reads_back() {
    let config = good(
        "  - {name: a, state: off, to: [streaming], share: 12.5%, match: udp dport 7}\n  - {name: b, share: 25%, requires: [a], variants: [{name: control, weight: 3}, {name: candidate, to: [test1, test2]}], schedule: [{at: 2026-12-01T06:00:00+02:00, share: 50%}]}\n",
    );
    let again = Config::parse(&config.to_yaml()).unwrap_or_else(|error| panic!("{error}\n{}", config.to_yaml()));
    assert_eq!(again, config);
    assert!(config.to_yaml().contains("\"2026-12-01T04:00:00Z\""), "{}", config.to_yaml());
}

fn variants(weights: &[u32]) -> FlagSpec {
    let variant = |(place, weight): (usize, &u32)| VariantSpec {
        name: format!("v{place}").parse().expect("a name"),
        to: Vec::new(),
        weight: *weight,
    };
    FlagSpec { variants: weights.iter().enumerate().map(variant).collect(), to: Vec::new(), ..flag("v", Share::ALL) }
}

fn flag(name: &str, share: Share) -> FlagSpec {
    FlagSpec {
        name: name.parse().expect("a name"),
        state: FlagState::On,
        to: vec![FeatureName::STREAMING],
        share,
        matches: Default::default(),
        requires: Vec::new(),
        variants: Vec::new(),
        schedule: Vec::new(),
    }
}

#[test]
fn every_share_has_the_variants_in_their_proportion() {
    for weights in [&[1, 1][..], &[9, 1], &[1, 2, 3], &[50, 30, 20], &[1, 0, 1]] {
        let flag = variants(weights);
        let all: u32 = weights.iter().sum();
        let mut count = vec![0u32; weights.len()];
        for bucket in 0..BUCKETS as u16 {
            let name = variant(&flag, bucket).expect("every bucket has one").name.as_str().to_owned();
            count[name[1..].parse::<usize>().expect("a number")] += 1;
            // The discrepancy of the golden section's points is below 3 + 4.1 ln n for every n.
            let seen = f64::from(bucket) + 1.0;
            for (got, weight) in count.iter().zip(weights) {
                let due = seen * f64::from(*weight) / f64::from(all);
                let bound = 3.0 + seen.ln();
                assert!((f64::from(*got) - due).abs() <= bound, "{weights:?}: {count:?} of {seen}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_flow_moves_when_a_share_grows(small in 0..=10_000u16, more in 0..=10_000u16, weights in proptest::collection::vec(0..5u32, 2..5)) {
        let (small, large) = (small.min(more), small.max(more));
        let share = |points| Share::from_basis_points(points).expect("at most 100 %");
        let of = |points| tables(&[flag("a", share(points))], &[22]).last().map_or(vec![TakerSet::EMPTY; BUCKETS], |table| table.takers.clone());
        for (before, after) in of(small).iter().zip(of(large)) {
            prop_assert!(before.is_empty() || *before == after);
        }
        // The variant does not depend on the share at all, so it is enough that every bucket has the same one always.
        let flag = variants(&weights);
        let any = weights.iter().any(|weight| *weight > 0);
        prop_assert_eq!(variant(&flag, small).is_some(), any);
    }

    #[test]
    fn tables_say_what_the_flags_say_one_by_one(
        flags in proptest::collection::vec((0..3usize, 0..=10_000u16, 0..5usize, any::<bool>(), proptest::option::of(0..6usize)), 0..6),
        port in 0..4u16, udp in any::<bool>(), buckets in proptest::collection::vec(0..10_000u16, 20),
    ) {
        const MATCHES: [&str; 5] = ["any", "udp", "udp dport 0-1", "tcp", "udp dport 1-2"];
        let features = ["streaming", "test1", "test2"];
        let lines: String = flags.iter().enumerate().map(|(place, (feature, share, matches, on, requires))| {
            let share = Share::from_basis_points(*share).expect("at most 100 %");
            let requires = requires.filter(|other| *other < place).map(|other| format!(", requires: [f{other}]")).unwrap_or_default();
            format!("  - {{name: f{place}, to: [{}], share: {share}, match: '{}', state: {}{requires}}}\n",
                features[*feature], MATCHES[*matches], if *on { "on" } else { "off" })
        }).collect();
        let text = if lines.is_empty() { "  []\n".to_owned() } else { lines };
        // Some exclude each other; that they are refused is another test's question.
        let Ok(config) = config(&text) else { return Ok(()) };
        let protocol = if udp { 17 } else { 6 };
        let holds = |matches: &Match| {
            !matches.no_ip && matches.protocol.is_none_or(|wanted| wanted == protocol)
                && matches.destination_port.is_none_or(|(first, last)| (first..=last).contains(&port))
        };
        fn is_own(flags: &[FlagSpec], name: &str, bucket: u16, holds: &dyn Fn(&Match) -> bool) -> bool {
            let flag = flags.iter().find(|flag| flag.name.as_str() == name).expect("it is there");
            flag.state == FlagState::On && bucket < flag.share.basis_points() && holds(&Match::from(flag.matches))
                && flag.requires.iter().all(|name| is_own(flags, name.as_str(), bucket, holds))
        }
        let tables = tables(config.flags(), &config.management().ports);
        let table = tables.iter().find(|table| holds(&table.matches));
        for bucket in buckets {
            let expected: TakerSet = config.flags().iter()
                .filter(|flag| is_own(config.flags(), flag.name.as_str(), bucket, &holds))
                .flat_map(|flag| flag.to.iter().copied()).collect();
            let found = table.map_or(TakerSet::EMPTY, |table| table.takers[usize::from(bucket)]);
            prop_assert_eq!(found, expected, "bucket {} port {} of {}", bucket, port, &text);
            prop_assert!(found.is_empty() || taker_sets(config.flags()).contains(&found));
        }
    }
}
