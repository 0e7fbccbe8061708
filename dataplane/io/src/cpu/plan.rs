//! Who gets which core.

use crate::cpu::topology::{Core, Kind, Source, Topology};

/// Which CPUs a role gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// By the rules of [`roles`].
    #[default]
    Auto,
    /// These and no others.
    These(Vec<u32>),
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreWish {
    /// CPUs of the critical role (data plane).
    pub critical: Pick,
    /// CPUs of the batch role (features).
    pub batch: Pick,
    /// Critical cores to take from a machine whose cores are alike: one per queue that is polled.
    pub critical_count: usize,
    /// NUMA node of the network card, to be preferred.
    pub node: Option<u32>,
}

impl Default for CoreWish {
    fn default() -> Self {
        Self { critical: Pick::Auto, batch: Pick::Auto, critical_count: 1, node: None }
    }
}

/// Who gets which core, and on what grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// CPUs for the data plane, best first.
    pub critical: Vec<u32>,
    /// CPUs for features.
    pub batch: Vec<u32>,
    /// CPUs left idle on purpose: second threads of critical cores.
    pub idle: Vec<u32>,
    /// Where the kinds of cores come from.
    pub source: Source,
    /// The grounds as a sentence, for start-up and status.
    pub why: String,
}

impl CorePlan {
    /// The CPUs for interrupts and NAPI threads of the card's queues, in turn: the critical cores, the pool's own (the first)
    /// last. Where one core of two is critical, interrupts stay on the other.
    pub fn interrupts(&self) -> Vec<u32> {
        match (self.critical.as_slice(), self.batch.as_slice()) {
            ([critical], [other]) if self.idle.is_empty() && critical != other => vec![*other],
            ([pool, others @ ..], _) => others.iter().copied().chain([*pool]).collect(),
            ([], batch) => batch.to_vec(),
        }
    }
}

/// Gives out the cores of a machine.
///
/// Performance cores are critical and efficient cores are batch where there are both. Where all are alike, the first
/// `critical_count` are critical, but at most half, isolated ones and those on the card's node first, and the rest are
/// batch, those on the card's node first as well. Second threads of critical cores stay idle as long as batch has a core
/// of its own. Two CPUs: 1 is critical, 0 is batch, since interrupts and the kernel's own work land on 0. One CPU: both
/// roles share it. Neither role is ever without a core.
pub fn roles(topology: &Topology, wish: &CoreWish) -> CorePlan {
    let source = topology.source;
    let known = |list: &[u32]| -> Vec<u32> {
        list.iter().copied().filter(|id| topology.cores.iter().any(|core| core.id == *id)).collect()
    };
    let (mut critical, mut why) = automatic(topology, wish);
    if let Pick::These(list) = &wish.critical {
        let wanted = known(list);
        if wanted.is_empty() {
            why = format!("none of the configured critical cores {list:?} is here; {why}");
        } else {
            (critical, why) = (wanted, "critical cores as configured".to_owned());
        }
    }
    let threads_of_critical = |core: &&Core| {
        let first = |id: u32| topology.cores.iter().find(|other| other.id == id).map(|other| other.first_thread);
        critical.iter().any(|id| first(*id) == Some(core.first_thread))
    };
    let free = topology.cores.iter().filter(|core| !critical.contains(&core.id));
    let (mut idle, mut batch): (Vec<&Core>, Vec<&Core>) = free.partition(threads_of_critical);
    if batch.is_empty() {
        // Better the second thread of a busy core than the busy thread itself.
        std::mem::swap(&mut idle, &mut batch);
    }
    batch.sort_by_key(|core| (far(core, wish), core.id));
    let ids = |cores: Vec<&Core>| cores.into_iter().map(|core| core.id).collect::<Vec<_>>();
    let (mut batch, mut idle) = (ids(batch), ids(idle));
    if let Pick::These(list) = &wish.batch {
        batch = known(list);
        idle.retain(|id| !batch.contains(id));
    }
    if batch.is_empty() {
        batch.clone_from(&critical);
        why.push_str("; both roles share them");
    }
    if let Some(node) = wish.node {
        why.push_str(&on_node(topology, &critical, &batch, node));
    }
    CorePlan { critical, batch, idle, source, why }
}

/// How many cores of each role are on the card's node, as the end of a sentence.
fn on_node(topology: &Topology, critical: &[u32], batch: &[u32], node: u32) -> String {
    let here = |list: &[u32]| {
        let near = |id: &&u32| topology.cores.iter().any(|core| core.id == **id && core.node == node);
        list.iter().filter(near).count()
    };
    let (of_critical, of_batch) = (here(critical), here(batch));
    format!(
        "; the card is on node {node}, {of_critical} of {} critical and {of_batch} of {} batch cores too",
        critical.len(),
        batch.len()
    )
}

/// The critical cores and the grounds for them.
fn automatic(topology: &Topology, wish: &CoreWish) -> (Vec<u32>, String) {
    let cores = &topology.cores;
    let there_is = |kind: Kind| cores.iter().any(|core| core.kind == kind);
    // The first thread may be outside this process's cpuset: then the lowest of those that are left stands for the core.
    let leads = |core: &&Core| {
        let before = |other: &Core| other.first_thread == core.first_thread && other.id < core.id;
        !cores.iter().any(before)
    };
    if there_is(Kind::Performance) && there_is(Kind::Efficient) {
        let mut fast: Vec<&Core> = cores.iter().filter(|core| core.kind == Kind::Performance).filter(leads).collect();
        fast.sort_by_key(|core| rank(core, wish));
        let why = format!("{} performance cores are critical (by {})", fast.len(), topology.source.name());
        return (fast.into_iter().map(|core| core.id).collect(), why);
    }
    if let [first, second] = cores.as_slice() {
        let (one, other) = if far(second, wish) && !far(first, wish) { (first, second) } else { (second, first) };
        let why = format!("two CPUs: {} is critical, {} takes everything else", one.id, other.id);
        return (vec![one.id], why);
    }
    let mut order: Vec<&Core> = cores.iter().filter(leads).collect();
    order.sort_by_key(|core| rank(core, wish));
    // A card with as many queues as there are cores must not leave one core for all features.
    let count = wish.critical_count.clamp(1, (order.len() / 2).max(1));
    let critical: Vec<u32> = order.into_iter().take(count).map(|core| core.id).collect();
    let why = format!(
        "all cores are alike (by {}): the first {count} of {} are critical",
        topology.source.name(),
        cores.len()
    );
    (critical, why)
}

/// Sort key: the card's node first, then isolated cores, then by number.
fn rank(core: &Core, wish: &CoreWish) -> (bool, bool, u32) {
    (far(core, wish), !core.isolated, core.id)
}

/// Whether a core is on another node than the card.
fn far(core: &Core, wish: &CoreWish) -> bool {
    wish.node.is_some_and(|node| node != core.node)
}
