//! The generator that a program with the SDK would be: a stream over TCP for each producer, which keeps what is not
//! acknowledged. Its window being full, a message waits for its turn, and that counts, since it is stamped with when it was due.

use std::time::Duration;

use anyhow::{Context, Result};
use weir_appliance_lab::LabError;
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::network::Node;
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_appliance_sdk_rust::{IngestAddress, StreamClient, StreamFailure, StreamOptions, StreamStatistics};
use weir_ebpf_abi::message::{PORT_BATCH, PORT_STANDARD};

/// Port on which the box of the lab takes streams.
pub(super) const PORT: u16 = 48_103;
/// Longest wait for all connections to stand.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of messages that all producers together keep until they are acknowledged.
const WINDOWS: usize = 64 << 20;

/// Sends messages over streams.
pub(super) struct StreamSender {
    clients: Vec<StreamClient>,
    first_source: u32,
    form: u16,
}

impl StreamSender {
    /// A connection from inside `node` to the box at the destination of `spec` for each of its producers.
    ///
    /// # Errors
    /// A connection that is refused, or does not stand in time.
    pub(super) fn new(node: &Node, spec: &TrafficSpec) -> Result<Self> {
        let form = match spec.content {
            Content::Message { .. } => PORT_STANDARD,
            Content::Batch { .. } => PORT_BATCH,
        };
        let address: IngestAddress = format!("{}:{PORT}", spec.path.destination).parse()?;
        let window_bytes = WINDOWS / spec.producers.max(1) as usize;
        let client = |number| {
            let source = spec.first_source.wrapping_add(number);
            StreamClient::new(address.clone(), StreamOptions { window_bytes, ..StreamOptions::new(source) })
        };
        // A client's threads stay in the namespace of the thread that makes it.
        let clients: Vec<StreamClient> = node.run(|| (0..spec.producers).map(client).collect())?;
        for client in &clients {
            client.connect(CONNECT_WITHIN).with_context(|| format!("producer {}", client.source()))?;
        }
        Ok(Self { clients, first_source: spec.first_source, form })
    }

    /// Waits until everything is acknowledged, and gives what all clients did.
    ///
    /// # Errors
    /// Something is not acknowledged within `patience`.
    pub(super) fn finish(self, patience: Duration) -> Result<StreamStatistics> {
        let mut all = StreamStatistics::default();
        for client in &self.clients {
            client.flush(patience).with_context(|| format!("producer {}", client.source()))?;
            let its = client.statistics();
            all.accepted += its.accepted;
            all.resent += its.resent;
            all.acknowledged += its.acknowledged;
            all.waits += its.waits;
        }
        Ok(all)
    }
}

impl Sender for StreamSender {
    fn describe(&self) -> String {
        format!("{} stream(s) over TCP, one SDK client for each", self.clients.len())
    }

    fn send(&mut self, traffic: &mut Traffic, stamps: &[u64]) -> Result<usize, LabError> {
        for (taken, stamp) in stamps.iter().enumerate() {
            let due = traffic.next(*stamp);
            let number = due.source.wrapping_sub(self.first_source) as usize % self.clients.len();
            match self.clients[number].try_send(self.form, due.template.payload()) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    traffic.unsend();
                    return Ok(taken);
                }
                Err(failure) => return Err(gone(&failure)),
            }
        }
        Ok(stamps.len())
    }
}

fn gone(failure: &StreamFailure) -> LabError {
    LabError::System {
        what: "sending over a stream".to_owned(),
        source: std::io::Error::other(failure.to_string()),
        cure: "see the box's messages with RUST_LOG=debug",
    }
}
