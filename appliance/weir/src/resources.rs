//! The plan of what features have: the machine as it is found, and what the configuration asks, for `appliance/shares`.

use std::io::Write;
use std::path::Path;

use weir_appliance_console::answer::{Failure, Outcome};
use weir_appliance_console::resources::{self, ResourcesArgs};
use weir_appliance_control::config::{Config, CoreSet, FeatureResources, PriorityClass};
use weir_appliance_control::config_file;
use weir_appliance_control::message::{FeatureShare, ResourceMachine, ResourcesReport};
use weir_appliance_control::problem::Problem;
use weir_appliance_shares::plan::bytes;
use weir_appliance_shares::{Accelerator, AcceleratorAsk, Ask, Class, Grant, Machine, Plan, plan};
use weir_dataplane_io::cpu::{self, CorePlan, CoreWish, Pick};
use weir_dataplane_io::{accelerators, cgroup, memory};

/// What of the memory features may have together; the rest is for frames, the box itself and the host.
const OF_MEMORY: (u64, u64) = (3, 4);

/// A machine, and how its numbers come about.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub machine: Machine,
    pub cores_why: String,
    pub memory_why: String,
}

/// What this machine has.
pub(crate) fn machine(cores: &CorePlan) -> Found {
    let total = memory::of_machine().map_or(0, |machine| machine.total);
    let limit = cgroup::memory_limit(Path::new("/")).filter(|limit| *limit < total);
    let all = limit.unwrap_or(total);
    let whose = if limit.is_some() { "the limit of the control group that weir is in" } else { "this machine's" };
    let mut found: Vec<Accelerator> = Vec::new();
    for device in accelerators::all(Path::new("/sys")) {
        let memory = device.memory.unwrap_or(0);
        match found.iter_mut().find(|one| one.name == device.kind.name()) {
            // Several of a kind are one to share: the least memory is what every one of them has.
            Some(one) => one.memory = one.memory.min(memory),
            None => found.push(Accelerator { name: device.kind.name().to_owned(), memory }),
        }
    }
    let machine = Machine {
        critical: cores.critical.clone(),
        batch: cores.batch.clone(),
        memory: all / OF_MEMORY.1 * OF_MEMORY.0,
        accelerators: found,
    };
    Found {
        machine,
        cores_why: cores.why.clone(),
        memory_why: format!("{} of {} quarters of {}, {whose}", OF_MEMORY.0, OF_MEMORY.1, bytes(all)),
    }
}

/// The roles that a configuration and the machine give; `critical_count` is what is polled.
pub(crate) fn core_plan(config: &Config, critical_count: usize, node: Option<u32>) -> CorePlan {
    let pick = |set: &CoreSet| match set {
        CoreSet::Auto => Pick::Auto,
        CoreSet::List(cores) => Pick::These(cores.clone()),
    };
    let (critical, batch) = (pick(&config.cores().critical), pick(&config.cores().batch));
    cpu::roles(&cpu::Topology::live(), &CoreWish { critical, batch, critical_count, node })
}

/// Shares out the machine as a configuration asks.
///
/// # Errors
/// It asks for more than there is.
pub(crate) fn plan_of(config: &Config, machine: &Machine) -> Result<Plan, Problem> {
    let spec = config.resources();
    let ask = |feature| {
        let FeatureResources { critical, batch, memory, cpu_weight, class, accelerator, .. } =
            spec.features.get(&feature).copied().unwrap_or_default();
        let class = class.map(|class| match class {
            PriorityClass::Critical => Class::Critical,
            PriorityClass::Batch => Class::Batch,
        });
        let accelerator = accelerator
            .map(|it| AcceleratorAsk { name: it.name.as_str().to_owned(), share: u32::from(it.share.basis_points()) });
        Ask { feature: feature.as_str().to_owned(), critical, batch, memory, cpu_weight, class, accelerator }
    };
    let asks: Vec<Ask> = config.enabled().map(ask).collect();
    plan(machine, &asks).map_err(|refused| Problem::new(refused.value, refused.cause, refused.cure))
}

/// A grant as it is shown, without what stands behind it.
pub(crate) fn share(grant: &Grant, borrows: bool) -> FeatureShare {
    let device = |it: &weir_appliance_shares::AcceleratorGrant| {
        let memory = if it.memory > 0 { format!(", {}", bytes(it.memory)) } else { String::new() };
        format!("{} {}%{memory}", it.name, it.share / 100)
    };
    FeatureShare {
        name: grant.feature.clone(),
        critical: grant.critical.clone(),
        batch: grant.batch.clone(),
        shared: grant.shared,
        pinned: grant.cpus().first().copied(),
        borrows,
        memory_bytes: grant.memory,
        cpu_weight: grant.cpu_weight,
        class: grant.class.name().to_owned(),
        accelerators: grant.accelerators.iter().map(device).collect(),
        why: grant.why.clone(),
        ..FeatureShare::default()
    }
}

/// The machine as it is shown.
pub(crate) fn shown(found: &Found) -> ResourceMachine {
    let Found { machine, cores_why, memory_why } = found;
    ResourceMachine {
        critical: machine.critical.clone(),
        batch: machine.batch.clone(),
        why: cores_why.clone(),
        memory_bytes: machine.memory,
        memory_why: memory_why.clone(),
        accelerators: machine.accelerators.iter().map(|one| one.name.clone()).collect(),
    }
}

/// `weir resources --file FILE`: the plan that a file would have on this machine; nothing is asked and nothing is changed.
pub(crate) fn of_file(file: &Path, args: &ResourcesArgs, out: &mut dyn Write) -> Outcome {
    let read = || -> anyhow::Result<Config> {
        let layers = [config_file::layer(file)?];
        Ok(weir_appliance_control::config::Layered::read(&layers)?.into_config())
    };
    let config = read().map_err(|error| Failure::Line(format!("{error:#}")))?;
    // Without the interfaces nobody knows the queues: one is polled at least.
    let found = machine(&core_plan(&config, config.interfaces().len().max(1), None));
    let plan = plan_of(&config, &found.machine)?;
    let borrows = |grant: &Grant| grant.feature.parse().is_ok_and(|name| config.resources().borrows(name));
    let report = ResourcesReport {
        machine: shown(&found),
        features: plan.grants.iter().map(|grant| share(grant, borrows(grant))).collect(),
        free: plan.free,
        ..ResourcesReport::default()
    };
    resources::answer(&report, args.ask.json, out)
}
