//! The appliance under test: `weir up` in the lab's box, as a user starts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_appliance_control::message::Status;
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::generate::live::Live;
use weir_appliance_lab::{Lab, Node};
use weir_dataplane_io::cgroup::{self, Controller, Found, Version};

use crate::{noise, wire};

/// Real-time priority of workers during a burst: below the pool, which has to be let in when it is kicked.
const WORKER_PRIORITY: &str = "5";
/// How long counters may take to come to rest.
const REST_WITHIN: Duration = Duration::from_secs(10);

/// The release binary, which `cargo bench` does not build by itself.
///
/// # Errors
/// It is not there.
pub fn program() -> Result<PathBuf> {
    let bench = std::env::current_exe()?;
    let target = bench.ancestors().nth(2).context("a benchmark lies in target/release/deps")?;
    let weir = target.join("weir");
    ensure!(weir.exists(), "{} is not there; build it: cargo build --release --bin weir", weir.display());
    Ok(weir)
}

/// Starts the appliance on `eth0` of the box with both roles on the receiving core, since the other one generates.
///
/// # Errors
/// It does not come up.
pub fn start(lab: &Lab, node: &Node, more: &str) -> Result<Appliance> {
    let core = wire::RECEIVER;
    let config = format!("interfaces: [{{name: eth0}}]\ncores: {{critical: \"{core}\", batch: \"{core}\"}}\n{more}");
    Ok(Appliance::start(lab, node, &program()?, &config)?)
}

/// Makes every thread of every worker real-time, or ordinary again.
///
/// # Errors
/// `chrt` (util-linux) is not installed, or the rights are missing.
pub fn set_real_time(status: &Status, on: bool) -> Result<()> {
    let (policy, priority) = if on { ("--fifo", WORKER_PRIORITY) } else { ("--other", "0") };
    for process in status.processes.iter().filter(|process| process.name.starts_with("worker") && process.pid != 0) {
        leave_group(process.pid)?;
        chrt(policy, priority, process.pid)?;
    }
    Ok(())
}

/// Takes a worker out of its feature's control group of CPU time: a group has no real-time budget unless it is given one, and
/// then nobody in it can be real-time.
fn leave_group(pid: u32) -> Result<()> {
    match cgroup::find(Path::new("/"), Controller::Cpu) {
        Ok(Found { version: Version::One, own }) => {
            let file = own.join("cgroup.procs");
            fs::write(&file, pid.to_string()).with_context(|| format!("{}: process {pid}", file.display()))
        }
        _ => Ok(()), // it is in none, or in one of version 2, which has no such budgets
    }
}

/// A process that never rests, treated by the kernel as a feature's worker is.
pub struct Burner(Child);

impl Burner {
    /// Starts one on the receiving core with the scheduling and the control group of CPU time of the worker `pid`.
    ///
    /// # Errors
    /// The worker is gone, or taskset and chrt (util-linux) are not there.
    pub fn beside(pid: u32) -> Result<Self> {
        let core = wire::RECEIVER.to_string();
        let words = ["-c", &core, "sh", "-c", "while :; do :; done"];
        let burner = Self(Command::new("taskset").args(words).spawn().context("taskset of util-linux")?);
        let known = Command::new("chrt").args(["--pid", &pid.to_string()]).output().context("chrt of util-linux")?;
        if String::from_utf8_lossy(&known.stdout).contains("SCHED_IDLE") {
            chrt("--idle", "0", burner.0.id())?;
        }
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).context("the worker's groups")?;
        let group = groups.lines().find_map(|line| {
            let mut words = line.splitn(3, ':').skip(1);
            let cpu = words.next().is_some_and(|names| names.is_empty() || names.split(',').any(|name| name == "cpu"));
            words.next().filter(|_| cpu)
        });
        if let (Some(group), Ok(Found { own, .. })) = (group, cgroup::find(Path::new("/"), Controller::Cpu)) {
            // The folder of a group is that of this process, up to where the two part.
            let folder = own.ancestors().map(|above| above.join(group.trim_start_matches('/'))).find(|it| it.exists());
            let folder = folder.with_context(|| format!("no folder of the group {group}"))?;
            fs::write(folder.join("cgroup.procs"), burner.0.id().to_string())
                .with_context(|| format!("{}: process {}", folder.display(), burner.0.id()))?;
        }
        Ok(burner)
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it has no other way to end
        let _ = self.0.wait();
    }
}

/// Changes the scheduling of all threads of a process.
///
/// # Errors
/// `chrt` (util-linux) is not installed, or the rights are missing.
pub fn chrt(policy: &str, priority: &str, pid: u32) -> Result<()> {
    let words = [policy, "--all-tasks", "--pid", priority, &pid.to_string()];
    let done = Command::new("chrt").args(words).stdout(Stdio::null()).status().context("chrt of util-linux")?;
    ensure!(done.success(), "chrt {} failed; run as root", words.join(" "));
    Ok(())
}

/// The status once its counters have come to rest.
///
/// # Errors
/// The appliance does not answer, or never rests.
pub fn at_rest(appliance: &Appliance) -> Result<Status> {
    let end = Instant::now() + REST_WITHIN;
    let mut before = appliance.status()?;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = appliance.status()?;
        if now.counters == before.counters && now.counters.is_balanced() {
            return Ok(now);
        }
        ensure!(Instant::now() < end, "the counters do not come to rest: {:?}", now.counters);
        before = now;
    }
}

/// Sends `frames` out of `from` in a measuring thread; gives the seconds it took beyond the kernel's set-up for a run.
///
/// # Errors
/// The kernel refuses.
pub fn timed_burst(from: &Node, live: &mut Live, frames: u32) -> Result<f64> {
    let took = from.run(|| -> Result<f64> {
        noise::measuring_thread(wire::GENERATOR)?;
        let setup = live.send(64)?;
        let whole = live.send(frames)?;
        Ok(whole.saturating_sub(setup).as_secs_f64())
    })??;
    ensure!(took > 0.0, "a burst of {frames} frames took no time; give more frames");
    Ok(took)
}
