//! `weir doctor`: what the rooms' probes found, on one page.

use std::io::Write;

use weir_appliance_console::answer::Outcome;
use weir_appliance_console::doctor::{self, DoctorArgs};
use weir_appliance_control::message::{Check, CheckState, DoctorReport};
use weir_dataplane_io::net;
use weir_dataplane_io::probe::{self, State};

/// Looks at the host, and at the interfaces that are named.
pub(crate) fn run(args: &DoctorArgs, out: &mut dyn Write) -> Outcome {
    let mut checks: Vec<Check> = probe::all().iter().map(check).collect();
    checks.push(cores());
    checks.extend(args.interface.iter().map(|name| interface(name.as_str())));
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

fn cores() -> Check {
    let plan = weir_dataplane_io::cpu::roles(&weir_dataplane_io::cpu::Topology::live(), &Default::default());
    Check {
        name: "cores".into(),
        state: CheckState::Good,
        found: format!("critical {:?}, batch {:?}", plan.critical, plan.batch),
        because: Some(plan.why),
        cure: None,
    }
}

fn interface(name: &str) -> Check {
    match net::link(name) {
        Ok(link) => Check {
            name: name.to_owned(),
            state: if link.up { CheckState::Good } else { CheckState::Bad },
            found: format!("driver {}, {} queues, MTU {}", link.driver, link.rx_queues, link.mtu),
            because: None,
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
