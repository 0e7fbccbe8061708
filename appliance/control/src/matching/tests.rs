//! What people write, what they mean, and the way back to text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

#[test]
fn people_write_it_in_many_ways() {
    for (text, canonical) in [
        ("any", "any"),
        ("udp dport 5004", "udp dport 5004"),
        ("udp:5004", "udp dport 5004"),
        ("tcp:80-90 src 10.0.0.0/8", "tcp src 10.0.0.0/8 dport 80-90"),
        ("tcp sport 1000-2000 src 10.0.0.0/8", "tcp src 10.0.0.0/8 sport 1000-2000"),
        ("dst 2001:db8::/32", "dst 2001:db8::/32"),
        ("dst 2001:DB8:0::1/128", "dst 2001:db8::1"),
        ("src 0.0.0.0/0", "src 0.0.0.0/0"),
        ("  vlan  10-20  type 7-7 ", "vlan 10-20 type 7"),
        ("modality image|audio|image", "modality audio|image"),
        ("proto 17 dport 5", "udp dport 5"),
        ("proto 47", "proto 47"),
        ("dport 5", "dport 5"),
        ("type 0-4294967295", "type 0-4294967295"),
    ] {
        assert_eq!(text.parse::<MatchExpression>().map(|found| found.to_string()), Ok(canonical.to_owned()), "{text}");
    }
}

#[test]
fn refusals_name_the_word_the_cause_and_the_cure() {
    for (text, value, cause, cure) in [
        ("", "", "empty", "any"),
        ("any udp", "udp", "nothing can follow", "remove"),
        ("upd dport 5", "upd", "not a condition", "udp, tcp"),
        ("sctp:5", "sctp:5", "not a condition", "udp:5004"),
        ("udp dport", "dport", "value must follow", "dport 5004"),
        ("udp dport 65536", "65536", "0 to 65535", "range"),
        ("udp dport 20-10", "20-10", "upside down", "10-20"),
        ("udp dport 1-2-3", "1-2-3", "0 to 65535", "range"),
        ("udp dport -5", "-5", "0 to 65535", "range"),
        ("udp tcp", "tcp", "twice", "once"),
        ("udp:1 dport 2", "dport", "twice", "once"),
        ("src 10.0.0.1/8", "10.0.0.1/8", "bits behind", "10.0.0.0/8"),
        ("src 10.0.0.0/33", "10.0.0.0/33", "0 to 32", "10.0.0.0/8"),
        ("src 10.0.0.0/+8", "10.0.0.0/+8", "0 to 32", "10.0.0.0/8"),
        ("src example.org", "example.org", "not an IP", "10.0.0.0/8"),
        ("src 10.0.0.0/8 dst ::/0", "src 10.0.0.0/8 dst ::/0", "different IP versions", "two rules"),
        ("proto 47 dport 5", "proto 47 dport 5", "no ports", "udp or tcp"),
        ("proto 256", "256", "0 to 255", ""),
        ("proto 1-2", "1-2", "one number", "each"),
        ("vlan 4095", "4095", "0 to 4094", ""),
        ("modality smell", "smell", "`smell`", "sensor"),
        ("modality text|", "text|", "not a modality", "sensor"),
    ] {
        let problem = text.parse::<MatchExpression>().expect_err(text);
        assert_eq!(problem.value, value, "{text}: {problem}");
        assert!(problem.cause.contains(cause) && problem.cure.contains(cure), "{text}: {problem}");
    }
}

fn prefix(v4: bool) -> impl Strategy<Value = IpPrefix> {
    let most = if v4 { 32 } else { 128u8 };
    (any::<u128>(), 0..=most).prop_filter_map("a network", move |(bits, length)| {
        let keep = |width: u32| u128::MAX.checked_shl(width - u32::from(length)).unwrap_or(0);
        let address = match v4 {
            true => IpAddr::V4(Ipv4Addr::from((bits as u32) & keep(32) as u32)),
            false => IpAddr::V6(Ipv6Addr::from(bits & keep(128))),
        };
        IpPrefix::new(address, length)
    })
}

fn range<T: Copy + Ord + TryFrom<u32> + std::fmt::Debug>(largest: u32) -> impl Strategy<Value = Option<Range<T>>> {
    let end = move |number: u32| T::try_from(number).ok();
    prop::option::of((0..=largest, 0..=largest)).prop_map(move |ends| {
        let (a, b) = ends?;
        Range::new(end(a.min(b))?, end(a.max(b))?)
    })
}

prop_compose! {
    fn expressions()(v4 in any::<bool>())(
        source in prop::option::of(prefix(v4)),
        destination in prop::option::of(prefix(v4)),
        protocol in prop::option::of(any::<u8>().prop_map(Protocol)),
        source_port in range::<u16>(65_535),
        destination_port in range::<u16>(65_535),
        vlan in range::<u16>(4_094),
        message_type in range::<u32>(u32::MAX),
        modality in prop::option::of((1..16u8).prop_map(|bits| ModalitySet::from_bits(bits).expect("1 to 15"))),
    ) -> MatchExpression {
        let ports = protocol.is_none_or(Protocol::has_ports);
        MatchExpression {
            protocol, source, destination, vlan, message_type, modality,
            source_port: source_port.filter(|_| ports),
            destination_port: destination_port.filter(|_| ports),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_expression_reads_back_from_its_text(expression in expressions()) {
        let text = expression.to_string();
        prop_assert_eq!(text.parse::<MatchExpression>(), Ok(expression), "{}", text);
    }

    #[test]
    fn no_text_panics(words in prop::collection::vec(prop_oneof![
        Just("udp".to_owned()), Just("src".to_owned()), Just("dport".to_owned()), Just("vlan".to_owned()),
        "[0-9:./|-]{0,12}", "\\PC{0,6}",
    ], 0..6)) {
        let text = words.join(" ");
        if let Ok(expression) = text.parse::<MatchExpression>() {
            prop_assert_eq!(expression.to_string().parse(), Ok(expression));
        }
    }
}
