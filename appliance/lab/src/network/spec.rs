//! What a lab is to be.

use crate::error::LabError;

/// Longest name of an interface: IFNAMSIZ less the terminating zero.
const INTERFACE_NAME_MAX: usize = 15;

/// Nodes and the links between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabSpec {
    /// Names of the namespaces.
    pub nodes: Vec<String>,
    /// Veth pairs between them.
    pub links: Vec<Link>,
}

/// One veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// One end.
    pub first: End,
    /// The other end.
    pub second: End,
    /// Largest IP packet in bytes, 68 to 65535. Above 3506 a program needs `xdp.frags` on 4 KiB pages.
    pub mtu: u32,
    /// Transmit and receive queues of each end, 1 to 64.
    pub queues: u32,
}

/// One end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Node it is in.
    pub node: String,
    /// Its name there.
    pub interface: String,
    /// Its addresses, each with the prefix length: `10.9.0.1/24`.
    pub addresses: Vec<String>,
}

impl End {
    /// An end with these addresses.
    #[must_use]
    pub fn new(node: &str, interface: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        Self { node: node.to_owned(), interface: interface.to_owned(), addresses }
    }
}

impl LabSpec {
    /// `outside` wired to `box`: what receiving needs. `outside` is 10.9.0.1 and fd09::1, `box` 10.9.0.2 and fd09::2.
    #[must_use]
    pub fn pair() -> Self {
        let first = End::new("outside", "wire0", &["10.9.0.1/24", "fd09::1/64"]);
        let second = End::new("box", "eth0", &["10.9.0.2/24", "fd09::2/64"]);
        let nodes = vec![first.node.clone(), second.node.clone()];
        Self { nodes, links: vec![Link { first, second, mtu: 1500, queues: 1 }] }
    }

    /// `left` and `right` with `box` between them: what forwarding needs. Left 10.9.0.1, box 10.9.0.2 and 10.9.1.2,
    /// right 10.9.1.1, and the same in fd09::/64 and fd09:0:0:1::/64.
    #[must_use]
    pub fn line() -> Self {
        let left = End::new("left", "wire0", &["10.9.0.1/24", "fd09::1/64"]);
        let near = End::new("box", "eth0", &["10.9.0.2/24", "fd09::2/64"]);
        let far = End::new("box", "eth1", &["10.9.1.2/24", "fd09:0:0:1::2/64"]);
        let right = End::new("right", "wire0", &["10.9.1.1/24", "fd09:0:0:1::1/64"]);
        let nodes = ["left", "box", "right"].map(str::to_owned).to_vec();
        let link = |first, second| Link { first, second, mtu: 1500, queues: 1 };
        Self { nodes, links: vec![link(left, near), link(right, far)] }
    }

    /// Refuses what iproute2 would refuse half-way.
    pub(super) fn check(&self) -> Result<(), LabError> {
        for node in &self.nodes {
            let fits = !node.is_empty() && node.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
            if !fits {
                return Err(LabError::spec("a node's name", node, "use ASCII letters, digits and underscores"));
            }
        }
        for link in &self.links {
            if !(68..=65_535).contains(&link.mtu) {
                return Err(LabError::spec("a link's MTU", link.mtu, "give 68 to 65535 bytes"));
            }
            if !(1..=64).contains(&link.queues) {
                return Err(LabError::spec("a link's number of queues", link.queues, "give 1 to 64"));
            }
            for end in [&link.first, &link.second] {
                if !self.nodes.contains(&end.node) {
                    return Err(LabError::spec("a link's node", &end.node, "name one of the nodes"));
                }
                if end.interface.is_empty() || end.interface.len() > INTERFACE_NAME_MAX {
                    return Err(LabError::spec("an interface's name", &end.interface, "give 1 to 15 letters"));
                }
            }
        }
        Ok(())
    }
}

/// Hardware address of one side of a link: locally administered, the same in every lab of this shape.
pub(super) fn mac(link: usize, side: usize) -> [u8; 6] {
    // A lab with 256 links or more repeats addresses, which matters only inside one link.
    [0x02, 0x57, 0x45, 0x49, link as u8, side as u8 + 1]
}

/// An address as `ip` reads it.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
