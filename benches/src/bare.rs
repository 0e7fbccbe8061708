//! Bare AF_XDP in one process: a program in the driver, a socket for each class, and a loop that gives each frame straight
//! back, or sends it where it came from.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use weir_appliance_lab::Node;
use weir_dataplane_io::umem::Umem;
use weir_dataplane_io::xdp::{self, BindWish, Primary, Queue, Sizes, Socket};
use weir_dataplane_ring::{Descriptor, RxOwner};
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

/// Frames taken off a ring at once before they are sent, as testpmd's burst.
const BURST: u64 = 64;

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
        Self::with_tx(node, interface, front, 64, 0)
    }

    /// The same with a TX ring, for [`Bare::turn_around`].
    ///
    /// # Errors
    /// As [`Bare::new`].
    pub fn sending(node: &Node, interface: &str) -> Result<Self> {
        Self::with_tx(node, interface, Front::Redirect, RING, RING)
    }

    fn with_tx(node: &Node, interface: &str, front: Front<'_>, completion: u32, tx: u32) -> Result<Self> {
        let classes = match front {
            Front::Redirect => 1,
            Front::Classifier(rules) => rules.iter().map(|rule| u32::from(rule.class) + 1).max().unwrap_or(1),
        };
        let frames = classes * RING + 2 * tx + SPARE;
        let umem = Umem::create(frames, FRAME_SIZE)?;
        let place = Queue { interface: node.interface(interface)?.index, queue: 0 };
        let sizes = Sizes { fill: frames.next_power_of_two(), completion, rx: RING, tx };
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

impl Bare {
    /// Takes a burst of frames, exchanges their Ethernet addresses and sends them back where they came from; gives how many.
    /// What was sent before goes home first, and the kernel is kicked once for each burst, as `xdpsock --l2fwd` does.
    ///
    /// # Errors
    /// There is no TX ring, or the kernel refuses to send.
    pub fn turn_around(&mut self) -> Result<u64> {
        let Primary { fill, completion, tx, socket, .. } = &mut self.primary;
        let (tx, rx) = (tx.as_mut().context("made without a TX ring")?, self.rings.first_mut().context("no RX ring")?);
        let mut came = false;
        while let Some(address) = completion.pop() {
            let _ = fill.push(self.umem.frame_of(address)); // a frame that was sent leaves room
            came = true;
        }
        if came {
            completion.release();
            fill.publish();
        }
        let start = rx.consumer();
        let end = rx.producer().min(start + BURST.min(u64::from(tx.free())));
        for descriptor in rx.until(end) {
            let macs = self.umem.bytes(descriptor.address, 12).context("a frame outside the memory")?;
            let mut turned = [0_u8; 12];
            turned[..6].copy_from_slice(&macs[6..]);
            turned[6..].copy_from_slice(&macs[..6]);
            self.umem.write(descriptor.address, &turned);
            let _ = tx.push(Descriptor { options: 0, ..descriptor }); // there is room: asked just above
        }
        if end > start {
            tx.publish();
            rx.release(end);
        }
        if tx.free() < tx.size() {
            socket.kick()?;
        }
        Ok(end - start)
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
