//! Rules that would take the management's connections off the host's stack.
//!
//! What can be judged from the rules alone: whether a TCP connection to port 22, wherever it comes from, could meet a
//! rule that keeps it from the stack, or that by which neighbours find the box in the first place: ARP, which is not IP,
//! and neighbour discovery, which is ICMPv6. A rule before it that passes all of that makes it harmless.

use std::time::Duration;

use weir_ebpf_abi::rules::Match;

use crate::config::{Config, RuleAction, RuleSpec};
use crate::problem::Problem;
use crate::share::Share;

/// The port of ssh.
pub(crate) const SSH: u16 = 22;
/// TCP's protocol number.
pub(crate) const TCP: u8 = 6;

/// ICMPv6's protocol number.
pub(crate) const ICMPV6: u8 = 58;

/// What the box is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Connections to ssh.
    Ssh,
    /// Neighbour discovery, the ARP of IPv6.
    Discovery,
    /// ARP, among what is not IP.
    Arp,
}

impl Way {
    const ALL: [Way; 3] = [Way::Ssh, Way::Discovery, Way::Arp];

    /// Whether the rule could decide about a frame of it.
    fn meets(self, rule: &RuleSpec) -> bool {
        let matches = Match::from(rule.matches);
        let could = match self {
            // Messages travel in UDP, so a rule that asks for one never meets ssh.
            Way::Ssh => {
                matches.protocol.is_none_or(|protocol| protocol == TCP)
                    && matches.destination_port.is_none_or(|(first, last)| (first..=last).contains(&SSH))
                    && matches.message_type.is_none()
                    && matches.modality.is_none()
            }
            Way::Discovery => {
                let ports = matches.source_port.is_some() || matches.destination_port.is_some();
                let mut prefixes = [matches.source, matches.destination].into_iter().flatten();
                matches.protocol.is_none_or(|protocol| protocol == ICMPV6)
                    && !ports
                    && matches.message_type.is_none()
                    && matches.modality.is_none()
                    && prefixes.all(|prefix| prefix.version == 6)
            }
            Way::Arp => matches.can_meet_no_ip(),
        };
        could && rule.share != Share::NONE
    }

    /// Whether the rule takes every frame of it that comes to it.
    fn takes_all(self, rule: &RuleSpec) -> bool {
        let matches = &rule.matches;
        let anywhere = matches.source.is_none() && matches.destination.is_none() && matches.source_port.is_none();
        self.meets(rule) && anywhere && matches.vlan.is_none() && rule.share == Share::ALL
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

    /// What a rule does that cuts it, and how to write it so that it does not.
    const fn said(self) -> (&'static str, &'static str) {
        match self {
            Way::Ssh => ("could keep ssh from this box", "pass tcp dport 22 in a rule before it"),
            Way::Discovery => {
                ("could keep IPv6 neighbour discovery from this box", "pass proto 58 in a rule before it")
            }
            Way::Arp => (
                "could keep ARP from this box, without which no neighbour finds it",
                "ask for IP, by two rules with src 0.0.0.0/0 and src ::/0",
            ),
        }
    }
}

/// The rules that could keep ssh, or that by which neighbours find the box, from the host's stack.
pub fn cut_by(config: &Config) -> impl Iterator<Item = &RuleSpec> {
    config.rules().iter().filter(|rule| Way::ALL.into_iter().any(|way| way.cut_by(config).any(|cut| cut == *rule)))
}

/// Whether a change may be made as far as the way to the box is concerned.
///
/// # Errors
/// It brings a rule that could cut ssh off, and is not both forced and to be confirmed: only then does the box come back
/// by itself when nobody can reach it any more.
pub fn judge(now: &Config, next: &Config, force: bool, confirm_within: Option<Duration>) -> Result<(), Problem> {
    let new = |way: Way| {
        let known: Vec<&RuleSpec> = way.cut_by(now).collect();
        way.cut_by(next).find(|rule| !known.contains(rule)).map(|rule| (way, rule))
    };
    let Some((way, rule)) = Way::ALL.into_iter().find_map(new) else { return Ok(()) };
    if force && confirm_within.is_some() {
        return Ok(());
    }
    let (does, cure) = way.said();
    let cause = format!("this rule ({} {}) {does}", rule.action, rule.matches);
    let cure = if force {
        "add --confirm-within 60s, so that it is taken back when nobody can confirm it".to_owned()
    } else {
        format!("{cure}, or add --force and --confirm-within 60s")
    };
    Err(Problem::new(rule.name.to_string(), cause, cure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rules: &str) -> Config {
        Config::parse(&format!("rules: [{rules}]")).expect(rules)
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
            ("{match: tcp dport 22, action: pass}, {match: src 0.0.0.0/0, action: drop}", false),
            ("{match: tcp dport 22, action: pass}, {match: \"src ::/0\", action: drop}", true),
            (
                "{match: tcp dport 22, action: pass}, {match: proto 58, action: pass}, {match: \"src ::/0\", action: drop}",
                false,
            ),
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
