//! The generator of real frames: a capture, sent again and again at a steady rate through an AF_XDP transmit ring.

use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_source::capture::Reader;

use super::Sender;
use super::afxdp::XdpSender;
use crate::error::LabError;
use crate::load::Pace;
use crate::network::Node;

/// Pause when nothing is due: captured frames are a trickle beside generated ones.
const REST: Duration = Duration::from_millis(1);

/// Sends the frames of a capture, and others between them.
pub struct CaptureSender {
    wire: XdpSender,
    frames: Vec<Vec<u8>>,
}

impl CaptureSender {
    /// A sender out of `interface` of `node`, of the Ethernet frames in `capture` that fit a frame of the wire, and behind
    /// them of the frames in `more`.
    ///
    /// # Errors
    /// The bytes are no capture or have no frame to send, or the interface's queue is taken.
    pub fn new(node: &Node, interface: &str, capture: &[u8], more: Vec<Vec<u8>>) -> Result<Self, LabError> {
        let broken = |error: &dyn std::fmt::Display| LabError::spec("the capture", error, "give a pcap or pcapng file");
        let mut reader = Reader::new(Cursor::new(capture)).map_err(|error| broken(&error))?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame().map_err(|error| broken(&error))? {
            if frame.bytes.len() >= 14 && frame.bytes.len() <= XdpSender::LONGEST {
                frames.push(frame.bytes.to_vec());
            }
        }
        frames.extend(more);
        if frames.is_empty() {
            return Err(broken(&"without a frame to send"));
        }
        Ok(Self { wire: XdpSender::new(node, interface)?, frames })
    }

    /// Sends until `stop`, from the first frame to the last and round again; gives the frames sent.
    ///
    /// # Errors
    /// The wire is gone.
    pub fn drive(&mut self, per_second: f64, stop: &AtomicBool) -> Result<u64, LabError> {
        let pace = Pace::new(monotonic_ns(), per_second);
        let mut sent = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            let due = pace.due(monotonic_ns());
            while sent < due {
                let place = (sent % self.frames.len() as u64) as usize;
                let Some(frame) = self.frames.get(place) else { break };
                if !self.wire.send_bytes(frame)? {
                    break;
                }
                sent += 1;
            }
            self.wire.flush()?;
            std::thread::sleep(REST);
        }
        Ok(sent)
    }
}
