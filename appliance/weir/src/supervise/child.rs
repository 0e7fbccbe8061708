//! One process of the supervisor's: whether it runs, when it is started again, how it ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use weir_appliance_control::config::{Run, SuperviseSpec};
use weir_appliance_control::message::ProcessState;
use weir_dataplane_io::wait::PidFd;

use super::breaker::Breaker;
use super::words::Shown;

/// A child that ran this long is healthy: its next death starts the back-off anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Time a worker has to end when it was asked to: it works on what it has for two seconds at most.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// A process that runs.
#[derive(Clone, Debug)]
struct Process {
    pid: u32,
    started: Instant,
    /// Why it was killed, if it was killed here: that is what it ended by.
    sentence: Option<String>,
    /// It never came to work, however long it was there.
    hung: bool,
    /// It was asked to end, and by then it is to have done so.
    leave_by: Option<Instant>,
}

/// A child, whether it runs or not.
#[derive(Clone, Debug)]
pub(super) struct Child {
    process: Option<Process>,
    /// When it is started again.
    due: Option<Instant>,
    /// First and longest pause before it is started again.
    back_off: (Duration, Duration),
    pause: Duration,
    restarts: u32,
    last_exit: Option<String>,
    /// What shall become of it.
    run: Run,
    /// Counts the deaths of one that can be given up.
    breaker: Option<Breaker>,
    /// What it did to be given up, until somebody starts it.
    given_up: Option<String>,
}

/// An end that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Death {
    /// How it ended.
    pub how: String,
    /// What it did in all, if it is given up now.
    pub given_up: Option<String>,
}

impl Child {
    /// One that is given up when it dies too often.
    pub(super) fn feature(spec: SuperviseSpec) -> Self {
        let within = Duration::from_secs(spec.park_within_seconds.into());
        Self { breaker: Some(Breaker::new(spec.park_deaths, within)), ..Self::restarted(spec, 0) }
    }

    /// One that others were before, and that is never given up.
    pub(super) fn restarted(spec: SuperviseSpec, restarts: u32) -> Self {
        let back_off = [spec.restart_first_ms, spec.restart_most_ms].map(|ms| Duration::from_millis(ms.into()));
        Self {
            process: None,
            due: None,
            back_off: back_off.into(),
            pause: Duration::ZERO,
            restarts,
            last_exit: None,
            run: Run::Started,
            breaker: None,
            given_up: None,
        }
    }

    /// It ends by then, and is not started again by this program.
    pub(super) fn hand_over(&mut self, by: Instant) {
        (self.run, self.due) = (Run::Stopped, None);
        if let Some(process) = &mut self.process {
            process.leave_by = Some(by);
        }
    }

    /// This program goes on after all, or another one begins: what the children of before did is forgotten.
    pub(super) fn stay(&mut self) {
        self.given_up = None;
        self.breaker.iter_mut().for_each(Breaker::reset);
        (self.run, self.restarts) = (Run::Started, self.restarts.max(1));
    }

    /// Whether it is to be started when it does not run.
    pub(super) fn is_wanted(&self) -> bool {
        self.run == Run::Started && self.given_up.is_none()
    }

    /// What it did to be given up, while nobody but the supervisor may know of it.
    pub(super) fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref().filter(|_| self.run == Run::Started)
    }

    /// This shall become of it from now on.
    pub(super) fn wish(&mut self, run: Run, now: Instant) {
        let before = std::mem::replace(&mut self.run, run);
        match (before, run) {
            (Run::Started, Run::Started) => {}
            (_, Run::Started) => self.start_afresh(now),
            _ => {
                self.due = None;
                self.leave(now);
            }
        }
    }

    /// It ends, or has ended, and another one begins.
    pub(super) fn restart(&mut self, now: Instant) {
        self.leave(now);
        self.start_afresh(now);
    }

    /// Somebody asked for it: what was is forgotten.
    fn start_afresh(&mut self, now: Instant) {
        (self.given_up, self.pause) = (None, Duration::ZERO);
        self.breaker.iter_mut().for_each(Breaker::reset);
        self.due = self.process.is_none().then_some(now);
    }

    /// The dataplane has asked its process to end.
    fn leave(&mut self, now: Instant) {
        if let Some(process) = &mut self.process {
            process.leave_by.get_or_insert(now + LEAVE_WITHIN);
        }
    }

    /// Kills its process if it was asked to end and did not.
    pub(super) fn look(&mut self, now: Instant) {
        if self.process.as_ref().and_then(|process| process.leave_by).is_some_and(|by| by <= now) {
            self.kill("it had not finished in time");
        }
    }

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
        self.process = Some(Process { pid, started: now, sentence: None, hung: false, leave_by: None });
        self.due = None;
    }

    /// Kills its process; `why` is what it will have ended by. The end itself comes as an event.
    pub(super) fn kill(&mut self, why: &str) {
        let Some(process) = &mut self.process else { return };
        process.sentence.get_or_insert_with(|| why.to_owned());
        let _ = PidFd::open(process.pid).and_then(|process| process.kill()); // it may just have ended
    }

    /// Kills its process, which never came to work.
    pub(super) fn hung(&mut self, how: &str) {
        if let Some(process) = &mut self.process {
            process.hung = true;
        }
        self.kill(how);
    }

    /// Asks its process to end.
    pub(super) fn terminate(&self) {
        if let Some(process) = &self.process {
            let _ = PidFd::open(process.pid).and_then(|process| process.terminate());
        }
    }

    /// Process `pid` has ended. Gives its death if that was its process, not one that is accounted for already, and nobody
    /// had asked for it. One that is wanted is started again: at once if it was asked to end, else after a pause.
    pub(super) fn exited(&mut self, pid: u32, status: ExitStatus, now: Instant) -> Option<Death> {
        let process = self.process.take_if(|process| process.pid == pid)?;
        if !process.hung && now.saturating_duration_since(process.started) >= HEALTHY_AFTER {
            self.pause = Duration::ZERO;
        }
        let was_asked = process.leave_by.is_some() && status.success();
        let how =
            process.sentence.unwrap_or_else(|| if was_asked { "ended when asked".into() } else { ending(status) });
        self.last_exit = Some(how.clone());
        self.restarts += u32::from(self.run == Run::Started);
        if process.leave_by.is_some() || self.run != Run::Started {
            self.due = self.is_wanted().then_some(now);
            return None;
        }
        // Who ends in good order has lost the dataplane, or thinks so.
        let given_up = if status.success() { None } else { self.count(&how, now) };
        if given_up.is_none() {
            self.later(now);
        }
        Some(Death { how, given_up })
    }

    /// Nothing could be started in its name, which is as bad as a death. Gives what it did in all, if it is given up now.
    pub(super) fn not_started(&mut self, how: &str, now: Instant) -> Option<String> {
        self.last_exit = Some(how.to_owned());
        let given_up = self.count(how, now);
        if given_up.is_none() {
            self.later(now);
        }
        given_up
    }

    /// Counts a death. Gives what it did in all, if it is given up now; then it has no turn any more.
    fn count(&mut self, how: &str, now: Instant) -> Option<String> {
        let breaker = self.breaker.as_mut()?;
        self.given_up = breaker.died(now).then(|| format!("{breaker}; last: {how}"));
        if self.given_up.is_some() {
            self.due = None;
        }
        self.given_up.clone()
    }

    /// Takes back deaths since `since`.
    pub(super) fn forgive(&mut self, since: Instant) {
        self.breaker.iter_mut().for_each(|breaker| breaker.forgive(since));
    }

    /// Its turn has come.
    pub(super) fn now(&mut self) {
        self.due = None;
    }

    /// Starts it again after a pause that doubles each time.
    pub(super) fn later(&mut self, now: Instant) {
        let (first, most) = self.back_off;
        let pause = self.pause.max(first);
        self.pause = (pause * 2).min(most);
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
        let state = match (&self.process, self.run, self.due) {
            (Some(_), ..) => ProcessState::Running,
            (None, Run::Stopped, _) => ProcessState::Stopped,
            (None, Run::Parked, _) => ProcessState::Parked,
            (None, Run::Started, _) if self.given_up.is_some() => ProcessState::Parked,
            (None, Run::Started, Some(_)) => ProcessState::BackingOff,
            (None, Run::Started, None) => ProcessState::Starting,
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

    fn dies_of_itself(child: &mut Child, now: Instant) -> Option<Death> {
        child.started(u32::MAX, now); // no such process: signals to it go nowhere
        child.exited(u32::MAX, ExitStatus::from_raw(SIGKILL), now)
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_start_anew_after_a_healthy_life() {
        let (mut child, now) = (Child::restarted(SuperviseSpec::default(), 0), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..9 {
            dies_of_itself(&mut child, now).expect("its own process");
            pauses.push(child.due().expect("it waits").duration_since(now).as_millis());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        child.started(u32::MAX, now);
        let end = now + HEALTHY_AFTER;
        child.exited(u32::MAX, ExitStatus::from_raw(SIGKILL), end).expect("its own process");
        assert_eq!(child.due(), Some(end + Duration::from_millis(50)));
    }

    #[test]
    fn pauses_are_as_long_as_the_configuration_says_and_who_hung_was_never_healthy() {
        let spec = SuperviseSpec { restart_first_ms: 20, restart_most_ms: 70, ..SuperviseSpec::default() };
        let (mut child, mut now) = (Child::feature(spec), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..4 {
            child.started(u32::MAX, now);
            child.hung("hung at its start");
            now += HEALTHY_AFTER;
            let death = child.exited(u32::MAX, ExitStatus::from_raw(SIGKILL), now).expect("its own process");
            assert_eq!(death.how, "hung at its start");
            pauses.push(child.due().expect("it waits").duration_since(now).as_millis());
        }
        assert_eq!(pauses, [20, 40, 70, 70]);
    }

    #[test]
    fn it_ended_by_what_it_was_killed_for() {
        let (mut child, now) = (Child::restarted(SuperviseSpec::default(), 0), Instant::now());
        assert_eq!(dies_of_itself(&mut child, now).expect("its own").how, "killed by signal 9");
        child.started(u32::MAX, now);
        assert_eq!(child.exited(7, ExitStatus::from_raw(SIGKILL), now), None, "an earlier one");
        child.kill("stalled: it stands");
        let death = child.exited(u32::MAX, ExitStatus::from_raw(SIGKILL), now).expect("its own");
        assert_eq!(death.how, "stalled: it stands");
        let shown = child.shown("streaming");
        assert_eq!((shown.restarts, shown.last_exit.as_deref(), shown.pid), (2, Some("stalled: it stands"), 0));
    }

    #[test]
    fn who_dies_too_often_is_given_up_until_somebody_starts_it() {
        let spec = SuperviseSpec { park_deaths: 3, park_within_seconds: 60, ..SuperviseSpec::default() };
        let (mut child, now) = (Child::feature(spec), Instant::now());
        let given_up: Vec<_> = (0..3).map(|_| dies_of_itself(&mut child, now).expect("its own").given_up).collect();
        let deeds = "died 3 times within 60 s; last: killed by signal 9";
        assert_eq!(given_up, [None, None, Some(deeds.to_owned())]);
        assert_eq!((child.due(), child.is_wanted(), child.given_up()), (None, false, Some(deeds)));
        child.wish(Run::Started, now); // what is wished already is no news
        assert!(!child.is_wanted());
        child.wish(Run::Parked, now);
        assert_eq!((child.given_up(), child.shown("x").state), (None, ProcessState::Parked), "all know of it");
        child.wish(Run::Started, now);
        assert_eq!((child.due(), child.is_wanted()), (Some(now), true));
        assert_eq!(dies_of_itself(&mut child, now).expect("its own").given_up, None, "it begins anew");
    }

    #[test]
    fn who_cannot_be_started_is_given_up_as_one_that_dies() {
        let spec = SuperviseSpec { park_deaths: 3, park_within_seconds: 60, ..SuperviseSpec::default() };
        let (mut child, mut now) = (Child::feature(spec), Instant::now());
        for pause in [50, 100] {
            assert_eq!(child.not_started("no such file", now), None);
            let due = child.due().expect("it waits");
            assert_eq!(due.duration_since(now).as_millis(), pause);
            now = due;
        }
        let deeds = "died 3 times within 60 s; last: no such file";
        assert_eq!(child.not_started("no such file", now).as_deref(), Some(deeds));
        assert_eq!((child.due(), child.given_up()), (None, Some(deeds)));
        let mut dataplane = Child::restarted(spec, 0);
        assert!((0..9).all(|_| dataplane.not_started("no such file", now).is_none()), "it is never given up");
    }

    #[test]
    fn who_was_asked_to_end_did_not_die() {
        let spec = SuperviseSpec { park_deaths: 1, ..SuperviseSpec::default() };
        let (mut child, now) = (Child::feature(spec), Instant::now());
        child.started(u32::MAX, now);
        child.restart(now);
        assert_eq!(child.exited(u32::MAX, ExitStatus::from_raw(0), now), None);
        assert_eq!(child.due(), Some(now), "another one begins at once");
        assert_eq!(child.shown("streaming").last_exit.as_deref(), Some("ended when asked"));
        child.started(u32::MAX, now);
        child.wish(Run::Stopped, now);
        child.look(now + LEAVE_WITHIN);
        assert_eq!(child.exited(u32::MAX, ExitStatus::from_raw(SIGKILL), now), None);
        let shown = child.shown("streaming");
        assert_eq!((child.due(), shown.state, shown.restarts), (None, ProcessState::Stopped, 1));
        assert_eq!(shown.last_exit.as_deref(), Some("it had not finished in time"));
    }
}
