//! Another program takes over, and if it cannot, this one goes on.
//!
//! ```text
//! check ─► the dataplane hands over ─► the other program's dataplane and workers, on trial, below this supervisor
//!                                          │ all work                           │ one dies, or takes too long
//!                                          ▼                                    ▼
//!                           they hand over too, and this process       they go, and this program's
//!                           becomes the other program                  own ones come back
//! ```
//!
//! In each step features get no more frames, finish those they have and end, and the pinned classifier forwards base messages.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weir_appliance_control::client;
use weir_appliance_control::message::{Answer, ProcessState, Reply, Request, UpgradeState, UpgradeStatus};
use weir_dataplane_io::shared;

use super::program::{Program, check};
use super::{Child, DATAPLANE, Ended, Event, LEFT, STOP_WITHIN, Supervisor, Told};

/// Time a program has to come to work where nobody says another one.
pub(super) const WITHIN: Duration = Duration::from_secs(30);
/// Time a dataplane on trial has for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What a program leaves to the one that takes over, in the environment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Left {
    /// Number of the ledger's descriptor.
    pub ledger: i32,
    /// How many dataplanes there were.
    pub restarts: u32,
    /// What is said of this take-over.
    pub upgrade: Option<UpgradeStatus>,
}

/// A take-over that is under way.
#[derive(Debug)]
pub(super) struct Upgrade {
    file: PathBuf,
    within: Duration,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Somebody asks the file what it is.
    Checking,
    /// The dataplane hands over to the one on trial.
    Leaving,
    /// The other program's dataplane and workers are to work by then.
    Trial(Instant),
    /// They work, and hand over to those of the supervisor that this process becomes.
    LeavingForGood,
    /// What is left of the trial ends; then this program's own ones come back.
    Returning,
}

impl Upgrade {
    /// The program of whom children are started now, if it is not this one.
    pub(super) fn on_trial(&self) -> Option<&PathBuf> {
        self.is_on_trial().then_some(&self.file)
    }

    /// Whether those who run are another program's.
    pub(super) fn is_on_trial(&self) -> bool {
        matches!(self.step, Step::Trial(_))
    }
}

/// This program's words of the command line.
fn own_words() -> Vec<OsString> {
    std::env::args_os().skip(1).collect()
}

impl Supervisor {
    /// Somebody wants the program in `file` to take over; it has `within` to come to work.
    pub(super) fn upgrade(&mut self, file: PathBuf, within: Duration) {
        if self.upgrade.is_some() {
            return tracing::error!("{}: another program is just taking over", file.display());
        }
        let number = self.upgraded.as_ref().map_or(0, |upgraded| upgraded.number) + 1;
        self.upgraded = Some(UpgradeStatus {
            number,
            program: file.display().to_string(),
            state: UpgradeState::UnderWay,
            from: Program::own().version,
            to: None,
            text: "it is asked what it is".to_owned(),
        });
        if !self.is_ready {
            return self.refuse("a dataplane is on its way in or out; try again in a moment");
        }
        self.tell_upgrade();
        let (asked, events) = (file.clone(), self.sender.clone());
        // A program that hangs must not hold who watches the others.
        let asks = std::thread::Builder::new().name("check".into());
        let spawned = asks.spawn(move || {
            let _ = events.send(Event::Checked(check(&asked, &own_words())));
        });
        match spawned {
            Ok(_) => self.upgrade = Some(Upgrade { file, within, step: Step::Checking }),
            Err(error) => self.refuse(&format!("nobody can ask it what it is: {error}")),
        }
    }

    /// What the file says it is.
    pub(super) fn checked(&mut self, found: Result<Program, String>) {
        if self.upgrade.as_ref().is_none_or(|upgrade| upgrade.step != Step::Checking) {
            return;
        }
        match found {
            Err(why) => self.refuse(&why),
            Ok(_) if !self.is_ready => self.refuse("the dataplane died meanwhile; try again in a moment"),
            Ok(program) => {
                if let Some(upgraded) = &mut self.upgraded {
                    upgraded.to = Some(program.version.clone());
                    upgraded.text = "it is on trial".to_owned();
                }
                self.tell_upgrade();
                tracing::info!("weir {} is on trial, features get no frames meanwhile", program.version);
                self.leave(Step::Leaving);
            }
        }
    }

    /// Has all children end for others.
    fn leave(&mut self, step: Step) {
        let line = serde_json::to_string(&Told::HandOver).ok();
        if line.zip(self.lines.as_ref()).is_none_or(|(line, lines)| lines.try_send(line).is_err()) {
            return match step {
                Step::Leaving => self.refuse("the dataplane does not listen"),
                _ => self.fall_back("its dataplane does not listen"),
            };
        }
        self.step(step);
        self.end_within(STOP_WITHIN);
    }

    fn end_within(&mut self, dataplane: Duration) {
        let now = Instant::now();
        for (name, child) in &mut self.children {
            child.hand_over(now + if name == DATAPLANE { dataplane } else { dataplane / 2 });
        }
    }

    fn step(&mut self, step: Step) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.step = step;
        }
    }

    /// The next step, if the last one is over: called whenever anything happened.
    pub(super) fn go_on(&mut self) -> Option<Ended> {
        let upgrade = self.upgrade.as_ref()?;
        let (step, within) = (upgrade.step, upgrade.within);
        let all_gone = self.children.values().all(|child| child.pid().is_none());
        match step {
            Step::LeavingForGood if all_gone => return Some(Ended::ForAnother),
            Step::Leaving if all_gone => {
                self.step(Step::Trial(Instant::now() + within));
                if let Err(error) = self.begin_again() {
                    self.fall_back(&format!("it cannot be started: {error:#}"));
                }
            }
            Step::Returning if all_gone => {
                self.upgrade = None;
                if let Err(error) = self.begin_again() {
                    tracing::error!("{error:#}");
                    self.children.values_mut().for_each(|child| child.later(Instant::now()));
                }
            }
            Step::Trial(until) => self.judge(until),
            _ => {}
        }
        None
    }

    /// A dataplane after one that has gone.
    fn begin_again(&mut self) -> anyhow::Result<()> {
        (self.is_ready, self.lines) = (false, None);
        self.children.values_mut().for_each(Child::stay);
        self.start(DATAPLANE)
    }

    /// Whether the one on trial works.
    fn judge(&mut self, until: Instant) {
        let waits_for =
            if self.is_ready { self.who_is_not_at_work() } else { Some("its dataplane is not ready".into()) };
        match waits_for {
            None => {
                if let Some(upgraded) = &mut self.upgraded {
                    upgraded.text = "its dataplane and workers work; its supervisor begins".to_owned();
                }
                self.tell_upgrade();
                self.leave(Step::LeavingForGood);
            }
            Some(what) if Instant::now() >= until => {
                let within = self.upgrade.as_ref().map_or(WITHIN, |upgrade| upgrade.within).as_secs();
                self.fall_back(&format!("{what} after {within} s"));
            }
            Some(_) => {}
        }
    }

    /// Whom of the children a trial waits for.
    fn who_is_not_at_work(&self) -> Option<String> {
        let status = match client::call_within(&self.place.control, &Request::Status, ANSWER_WITHIN) {
            Ok(Reply::Ok(Answer::Status(status))) => status,
            _ => return Some("its dataplane does not answer".to_owned()),
        };
        let at_work = |state| matches!(state, ProcessState::Running | ProcessState::Stopped | ProcessState::Parked);
        let late = status.processes.iter().find(|process| !at_work(process.state))?;
        let reason = late.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        Some(format!("its {} is {}{reason}", late.name, late.state.as_str()))
    }

    /// A child of the other program has ended, and nobody had asked it to.
    pub(super) fn died_on_trial(&mut self, name: &str, how: &str) {
        if name == DATAPLANE {
            (self.is_ready, self.lines) = (false, None);
            return self.fall_back(&format!("its dataplane {how}"));
        }
        self.fall_back(&format!("its worker {name} {how}"));
    }

    /// The other program does not work: this one's children come back.
    fn fall_back(&mut self, why: &str) {
        self.refused(why);
        self.step(Step::Returning);
        let line = serde_json::to_string(&Told::HandOver).ok();
        let told =
            self.is_ready && line.zip(self.lines.as_ref()).is_some_and(|(line, lines)| lines.try_send(line).is_ok());
        // One that was never ready has given nobody a frame.
        self.end_within(if told { STOP_WITHIN } else { Duration::ZERO });
    }

    /// Nothing was begun, and nothing is.
    fn refuse(&mut self, why: &str) {
        self.upgrade = None;
        self.refused(why);
        self.tell_upgrade();
    }

    fn refused(&mut self, why: &str) {
        let Some(upgraded) = &mut self.upgraded else { return };
        (upgraded.state, upgraded.text) = (UpgradeState::Refused, why.to_owned());
        tracing::error!("{}: {why}; weir {} is still in force", upgraded.program, upgraded.from);
    }

    /// Tells the dataplane what became of the last take-over.
    pub(super) fn tell_upgrade(&self) {
        let line = self.upgraded.clone().and_then(|upgraded| serde_json::to_string(&Told::Upgrade(upgraded)).ok());
        if let Some((line, lines)) = line.zip(self.lines.as_ref()) {
            let _ = lines.try_send(line); // who does not read is soon replaced, and its successor is told
        }
    }

    /// Becomes the other program, with the ledger's memory. It comes back only if that fails: this program goes on.
    pub(super) fn become_another(&mut self) {
        let Some(upgrade) = self.upgrade.take() else { return };
        let upgraded = self.upgraded.clone().map(|upgraded| {
            let text = match &upgraded.to {
                Some(to) => format!("weir {to} has taken over from weir {}", upgraded.from),
                None => "it has taken over".to_owned(),
            };
            UpgradeStatus { state: UpgradeState::InForce, text, ..upgraded }
        });
        let restarts = self.children.get(DATAPLANE).map_or(1, |dataplane| dataplane.restarts().max(1));
        let left = Left { ledger: self.ledger.as_raw_fd(), restarts, upgrade: upgraded };
        let kept = shared::keep_over_exec(self.ledger.as_fd()).map_err(anyhow::Error::from);
        let left = kept.and_then(|()| Ok(serde_json::to_string(&left)?));
        let error: anyhow::Error = match left {
            Ok(left) => Command::new(&upgrade.file).args(own_words()).env(LEFT, left).exec().into(),
            Err(error) => error,
        };
        self.refused(&format!("it cannot be started: {error:#}"));
        self.children.values_mut().for_each(Child::stay);
        (self.is_ready, self.lines) = (false, None);
    }
}
