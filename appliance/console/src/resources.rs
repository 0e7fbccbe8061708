//! `weir resources`: which cores, memory and accelerators each feature has, and what holds it to them.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use weir_appliance_control::message::{Answer, FeatureShare, LeaseEvent, LeaseStatus, Request, ResourcesReport};

use crate::answer::{Ask, Exit, Outcome, json, unexpected};
use crate::numbers::bytes;
use crate::table::{Column, Table, cut, say, width, wrap};

/// Show which cores, memory and accelerators each feature has, what holds it to them, and which cores are lent.
#[derive(Args, Clone, Debug)]
pub struct ResourcesArgs {
    /// The plan that this configuration would have on this machine; nothing is asked and nothing is changed.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl ResourcesArgs {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self.ask.call(&Request::Resources)? {
            Answer::Resources(report) => answer(&report, self.ask.json, out),
            other => Err(unexpected(&self.ask.socket, &other).into()),
        }
    }
}

/// Prints a plan.
///
/// # Errors
/// The output cannot be written.
pub fn answer(report: &ResourcesReport, as_json: bool, out: &mut dyn Write) -> Outcome {
    if as_json {
        return json(report, out);
    }
    render(report, out)?;
    Ok(Exit::Done)
}

fn list(cpus: &[u32]) -> String {
    if cpus.is_empty() { "-".to_owned() } else { cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",") }
}

fn render(report: &ResourcesReport, out: &mut dyn Write) -> io::Result<()> {
    let machine = &report.machine;
    let mut named = |name: &str, text: String| -> io::Result<()> {
        for (place, line) in wrap(&text, width() - 14).into_iter().enumerate() {
            writeln!(out, "{:<14}{line}", if place == 0 { name } else { "" })?;
        }
        Ok(())
    };
    named("cores", format!("critical {}, batch {} ({})", list(&machine.critical), list(&machine.batch), machine.why))?;
    named("memory", format!("{} for features ({})", bytes(machine.memory_bytes), machine.memory_why))?;
    let found = if machine.accelerators.is_empty() { "none found".to_owned() } else { machine.accelerators.join(", ") };
    named("accelerators", found)?;
    named("free cores", list(&report.free))?;
    if !report.isolation.is_empty() {
        named("isolation", report.isolation.clone())?;
    }
    writeln!(out)?;
    features(&report.features).write("no feature is enabled", out)?;
    for share in report.features.iter().filter(|share| !share.why.is_empty()) {
        say(out, &format!("{}: {}", share.name, share.why))?;
    }
    if report.features.iter().any(|share| !share.lines.is_empty()) {
        writeln!(out)?;
        held(&report.features).write("", out)?;
    }
    for it in report.controllers.iter().filter(|it| !it.why.is_empty()) {
        for (place, line) in wrap(&it.why, width() - 20).into_iter().enumerate() {
            let name = if place == 0 { format!("no group: {}", it.controller) } else { String::new() };
            writeln!(out, "{name:<20}{line}")?;
        }
    }
    if !report.controllers.is_empty() {
        writeln!(out)?;
        for line in leases(report) {
            writeln!(out, "{}", cut(&line, width()))?;
        }
    }
    Ok(())
}

fn features(shares: &[FeatureShare]) -> Table {
    let mut table = Table::new([
        Column::Name("feature"),
        Column::Text("critical"),
        Column::Text("batch"),
        Column::Number("memory"),
        Column::Number("weight"),
        Column::Name("class"),
        Column::Name("borrows"),
        Column::Text("accelerators"),
    ]);
    for share in shares {
        let shared = if share.shared { " shared" } else { "" };
        table.row([
            share.name.clone(),
            list(&share.critical),
            format!("{}{shared}", list(&share.batch)),
            bytes(share.memory_bytes),
            share.cpu_weight.to_string(),
            share.class.clone(),
            if share.borrows { "yes" } else { "no" }.to_owned(),
            share.accelerators.join("; "),
        ]);
    }
    table
}

fn held(shares: &[FeatureShare]) -> Table {
    let columns = [
        Column::Name("feature"),
        Column::Name("what"),
        Column::Text("value"),
        Column::Name("held by"),
        Column::Text("why"),
    ];
    let mut table = Table::new(columns);
    for share in shares {
        for line in &share.lines {
            table.row([
                share.name.clone(),
                line.what.clone(),
                line.value.clone(),
                line.by.as_str().to_owned(),
                line.why.clone(),
            ]);
        }
    }
    table
}

fn lent(lease: &LeaseStatus) -> String {
    format!("CPU {} of {} to {}", lease.cpu, lease.from.as_deref().unwrap_or("nobody"), lease.to)
}

fn leases(report: &ResourcesReport) -> Vec<String> {
    if report.leases.is_empty() && report.trace.is_empty() {
        return vec!["no core is lent".to_owned()];
    }
    let ago = |period: u64| report.period.saturating_sub(period);
    let now = report.leases.iter().map(|lease| format!("lent now: {}, for {} s", lent(lease), ago(lease.since)));
    let event = |event: &LeaseEvent| match &event.back {
        None => format!("{} s ago: lent {}", ago(event.period), lent(&event.lease)),
        Some(why) => format!("{} s ago: back {}: {why}", ago(event.period), lent(&event.lease)),
    };
    now.chain(report.trace.iter().rev().take(8).map(event)).collect()
}

/// What the page of `weir status` says of it: one line for each feature, and one for each loan.
pub(crate) fn status_lines(report: &ResourcesReport) -> Vec<String> {
    let one = |share: &FeatureShare| {
        let parts: Vec<String> = share
            .lines
            .iter()
            .filter(|line| line.what != "weight")
            .map(|line| format!("{} ({})", line.value, line.by.as_str()))
            .collect();
        format!("{} has {}", share.name, parts.join(", "))
    };
    let features = report.features.iter().filter(|share| !share.lines.is_empty()).map(one);
    features.chain(report.leases.iter().map(|lease| format!("lent: {}", lent(lease)))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> ResourcesReport {
        serde_json::from_value(json!({
            "machine": {"critical": [1], "batch": [0], "why": "two CPUs: 1 is critical, 0 takes everything else",
                        "memory_bytes": 3_221_225_472_u64, "memory_why": "3 of 4 quarters of 4 GiB, this machine's"},
            "controllers": [
                {"controller": "cpu", "by": "cgroup v1", "group": "/sys/fs/cgroup/cpu/weir-x"},
                {"controller": "cpuset", "by": "nothing", "why": "no control group of cpuset is mounted"}
            ],
            "features": [{"name": "streaming", "pid": 7, "batch": [0], "borrowed": [2], "borrows": true, "memory_bytes": 3_221_225_472_u64,
                "cpu_weight": 100, "class": "critical", "why": "0 of 3 critical cores of its profile",
                "lines": [{"what": "cores", "value": "CPU 0", "by": "affinity", "why": "no control group of cpuset is mounted"},
                          {"what": "weight", "value": "100", "by": "cgroup v1"},
                          {"what": "memory", "value": "3 GiB", "by": "rlimit"}]}],
            "period": 9,
            "leases": [{"cpu": 2, "to": "streaming", "since": 7}],
            "trace": [{"period": 7, "cpu": 2, "to": "streaming", "since": 7},
                      {"period": 6, "cpu": 3, "from": "twin", "to": "streaming", "since": 4, "back": "its owner has work"}]
        }))
        .expect("a report")
    }

    #[test]
    fn every_line_says_what_stands_behind_it() {
        let mut out = Vec::new();
        render(&report(), &mut out).expect("written");
        let text = String::from_utf8(out).expect("text");
        for part in [
            "critical 1, batch 0 (two CPUs",
            "streaming  cores   CPU 0  affinity   no control group",
            "streaming  memory  3 GiB  rlimit",
            "no group: cpuset",
            "lent now: CPU 2 of nobody to streaming, for 2 s",
            "3 s ago: back CPU 3 of twin to streaming: its owner has work",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= width()), "{text}");
        assert_eq!(
            status_lines(&report()),
            ["streaming has CPU 0 (affinity), 3 GiB (rlimit)", "lent: CPU 2 of nobody to streaming"]
        );
    }
}
