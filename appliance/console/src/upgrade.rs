//! `weir upgrade`: another program takes over from the one that runs.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use weir_appliance_control::message::{Answer, Request, UpgradeState, UpgradeStatus};
use weir_appliance_control::problem::Problem;

use crate::answer::{Ask, Exit, Outcome, json, unexpected};
use crate::chaos::time;

/// Time beyond the trial: the checks, three times that all children end, and the start of what is in force then.
const BESIDE_THE_TRIAL: Duration = Duration::from_secs(90);
/// How often it is asked what has become of it.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Let another weir program take over from the one that runs, without losing a frame.
///
/// It is asked what it is, and its dataplane and workers come on trial. If one of them dies, or they do not work in time, those of
/// the program that runs come back. Base messages are forwarded all the while; frames for features pass until one of them works.
#[derive(Args, Clone, Debug)]
pub struct UpgradeArgs {
    /// The program.
    pub file: PathBuf,
    /// Time that its dataplane and workers have to come to work.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub within: Duration,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl UpgradeArgs {
    /// Asks, waits for what becomes of it, and prints that.
    ///
    /// # Errors
    /// The other program is not in force. Whether the one of before is, is said.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        let program = std::fs::canonicalize(&self.file).map_err(|error| {
            Problem::new(self.file.display().to_string(), error.to_string(), "name the file of a weir program")
        })?;
        let before = self.latest()?.map_or(0, |upgrade| upgrade.number);
        self.ask.call(&Request::Upgrade { program: program.clone(), within_s: self.within.as_secs() })?;
        let deadline = Instant::now() + self.within + BESIDE_THE_TRIAL;
        loop {
            // While one dataplane goes and another comes nobody answers.
            let known = self.latest().ok().flatten().filter(|upgrade| upgrade.number > before);
            match known {
                Some(upgrade) if upgrade.state == UpgradeState::InForce => return self.in_force(&upgrade, out),
                Some(upgrade) if upgrade.state == UpgradeState::Refused => return Err(refused(&upgrade).into()),
                _ if Instant::now() > deadline => {
                    let cause = "the box does not say what became of it";
                    let cure = "see which program is in force: weir status, and weir's log";
                    return Err(Problem::new(program.display().to_string(), cause, cure).into());
                }
                _ => std::thread::sleep(ASK_EVERY),
            }
        }
    }

    fn latest(&self) -> Result<Option<UpgradeStatus>, Problem> {
        match self.ask.call(&Request::Status)? {
            Answer::Status(status) => Ok(status.weir.upgrade),
            other => Err(unexpected(&self.ask.socket, &other)),
        }
    }

    fn in_force(&self, upgrade: &UpgradeStatus, out: &mut dyn Write) -> Outcome {
        if self.ask.json {
            return json(upgrade, out);
        }
        writeln!(out, "{}: {}", upgrade.program, upgrade.text)?;
        writeln!(out, "it runs from this file until weir up is started again: put it where that is started from")?;
        Ok(Exit::Done)
    }
}

/// Why it is not in force, and what is.
fn refused(upgrade: &UpgradeStatus) -> Problem {
    let UpgradeStatus { program, from, text, .. } = upgrade;
    let cure = format!("weir {from} is still in force; see weir's log, and try again with a program that works");
    Problem::new(program, text.clone(), cure)
}

/// The last take-over as a line of the status, if somebody is to know of it.
pub(crate) fn line(upgrade: &UpgradeStatus) -> Option<String> {
    let UpgradeStatus { program, from, text, .. } = upgrade;
    match upgrade.state {
        UpgradeState::UnderWay => Some(format!("UPGRADE under way: {program}: {text}")),
        UpgradeState::Refused => Some(format!("upgrade refused, weir {from} is in force: {program}: {text}")),
        UpgradeState::InForce => None,
    }
}
