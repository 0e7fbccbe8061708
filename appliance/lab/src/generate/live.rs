//! The fastest generator: XDP live frames, made and stamped in the kernel, with no process in between.
//!
//! It has no schedule: frames go as fast as the core can make them, and each carries the time at which it was made. A
//! veth pair takes them only while an XDP program runs at its other end: the classifier, or a [`Sink`].

use std::time::Duration;

use weir_ebpf_loader::generate::{LiveFrames, Sink, SinkAction, Traffic as Turns};

use crate::error::LabError;
use crate::network::Node;
use crate::traffic::{Content, Traffic, TrafficSpec};

/// Bytes from the UDP header's start to its checksum.
const CHECKSUM: usize = 6;
/// Message types of generated messages: the five event types in turn.
const TYPES: u32 = 5;

/// Live frames out of one interface.
#[derive(Debug)]
pub struct Live {
    frames: LiveFrames,
    frame_bytes: usize,
}

impl Live {
    /// Frames as `spec` describes, out of `interface` of `node`: its sources take turns, events come in the shares of
    /// all traffic but in a fixed order, and UDP checksums are left out, as IPv4 allows.
    ///
    /// # Errors
    /// The content is impossible, the path is IPv6 (which needs checksums), or the kernel refuses the program.
    pub fn new(node: &Node, interface: &str, spec: &TrafficSpec) -> Result<Self, LabError> {
        if spec.path.source.is_ipv6() {
            return Err(LabError::spec("the path of live frames", spec.path.source, "give IPv4 addresses"));
        }
        let traffic = Traffic::new(spec)?;
        let Some(template) = traffic.templates().next() else {
            return Err(LabError::spec("the number of producers", 0, "give at least 1"));
        };
        let mut frame = template.frame().to_vec();
        let sum = template.offsets().transport + CHECKSUM;
        frame[sum..sum + 2].fill(0);
        let types = if matches!(spec.content, Content::Message { .. }) { TYPES } else { 1 };
        let turns = Turns { first_source: spec.first_source, sources: spec.producers, first_type: 1, types };
        let index = node.interface(interface)?.index;
        let frames = node.run(|| LiveFrames::new(index, &frame, turns))??;
        Ok(Self { frames, frame_bytes: frame.len() })
    }

    /// Which generator it is, for results.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("XDP live frames of {} bytes, made in the kernel", self.frame_bytes)
    }

    /// Bytes of each frame, without the check sequence.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Makes `count` frames on the calling core and says how long it took. Each call costs about 25 ms of set-up in the
    /// kernel, so a rate wants a million frames at a time. To be called inside the node ([`Node::run`]).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn send(&mut self, count: u32) -> Result<Duration, LabError> {
        Ok(self.frames.send(count)?)
    }

    /// Frames made so far, whether or not the wire took them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn sent(&self) -> Result<u64, LabError> {
        Ok(self.frames.sent()?)
    }

    /// Events made so far.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn events(&self) -> Result<u64, LabError> {
        Ok(self.frames.events()?)
    }
}

/// Attaches a counting program to `interface` of `node`; it detaches when dropped. With [`SinkAction::Drop`] it is the
/// end of a wire, with [`SinkAction::Pass`] it only lets live and forwarded frames in.
///
/// # Errors
/// The kernel refuses.
pub fn sink(node: &Node, interface: &str, action: SinkAction) -> Result<Sink, LabError> {
    Ok(node.run(|| Sink::attach(interface, action))??)
}
