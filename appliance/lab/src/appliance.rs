//! The appliance itself inside a lab: started as a user starts it, asked over its control socket, stopped or killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weir_appliance_control::client;
use weir_appliance_control::message::{Answer, ProcessState, Reply, Request, Status};
use weir_appliance_control::taker::FeatureName;
use weir_dataplane_io::wait::PidFd;

use crate::error::LabError;
use crate::network::{Lab, Node};

/// Time the appliance has to be ready: binding waits for a busy queue for some seconds.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Time it has to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two looks at a condition that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running `weir up`.
#[derive(Debug)]
pub struct Appliance {
    child: Child,
    config: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

impl Appliance {
    /// Starts `program up` inside `node` with this configuration, whose control socket is put into the lab's folder, and
    /// waits until every enabled feature works.
    ///
    /// # Errors
    /// The program ends or is not ready in time; its messages are part of the error.
    pub fn start(lab: &Lab, node: &Node, program: &Path, config: &str) -> Result<Self, LabError> {
        // The folder's name is the lab's tag, so what the appliance pins under that name is swept with the lab.
        let folder = lab.folder();
        let system = |what: &str, source| LabError::system(what, source, "check the lab's folder");
        let (file, socket, log) = (folder.join("weir.yaml"), folder.join("control.sock"), folder.join("weir.log"));
        let config = format!("{config}\ncontrol: {{socket: {}}}\n", socket.display());
        std::fs::write(&file, config).map_err(|source| system("writing the configuration", source))?;
        let output = File::create(&log).map_err(|source| system("making the log", source))?;
        let mut command = Command::new(program);
        command.arg("up").arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = node.start(&mut command)?;
        let mut appliance = Self { child, config: file, socket, log };
        appliance.wait_ready()?;
        Ok(appliance)
    }

    /// Waits until the status says that all features run.
    ///
    /// # Errors
    /// The program has ended, or the time is over.
    pub fn wait_ready(&mut self) -> Result<(), LabError> {
        let ready = |status: &Status| {
            let workers = status.processes.iter().filter(|process| process.name.starts_with("worker"));
            let running = workers.filter(|process| process.state.as_str() == "running").count();
            let idle = |state: ProcessState| matches!(state, ProcessState::Stopped | ProcessState::Parked);
            running >= status.features.iter().filter(|feature| !idle(feature.state)).count()
        };
        self.wait_until("all features run", READY_WITHIN, ready).map(drop)
    }

    /// Waits until the status satisfies `condition`, and gives that status.
    ///
    /// # Errors
    /// The program has ended, or `within` is over.
    pub fn wait_until(
        &mut self,
        what: &str,
        within: Duration,
        condition: impl Fn(&Status) -> bool,
    ) -> Result<Status, LabError> {
        let deadline = Instant::now() + within;
        loop {
            if let Ok(status) = self.status()
                && condition(&status)
            {
                return Ok(status);
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let state =
                    ended.map_or_else(|| format!("not so within {within:?}"), |status| format!("ended: {status}"));
                return Err(LabError::Appliance { what: what.to_owned(), state, log: self.log_tail() });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its status.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn status(&self) -> Result<Status, LabError> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => Err(self.fault("another answer than a status")),
        }
    }

    /// The latest records of a feature, as it writes them.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn records(&self, feature: FeatureName, limit: u32) -> Result<Vec<serde_json::Value>, LabError> {
        match self.ask(&Request::Records { feature, limit })? {
            Answer::Records(answer) => Ok(answer.records),
            _ => Err(self.fault("another answer than records")),
        }
    }

    /// Asks anything.
    ///
    /// # Errors
    /// Nobody answers, or the request is refused.
    pub fn ask(&self, request: &Request) -> Result<Answer, LabError> {
        match client::call(&self.socket, request) {
            Ok(Reply::Ok(answer)) => Ok(answer),
            Ok(Reply::Error(problem)) | Err(problem) => Err(self.fault(&problem.to_string())),
        }
    }

    fn fault(&self, state: &str) -> LabError {
        LabError::Appliance { what: "an answer".to_owned(), state: state.to_owned(), log: self.log_tail() }
    }

    /// The process of this name, as the status shows it.
    ///
    /// # Errors
    /// It does not run.
    pub fn process(&self, name: &str) -> Result<u32, LabError> {
        let status = self.status()?;
        let found = status.processes.iter().find(|process| process.name == name && process.pid != 0);
        found.map(|process| process.pid).ok_or_else(|| self.fault(&format!("no process `{name}`")))
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The supervisor's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines it has printed.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join(" | ")
    }

    /// Asks it to end and waits: true when it ended by itself with code 0.
    pub fn stop(&mut self) -> bool {
        let _ = PidFd::open(self.child.id()).and_then(|process| process.terminate());
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        false
    }

    /// Kills the supervisor, and with it the dataplane and the workers.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}
