//! What the journey is measured beside.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weir_appliance_lab::Lab;
use weir_appliance_lab::generate::live::Live;
use weir_benches::bare::{Bare, Front};
use weir_benches::{boxed, noise, wire};

/// Where a message's header begins: behind Ethernet, IPv4 and UDP.
const HEADERS: usize = 42;

/// Millions of frames a second through bare AF_XDP. The reader looks at the message's first word, as any reader must.
pub(crate) fn bare(lab: &Lab, live: &mut Live, frames: u32, front: Front<'_>) -> Result<f64> {
    let mut reader = Bare::new(lab.node("box")?, "eth0", front)?;
    let (stop, ready) = (AtomicBool::new(false), Barrier::new(2));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| -> Result<u64> {
            let placed = noise::measuring_thread(wire::RECEIVER);
            ready.wait();
            placed?;
            let mut words = 0_u8;
            let mut look = |frame: &[u8]| words ^= frame.get(HEADERS).copied().unwrap_or_default();
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                count += reader.poll(&mut look);
            }
            count += reader.poll(&mut look);
            std::hint::black_box(words);
            Ok(count)
        });
        ready.wait();
        let seconds = boxed::timed_burst(lab.node("outside")?, live, frames);
        stop.store(true, Ordering::Relaxed);
        let count = reading.join().unwrap_or_else(|_| bail!("the reading thread panicked"))?;
        Ok(count as f64 / seconds? / 1e6)
    })
}

const TESTPMD: &str = "dpdk-testpmd";

/// Name and version of testpmd, or why it is not measured.
pub(crate) fn testpmd_version() -> Result<String, String> {
    // `-v` makes its library say `RTE Version: 'DPDK 22.11.11'`; the help that follows ends it before it takes anything.
    let words = ["-v", "--no-pci", "--no-huge", "--no-telemetry", "-m", "64", "--", "--help"];
    let output = Command::new(TESTPMD).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|_| "it is not installed (Debian package dpdk-dev)".to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let behind = text.split_once("RTE Version: 'DPDK ").map(|(_, rest)| rest);
    let version = behind.and_then(|rest| rest.split('\'').next());
    Ok(format!("dpdk-testpmd {} af_xdp", version.unwrap_or("of unknown version")))
}

/// Millions of frames a second through testpmd, which prints its count once a second.
pub(crate) fn testpmd(lab: &Lab, live: &mut Live, frames: u32) -> Result<f64> {
    let (outside, inside) = (lab.node("outside")?, lab.node("box")?);
    let log = lab.folder().join("testpmd.log");
    let cores = format!("{},{}", wire::GENERATOR, wire::RECEIVER);
    let mut command = Command::new(TESTPMD);
    command.args(["--no-pci", "--no-telemetry", "--no-huge", "-m", "256", "-l", &cores]);
    command.args(["-d", "librte_mempool_ring.so.23", "-d", "librte_net_af_xdp.so.23"]);
    command.args(["--vdev", "net_af_xdp0,iface=eth0,start_queue=0,queue_count=1", "--"]);
    command.args(["--forward-mode=rxonly", "--total-num-mbufs=16384", "--nb-cores=1", "--stats-period", "1"]);
    command
        .arg("--no-flush-rx")
        .stdin(Stdio::piped())
        .stdout(File::create(&log)?)
        .stderr(File::create(lab.folder().join("testpmd.err"))?);
    let mut child = inside.start(&mut command)?;
    let result = measure(&log, || {
        boxed::chrt("--fifo", "5", child.id())?;
        let seconds = boxed::timed_burst(outside, live, frames);
        boxed::chrt("--other", "0", child.id())?;
        seconds
    });
    child.kill().context("ending testpmd")?;
    child.wait()?;
    // Killed, it leaves its program on the interface, where the next one would find the place taken.
    inside.start(Command::new("ip").args(["link", "set", "dev", "eth0", "xdp", "off"]))?.wait()?;
    result
}

/// Waits until testpmd counts, runs `burst`, and reads how much the count rose.
fn measure(log: &std::path::Path, burst: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let count = || -> Result<Option<u64>> {
        let text = std::fs::read_to_string(log)?;
        let last = text.lines().rev().find_map(|line| line.trim().strip_prefix("RX-packets:"));
        Ok(last.and_then(|rest| rest.split_whitespace().next()?.parse().ok()))
    };
    let end = Instant::now() + Duration::from_secs(15);
    let before = loop {
        if let Some(count) = count()? {
            break count;
        }
        ensure!(Instant::now() < end, "testpmd did not start: {}", std::fs::read_to_string(log)?.replace('\n', " "));
        std::thread::sleep(Duration::from_millis(100));
    };
    let seconds = burst()?;
    std::thread::sleep(Duration::from_millis(2500)); // two of its prints
    let after = count()?.context("testpmd's count")?;
    Ok((after - before) as f64 / seconds / 1e6)
}
