//! `weir doctor`: what the rooms' probes found, on one page.

use std::io::Write;
use std::path::Path;

use weir_appliance_console::answer::Outcome;
use weir_appliance_console::doctor::{self, DoctorArgs};
use weir_appliance_control::message::{Check, CheckState, DoctorReport};
use weir_appliance_control::name::InterfaceName;
use weir_dataplane_io::cgroup::{Controller, Version, find};
use weir_dataplane_io::cpu::{self, CoreWish, format_list};
use weir_dataplane_io::net::{self, Link};
use weir_dataplane_io::nic::{View, ethtool, vectors};
use weir_dataplane_io::numa;
use weir_dataplane_io::probe::{self, State};

/// Looks at the host, and at the interfaces that are named.
pub(crate) fn run(args: &DoctorArgs, out: &mut dyn Write) -> Outcome {
    let mut checks: Vec<Check> = probe::all().iter().map(check).collect();
    let view = View::live();
    checks.push(cores(&view, args.interface.first().map(InterfaceName::as_str)));
    checks.extend(nodes());
    checks.push(crate::instructions::check());
    checks.extend(controllers());
    checks.extend(args.interface.iter().map(|name| interface(&view, name.as_str())));
    doctor::render(&DoctorReport { host: weir_appliance_lab::host::read(), checks }, args.json, out)
}

fn check(probe: &probe::Probe) -> Check {
    let state = match probe.state {
        State::Ok => CheckState::Good,
        State::Degraded => CheckState::Less,
        State::Missing => CheckState::Bad,
    };
    let cure = Some(probe.cure.to_string()).filter(|cure| !cure.is_empty() && state != CheckState::Good);
    Check { name: probe.name.to_string(), state, found: probe.detail.to_string(), because: None, cure }
}

/// The cores that a start on `interface` would give out.
fn cores(view: &View, interface: Option<&str>) -> Check {
    let link = interface.and_then(|name| net::link(name).ok());
    let node = link.as_ref().and_then(|link| node_of(view, link));
    let critical_count = link.map_or(1, |link| link.rx_queues as usize);
    let wish = CoreWish { critical_count, node, ..CoreWish::default() };
    let plan = cpu::roles(&cpu::Topology::live(), &wish);
    Check {
        name: "cores".into(),
        state: CheckState::Good,
        found: format!("critical {:?}, batch {:?}", plan.critical, plan.batch),
        because: Some(plan.why),
        cure: None,
    }
}

/// The controllers of control groups.
pub(crate) fn controllers() -> Vec<Check> {
    Controller::ALL.map(controller).into()
}

/// Where a controller of control groups is, and whether groups can be made below the one of this process.
fn controller(controller: Controller) -> Check {
    let name = format!("cgroup {controller}");
    let otherwise = match controller {
        Controller::Cpu => "weights are not held, and class batch is the scheduler's idle policy",
        Controller::Cpuset => "cores are held by affinity alone",
        Controller::Memory => "memory is held by limits of processes",
    };
    let less = |found: String| Check {
        name: name.clone(),
        state: CheckState::Less,
        found,
        because: Some(otherwise.to_owned()),
        cure: Some("mount control groups, and start weir where it may make some (systemd: Delegate=yes)".to_owned()),
    };
    match find(Path::new("/"), controller) {
        Ok(found) if found.may_make_groups() => {
            let version = if found.version == Version::One { 1 } else { 2 };
            let found = format!("version {version}, below {}", found.own.display());
            Check { name, state: CheckState::Good, found, because: None, cure: None }
        }
        Ok(found) => less(format!("{}: no group can be made there", found.own.display())),
        Err(why) => less(why),
    }
}

/// The memory nodes, where there is more than one; a node without free hugepages costs the cards beside it.
fn nodes() -> Option<Check> {
    let nodes = numa::nodes(Path::new("/sys"));
    if nodes.len() < 2 {
        return None;
    }
    let one = |node: &numa::Node| {
        let cpus =
            if node.cpus.is_empty() { "no CPUs".to_owned() } else { format!("CPUs {}", format_list(&node.cpus)) };
        format!("{}: {cpus}, {} of {} hugepages free", node.id, node.huge_free, node.huge_total)
    };
    let some_lack = nodes.iter().any(|node| !node.cpus.is_empty() && node.huge_free == 0);
    Some(Check {
        name: "NUMA nodes".into(),
        state: if some_lack { CheckState::Less } else { CheckState::Good },
        found: nodes.iter().map(one).collect::<Vec<_>>().join("; "),
        because: some_lack.then(|| "frames of a card beside a node without free hugepages are on small pages".into()),
        cure: some_lack
            .then(|| "write a number to /sys/devices/system/node/nodeN/hugepages/hugepages-2048kB/nr_hugepages".into()),
    })
}

fn node_of(view: &View, link: &Link) -> Option<u32> {
    // A sysfs of another namespace may have an interface of the same name.
    view.shows(&link.name, link.index).then(|| numa::node_of_interface(view.sys(), &link.name)).flatten()
}

/// Where a card is and what can be told to it, for people who write `placement:`.
fn abilities(view: &View, link: &Link) -> String {
    let node = node_of(view, link).map_or_else(|| "no NUMA node known".to_owned(), |node| format!("NUMA node {node}"));
    let most = ethtool::channels(&link.name).map_or(1, |channels| channels.most_queues());
    let rss = if ethtool::indirection(&link.name).is_ok() { "RSS" } else { "no RSS" };
    let vectors = if view.shows(&link.name, link.index) { vectors(view, &link.name).len() } else { 0 };
    format!("{node}; can have {most} queues, {rss}, {vectors} interrupt vectors")
}

fn interface(view: &View, name: &str) -> Check {
    match net::link(name) {
        Ok(link) => Check {
            name: name.to_owned(),
            state: if link.up { CheckState::Good } else { CheckState::Bad },
            found: format!("driver {}, {} queues, MTU {}", link.driver, link.rx_queues, link.mtu),
            because: Some(abilities(view, &link)),
            cure: (!link.up).then(|| format!("set it up: ip link set {name} up")),
        },
        Err(error) => Check {
            name: name.to_owned(),
            state: CheckState::Bad,
            found: error.cause.to_string(),
            because: None,
            cure: Some(error.cure.into_owned()),
        },
    }
}
