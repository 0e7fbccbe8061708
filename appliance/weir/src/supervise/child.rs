//! One process of the supervisor's: whether it runs, when it is started again, how it ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use weir_appliance_control::message::ProcessState;
use weir_dataplane_io::wait::PidFd;

use super::words::Shown;

/// First and longest pause before a child is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// A child that ran this long is healthy: its next death starts the back-off anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// A process that runs.
#[derive(Clone, Debug)]
struct Process {
    pid: u32,
    started: Instant,
    /// Why it was killed, if it was killed here: that is what it ended by.
    sentence: Option<String>,
}

/// A child, whether it runs or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Child {
    process: Option<Process>,
    /// When it is started again.
    due: Option<Instant>,
    pause: Duration,
    restarts: u32,
    last_exit: Option<String>,
}

impl Child {
    /// Its process, if one runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }

    /// For how long its process has run.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.process.as_ref().map(|process| now.saturating_duration_since(process.started))
    }

    /// How often it was started again.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// When it is started again, if it waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It was started as this process.
    pub(super) fn started(&mut self, pid: u32, now: Instant) {
        self.process = Some(Process { pid, started: now, sentence: None });
        self.due = None;
    }

    /// Kills its process; `why` is what it will have ended by. The end itself comes as an event.
    pub(super) fn kill(&mut self, why: &str) {
        let Some(process) = &mut self.process else { return };
        process.sentence.get_or_insert_with(|| why.to_owned());
        let _ = PidFd::open(process.pid).and_then(|process| process.kill()); // it may just have ended
    }

    /// Asks its process to end.
    pub(super) fn terminate(&self) {
        if let Some(process) = &self.process {
            let _ = PidFd::open(process.pid).and_then(|process| process.terminate());
        }
    }

    /// Process `pid` has ended; how, in words, if that was its process and not one that is accounted for already.
    pub(super) fn exited(&mut self, pid: u32, status: ExitStatus, now: Instant) -> Option<String> {
        let process = self.process.take_if(|process| process.pid == pid)?;
        if now.saturating_duration_since(process.started) >= HEALTHY_AFTER {
            self.pause = Duration::ZERO;
        }
        let how = process.sentence.unwrap_or_else(|| ending(status));
        self.restarts += 1;
        self.last_exit = Some(how.clone());
        Some(how)
    }

    /// Its turn has come.
    pub(super) fn now(&mut self) {
        self.due = None;
    }

    /// Starts it again after a pause that doubles each time.
    pub(super) fn later(&mut self, now: Instant) {
        let pause = self.pause.max(BACK_OFF.0);
        self.pause = (pause * 2).min(BACK_OFF.1);
        self.due = Some(now + pause);
    }

    /// Gives up its process and its turn, because what it works for is gone.
    pub(super) fn orphan(&mut self, why: &str) {
        self.due = None;
        self.kill(why);
        if self.process.take().is_some() {
            self.last_exit = Some(why.to_owned());
        }
    }

    /// As the status has it, but for when it is started again.
    pub(super) fn shown(&self, name: &str) -> Shown {
        let state = match (&self.process, self.due) {
            (Some(_), _) => ProcessState::Running,
            (None, Some(_)) => ProcessState::BackingOff,
            (None, None) => ProcessState::Starting,
        };
        Shown {
            name: name.to_owned(),
            pid: self.pid().unwrap_or(0),
            state,
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            again_in_ms: None,
        }
    }
}

/// How a process ended, as the end of a sentence that begins with its name.
pub(super) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGKILL: i32 = 9;

    fn dies_of_itself(child: &mut Child, now: Instant) -> Option<String> {
        child.started(u32::MAX, now); // no such process: signals to it go nowhere
        child.exited(u32::MAX, ExitStatus::from_raw(SIGKILL), now)
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_start_anew_after_a_healthy_life() {
        let (mut child, now) = (Child::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            dies_of_itself(&mut child, now).expect("its own process");
            child.later(now);
            pauses.push(child.due().expect("it waits").duration_since(now).as_millis());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        child.started(u32::MAX, now);
        child.exited(u32::MAX, ExitStatus::from_raw(SIGKILL), now + HEALTHY_AFTER).expect("its own process");
        child.later(now);
        assert_eq!(child.due(), Some(now + BACK_OFF.0));
    }

    #[test]
    fn it_ended_by_what_it_was_killed_for() {
        let (mut child, now) = (Child::default(), Instant::now());
        assert_eq!(dies_of_itself(&mut child, now).as_deref(), Some("killed by signal 9"));
        child.started(u32::MAX, now);
        assert_eq!(child.exited(7, ExitStatus::from_raw(SIGKILL), now), None, "an earlier one");
        child.kill("stalled: it stands");
        let how = child.exited(u32::MAX, ExitStatus::from_raw(SIGKILL), now);
        assert_eq!(how.as_deref(), Some("stalled: it stands"));
        let shown = child.shown("streaming");
        assert_eq!((shown.restarts, shown.last_exit.as_deref(), shown.pid), (2, Some("stalled: it stands"), 0));
    }
}
