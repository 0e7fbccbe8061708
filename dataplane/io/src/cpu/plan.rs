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

/// Gives out the cores of a machine.
///
/// Performance cores are critical and efficient cores are batch where there are both. Where all are alike, the first
/// `critical_count` are critical, isolated ones and those on the card's node first, and the rest are batch. Second
/// threads of critical cores stay idle as long as batch has a core of its own. Two CPUs: 1 is critical, 0 is batch,
/// since interrupts and the kernel's own work land on 0. One CPU: both roles share it.
pub fn roles(topology: &Topology, wish: &CoreWish) -> CorePlan {
    let source = topology.source;
    let known = |list: &[u32]| -> Vec<u32> {
        list.iter().copied().filter(|id| topology.cores.iter().any(|core| core.id == *id)).collect()
    };
    let (mut critical, mut why) = automatic(topology, wish);
    if let Pick::These(list) = &wish.critical {
        (critical, why) = (known(list), "critical cores as configured".to_owned());
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
    CorePlan { critical, batch, idle, source, why }
}

/// The critical cores and the grounds for them.
fn automatic(topology: &Topology, wish: &CoreWish) -> (Vec<u32>, String) {
    let cores = &topology.cores;
    if cores.iter().any(|core| core.kind == Kind::Performance) {
        let mut fast: Vec<&Core> =
            cores.iter().filter(|core| core.kind == Kind::Performance && core.first_thread == core.id).collect();
        fast.sort_by_key(|core| rank(core, wish));
        let why = format!("{} performance cores are critical (by {})", fast.len(), topology.source.name());
        return (fast.into_iter().map(|core| core.id).collect(), why);
    }
    if let [first, second] = cores.as_slice() {
        let why = format!("two CPUs: {} is critical, {} takes everything else", second.id, first.id);
        return (vec![second.id], why);
    }
    let mut order: Vec<&Core> = cores.iter().filter(|core| core.first_thread == core.id).collect();
    order.sort_by_key(|core| rank(core, wish));
    // At least one core stays for batch where there is more than one.
    let count = wish.critical_count.clamp(1, order.len().saturating_sub(1).max(1));
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
    (wish.node.is_some_and(|node| node != core.node), !core.isolated, core.id)
}
