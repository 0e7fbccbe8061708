//! Bare AF_XDP in one process: a program that only redirects, one socket, and a loop that gives each frame straight back.

use anyhow::{Context, Result};
use weir_appliance_lab::Node;
use weir_dataplane_io::umem::Umem;
use weir_dataplane_io::xdp::{self, BindWish, Primary, Queue, Sizes};
use weir_dataplane_ring::RxOwner;
use weir_ebpf_loader::floor::Floor;

/// Frames, twice the ring, so that the kernel never lacks one.
const FRAMES: u32 = 8192;
const FRAME_SIZE: u32 = 2048;
/// Descriptors of the RX ring, as many as the appliance has by default.
pub const RING: u32 = 4096;

/// The reader. Fields in the order in which they have to go: the program first, the memory last.
pub struct Bare {
    _floor: Floor,
    rx: RxOwner,
    primary: Primary,
    umem: Umem,
}

impl Bare {
    /// Takes over queue 0 of `interface` of `node`.
    ///
    /// # Errors
    /// The queue is taken, or the rights are missing.
    pub fn new(node: &Node, interface: &str) -> Result<Self> {
        let umem = Umem::create(FRAMES, FRAME_SIZE)?;
        let place = Queue { interface: node.interface(interface)?.index, queue: 0 };
        let sizes = Sizes { fill: FRAMES, completion: 64, rx: RING, tx: 0 };
        let mut primary = node.run(|| xdp::primary(&umem, &sizes, place, BindWish::Copy, false))??;
        for frame in 0..u64::from(FRAMES) {
            primary.fill.push(frame * u64::from(FRAME_SIZE)).ok().context("the fill ring is smaller than asked")?;
        }
        primary.fill.publish();
        let rx = primary.rx.take().context("the socket has no RX ring")?;
        let floor = node.run(|| {
            use std::os::fd::AsFd;
            Floor::socket(interface, primary.socket.as_fd())
        })??;
        Ok(Self { _floor: floor, rx, primary, umem })
    }

    /// Hands every frame there is to `on_frame` and gives it back to the kernel; gives how many.
    #[inline]
    pub fn poll(&mut self, mut on_frame: impl FnMut(&[u8])) -> u64 {
        let (start, end) = (self.rx.consumer(), self.rx.producer());
        if start == end {
            return 0;
        }
        for descriptor in self.rx.until(end) {
            on_frame(self.umem.bytes(descriptor.address, descriptor.length).unwrap_or_default());
            let _ = self.primary.fill.push(self.umem.frame_of(descriptor.address)); // a frame taken off leaves room
        }
        self.primary.fill.publish();
        self.rx.release(end);
        end - start
    }
}
