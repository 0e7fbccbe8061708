//! The values that stand in a match: protocol, prefix, range, modality.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::problem::Problem;

/// An IP protocol number. UDP and TCP are written by name, any other as `proto N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// TCP, protocol 6 (IANA protocol numbers).
    pub const TCP: Self = Self(6);
    /// UDP, protocol 17 (IANA protocol numbers).
    pub const UDP: Self = Self(17);

    /// Whether frames of this protocol have ports that rules can match.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self(number) => write!(f, "proto {number}"),
        }
    }
}

/// An IP network: an address whose bits behind the prefix length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

impl IpPrefix {
    /// A network; `None` if the length is more than the address has bits, or bits behind it are set.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let prefix = Self { address, length };
        (length <= prefix.width() && prefix.masked() == address).then_some(prefix)
    }

    /// One address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The network's first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits count, 0 to 32 or 128.
    pub fn length(self) -> u8 {
        self.length
    }

    fn width(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn masked(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == self.width() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.length)
        }
    }
}

impl FromStr for IpPrefix {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = |cause: &str, cure: &str| Problem::new(text, cause, cure);
        let example = "write an address or a network, for example 10.0.0.0/8 or 2001:db8::/32";
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| refuse("this is not an IP address", example))?;
        let Some(length) = length else { return Ok(Self::host(address)) };
        let width = Self::host(address).length;
        let whole = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.parse::<u8>().ok().filter(|length| whole && *length <= width);
        let Some(length) = length else {
            return Err(refuse(&format!("the prefix length is not a number from 0 to {width}"), example));
        };
        let masked = Self { address, length }.masked();
        if masked != address {
            return Err(refuse(
                "bits behind the prefix are set",
                &format!("write {masked}/{length}, or {address} for the one host"),
            ));
        }
        Ok(Self { address, length })
    }
}

/// An inclusive range, written `low-high`, or one number. `low <= high` always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range<T> {
    low: T,
    high: T,
}

impl<T: Copy + Ord + TryFrom<u32>> Range<T> {
    /// A range; `None` when it is upside down.
    pub fn new(low: T, high: T) -> Option<Self> {
        (low <= high).then_some(Self { low, high })
    }

    /// Both ends, inclusive.
    pub fn ends(self) -> (T, T) {
        (self.low, self.high)
    }

    /// Reads `N` or `N-M`, neither above `largest`; the error calls the number `what`.
    pub(super) fn read(text: &str, what: &str, largest: u32) -> Result<Self, Problem> {
        let refuse = |cause: String, cure: String| Problem::new(text, cause, cure);
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse::<u32>().ok().filter(|number| plain && *number <= largest);
            number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
                refuse(
                    format!("{what} is a number from 0 to {largest}"),
                    "write one number or a range such as 10-20".to_owned(),
                )
            })
        };
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        Self::new(number(low)?, number(high)?)
            .ok_or_else(|| refuse("the range is upside down".to_owned(), format!("write {high}-{low}")))
    }
}

impl<T: fmt::Display + PartialEq> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { write!(f, "{}", self.low) } else { write!(f, "{}-{}", self.low, self.high) }
    }
}

/// A kind of content in a multi-modal message. The value is its bit in the header's `modality_mask`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Modality {
    /// Text.
    Text = 1,
    /// Audio.
    Audio = 2,
    /// Image.
    Image = 4,
    /// Sensor readings.
    Sensor = 8,
}

impl Modality {
    /// Every modality, by ascending bit.
    pub const ALL: [Self; 4] = [Self::Text, Self::Audio, Self::Image, Self::Sensor];

    /// The name in a match and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Audio => "audio",
            Self::Image => "image",
            Self::Sensor => "sensor",
        }
    }
}

/// One or more modalities, written `audio|image`. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModalitySet(u8);

impl ModalitySet {
    /// The set with these header bits; `None` if none of them is a modality or another bit is set.
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits != 0 && bits < 16).then_some(Self(bits))
    }

    /// The header bits: 1 text, 2 audio, 4 image, 8 sensor.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl fmt::Display for ModalitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Modality::ALL.iter().filter(|one| self.0 & **one as u8 != 0).map(|one| one.name());
        f.pad(&names.collect::<Vec<_>>().join("|"))
    }
}

impl FromStr for ModalitySet {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut bits = 0;
        for part in text.split('|') {
            let found = Modality::ALL.into_iter().find(|modality| modality.name() == part);
            bits |= found.ok_or_else(|| {
                let cure = "write text, audio, image or sensor, several with | between them";
                Problem::new(text, format!("`{}` is not a modality", crate::problem::one_line(part)), cure)
            })? as u8;
        }
        Ok(Self(bits))
    }
}

crate::name::as_text!(ModalitySet);
