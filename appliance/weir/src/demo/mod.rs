//! `weir demo`: the appliance in a lab on this machine, with real frames and our own, and a live view.
//!
//! With the rights for it the lab is three network namespaces in a row, the box in the middle (`wired`). Without them it
//! is a ring in memory (`memory`), which says so and says what the rights would show more.

mod figures;
mod memory;
mod wired;

use std::io::Write;

use weir_appliance_console::answer::Outcome;
use weir_appliance_console::demo::{self, DemoArgs};
use weir_dataplane_io::probe::{self, State};

use crate::failure;

/// Runs the demo and prints what was measured.
pub(crate) fn run(args: &DemoArgs, out: &mut dyn Write) -> Outcome {
    let report = match missing() {
        None => wired::run(args, out).map_err(failure)?,
        Some(why) => {
            if !args.json {
                writeln!(out, "rig: memory. {why}")?;
                writeln!(
                    out,
                    "As root (`sudo weir demo`) the same command shows frames on veth pairs, classified in the driver,"
                )?;
                writeln!(out, "forwarded in the kernel and worked on in a sandboxed process of their own.")?;
            }
            memory::run(args, out).map_err(failure)?
        }
    };
    demo::render(&report, args, out)
}

/// What stands in the way of the wired lab, if anything does.
pub(crate) fn missing() -> Option<String> {
    let capabilities = probe::capability_probes();
    let lacking = capabilities.iter().find(|probe| probe.state == State::Missing);
    let lacking = lacking.map(|probe| format!("{}: {}; {}.", probe.name, probe.detail, probe.cure));
    let xdp = probe::af_xdp();
    lacking.or_else(|| (xdp.state == State::Missing).then(|| format!("{}: {}; {}.", xdp.name, xdp.detail, xdp.cure)))
}
