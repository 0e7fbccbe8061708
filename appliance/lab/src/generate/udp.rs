//! The generator an application would be: one connected UDP socket for each producer.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use super::Sender;
use crate::error::LabError;
use crate::network::Node;
use crate::traffic::{Traffic, TrafficSpec};
use weir_ebpf_abi::message::{PORT_BATCH, PORT_STANDARD};

/// Sends messages as datagrams.
pub struct UdpSender {
    sockets: Vec<UdpSocket>,
    first_source: u32,
}

impl UdpSender {
    /// Sockets inside `node` with the addresses and ports of `spec`.
    ///
    /// # Errors
    /// The node does not have the source address, or a port is taken.
    pub fn new(node: &Node, spec: &TrafficSpec) -> Result<Self, LabError> {
        let port = match spec.content {
            crate::traffic::Content::Message { .. } => PORT_STANDARD,
            crate::traffic::Content::Batch { .. } => PORT_BATCH,
        };
        let open = |number: u32| {
            let local = SocketAddr::new(spec.path.source, spec.path.source_port.wrapping_add(number as u16));
            let socket = UdpSocket::bind(local)?;
            socket.connect(SocketAddr::new(spec.path.destination, port))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = node.run(|| (0..spec.producers).map(open).collect::<std::io::Result<Vec<_>>>())?;
        let what = || format!("opening UDP sockets from {}", spec.path.source);
        let cure = "give the node this address, and ports that are free";
        let sockets = sockets.map_err(|source| LabError::system(what(), source, cure))?;
        Ok(Self { sockets, first_source: spec.first_source })
    }
}

impl Sender for UdpSender {
    fn describe(&self) -> String {
        format!("{} UDP socket(s), one send() for each datagram", self.sockets.len())
    }

    fn send(&mut self, traffic: &mut Traffic, stamps: &[u64]) -> Result<usize, LabError> {
        for (taken, stamp) in stamps.iter().enumerate() {
            let sent = traffic.next(*stamp);
            let number = sent.source.wrapping_sub(self.first_source) as usize % self.sockets.len();
            match self.sockets[number].send(sent.template.payload()) {
                // Refused: nobody listens at the other end, which is the receiver's account to make.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    traffic.unsend();
                    return Ok(taken);
                }
                // ENOBUFS: the device's queue is full for now.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    traffic.unsend();
                    return Ok(taken);
                }
                Err(source) => {
                    return Err(LabError::system("sending a datagram", source, "see that the interface is up"));
                }
            }
        }
        Ok(stamps.len())
    }
}
