//! Reads a match from text.

use std::str::FromStr;

use super::{IpPrefix, MatchExpression, ModalitySet, Protocol, Range};
use crate::problem::Problem;

const KEYWORDS: &str =
    "use udp, tcp, proto N, src, dst, sport, dport, vlan, type, modality, or the short form udp:5004";
/// The longest text that is looked at: far more than every condition at its longest.
const LONGEST: usize = 1024;

impl FromStr for MatchExpression {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if text.len() > LONGEST {
            return Err(Problem::new(text, "the match is longer than 1024 bytes", KEYWORDS));
        }
        let mut words = text.split_ascii_whitespace().peekable();
        let mut expression = Self::ANY;
        match words.peek() {
            None => return Err(Problem::new(text, "the match is empty", "write `any` to match every frame")),
            Some(&"any") => {
                words.next();
                return match words.next() {
                    None => Ok(expression),
                    Some(more) => {
                        Err(Problem::new(more, "nothing can follow `any`", "remove `any` or what follows it"))
                    }
                };
            }
            Some(_) => {}
        }
        while let Some(word) = words.next() {
            expression.term(word, &mut || words.next())?;
        }
        expression.check(text)?;
        Ok(expression)
    }
}

/// Stores a condition that may stand once only.
fn once<T>(field: &mut Option<T>, keyword: &str, value: T) -> Result<(), Problem> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::new(keyword, "this condition stands twice", "write it once, with a range if need be")),
    }
}

impl MatchExpression {
    /// Takes one condition: its first word and, from `next`, its value.
    fn term<'a>(&mut self, word: &'a str, next: &mut dyn FnMut() -> Option<&'a str>) -> Result<(), Problem> {
        if let Some((name, ports)) = word.split_once(':') {
            let protocol =
                named(name).ok_or_else(|| Problem::new(word, "this is not a condition of a match", KEYWORDS))?;
            once(&mut self.protocol, name, protocol)?;
            return once(&mut self.destination_port, "dport", Range::read(ports, "a port", 65_535)?);
        }
        if let Some(protocol) = named(word) {
            return once(&mut self.protocol, word, protocol);
        }
        let mut value = || {
            next().ok_or_else(|| {
                Problem::new(word, "a value must follow", format!("write for example `{}`", example(word)))
            })
        };
        match word {
            "proto" => {
                let range = Range::<u16>::read(value()?, "an IP protocol", 255)?;
                match range.ends() {
                    (low, high) if low == high => once(&mut self.protocol, word, Protocol(low as u8)), // at most 255
                    _ => Err(Problem::new(range.to_string(), "a protocol is one number", "write one rule for each")),
                }
            }
            "src" => once(&mut self.source, word, value()?.parse()?),
            "dst" => once(&mut self.destination, word, value()?.parse()?),
            "sport" => once(&mut self.source_port, word, Range::read(value()?, "a port", 65_535)?),
            "dport" => once(&mut self.destination_port, word, Range::read(value()?, "a port", 65_535)?),
            "vlan" => once(&mut self.vlan, word, Range::read(value()?, "a VLAN", 4_094)?),
            "type" => once(&mut self.message_type, word, Range::read(value()?, "a message type", u32::MAX)?),
            "modality" => once(&mut self.modality, word, value()?.parse::<ModalitySet>()?),
            _ => Err(Problem::new(word, "this is not a condition of a match", KEYWORDS)),
        }
    }

    /// Refuses conditions that no frame can meet together.
    fn check(&self, text: &str) -> Result<(), Problem> {
        let version = |prefix: Option<IpPrefix>| prefix.map(|prefix| prefix.address().is_ipv4());
        if let (Some(source), Some(destination)) = (version(self.source), version(self.destination))
            && source != destination
        {
            let cure = "write two rules, one for IPv4 and one for IPv6";
            return Err(Problem::new(text, "source and destination are of different IP versions", cure));
        }
        let ports = self.source_port.is_some() || self.destination_port.is_some();
        if let Some(protocol) = self.protocol.filter(|protocol| ports && !protocol.has_ports()) {
            let cause = format!("{protocol} has no ports");
            return Err(Problem::new(text, cause, "use udp or tcp, or leave the ports out"));
        }
        Ok(())
    }
}

fn named(word: &str) -> Option<Protocol> {
    match word {
        "udp" => Some(Protocol::UDP),
        "tcp" => Some(Protocol::TCP),
        _ => None,
    }
}

fn example(keyword: &str) -> &'static str {
    match keyword {
        "proto" => "proto 47",
        "src" => "src 10.0.0.0/8",
        "dst" => "dst 2001:db8::/32",
        "sport" => "sport 1000-2000",
        "dport" => "dport 5004",
        "vlan" => "vlan 10-20",
        "type" => "type 7",
        "modality" => "modality audio|image",
        _ => "udp dport 5004",
    }
}
