//! Rules that would take the management's traffic off the host's stack.
//!
//! What can be judged from the rules alone: whether a TCP connection to a port of the management's, wherever it comes
//! from, could meet a rule that keeps it from the stack, or that by which the box has its addresses and neighbours find it:
//! DHCP, ARP, which is not IP, and neighbour discovery, which is ICMPv6. A rule before it that passes all of that makes it
//! harmless. The box's own control is a Unix socket, so no port is guarded for it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use weir_ebpf_abi::rules::Match;

use crate::config::{Config, ManagementSpec, RuleAction, RuleSpec};
use crate::matching::{IpPrefix, MatchExpression};
use crate::problem::Problem;
use crate::share::Share;

/// TCP's protocol number.
const TCP: u8 = 6;
/// UDP's protocol number.
const UDP: u8 = 17;
/// ICMPv6's protocol number.
const ICMPV6: u8 = 58;

/// What the box is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Connections to a port, of one address or of all.
    Port(u16, Option<IpAddr>),
    /// What a DHCP server says to its client, from port 67 to port 68 (RFC 2131, 4.1).
    Dhcp,
    /// The same in IPv6, from port 547 to port 546 (RFC 8415, 7.2).
    DhcpV6,
    /// Neighbour discovery, the ARP of IPv6.
    Discovery,
    /// ARP, among what is not IP.
    Arp,
}

impl Way {
    /// What every box is reached by, whatever its configuration.
    const ALWAYS: [Self; 4] = [Self::Dhcp, Self::DhcpV6, Self::Discovery, Self::Arp];

    /// All that this box is reached by.
    fn all(spec: &ManagementSpec) -> impl Iterator<Item = Self> {
        let any = spec.addresses.is_empty().then_some(None);
        let addresses = spec.addresses.iter().copied().map(Some).chain(any);
        let ports = addresses.flat_map(|address| spec.ports.iter().map(move |port| Self::Port(*port, address)));
        ports.chain(Self::ALWAYS)
    }

    /// Its frames.
    fn matches(self) -> Match {
        let udp = |source, destination| Match {
            protocol: Some(UDP),
            source_port: Some((source, source)),
            destination_port: Some((destination, destination)),
            ..Match::default()
        };
        match self {
            Self::Port(port, address) => {
                let destination = address.map(IpPrefix::host);
                let expression = MatchExpression { destination, ..MatchExpression::ANY };
                Match { protocol: Some(TCP), destination_port: Some((port, port)), ..expression.into() }
            }
            Self::Dhcp => udp(67, 68),
            Self::DhcpV6 => udp(547, 546),
            Self::Discovery => Match { protocol: Some(ICMPV6), ..Match::default() },
            Self::Arp => Match { no_ip: true, ..Match::default() },
        }
    }

    /// The version of IP that it travels in, where there is only one.
    const fn version(self) -> Option<u8> {
        match self {
            Self::Port(_, Some(IpAddr::V4(_))) | Self::Dhcp => Some(4),
            Self::Port(_, Some(IpAddr::V6(_))) | Self::DhcpV6 | Self::Discovery => Some(6),
            Self::Port(_, None) | Self::Arp => None,
        }
    }

    /// Whether the rule could decide about a frame of it. None of it is a message, so a rule that asks for one never does.
    fn meets(self, rule: &RuleSpec) -> bool {
        let asked = Match::from(rule.matches);
        let mut prefixes = [asked.source, asked.destination].into_iter().flatten();
        let ports = asked.source_port.is_some() || asked.destination_port.is_some();
        asked.both(&self.matches()).is_some()
            && asked.message_type.is_none()
            && asked.modality.is_none()
            && prefixes.all(|prefix| self.version().is_none_or(|version| prefix.version == version))
            && !(self == Self::Discovery && ports)
            && rule.share != Share::NONE
    }

    /// Whether the rule takes every frame of it that comes to it.
    fn takes_all(self, rule: &RuleSpec) -> bool {
        let all = Match::from(rule.matches).both(&self.matches()) == Some(self.matches());
        all && self.meets(rule) && rule.share == Share::ALL
    }

    /// The rules that could keep it from the host's stack. `forward` is none: it sends on base messages to
    /// known agents and passes all else.
    fn cut_by(self, config: &Config) -> impl Iterator<Item = &RuleSpec> {
        let cuts = move |rule: &&RuleSpec| {
            matches!(rule.action, RuleAction::Drop | RuleAction::Deliver | RuleAction::Mirror) && self.meets(rule)
        };
        let before = move |rule: &&RuleSpec| !(rule.action == RuleAction::Pass && self.takes_all(rule));
        config.rules().iter().take_while(before).filter(cuts)
    }

    /// How to write a rule that cuts it so that it does not.
    fn cure(self) -> String {
        match self {
            Self::Port(port, None) => format!("pass tcp dport {port} in a rule before it"),
            Self::Port(port, Some(address)) => format!("pass tcp dst {address} dport {port} in a rule before it"),
            Self::Dhcp => "pass udp sport 67 dport 68 in a rule before it".to_owned(),
            Self::DhcpV6 => "pass udp sport 547 dport 546 in a rule before it".to_owned(),
            Self::Discovery => "pass proto 58 in a rule before it".to_owned(),
            Self::Arp => "ask for IP, by two rules with src 0.0.0.0/0 and src ::/0".to_owned(),
        }
    }
}

/// What of the box's traffic it is.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |port: u16| if port == 22 { "ssh (tcp dport 22)".to_owned() } else { format!("tcp dport {port}") };
        match self {
            Self::Port(number, None) => write!(f, "{} from this box", port(*number)),
            Self::Port(number, Some(address)) => write!(f, "{} from {address} of this box", port(*number)),
            Self::Dhcp => f.write_str("DHCP (udp sport 67 dport 68) from this box, which loses its address without"),
            Self::DhcpV6 => {
                f.write_str("DHCPv6 (udp sport 547 dport 546) from this box, which loses its address without")
            }
            Self::Discovery => f.write_str("IPv6 neighbour discovery (proto 58) from this box"),
            Self::Arp => f.write_str("ARP from this box, without which no neighbour finds it"),
        }
    }
}

/// Matches that no flag has, at most.
pub(crate) const KEPT_MATCHES: usize = Way::ALWAYS.len() + crate::config::MAX_MANAGEMENT_PORTS;

/// What no flag has, or the box could not be reached any more. Its ports are kept at every address: a table for each
/// address would be more than the classifier has.
pub(crate) fn kept(ports: &[u16]) -> impl Iterator<Item = Match> {
    ports.iter().map(|port| Way::Port(*port, None)).chain(Way::ALWAYS).map(Way::matches)
}

/// The rules that could keep what the box is reached by from the host's stack, each with the first thing that it cuts.
pub fn cut_by(config: &Config) -> impl Iterator<Item = (&RuleSpec, String)> {
    config.rules().iter().filter_map(|rule| {
        let mut ways = Way::all(config.management());
        ways.find(|way| way.cut_by(config).any(|cut| cut == rule)).map(|way| (rule, way.to_string()))
    })
}

/// Whether a change may be made as far as the way to the box is concerned.
///
/// # Errors
/// It brings a rule that could cut the management off, or makes part of the management what a rule cuts already, and is
/// not both forced and to be confirmed: only then does the box come back by itself when nobody can reach it any more.
pub fn judge(now: &Config, next: &Config, force: bool, confirm_within: Option<Duration>) -> Result<(), Problem> {
    let new = |way: Way| {
        let was = Way::all(now.management()).any(|known| known == way);
        let known: Vec<&RuleSpec> = if was { way.cut_by(now).collect() } else { Vec::new() };
        way.cut_by(next).find(|rule| !known.contains(rule)).map(|rule| (way, rule))
    };
    // What was the management's until now is guarded in this change, too: people are on it.
    let mut ways = Way::all(next.management()).chain(Way::all(now.management()));
    let Some((way, rule)) = ways.find_map(new) else { return Ok(()) };
    if force && confirm_within.is_some() {
        return Ok(());
    }
    let cause = format!("this rule ({} {}) could keep {way}", rule.action, rule.matches);
    let cure = if force {
        "add --confirm-within 60s, so that it is taken back when nobody can confirm it".to_owned()
    } else {
        format!("{}, or add --force and --confirm-within 60s", way.cure())
    };
    Err(Problem::new(rule.name.to_string(), cause, cure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rules: &str) -> Config {
        Config::parse(&format!("rules: [{rules}]")).expect(rules)
    }

    fn managed(management: &str, rules: &str) -> Config {
        Config::parse(&format!("management: {management}\nrules: [{rules}]")).expect(rules)
    }

    #[test]
    fn what_could_cut_ssh_off_is_found() {
        for (rules, cut) in [
            ("{match: tcp dport 22, action: drop}", true),
            ("{match: any, action: drop}", true),
            ("{match: \"tcp\", action: deliver, to: [streaming]}", true),
            ("{match: \"src 10.0.0.0/8\", action: drop, share: 1%}", true),
            ("{match: \"dport 20-30\", action: mirror, to: [streaming]}", true),
            ("{match: tcp dport 23, action: drop}", false),
            ("{match: udp dport 22, action: drop}", false),
            ("{match: \"type 7\", action: drop}", false),
            ("{match: any, action: forward}", false),
            ("{match: any, action: drop, share: 0%}", false),
            ("{match: tcp dport 22, action: pass}, {match: any, action: drop}", true),
            ("{match: tcp dport 22, action: pass}, {match: vlan 5, action: deliver, to: [streaming]}", true),
            ("{match: tcp dport 22, action: pass}, {match: src 0.0.0.0/0, action: drop}", true),
            (
                "{match: tcp dport 22, action: pass}, {match: udp sport 67 dport 68, action: pass}, {match: src 0.0.0.0/0, action: drop}",
                false,
            ),
            ("{match: tcp dport 22, action: pass}, {match: \"src ::/0\", action: drop}", true),
            (
                "{match: tcp dport 22, action: pass}, {match: proto 58, action: pass}, {match: \"src ::/0\", action: drop}",
                true,
            ),
            (
                "{match: tcp dport 22, action: pass}, {match: proto 58, action: pass}, {match: udp dport 546, action: pass}, {match: \"src ::/0\", action: drop}",
                false,
            ),
            ("{match: udp, action: drop}", true),
            ("{match: udp dport 68, action: drop}", true),
            ("{match: udp sport 67, action: drop}", true),
            ("{match: udp dport 546, action: mirror, to: [streaming]}", true),
            ("{match: \"udp dport 546 src 10.0.0.0/8\", action: drop}", false),
            ("{match: udp dport 67, action: drop}", false),
            ("{match: udp sport 53, action: drop}", false),
            ("{match: tcp dport 68, action: drop}", false),
            ("{match: \"udp type 7\", action: deliver, to: [streaming]}", false),
            ("{match: proto 58, action: mirror, to: [streaming]}", true),
            ("{match: proto 1, action: drop}", false),
            ("{match: any, action: pass}, {match: any, action: drop}", false),
            ("{match: tcp dport 22 src 10.0.0.0/8, action: pass}, {match: any, action: drop}", true),
            ("{match: any, action: pass, share: 50%}, {match: any, action: drop}", true),
        ] {
            assert_eq!(cut_by(&config(rules)).next().is_some(), cut, "{rules}");
        }
    }

    #[test]
    fn the_ports_and_addresses_of_the_configuration_are_guarded() {
        for (management, rules, cut) in [
            ("{ports: [2222]}", "{match: tcp dport 2222, action: drop}", true),
            ("{ports: [2222]}", "{match: tcp dport 2000-3000, action: drop}", true),
            ("{ports: [2222]}", "{match: tcp dport 22, action: drop}", false),
            ("{ports: [22, 2222]}", "{match: tcp dport 22, action: drop}", true),
            ("{addresses: [10.9.0.2]}", "{match: tcp dport 22, action: drop}", true),
            ("{addresses: [10.9.0.2]}", "{match: tcp dport 22 dst 10.9.0.0/16, action: drop}", true),
            ("{addresses: [10.9.0.2]}", "{match: tcp dport 22 dst 10.8.0.0/16, action: drop}", false),
            ("{addresses: [10.9.0.2]}", "{match: \"tcp src ::/0\", action: drop}", false),
            ("{addresses: [10.9.0.2, \"fd00::2\"]}", "{match: \"tcp src ::/0\", action: drop}", true),
            (
                "{addresses: [10.9.0.2]}",
                "{match: tcp dst 10.9.0.0/16, action: pass}, {match: tcp, action: drop}",
                false,
            ),
        ] {
            assert_eq!(cut_by(&managed(management, rules)).next().is_some(), cut, "{management} {rules}");
        }
    }

    #[test]
    fn the_refusal_names_the_rule_the_traffic_and_the_cure() {
        for (management, rule, traffic, cure) in [
            (
                "{ports: [2222]}",
                "{name: x, match: tcp dport 2222, action: drop}",
                "tcp dport 2222 from",
                "pass tcp dport 2222",
            ),
            (
                "{addresses: [10.9.0.2], ports: [2222]}",
                "{name: x, match: tcp, action: drop}",
                "tcp dport 2222 from 10.9.0.2",
                "pass tcp dst 10.9.0.2 dport 2222",
            ),
            ("{}", "{name: x, match: udp dport 68, action: drop}", "DHCP (udp sport 67", "pass udp sport 67 dport 68"),
            ("{}", "{name: x, match: udp dport 546, action: drop}", "DHCPv6", "pass udp sport 547 dport 546"),
        ] {
            let refused = judge(&managed(management, ""), &managed(management, rule), false, None).expect_err(rule);
            assert_eq!(refused.value, "x");
            assert!(refused.cause.contains(traffic), "{refused}");
            assert!(refused.cure.contains(cure) && refused.cure.contains("--force"), "{refused}");
            // The cure helps.
            let pass = cure.trim_start_matches("pass ");
            let cured = managed(management, &format!("{{match: {pass}, action: pass}}, {rule}"));
            assert_eq!(judge(&managed(management, ""), &cured, false, None), Ok(()), "{refused}");
        }
    }

    #[test]
    fn a_port_that_becomes_the_managements_is_guarded_from_then_on() {
        let rule = "{name: x, match: tcp dport 2222, action: drop}";
        let (before, after) = (managed("{ports: [22]}", rule), managed("{ports: [22, 2222]}", rule));
        assert!(judge(&before, &after, false, None).expect_err("cut already").cause.contains("2222"));
        assert_eq!(judge(&before, &after, true, Some(Duration::from_secs(60))), Ok(()));
        assert_eq!(judge(&after, &before, false, None), Ok(()));
        assert_eq!(before.with_live_part_of(&after), after, "it changes live");
        // A port is not let go and cut in one change.
        judge(&managed("{ports: [22, 2222]}", ""), &before, false, None).expect_err("people are on it");
    }

    #[test]
    fn only_a_new_one_is_refused_unless_it_is_forced_and_to_be_confirmed() {
        let (safe, cut) = (config(""), config("{name: x, match: any, action: drop}"));
        let minute = Some(Duration::from_secs(60));
        let refused = judge(&safe, &cut, false, minute).expect_err("refused").to_string();
        assert!(refused.starts_with("x: this rule (drop any) could keep ssh"), "{refused}");
        assert!(judge(&safe, &cut, true, None).expect_err("refused").cure.contains("--confirm-within"));
        assert_eq!(judge(&safe, &cut, true, minute), Ok(()));
        assert_eq!(judge(&cut, &cut, false, None), Ok(()), "it was so before");
        assert_eq!(judge(&cut, &safe, false, None), Ok(()));
    }
}
