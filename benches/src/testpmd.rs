//! dpdk-testpmd on the lab's box: the field's own forwarder over AF_XDP.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use weir_appliance_lab::{Lab, Node};

use crate::wire;

const TESTPMD: &str = "dpdk-testpmd";

/// Name and version of testpmd.
///
/// # Errors
/// Why it is not measured, as a sentence.
pub fn version() -> Result<String, String> {
    // `-v` makes its library say `RTE Version: 'DPDK 22.11.11'`; the help that follows ends it before it takes anything.
    let words = ["-v", "--no-pci", "--no-huge", "--no-telemetry", "-m", "64", "--", "--help"];
    let output = Command::new(TESTPMD).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|_| "it is not installed (Debian package dpdk-dev)".to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let behind = text.split_once("RTE Version: 'DPDK ").map(|(_, rest)| rest);
    let version = behind.and_then(|rest| rest.split('\'').next());
    Ok(format!("dpdk-testpmd {} af_xdp", version.unwrap_or("of unknown version")))
}

/// A running testpmd; dropped without [`Testpmd::stop`] it is killed all the same.
pub struct Testpmd<'a> {
    node: &'a Node,
    child: Child,
    log: PathBuf,
}

impl<'a> Testpmd<'a> {
    /// Starts it on `eth0` of `node`, a node of `lab`, in forwarding mode `mode` (`rxonly`, `macswap`).
    ///
    /// # Errors
    /// It is not installed.
    pub fn start(lab: &Lab, node: &'a Node, mode: &str) -> Result<Self> {
        let log = lab.folder().join("testpmd.log");
        let cores = format!("{},{}", wire::GENERATOR, wire::RECEIVER);
        let mut command = Command::new(TESTPMD);
        command.args(["--no-pci", "--no-telemetry", "--no-huge", "-m", "256", "-l", &cores]);
        command.args(["-d", "librte_mempool_ring.so.23", "-d", "librte_net_af_xdp.so.23"]);
        command.args(["--vdev", "net_af_xdp0,iface=eth0,start_queue=0,queue_count=1", "--"]);
        command.arg(format!("--forward-mode={mode}"));
        command.args(["--total-num-mbufs=16384", "--nb-cores=1", "--stats-period", "1", "--no-flush-rx"]);
        command
            .stdin(Stdio::piped())
            .stdout(File::create(&log)?)
            .stderr(File::create(lab.folder().join("testpmd.err"))?);
        Ok(Self { node, child: node.start(&mut command)?, log })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed.
    ///
    /// # Errors
    /// The file is gone.
    pub fn text(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// Packets received, as it printed last; `None` before its first print.
    ///
    /// # Errors
    /// The file is gone.
    pub fn received(&self) -> Result<Option<u64>> {
        let text = self.text()?;
        let last = text.lines().rev().find_map(|line| line.trim().strip_prefix("RX-packets:"));
        Ok(last.and_then(|rest| rest.split_whitespace().next()?.parse().ok()))
    }

    /// Ends it. Killed, it leaves its program on the interface, where the next one would find the place taken.
    ///
    /// # Errors
    /// It cannot be ended, or `ip` is not installed.
    pub fn stop(mut self) -> Result<()> {
        self.child.kill().context("ending testpmd")?;
        self.child.wait()?;
        self.node.start(Command::new("ip").args(["link", "set", "dev", "eth0", "xdp", "off"]))?.wait()?;
        Ok(())
    }
}

impl Drop for Testpmd<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
