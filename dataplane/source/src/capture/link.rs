//! Link layers by the numbers of the tcpdump group's registry (LINKTYPE_ values).

/// Link layer a captured frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// BSD loopback: a 4-byte address family in the byte order of the capturing host (0).
    Null,
    /// Ethernet (1).
    Ethernet,
    /// PPP, with or without the HDLC address and control bytes (9, 50).
    Ppp,
    /// An IPv4 or IPv6 packet without a link layer; the first nibble tells which (101, and 12 or 14 on old systems).
    Raw,
    /// OpenBSD loopback: the address family in network order (108).
    Loop,
    /// Linux "any" device, 16-byte cooked header (113).
    LinuxSll,
    /// IPv4 without a link layer (228).
    Ipv4,
    /// IPv6 without a link layer (229).
    Ipv6,
    /// Linux "any" device, 20-byte cooked header (276).
    LinuxSll2,
    /// Any other number of the registry.
    Other(u32),
}

impl LinkType {
    /// The link layer with this registry number.
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Null,
            1 => Self::Ethernet,
            9 | 50 => Self::Ppp,
            12 | 14 | 101 => Self::Raw,
            108 => Self::Loop,
            113 => Self::LinuxSll,
            228 => Self::Ipv4,
            229 => Self::Ipv6,
            276 => Self::LinuxSll2,
            other => Self::Other(other),
        }
    }

    /// The registry number to write into a file.
    pub const fn number(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::Ppp => 9,
            Self::Raw => 101,
            Self::Loop => 108,
            Self::LinuxSll => 113,
            Self::Ipv4 => 228,
            Self::Ipv6 => 229,
            Self::LinuxSll2 => 276,
            Self::Other(number) => number,
        }
    }
}

impl std::fmt::Display for LinkType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => formatter.write_str("BSD loopback"),
            Self::Ethernet => formatter.write_str("Ethernet"),
            Self::Ppp => formatter.write_str("PPP"),
            Self::Raw => formatter.write_str("raw IP"),
            Self::Loop => formatter.write_str("OpenBSD loopback"),
            Self::LinuxSll => formatter.write_str("Linux cooked v1"),
            Self::Ipv4 => formatter.write_str("raw IPv4"),
            Self::Ipv6 => formatter.write_str("raw IPv6"),
            Self::LinuxSll2 => formatter.write_str("Linux cooked v2"),
            Self::Other(number) => write!(formatter, "link type {number}"),
        }
    }
}
