//! Generators: what sends traffic, each saying which it is, since a rate means little without its generator.
//!
//! | generator | sends through | good for |
//! |---|---|---|
//! | [`live`] | XDP live frames, made in the kernel | the highest rates into a veth pair; needs an XDP program on the peer |
//! | [`afxdp`] | an AF_XDP transmit ring | paced frames of any content |
//! | [`capture`] | an AF_XDP transmit ring | real frames, again and again |
//! | [`udp`] | UDP sockets | what an application would do, every cost of the stack included |
//! | [`ring`] | a lane ring in memory | no privilege and no wire: what the user-space half can do |

pub mod afxdp;
pub mod capture;
pub mod live;
pub mod ring;
pub mod udp;

use crate::error::LabError;
use crate::traffic::Traffic;

/// What sends frames one by one, each at a time of its own.
pub trait Sender: Send {
    /// Which generator it is, for results: name and what matters of its set-up.
    fn describe(&self) -> String;

    /// Sends one frame of `traffic` for each of `stamps`, in order, and returns how many were taken. Fewer than asked
    /// means that the way is full for now; the rest keeps its numbers.
    ///
    /// # Errors
    /// The way is gone for good.
    fn send(&mut self, traffic: &mut Traffic, stamps: &[u64]) -> Result<usize, LabError>;

    /// Gets what was taken on its way, where that needs a push of its own.
    ///
    /// # Errors
    /// The way is gone for good.
    fn flush(&mut self) -> Result<(), LabError> {
        Ok(())
    }
}
