//! Bare AF_XDP in one process: a program in the driver, a socket for each class, and a loop that gives each frame straight
//! back.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use weir_appliance_lab::Node;
use weir_dataplane_io::umem::Umem;
use weir_dataplane_io::xdp::{self, BindWish, Primary, Queue, Sizes, Socket};
use weir_dataplane_ring::RxOwner;
use weir_ebpf_abi::rules::Rule;
use weir_ebpf_loader::floor::Floor;
use weir_ebpf_loader::{AttachWish, Classifier, LoadOptions};

/// Frames beyond what the rings hold, so that the kernel never lacks one: as many as the appliance has by default.
const SPARE: u32 = 256;
const FRAME_SIZE: u32 = 2048;
/// Descriptors of the RX ring, as many as the appliance has by default.
const RING: u32 = 2048;

/// The program in front of the sockets.
#[derive(Clone, Copy, Debug)]
pub enum Front<'a> {
    /// Redirects every frame to the one socket and looks at none.
    Redirect,
    /// The appliance's own, with rules that deliver to classes from 0 on: so many classes, so many sockets.
    Classifier(&'a [Rule]),
}

/// What keeps the program attached.
enum Attached {
    Redirect { _floor: Floor },
    Classifier { _classifier: Box<Classifier> },
}

/// The reader. Fields in the order in which they have to go: the program first, the memory last.
pub struct Bare {
    _front: Attached,
    rings: Vec<RxOwner>,
    _further: Vec<Socket>,
    primary: Primary,
    umem: Umem,
}

impl Bare {
    /// Takes over queue 0 of `interface` of `node`.
    ///
    /// # Errors
    /// The queue is taken, or the rights are missing.
    pub fn new(node: &Node, interface: &str, front: Front<'_>) -> Result<Self> {
        let classes = match front {
            Front::Redirect => 1,
            Front::Classifier(rules) => rules.iter().map(|rule| u32::from(rule.class) + 1).max().unwrap_or(1),
        };
        let frames = classes * RING + SPARE;
        let umem = Umem::create(frames, FRAME_SIZE)?;
        let place = Queue { interface: node.interface(interface)?.index, queue: 0 };
        let sizes = Sizes { fill: frames.next_power_of_two(), completion: 64, rx: RING, tx: 0 };
        let mut primary = node.run(|| xdp::primary(&umem, &sizes, place, BindWish::Copy, false))??;
        for frame in 0..u64::from(frames) {
            primary.fill.push(frame * u64::from(FRAME_SIZE)).ok().context("the fill ring is smaller than asked")?;
        }
        primary.fill.publish();
        let mut rings = vec![primary.rx.take().context("the socket has no RX ring")?];
        let mut further = Vec::new();
        for _ in 1..classes {
            let class = node.run(|| xdp::class(&primary, RING))??;
            rings.push(class.rx);
            further.push(class.socket);
        }
        let sockets: Vec<&Socket> = std::iter::once(&primary.socket).chain(&further).collect();
        let front = node.run(|| attach(interface, front, &sockets))??;
        Ok(Self { _front: front, rings, _further: further, primary, umem })
    }

    /// Hands every frame there is to `on_frame` and gives it back to the kernel; gives how many.
    #[inline]
    pub fn poll(&mut self, mut on_frame: impl FnMut(&[u8])) -> u64 {
        let mut taken = 0;
        for rx in &mut self.rings {
            let (start, end) = (rx.consumer(), rx.producer());
            if start == end {
                continue;
            }
            for descriptor in rx.until(end) {
                on_frame(self.umem.bytes(descriptor.address, descriptor.length).unwrap_or_default());
                let _ = self.primary.fill.push(self.umem.frame_of(descriptor.address)); // a frame taken off leaves room
            }
            self.primary.fill.publish();
            rx.release(end);
            taken += end - start;
        }
        taken
    }
}

/// Attaches the program, with the sockets in its table.
fn attach(interface: &str, front: Front<'_>, sockets: &[&Socket]) -> Result<Attached> {
    match front {
        Front::Redirect => {
            let first = sockets.first().context("no socket")?;
            Ok(Attached::Redirect { _floor: Floor::socket(interface, first.as_fd())? })
        }
        Front::Classifier(rules) => {
            let mut classifier = Box::new(Classifier::load(LoadOptions { pin_root: None })?);
            classifier.install_rules(rules, &[])?;
            for (class, socket) in (0..).zip(sockets) {
                classifier.set_socket(0, class, socket.as_fd())?;
            }
            classifier.attach(interface, AttachWish::Native)?;
            Ok(Attached::Classifier { _classifier: classifier })
        }
    }
}
