//! Receiving sides that a lab can have of its own, for comparison and for rigs without the appliance.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_io::umem::UmemView;
use weir_dataplane_ring::RxReader;
use weir_ebpf_abi::meta::FrameMeta;

use super::memory::Parts;
use super::meter::Meter;
use crate::error::LabError;
use crate::network::Node;

/// Where frames arrive.
pub trait Receiver {
    /// How it receives, for results.
    fn mode(&self) -> String;

    /// Frames so far, doubled ones included; a run waits until this has reached what was sent.
    fn frames(&mut self) -> Result<u64, LabError>;

    /// The account of everything that arrived. To be asked once, at the end.
    ///
    /// # Errors
    /// The receiving side is gone.
    fn finish(&mut self) -> Result<Meter, LabError>;
}

/// A thread that fills a meter until it is told to stop.
struct Listening {
    stop: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    thread: Option<JoinHandle<Meter>>,
}

impl Listening {
    fn start(work: impl FnOnce(&AtomicBool, &AtomicU64) -> Meter + Send + 'static) -> Result<Self, LabError> {
        let (stop, frames) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (inner_stop, inner_frames) = (Arc::clone(&stop), Arc::clone(&frames));
        let thread = Builder::new().name("lab-receiver".to_owned()).spawn(move || work(&inner_stop, &inner_frames));
        let thread =
            thread.map_err(|source| LabError::system("starting a thread", source, "lower the thread count"))?;
        Ok(Self { stop, frames, thread: Some(thread) })
    }

    fn finish(&mut self) -> Result<Meter, LabError> {
        self.stop.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(meter)) => Ok(meter),
            Some(Err(_)) => Err(LabError::Panicked { what: "receiver" }),
            None => Ok(Meter::new()),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// Reads a ring of the kernel's layout and accounts for the messages on it, as the simplest worker would.
pub struct RingReceiver(Listening);

impl RingReceiver {
    /// Reads `parts` into `meter`, pinned to `cpu` if one is given.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(parts: Parts, meter: Meter, cpu: Option<u32>) -> Result<Self, LabError> {
        Listening::start(move |stop, frames| {
            if let Some(cpu) = cpu {
                // Without the pin the figures are noisier, and still right.
                let _ = weir_dataplane_io::cpu::pin(cpu);
            }
            read_ring(&parts, Consumer::default(), meter, stop, frames)
        })
        .map(Self)
    }

    /// Reads `parts` into `meter` as slowly as `consumer` says.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn paced(parts: Parts, meter: Meter, consumer: Consumer) -> Result<Self, LabError> {
        Listening::start(move |stop, frames| read_ring(&parts, consumer, meter, stop, frames)).map(Self)
    }
}

/// How a consumer takes frames. A batch is what it takes between two moves of its cursor: the ring gets the frames of a
/// batch back at once, after the delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Most frames in a batch.
    pub batch: u32,
    /// How long the consumer works on each batch.
    pub delay: Duration,
}

impl Default for Consumer {
    /// 64 frames, taken as fast as they can be read.
    fn default() -> Self {
        Self { batch: 64, delay: Duration::ZERO }
    }
}

impl Consumer {
    /// The most frames a second that it can take, without end where it has no delay.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        f64::from(self.batch) / self.delay.as_secs_f64()
    }
}

fn read_ring(parts: &Parts, consumer: Consumer, mut meter: Meter, stop: &AtomicBool, frames: &AtomicU64) -> Meter {
    let Parts { reader, view, cursors, slot } = parts;
    let mut cursor = cursors.position(*slot);
    loop {
        let available = reader.available(cursor).min(consumer.batch.max(1));
        if available == 0 {
            if stop.load(Ordering::Acquire) && reader.available(cursor) == 0 {
                return meter;
            }
            // Sleeping would be the worker's business; here the ring's own speed is wanted, on a core that is shared.
            std::thread::yield_now();
            continue;
        }
        let now = monotonic_ns();
        read_batch(reader, view, cursor, available, |message| meter.note(now, message));
        if !consumer.delay.is_zero() {
            // The frames are held meanwhile, as by a worker that is busy with them.
            std::thread::sleep(consumer.delay);
        }
        cursor += u64::from(available);
        cursors.publish(*slot, cursor);
        frames.store(meter.frames, Ordering::Release);
    }
}

/// Hands the message of each of `count` frames from `cursor` on to `on_message`; one that cannot be found as nothing.
fn read_batch(reader: &RxReader, view: &UmemView, cursor: u64, count: u32, mut on_message: impl FnMut(&[u8])) {
    for descriptor in reader.batch(cursor, count) {
        let start = descriptor.address.wrapping_sub(FrameMeta::SIZE as u64);
        let all = view.bytes(start, descriptor.length + FrameMeta::SIZE as u32).unwrap_or_default();
        let message = FrameMeta::read_before(all, FrameMeta::SIZE).and_then(|meta| {
            let from = FrameMeta::SIZE + usize::from(meta.payload_offset);
            all.get(from..from + usize::from(meta.payload_length))
        });
        on_message(message.unwrap_or_default());
    }
}

impl Receiver for RingReceiver {
    fn mode(&self) -> String {
        "memory".to_owned()
    }

    fn frames(&mut self) -> Result<u64, LabError> {
        Ok(self.0.frames.load(Ordering::Acquire))
    }

    fn finish(&mut self) -> Result<Meter, LabError> {
        self.0.finish()
    }
}

/// Receives datagrams on a UDP socket: the comparison every user knows.
pub struct UdpReceiver(Listening);

impl UdpReceiver {
    /// Listens inside `node`.
    ///
    /// # Errors
    /// The address is not the node's or taken, or the thread cannot be started.
    pub fn start(node: &Node, address: SocketAddr, mut meter: Meter) -> Result<Self, LabError> {
        let bound = node.run(|| UdpSocket::bind(address))?;
        let fail =
            |source| LabError::system(format!("listening on {address}"), source, "give a free address of the node");
        let socket = bound.map_err(fail)?;
        socket.set_read_timeout(Some(Duration::from_millis(20))).map_err(fail)?;
        Listening::start(move |stop, frames| {
            let mut datagram = vec![0; 65_536];
            loop {
                match socket.recv(&mut datagram) {
                    Ok(length) => {
                        meter.note(monotonic_ns(), &datagram[..length]);
                        frames.store(meter.frames, Ordering::Release);
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                        if stop.load(Ordering::Acquire) {
                            return meter;
                        }
                    }
                    Err(_) => return meter,
                }
            }
        })
        .map(Self)
    }
}

impl Receiver for UdpReceiver {
    fn mode(&self) -> String {
        "udp".to_owned()
    }

    fn frames(&mut self) -> Result<u64, LabError> {
        Ok(self.0.frames.load(Ordering::Acquire))
    }

    fn finish(&mut self) -> Result<Meter, LabError> {
        self.0.finish()
    }
}
