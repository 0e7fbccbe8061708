//! The generator with full control over frames and times: an AF_XDP transmit ring.

use std::sync::Arc;

use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions};
use weir_dataplane_io::xdp::{self, BindWish, Primary, Queue, Sizes};
use weir_dataplane_ring::{Descriptor, TxRing};

use super::Sender;
use crate::error::LabError;
use crate::network::Node;
use crate::traffic::Traffic;

/// Frames and ring entries: twice what a full ring's worth of kicks needs.
const FRAMES: u32 = 2048;
const FRAME_SIZE: u32 = 4096;
/// Kicks tried to empty the ring in one flush; each sends 32 frames in copy mode.
const KICKS_MAX: u32 = 1024;

/// Sends through an AF_XDP socket in copy mode.
pub struct XdpSender {
    tx: TxRing,
    primary: Primary,
    umem: Arc<Umem>,
    free: Vec<u64>,
    waiting: bool,
}

impl XdpSender {
    /// A socket on queue 0 of `interface` inside `node`.
    ///
    /// # Errors
    /// The interface is missing or its queue is taken, or the rights are missing.
    pub fn new(node: &Node, interface: &str) -> Result<Self, LabError> {
        let options = UmemOptions { frames: FRAMES, frame_size: FRAME_SIZE, hugepages: HugePages::Prefer, node: None };
        let umem = Arc::new(Umem::create_with(options)?);
        let index = node.interface(interface)?.index;
        let sizes = Sizes { fill: 64, completion: FRAMES, rx: 0, tx: FRAMES };
        let place = Queue { interface: index, queue: 0 };
        let mut primary = node.run(|| xdp::primary(&umem, &sizes, place, BindWish::Copy, false))??;
        let Some(tx) = primary.tx.take() else {
            return Err(LabError::spec("the transmit ring's size", 0, "this is a fault of the lab: report it"));
        };
        let free = (0..u64::from(FRAMES)).map(|frame| frame * u64::from(FRAME_SIZE)).collect();
        Ok(Self { tx, primary, umem, free, waiting: false })
    }

    /// Most bytes of a frame.
    pub const LONGEST: usize = FRAME_SIZE as usize;

    /// Puts one frame of any content on the ring, to leave with the next flush; false when the ring is full for now.
    ///
    /// # Errors
    /// The frame is longer than [`XdpSender::LONGEST`].
    pub fn send_bytes(&mut self, frame: &[u8]) -> Result<bool, LabError> {
        self.complete();
        let Some(address) = self.free.pop() else { return Ok(false) };
        let length = frame.len() as u32; // at most LONGEST, asked next
        if frame.len() > Self::LONGEST || !self.umem.write(address, frame) {
            self.free.push(address);
            return Err(LabError::spec("a frame's length", frame.len(), "give at most 4096 bytes"));
        }
        if self.tx.push(Descriptor { address, length, options: 0 }).is_err() {
            self.free.push(address);
            return Ok(false);
        }
        self.tx.publish();
        self.waiting = true;
        Ok(true)
    }

    /// Takes back frames that were sent.
    fn complete(&mut self) {
        while let Some(address) = self.primary.completion.pop() {
            self.free.push(self.umem.frame_of(address));
        }
        self.primary.completion.release();
    }
}

impl Sender for XdpSender {
    fn describe(&self) -> String {
        "AF_XDP transmit ring in copy mode".to_owned()
    }

    fn send(&mut self, traffic: &mut Traffic, stamps: &[u64]) -> Result<usize, LabError> {
        self.complete();
        let mut taken = 0;
        for stamp in stamps {
            let Some(address) = self.free.pop() else { break };
            let sent = traffic.next(*stamp);
            let frame = sent.template.frame();
            let length = frame.len() as u32; // a datagram's length fits
            let fits = frame.len() <= FRAME_SIZE as usize && self.umem.write(address, frame);
            if !fits {
                return Err(LabError::spec("a frame's length", length, "give at most 4096 bytes"));
            }
            if self.tx.push(Descriptor { address, length, options: 0 }).is_err() {
                traffic.unsend();
                self.free.push(address);
                break;
            }
            taken += 1;
        }
        self.tx.publish();
        self.waiting |= taken > 0;
        self.flush()?;
        Ok(taken)
    }

    fn flush(&mut self) -> Result<(), LabError> {
        for _ in 0..KICKS_MAX {
            if !self.waiting {
                break;
            }
            // False means that the kernel sent its share and wants another call.
            self.waiting = !self.primary.socket.kick()?;
            self.complete();
        }
        self.waiting = self.tx.free() < self.tx.size();
        Ok(())
    }
}
