//! What the appliance costs while nothing arrives: memory of all its processes beside the frames, and CPU time.
//!
//! What is fair: the default configuration, waiting by poll; proportional set sizes, so shared pages count once; CPU time
//! by the kernel's own account of every thread over some seconds.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_appliance_control::message::{BenchRow, Better, Status};
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::{Lab, LabSpec};
use weir_benches::report::{self, Words};
use weir_benches::{boxed, noise};

const GOAL_MIB: f64 = 64.0;
const GOAL_CPU_PERCENT: f64 = 1.0;
/// Time over which CPU use is taken.
const WINDOW: Duration = Duration::from_secs(5);
const CONFIG: &str = "interfaces: [{name: eth0}]\nfeatures: {streaming: {enabled: true}}\n";

/// CPU time of all threads of all processes, in nanoseconds; statistics files count in nanoseconds, `stat` in ticks.
fn cpu_ns(status: &Status) -> u64 {
    let tasks = status
        .processes
        .iter()
        .filter(|process| process.pid != 0)
        .flat_map(|process| fs::read_dir(format!("/proc/{}/task", process.pid)).into_iter().flatten().flatten());
    let used = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    used.sum()
}

fn run(appliance: &Appliance) -> Result<(f64, f64)> {
    let status = boxed::at_rest(appliance)?;
    let (before, start) = (cpu_ns(&status), Instant::now());
    std::thread::sleep(WINDOW);
    let used = cpu_ns(&status) - before;
    let percent = used as f64 * 100.0 / start.elapsed().as_nanos() as f64;
    let status = appliance.status()?;
    let memory = status.memory.pss_beside_umem_bytes as f64 / (1024.0 * 1024.0);
    Ok((memory, percent))
}

fn main() -> Result<()> {
    let words = Words::read(5)?;
    noise::settle();
    Lab::sweep()?;
    let lab = Lab::create(&LabSpec::pair())?;
    let mut appliance = Appliance::start(&lab, lab.node("box")?, &boxed::program()?, CONFIG)?;
    // The first window closes, caches of the allocator settle.
    std::thread::sleep(Duration::from_secs(2));
    let runs: Vec<(f64, f64)> = (0..words.runs).map(|_| run(&appliance)).collect::<Result<_>>()?;
    let status = appliance.status()?;
    appliance.stop();
    let memory: Vec<f64> = runs.iter().map(|(memory, _)| *memory).collect();
    let percent: Vec<f64> = runs.iter().map(|(_, percent)| *percent).collect();
    let row = |case: &str, unit: &str, runs: &[f64], goal: f64| {
        BenchRow::of_runs(case, unit, Better::Lower, runs).map(|row| row.bounded(goal)).context("no run")
    };
    let rows = vec![
        row("memory of all processes beside the frames", "MiB", &memory, GOAL_MIB)?,
        row("CPU time while nothing arrives, of one core", "%", &percent, GOAL_CPU_PERCENT)?,
    ];
    let processes: Vec<&str> = status.processes.iter().map(|process| process.name.as_str()).collect();
    let frames = status.memory.umem_bytes >> 20;
    let notes = [format!("processes: {}; frames: {frames} MiB on {}", processes.join(", "), status.memory.backing)];
    report::print("idle", "namespaces and a veth pair, one interface, one feature, waiting by poll", rows, &notes)
}
