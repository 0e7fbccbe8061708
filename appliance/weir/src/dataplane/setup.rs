//! From the configuration to bound queues: interfaces, frame memory, a ring for each class.

use std::os::fd::AsFd;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use weir_appliance_control::config::{Config, HugePages, InterfaceSpec, ModeWish, Queues};
use weir_dataplane_io::net::{self, Link};
use weir_dataplane_io::umem::{self, Umem, UmemOptions};
use weir_dataplane_io::xdp::{self, BindWish, Primary, Sizes};
use weir_dataplane_pool::budget::{QueueBudget, QueueShape, queue_budget};
use weir_dataplane_pool::class::ClassRing;
use weir_dataplane_pool::gauges::{QueueGauges, RingGauges};
use weir_dataplane_pool::lending::Lending;
use weir_dataplane_pool::outlet::Outlet;
use weir_dataplane_pool::queue::{Queue, QueueClass, Shares};
use weir_ebpf_abi::layout::MAX_QUEUES;
use weir_ebpf_loader::{AttachWish, Attached, Classifier};

use super::Ring;
use super::classes::KernelClasses;
use super::sends::QueueShown;
use super::streams::Area;

/// Slots of the ring on which frames leave an interface, mirrored ones and those that features send.
const TX_RING: u32 = 1024;
/// Bytes in front of a frame that the kernel keeps for the program's use (XDP_PACKET_HEADROOM).
const HEADROOM: u32 = 256;
/// Bytes of an Ethernet header with two VLAN tags.
const LINK_HEADER: u32 = 14 + 8;

/// An interface that takes part.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    /// What the configuration says.
    pub spec: InterfaceSpec,
    /// What the kernel says.
    pub link: Link,
    /// Queues in use.
    pub queues: u32,
    /// Position of its first queue among all queues.
    pub first_queue: u32,
    /// What AF_XDP got, and why.
    pub bound: Option<(xdp::BindMode, String)>,
}

impl Port {
    /// Whether a frame can be longer than what one chunk holds, and so come in several descriptors.
    fn needs_pieces(&self, frame_size: u32) -> bool {
        self.link.mtu + LINK_HEADER > frame_size - HEADROOM
    }
}

/// Looks at the interfaces of the configuration.
///
/// # Errors
/// When one is missing or down, or there are more queues than the kernel's table holds.
pub(super) fn ports(config: &Config) -> Result<Vec<Port>> {
    let mut ports = Vec::new();
    let mut first_queue = 0;
    if config.interfaces().is_empty() {
        bail!("no interface is configured; name one: weir up --interface NAME, or `interfaces:` in the configuration");
    }
    for spec in config.interfaces() {
        let link = net::link(spec.name.as_str())?;
        if !link.up {
            bail!("{}: the interface is down; set it up: ip link set {} up", spec.name, spec.name);
        }
        let queues = match spec.queues {
            Queues::All => link.rx_queues,
            Queues::First(count) if count <= link.rx_queues => count,
            Queues::First(count) => bail!(
                "{}: {count} queues are configured, the interface has {}; lower `queues`",
                spec.name,
                link.rx_queues
            ),
        };
        ports.push(Port { spec: spec.clone(), link, queues, first_queue, bound: None });
        first_queue += queues;
    }
    if first_queue as usize > MAX_QUEUES {
        bail!(
            "{first_queue} queues on all interfaces, {MAX_QUEUES} is the limit; set `queues` lower, or `ethtool -L NAME combined N`"
        );
    }
    Ok(ports)
}

/// Everything that was bound.
pub(super) struct Bound {
    /// The frames.
    pub umem: Arc<Umem>,
    /// Who owns which frames.
    pub shares: Shares,
    /// For the pool.
    pub queues: Vec<Queue>,
    /// For everyone else.
    pub rings: Vec<Ring>,
    /// The queues, for everyone else.
    pub shown: Vec<QueueShown>,
}

/// Makes the frame memory on `node`, if one is known, and binds a socket for each queue and class.
///
/// # Errors
/// When the memory cannot be had or a queue is busy. What was bound until then is given back by dropping it.
pub(super) fn bind(config: &Config, ports: &mut [Port], classes: &KernelClasses, node: Option<u32>) -> Result<Bound> {
    let memory = config.memory();
    let shape = QueueShape {
        classes: classes.iter().len() as u32, // at most MAX_CLASSES
        rx_ring: memory.rx_ring,
        // Whoever takes frames may send them; without anybody there is nothing to send.
        tx_ring: if classes.iter().len() > 0 { TX_RING } else { 64 },
        pieces: ports.iter().any(|port| port.needs_pieces(memory.frame_size)),
    };
    let budget = queue_budget(shape)?;
    let queue_count: u32 = ports.iter().map(|port| port.queues).sum();
    let streams = Area::of(config.tcp(), classes).frames(memory.frame_size);
    let frames = budget.frames.checked_mul(queue_count).and_then(|frames| frames.checked_add(streams));
    let frames = frames.context("more frames than 2^32; use fewer queues or smaller rings")?;
    let umem = Umem::create_with(UmemOptions {
        frames,
        frame_size: memory.frame_size,
        hugepages: pages(memory.hugepages),
        node,
    })?;
    if let (Some(node), false) = (node, umem.residence().why.is_empty()) {
        let got = umem.residence().bound.map_or("any node".to_owned(), |bound| format!("node {bound}"));
        tracing::warn!("frames for NUMA node {node} are on {got}, {}: {}", umem.backing_word(), umem.residence().why);
    }
    let shares = Shares {
        frames_per_queue: budget.frames,
        frame_shift: memory.frame_size.trailing_zeros(),
        on_the_way: budget.on_the_way,
    };
    let umem = Arc::new(umem);
    let mut bound = Bound { umem, shares, queues: Vec::new(), rings: Vec::new(), shown: Vec::new() };
    for index in 0..ports.len() {
        for queue in 0..ports[index].queues {
            let sockets = bind_queue(&bound.umem, &ports[index], queue, memory, budget, shape, classes)?;
            let first = &sockets.primary;
            ports[index].bound.get_or_insert_with(|| (first.mode, first.why.clone()));
            take_in(&mut bound, ports, index, queue, sockets, classes);
        }
    }
    Ok(bound)
}

fn pages(wish: HugePages) -> umem::HugePages {
    match wish {
        HugePages::Prefer => umem::HugePages::Prefer,
        HugePages::Require => umem::HugePages::Require,
        HugePages::Never => umem::HugePages::Never,
    }
}

/// The sockets of one queue.
struct Sockets {
    primary: Primary,
    transmit: Option<xdp::TransmitSocket>,
    further: Vec<xdp::ClassSocket>,
}

fn bind_queue(
    umem: &Umem,
    port: &Port,
    queue: u32,
    memory: weir_appliance_control::config::MemorySpec,
    budget: QueueBudget,
    shape: QueueShape,
    classes: &KernelClasses,
) -> Result<Sockets> {
    let frags = port.needs_pieces(memory.frame_size);
    let wish = if port.spec.mode == ModeWish::Generic { BindWish::Copy } else { BindWish::ZeroCopyElseCopy };
    let sizes = Sizes { fill: budget.fill, completion: budget.completion, rx: memory.rx_ring, tx: 0 };
    let place = xdp::Queue { interface: port.link.index, queue };
    let primary = xdp::primary(umem, &sizes, place, wish, frags)?;
    let transmit = (shape.tx_ring > 0).then(|| xdp::transmit(&primary, shape.tx_ring)).transpose()?;
    let further = (1..classes.iter().len()).map(|_| xdp::class(&primary, memory.rx_ring)).collect::<Result<_, _>>()?;
    Ok(Sockets { primary, transmit, further })
}

/// Hands the rings of one queue to the pool and its sockets to everyone else.
fn take_in(bound: &mut Bound, ports: &[Port], port: usize, queue: u32, sockets: Sockets, classes: &KernelClasses) {
    let index = bound.queues.len();
    let Sockets { primary: Primary { fill, completion, rx, socket, mode, .. }, transmit, further } = sockets;
    let outlet = transmit.map(|way| Outlet::new(way.tx, Box::new(way.socket)));
    let socket = Arc::new(socket);
    let first = rx.map(|rx| (rx, Arc::clone(&socket)));
    let rings = first.into_iter().chain(further.into_iter().map(|class| (class.rx, Arc::new(class.socket))));
    let pieces = ports.get(port).is_some_and(|port| port.needs_pieces(bound.umem.frame_size()));
    let mut queue_classes = Vec::new();
    for (class, (rx, socket)) in classes.iter().zip(rings) {
        let gauges = Arc::new(RingGauges::default());
        let ring = ClassRing::new(class.number, rx, class.egress.is_some(), pieces, Arc::clone(&gauges));
        // An interface sends from its first queue.
        let outlet = class.egress.and_then(|egress| ports.get(egress)).map(|port| port.first_queue as usize);
        queue_classes.push(QueueClass { ring, outlet });
        bound.rings.push(Ring { port, queue_index: index, queue, class: class.number, socket, gauges });
    }
    let gauges = Arc::new(QueueGauges::default());
    let arrival = ports.get(port).map_or(index, |port| port.first_queue as usize);
    bound.shown.push(QueueShown { port, queue, frames: bound.shares.frames_per_queue, gauges: Arc::clone(&gauges) });
    let fill = match mode {
        xdp::BindMode::ZeroCopy => Lending::all(fill),
        xdp::BindMode::Copy => Lending::sparing(fill, bound.shares.frames_per_queue),
    };
    bound.queues.push(Queue { index, fill, completion, tx: outlet, arrival, classes: queue_classes, gauges });
}

/// Puts the sockets of classes that `is_taken` into the classifier's table, from where on the kernel gives them frames.
///
/// # Errors
/// When the kernel refuses, which it does for a socket of another queue.
pub(super) fn connect(
    classifier: &Classifier,
    ports: &[Port],
    rings: &[Ring],
    is_taken: impl Fn(u8) -> bool,
) -> Result<()> {
    for ring in rings.iter().filter(|ring| is_taken(ring.class)) {
        let Some(port) = ports.get(ring.port) else { continue };
        classifier.set_socket(port.first_queue + ring.queue, ring.class, ring.socket.as_fd())?;
    }
    Ok(())
}

/// Takes the other sockets out of it again. What still says that a frame is for one of these classes, a flow verdict that a
/// feature has stored, passes it with the reason `no-taker`.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn disconnect(
    classifier: &Classifier,
    ports: &[Port],
    rings: &[Ring],
    is_taken: impl Fn(u8) -> bool,
) -> Result<()> {
    for ring in rings.iter().filter(|ring| !is_taken(ring.class)) {
        let Some(port) = ports.get(ring.port) else { continue };
        classifier.clear_socket(port.first_queue + ring.queue, ring.class)?;
    }
    Ok(())
}

/// Attaches the classifier to every interface, each with its place in the socket table.
///
/// # Errors
/// When an interface does not take the program in the mode that is asked for.
pub(super) fn attach(classifier: &mut Classifier, ports: &[Port]) -> Result<Vec<Attached>> {
    let attach = |port: &Port| {
        let wish = match port.spec.mode {
            ModeWish::Best => AttachWish::Best,
            ModeWish::Native => AttachWish::Native,
            ModeWish::Generic => AttachWish::Generic,
        };
        Ok(classifier.attach_at(port.spec.name.as_str(), wish, port.first_queue)?)
    };
    ports.iter().map(attach).collect()
}
