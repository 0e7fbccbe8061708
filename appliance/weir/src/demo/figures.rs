//! The closing figures of the demo: each is what was measured during it, on the rig that the report names.

use weir_appliance_control::message::{BenchReport, BenchRow, Better, Status};

use crate::host;

/// A figure that was measured once, over the whole demo.
pub(super) fn once(case: &str, unit: &str, better: Better, value: f64) -> Option<BenchRow> {
    BenchRow::of_runs(case, unit, better, &[value])
}

/// The demo's report.
pub(super) fn report(rig: String, rows: Vec<Option<BenchRow>>) -> BenchReport {
    BenchReport {
        bench: "demo".into(),
        rig,
        host: weir_appliance_lab::host::read(),
        rows: rows.into_iter().flatten().collect(),
    }
}

/// Processor time that all processes of the box have used so far, in nanoseconds.
pub(crate) fn processor_ns(status: &Status) -> u64 {
    status.processes.iter().filter_map(|process| host::process_cpu_ns(process.pid)).sum()
}

/// Figures from the first and the last status, `seconds` apart.
pub(super) fn between(first: &Status, last: &Status, seconds: f64) -> Vec<Option<BenchRow>> {
    let rate = |pick: fn(&Status) -> u64| pick(last).saturating_sub(pick(first)) as f64 / seconds.max(f64::EPSILON);
    let higher = |case, unit, value| once(case, unit, Better::Higher, value);
    let lower = |case, unit, value| once(case, unit, Better::Lower, value);
    let windows = last.features.iter().find_map(|feature| feature.window.as_ref());
    let events = rate(|status| status.features.iter().map(|feature| feature.events).sum());
    vec![
        higher("received", "1/s", rate(|status| status.counters.received)),
        higher("forwarded", "1/s", rate(|status| status.counters.forwarded)),
        higher("on rings", "1/s", rate(|status| status.counters.delivered)),
        higher("to the stack", "1/s", rate(|status| status.counters.passed)),
        lower("dropped", "1/s", rate(|status| status.counters.dropped_total())),
        higher("events", "1/s", events),
        windows.and_then(|window| window.p50_us).and_then(|value| lower("latency p50", "us", value)),
        windows.and_then(|window| window.p99_us).and_then(|value| lower("latency p99", "us", value)),
        lower("memory", "MiB", last.memory.pss_beside_umem_bytes as f64 / 1048576.0).map(|row| row.bounded(64.0)),
    ]
}
