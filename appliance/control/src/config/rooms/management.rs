//! Management: by what people reach the box.

use std::net::IpAddr;

/// What no change may cut off unless it is forced and to be confirmed; DHCP, ARP and neighbour discovery always are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementSpec {
    /// Addresses of the box that people connect to, ascending, [`MAX_MANAGEMENT_ADDRESSES`](super::super::MAX_MANAGEMENT_ADDRESSES)
    /// at most; any where it is empty (default).
    pub addresses: Vec<IpAddr>,
    /// TCP ports that they connect to, ascending, 1 to [`MAX_MANAGEMENT_PORTS`](super::super::MAX_MANAGEMENT_PORTS) of them
    /// (default 22, which is ssh).
    pub ports: Vec<u16>,
}

impl Default for ManagementSpec {
    fn default() -> Self {
        Self { addresses: Vec::new(), ports: vec![22] }
    }
}
