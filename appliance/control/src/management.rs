//! Rules that would take the management's connections off the host's stack.
//!
//! What can be judged from the rules alone: whether a TCP connection to port 22, wherever it comes from, could meet a
//! rule that keeps it from the stack. A rule before it that passes all of port 22 makes it harmless.

use std::time::Duration;

use crate::config::{Config, RuleAction, RuleSpec};
use crate::problem::Problem;
use crate::share::Share;

/// The port of ssh.
pub(crate) const SSH: u16 = 22;
/// TCP's protocol number.
pub(crate) const TCP: u8 = 6;

/// Whether the rule could decide about a frame of TCP to the port.
fn meets(rule: &RuleSpec) -> bool {
    let matches = &rule.matches;
    // Messages travel in UDP, so a rule that asks for one never meets ssh.
    matches.protocol.is_none_or(|protocol| protocol.0 == TCP)
        && matches.destination_port.is_none_or(|range| (range.ends().0..=range.ends().1).contains(&SSH))
        && matches.message_type.is_none()
        && matches.modality.is_none()
        && rule.share != Share::NONE
}

/// Whether the rule takes every frame of TCP to the port that comes to it.
fn takes_all(rule: &RuleSpec) -> bool {
    let matches = &rule.matches;
    let anywhere = matches.source.is_none() && matches.destination.is_none() && matches.source_port.is_none();
    meets(rule) && anywhere && matches.vlan.is_none() && rule.share == Share::ALL
}

/// The rules that could keep ssh from the host's stack. `forward` is not among them: it sends on base messages to known
/// agents and passes all else.
pub fn cut_by(config: &Config) -> impl Iterator<Item = &RuleSpec> {
    let cuts = |rule: &&RuleSpec| {
        matches!(rule.action, RuleAction::Drop | RuleAction::Deliver | RuleAction::Mirror) && meets(rule)
    };
    let before = |rule: &&RuleSpec| !(rule.action == RuleAction::Pass && takes_all(rule));
    config.rules().iter().take_while(before).filter(cuts)
}

/// Whether a change may be made as far as the way to the box is concerned.
///
/// # Errors
/// It brings a rule that could cut ssh off, and is not both forced and to be confirmed: only then does the box come back
/// by itself when nobody can reach it any more.
pub fn judge(now: &Config, next: &Config, force: bool, confirm_within: Option<Duration>) -> Result<(), Problem> {
    let known: Vec<&RuleSpec> = cut_by(now).collect();
    let Some(rule) = cut_by(next).find(|rule| !known.contains(rule)) else { return Ok(()) };
    if force && confirm_within.is_some() {
        return Ok(());
    }
    let cause = format!("this rule ({} {}) could keep ssh from this box", rule.action, rule.matches);
    let cure = if force {
        "add --confirm-within 60s, so that it is taken back when nobody can confirm it"
    } else {
        "pass tcp dport 22 in a rule before it, or add --force and --confirm-within 60s"
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
            ("{match: tcp dport 22, action: pass}, {match: any, action: drop}", false),
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
