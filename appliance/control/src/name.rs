//! Names and numbers that people type: interface, rule, service, flag, experiment and agent.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Lets serde read and write a type as the text that a person would type.
macro_rules! as_text {
    ($($name:ty),+) => {$(
        impl TryFrom<String> for $name {
            type Error = $crate::problem::Problem;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )+};
}
pub(crate) use as_text;

as_text!(InterfaceName, RuleName, ServiceName, FlagName, VariantName, ExperimentName, Mac);

/// A network interface's name, as the kernel allows them (`dev_valid_name` in net/core/dev.c): 1 to 15 bytes, no `/`,
/// no `:`, no white space, neither `.` nor `..`. Only printable ASCII is taken here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse =
            |cause: &str| Err(Problem::new(text, cause, "name an interface as `ip link` prints it, for example eth0"));
        match text {
            "" => refuse("an interface needs a name"),
            "." | ".." => refuse("the kernel refuses this name"),
            _ if text.len() > 15 => refuse("an interface name has at most 15 bytes"),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':') => {
                refuse("an interface name is printable ASCII without white space, / and :")
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// Names of things that people name: 1 to 40 of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`.
macro_rules! short_names {
    ($($(#[$doc:meta])* $name:ident, $whose:literal, $example:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Problem;

            fn from_str(text: &str) -> Result<Self, Problem> {
                short(text, $whose, $example).map(Self)
            }
        }
    )+};
}

short_names! {
    /// A rule's name. It names the rule in tables and to `weir steer remove`.
    RuleName, "a rule's name", "telemetry-5004";
    /// A service's name.
    ServiceName, "a service's name", "web";
    /// A flag's name.
    FlagName, "a flag's name", "streaming-canary";
    /// The name of a flag's variant.
    VariantName, "a variant's name", "candidate";
    /// The name of an experiment.
    ExperimentName, "an experiment's name", "try-1";
}

impl RuleName {
    /// The longest name in bytes, of rules and of all others: it leaves room for the other columns of an 80-column table.
    pub const LONGEST: usize = 40;

    /// The name of a rule that was given none: `rule-N`.
    pub fn numbered(number: usize) -> Self {
        Self(format!("rule-{number}"))
    }
}

impl FlagName {
    /// The name of a flag that was given none: `flag-N`.
    pub fn numbered(number: usize) -> Self {
        Self(format!("flag-{number}"))
    }
}

/// Reads a name of [`RuleName::LONGEST`] bytes at most; the error says whose name it is.
fn short(text: &str, whose: &str, example: &str) -> Result<String, Problem> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let cause = if text.is_empty() {
        format!("{whose} is not empty")
    } else if text.len() > RuleName::LONGEST {
        format!("{whose} has at most {} characters", RuleName::LONGEST)
    } else if !text.bytes().all(allowed) {
        format!("{whose} has letters, digits, - _ and . only")
    } else {
        return Ok(text.to_owned());
    };
    Err(Problem::new(text, cause, format!("write a short name, for example {example}")))
}

/// An agent's number, as message headers carry it. Zero means "no agent" and is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct AgentId(u32);

impl AgentId {
    /// The number; never zero.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for AgentId {
    type Error = Problem;

    fn try_from(number: u32) -> Result<Self, Problem> {
        match number {
            0 => Err(Problem::new("0", "number 0 means no agent", "number agents from 1")),
            _ => Ok(Self(number)),
        }
    }
}

impl From<AgentId> for u32 {
    fn from(id: AgentId) -> Self {
        id.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl FromStr for AgentId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        number_within(text, "an agent's number", &(1..=u32::MAX), "number agents from 1")?.try_into()
    }
}

/// An Ethernet address of one station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// The six bytes as they stand on the wire.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl TryFrom<[u8; 6]> for Mac {
    type Error = Problem;

    fn try_from(octets: [u8; 6]) -> Result<Self, Problem> {
        let refuse = |cause: &str| Problem::new(Self(octets).to_string(), cause, "give the address of one station");
        if octets == [0; 6] {
            return Err(refuse("an Ethernet address of all zeros names nobody"));
        }
        // Bit 0 of the first byte is the group bit (IEEE 802): a frame rewritten to a group would flood the segment.
        if octets[0] & 1 == 1 {
            return Err(refuse("this is a group address"));
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.map(|byte| format!("{byte:02x}")).join(":"))
    }
}

impl FromStr for Mac {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = || {
            Problem::new(text, "this is not an Ethernet address", "write six bytes, for example \"02:00:00:00:00:07\"")
        };
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2 && !part.contains('+')).ok_or_else(refuse)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| refuse())?;
        }
        if parts.next().is_some() {
            return Err(refuse());
        }
        Self::try_from(octets).map_err(|problem| Problem { value: text.to_owned(), ..problem })
    }
}

/// Reads a decimal number; the error names `what` and the largest number there is.
pub(crate) fn number(text: &str, what: &str) -> Result<u32, Problem> {
    number_within(text, what, &(0..=u32::MAX), "write a smaller one")
}

/// Reads a decimal number that has bounds; the error names `what` and both of them. The cure is for a number that is
/// beyond them.
pub(crate) fn number_within(
    text: &str,
    what: &str,
    range: &RangeInclusive<u32>,
    cure: impl Into<String>,
) -> Result<u32, Problem> {
    let (least, most) = (range.start(), range.end());
    let refuse = |cure: String| Problem::new(text, format!("{what} is a whole number from {least} to {most}"), cure);
    // `parse` would take a leading plus sign.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refuse("write it in decimal digits".to_owned()));
    }
    let value = text.parse().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| refuse(cure.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_kernel_allows() {
        for good in ["eth0", "enp3s0f0np0", "eth0.10", "a", "123456789012345", "veth-A_1"] {
            assert_eq!(good.parse::<InterfaceName>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", "1234567890123456", "a b", "a/b", "a:b", "é", "a\n"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rule_names_stay_short_and_plain() {
        assert!("a.b-C_9".parse::<RuleName>().is_ok());
        for bad in ["", "a b", "ü", &"x".repeat(41)] {
            assert!(bad.parse::<RuleName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn agents_are_numbered_from_one() {
        assert_eq!("4294967295".parse::<AgentId>().map(AgentId::get), Ok(u32::MAX));
        for bad in ["0", "", "-1", "+1", "4294967296", "7x", "0x7"] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_mac_names_one_station() {
        let mac: Mac = "02:00:00:00:00:0A".parse().expect("a good address");
        assert_eq!(mac.octets(), [2, 0, 0, 0, 0, 10]);
        assert_eq!(mac.to_string(), "02:00:00:00:00:0a");
        assert_eq!("02-00-00-00-00-0a".parse::<Mac>(), Ok(mac));
        for bad in [
            "",
            "02:00",
            "02:00:00:00:00:00:00",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "2:0:0:0:0:1",
            "+2:00:00:00:00:07",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }
}
