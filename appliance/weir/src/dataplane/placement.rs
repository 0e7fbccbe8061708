//! Placement: what the configuration has the cards told, and which node memory and cores come from.
//!
//! Queues and their spreading are set before sockets are bound, the rest once the program is attached, because a virtual
//! interface has NAPI instances only then. Every change goes through the ledger; what a killed dataplane left there is
//! taken over where the configuration still wants it, so that a restart does not reset the card, and else put back.

use anyhow::{Result, bail};
use weir_appliance_control::config::{
    BusyPollSpec, ChannelWish, Config, CpuWish, InterfaceSpec, MAX_QUEUES, Queues, Spread, Strength, Switch,
};
use weir_appliance_control::message::PlacementStatus;
use weir_dataplane_io::cpu::{CorePlan, format_list};
use weir_dataplane_io::nic::busy::{self, BusyPoll};
use weir_dataplane_io::nic::{Kind, Ledger, Setting, View, What, ethtool, instances, vectors};
use weir_dataplane_io::{net, numa};

use super::Ring;
use super::setup::Port;
use crate::place::Place;

/// The cards of one running weir.
pub(super) struct Cards {
    ledger: Ledger,
    view: View,
    /// What was asked for, so that what else is in the ledger goes back.
    wanted: Vec<Setting>,
    /// By position of the interface in the configuration.
    outcome: Vec<Vec<PlacementStatus>>,
    nodes: Vec<Option<u32>>,
}

impl Cards {
    /// Looks at the cards of the configuration and takes over what an earlier dataplane left.
    ///
    /// # Errors
    /// When the ledger is unreadable: then nobody knows what to put back.
    pub(super) fn open(place: &Place, config: &Config) -> Result<Self> {
        let view = View::live();
        let node = |spec: &InterfaceSpec| {
            let name = spec.name.as_str();
            // Another namespace's interface of the same name would be a wrong answer; none is a right one.
            let known = net::interface_index(name).is_ok_and(|index| view.shows(name, index));
            known.then(|| numa::node_of_interface(view.sys(), name)).flatten()
        };
        let nodes: Vec<_> = config.interfaces().iter().map(node).collect();
        let outcome = vec![Vec::new(); nodes.len()];
        let cards = Self { ledger: Ledger::open(&place.cards)?, view, wanted: Vec::new(), outcome, nodes };
        for (spec, node) in config.interfaces().iter().zip(&cards.nodes) {
            if let (Some(node), Some(home)) = (node, cards.home())
                && *node != home
            {
                tracing::warn!(
                    "{}: its card is on NUMA node {node}, frames are on node {home}, where the first card is; run one weir for each node",
                    spec.name
                );
            }
        }
        Ok(cards)
    }

    /// The node for memory and cores: that of the first interface whose card is known to have one.
    pub(super) fn home(&self) -> Option<u32> {
        self.nodes.iter().copied().flatten().next()
    }

    /// The node of the card of interface number `port`.
    pub(super) fn node(&self, port: usize) -> Option<u32> {
        self.nodes.get(port).copied().flatten()
    }

    /// What the card of interface number `port` was told.
    pub(super) fn status(&self, port: usize) -> Vec<PlacementStatus> {
        self.outcome.get(port).cloned().unwrap_or_default()
    }

    /// Sets the number of queues and their spreading.
    ///
    /// # Errors
    /// When a card refuses what is required of it.
    pub(super) fn before_binding(&mut self, config: &Config) -> Result<()> {
        for (port, spec) in config.interfaces().iter().enumerate() {
            // An interface that is not there is named by who looks at all of them next.
            if let Ok(index) = net::interface_index(spec.name.as_str()) {
                self.queues(port, spec, index)?;
            }
        }
        self.put_back_unwanted(true);
        Ok(())
    }

    fn queues(&mut self, port: usize, spec: &InterfaceSpec, index: u32) -> Result<()> {
        let name = spec.name.as_str();
        // A driver without channels has one queue.
        let (now, most) = ethtool::channels(name).map_or((1, 1), |card| (card.receive_queues(), card.most_queues()));
        let settings = queue_settings(spec, now, most);
        let of = |what| Setting { interface: name.to_owned(), index, what };
        if let Some((_, count)) = settings.iter().find(|(what, _)| *what == What::Queues) {
            // Many drivers give interrupts other CPUs when the number of queues changes.
            for vector in vectors(&self.view, name).into_iter().map(|vector| of(What::Interrupt(vector.irq))) {
                if *count != now.to_string()
                    && let Err(error) = self.ledger.remember(&self.view, &vector)
                {
                    tracing::warn!("{name}: what the driver makes of an interrupt stays so: {error}");
                }
                self.wanted.push(vector);
            }
        }
        for (what, value) in settings {
            self.set(port, spec, of(what), value)?;
        }
        Ok(())
    }

    /// Sets what belongs to NAPI instances and interrupts, and how sockets are polled.
    ///
    /// # Errors
    /// When a card refuses what is required of it; what was set here is put back then, while the program is attached.
    pub(super) fn after_attaching(&mut self, ports: &[Port], rings: &[Ring], cores: &CorePlan) -> Result<()> {
        for (index, port) in ports.iter().enumerate() {
            let sockets = rings.iter().filter(|ring| ring.port == index);
            let told = self.tell(index, port, cores).and_then(|()| self.poll_sockets(index, &port.spec, sockets));
            if let Err(error) = told {
                self.give_back();
                return Err(error);
            }
        }
        self.put_back_unwanted(false);
        Ok(())
    }

    fn tell(&mut self, index: usize, port: &Port, cores: &CorePlan) -> Result<()> {
        let (spec, placement) = (&port.spec, &port.spec.placement);
        let of = |what| Setting { interface: spec.name.to_string(), index: port.link.index, what };
        if let Some(BusyPollSpec { defer_hard_irqs, flush_timeout_us, .. }) = placement.busy_poll {
            let flush_ns = u64::from(flush_timeout_us) * 1000;
            self.set(index, spec, of(What::DeferHardIrqs), defer_hard_irqs.to_string())?;
            self.set(index, spec, of(What::FlushTimeout), flush_ns.to_string())?;
        }
        let threaded = match placement.threaded_napi {
            Switch::Keep => None,
            Switch::On => Some("1"),
            Switch::Off => Some("0"),
        };
        if let Some(value) = threaded {
            self.set(index, spec, of(What::Threaded), value.to_owned())?;
        }
        self.interrupts(index, port, cores)?;
        self.threads(index, port, cores)
    }

    fn interrupts(&mut self, index: usize, port: &Port, cores: &CorePlan) -> Result<()> {
        let Some(cpus) = cpus(&port.spec.placement.irqs, cores) else { return Ok(()) };
        let mut found = vectors(&self.view, port.spec.name.as_str());
        // Vectors that serve no queue (link changes, the management queue) stay where they are, if names tell them apart.
        if found.iter().any(|vector| vector.queue.is_some()) {
            found.retain(|vector| vector.queue.is_some());
        }
        if found.is_empty() {
            let why =
                format!("{}: irqs: a virtual interface has no interrupts of its own; write irqs: keep", port.spec.name);
            return self.refused(index, &port.spec, "irqs", &format_list(&cpus), why);
        }
        for (place, vector) in found.iter().enumerate() {
            let turn = vector.queue.map_or(place, |queue| queue as usize);
            let cpu = cpus[turn % cpus.len()].to_string();
            let (interface, what) = (port.spec.name.to_string(), What::Interrupt(vector.irq));
            self.set(index, &port.spec, Setting { interface, index: port.link.index, what }, cpu)?;
        }
        Ok(())
    }

    fn threads(&mut self, index: usize, port: &Port, cores: &CorePlan) -> Result<()> {
        let Some(cpus) = cpus(&port.spec.placement.napi_cores, cores) else { return Ok(()) };
        let threads = match instances(port.link.index) {
            Ok(found) => found.into_iter().filter(|napi| napi.thread.is_some()).collect::<Vec<_>>(),
            Err(error) => return self.refused(index, &port.spec, "napi_cores", &format_list(&cpus), error.to_string()),
        };
        if threads.is_empty() {
            let why = format!(
                "{}: napi_cores: no thread polls it; write threaded_napi: on, or napi_cores: keep",
                port.spec.name
            );
            return self.refused(index, &port.spec, "napi_cores", &format_list(&cpus), why);
        }
        for (turn, napi) in threads.iter().enumerate() {
            let cpu = cpus[turn % cpus.len()].to_string();
            let (interface, what) = (port.spec.name.to_string(), What::NapiThread(napi.id));
            self.set(index, &port.spec, Setting { interface, index: port.link.index, what }, cpu)?;
        }
        Ok(())
    }

    /// Tells the sockets; that ends with them, so no ledger is needed.
    fn poll_sockets<'a>(
        &mut self,
        index: usize,
        spec: &InterfaceSpec,
        mut rings: impl Iterator<Item = &'a Ring>,
    ) -> Result<()> {
        let Some(wish) = busy_poll(spec) else { return Ok(()) };
        let value = format!("{} us, {} frames", wish.usecs, wish.budget);
        match rings.try_for_each(|ring| busy::prefer_on_socket(&*ring.socket, wish)) {
            Ok(()) => self.note(index, PlacementStatus { setting: "busy_poll".into(), value, ..Default::default() }),
            Err(error) => return self.refused(index, spec, "busy_poll", &value, error.to_string()),
        }
        Ok(())
    }

    fn set(&mut self, port: usize, spec: &InterfaceSpec, setting: Setting, value: String) -> Result<()> {
        match self.ledger.set(&self.view, &setting, &value) {
            Ok(before) => {
                let what = setting.what.to_string();
                self.wanted.push(setting);
                self.note(port, PlacementStatus { setting: what, value, before: Some(before), refused: None });
                Ok(())
            }
            Err(error) => self.refused(port, spec, &setting.what.to_string(), &value, error.to_string()),
        }
    }

    fn refused(&mut self, port: usize, spec: &InterfaceSpec, setting: &str, value: &str, why: String) -> Result<()> {
        if spec.placement.strength == Strength::Require {
            bail!("{}: {why}, or write placement.strength: prefer", spec.name);
        }
        tracing::warn!("{}: weir runs without this setting: {why}", spec.name);
        let (setting, value) = (setting.to_owned(), value.to_owned());
        self.note(port, PlacementStatus { setting, value, before: None, refused: Some(why) });
        Ok(())
    }

    fn note(&mut self, port: usize, status: PlacementStatus) {
        if let Some(of_port) = self.outcome.get_mut(port) {
            of_port.push(status);
        }
    }

    /// Puts back what the ledger has from an earlier configuration.
    fn put_back_unwanted(&mut self, of_queues: bool) {
        let wanted = std::mem::take(&mut self.wanted);
        let refusals = self
            .ledger
            .undo_where(&self.view, |setting| setting.what.is_of_queues() == of_queues && !wanted.contains(setting));
        self.wanted = wanted;
        for refusal in refusals {
            tracing::warn!("{}", refusal.line);
        }
    }

    /// Puts back what is of NAPI instances, to be called before the program is detached. This process still holds the queues,
    /// so who started it does the rest.
    pub(super) fn give_back(&mut self) {
        for refusal in self.ledger.undo(&self.view, Kind::OfNapi) {
            tracing::warn!("{}", refusal.line);
        }
    }
}

/// What a card with `now` receive queues, of `most` that it can have, is told of them, in this order.
///
/// Its RSS table may name no queue that is not there, so it comes first when queues go and last when they come. Put back in
/// the reverse order, that is right again.
fn queue_settings(spec: &InterfaceSpec, now: u32, most: u32) -> Vec<(What, String)> {
    let wanted = match spec.placement.channels {
        ChannelWish::Keep => None,
        ChannelWish::Most => Some(most.min(MAX_QUEUES)),
        ChannelWish::Count(count) => Some(count),
    };
    let then = wanted.unwrap_or(now);
    let used = match spec.queues {
        Queues::First(used) => used.min(then),
        Queues::All => then,
    };
    let queues = wanted.map(|count| (What::Queues, count.to_string()));
    let spread = (spec.placement.rss == Spread::Even).then(|| (What::Rss, format!("even {used}")));
    let order = if then < now { [spread, queues] } else { [queues, spread] };
    order.into_iter().flatten().collect()
}

/// How waits of this interface's takers poll it, if they shall.
pub(super) fn busy_poll(spec: &InterfaceSpec) -> Option<BusyPoll> {
    // The configuration admits budgets up to 1024.
    spec.placement.busy_poll.map(|wish| BusyPoll { usecs: wish.usecs, budget: wish.budget as u16 })
}

/// The CPUs to place something on, in turn; `None`: leave it.
fn cpus(wish: &CpuWish, cores: &CorePlan) -> Option<Vec<u32>> {
    let cpus = match wish {
        CpuWish::Keep => return None,
        CpuWish::Auto => cores.interrupts(),
        CpuWish::List(cpus) => cpus.clone(),
    };
    Some(cpus).filter(|cpus| !cpus.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(placement: &str, now: u32, most: u32) -> Vec<String> {
        let config = Config::parse(&format!("interfaces: [{{name: e, {placement}}}]")).expect("a configuration");
        let settings = queue_settings(&config.interfaces()[0], now, most);
        settings.into_iter().map(|(what, value)| format!("{what} {value}")).collect()
    }

    #[test]
    fn the_table_never_names_a_queue_that_is_not_there() {
        assert_eq!(told("placement: {channels: 4, rss: spread}", 2, 8), ["queues 4", "rss even 4"]);
        assert_eq!(told("placement: {channels: 4, rss: spread}", 8, 8), ["rss even 4", "queues 4"]);
        assert_eq!(told("queues: 2, placement: {channels: 4, rss: spread}", 8, 8), ["rss even 2", "queues 4"]);
        assert_eq!(told("queues: 6, placement: {rss: spread}", 4, 8), ["rss even 4"]);
        assert_eq!(told("placement: {channels: all}", 2, 128), ["queues 64"]);
        assert_eq!(told("placement: {irqs: auto}", 2, 8), [""; 0]);
    }

    #[test]
    fn cores_are_kept_taken_in_turn_or_named() {
        let topology = weir_dataplane_io::cpu::Topology::live();
        let plan = weir_dataplane_io::cpu::roles(&topology, &Default::default());
        assert_eq!(cpus(&CpuWish::Keep, &plan), None);
        assert_eq!(cpus(&CpuWish::Auto, &plan), Some(plan.interrupts()));
        assert_eq!(cpus(&CpuWish::List(vec![3, 1]), &plan), Some(vec![3, 1]));
    }
}
