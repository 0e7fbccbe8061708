//! Waiting: epoll, eventfd, timerfd, pidfd.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use crate::error::{IoError, Result};

const FD_CURE: &str = "raise `ulimit -n` or close what is not needed";

/// When a readable descriptor is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Once per arrival. What an AF_XDP socket needs whose consumer index moves later: a level would never sleep.
    Edge,
    /// As long as something is there.
    Level,
}

/// A set of descriptors to wait for.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    /// Descriptors reported by one wait at most.
    const BATCH: usize = 64;

    /// An empty set.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|cause| IoError::new("creating an epoll instance", cause, FD_CURE))?;
        Ok(Self::from_fd(fd))
    }

    /// A set that another process made and passed on.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd, events: Vec::with_capacity(Self::BATCH) }
    }

    /// Adds `source` for reading; `token` comes back from [`Epoll::wait`].
    ///
    /// # Errors
    /// What epoll_ctl says: `EEXIST` when it is in already, `EPERM` for a plain file.
    pub fn add(&self, source: impl AsFd, token: u64, trigger: Trigger) -> Result<()> {
        let mut flags = epoll::EventFlags::IN;
        if trigger == Trigger::Edge {
            flags |= epoll::EventFlags::ET;
        }
        epoll::add(&self.fd, source, epoll::EventData::new_u64(token), flags)
            .map_err(|cause| IoError::new(format!("adding descriptor {token} to epoll"), cause, FD_CURE))
    }

    /// Takes `source` out again.
    ///
    /// # Errors
    /// `ENOENT` when it was not in.
    pub fn remove(&self, source: impl AsFd) -> Result<()> {
        epoll::delete(&self.fd, source)
            .map_err(|cause| IoError::new("removing a descriptor from epoll", cause, "add it first"))
    }

    /// Waits until something is readable or `timeout` has passed (`None`: for ever) and gives the tokens. A signal ends
    /// the wait early with no token.
    ///
    /// # Errors
    /// What epoll_wait says; nothing in normal use.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<impl Iterator<Item = u64> + '_> {
        let limit = timeout.map(timespec);
        self.events.clear();
        match epoll::wait(&self.fd, spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(self.events.iter().map(|event| event.data.u64())),
            Err(cause) => Err(IoError::new("waiting in epoll", cause, "report this")),
        }
    }
}

// SAFETY: what is not Send in an epoll event is the pointer a token may be; this type only makes and reads tokens as
// numbers, so no thread ever follows one. Worst case of another use of `events`: a pointer of another thread, unread.
unsafe impl Send for Epoll {}
// SAFETY: as above; through a shared reference only the descriptor is used.
unsafe impl Sync for Epoll {}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A counter that wakes who waits for it.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// A new counter at zero.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|cause| IoError::new("creating an eventfd", cause, FD_CURE))?;
        Ok(Self { fd })
    }

    /// A counter that another process made and passed on.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A second handle of the same counter.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|cause| IoError::new("duplicating an eventfd", cause, FD_CURE))?;
        Ok(Self { fd })
    }

    /// Wakes who waits. A counter at its limit is loud enough, so nothing can fail that matters.
    #[inline]
    pub fn signal(&self) {
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Signals since the last call, and sets them to zero.
    #[inline]
    pub fn drain(&self) -> u64 {
        read_count(self.fd.as_fd())
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A timer that wakes who waits for it, on `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub struct TimerFd {
    fd: OwnedFd,
}

impl TimerFd {
    /// A timer that fires every `interval` (at least 1 ns).
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn every(interval: Duration) -> Result<Self> {
        let timer = Self::create()?;
        let span = timespec(interval.max(Duration::from_nanos(1)));
        timer.set(Itimerspec { it_interval: span, it_value: span })?;
        Ok(timer)
    }

    /// A timer that fires once, `delay` from now (at least 1 ns).
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn once(delay: Duration) -> Result<Self> {
        let timer = Self::create()?;
        let (never, span) = (timespec(Duration::ZERO), timespec(delay.max(Duration::from_nanos(1))));
        timer.set(Itimerspec { it_interval: never, it_value: span })?;
        Ok(timer)
    }

    fn create() -> Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(|cause| IoError::new("creating a timerfd", cause, FD_CURE))?;
        Ok(Self { fd })
    }

    fn set(&self, times: Itimerspec) -> Result<()> {
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &times)
            .map_err(|cause| IoError::new("setting a timer", cause, "give a shorter time"))?;
        Ok(())
    }

    /// How often the timer has fired since the last call.
    pub fn drain(&self) -> u64 {
        read_count(self.fd.as_fd())
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A process, held so that its number cannot be reused under us; readable once it has ended.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
}

impl PidFd {
    /// Takes hold of process `pid`.
    ///
    /// # Errors
    /// `ESRCH` when there is no such process.
    pub fn open(pid: u32) -> Result<Self> {
        let what = || format!("opening process {pid}");
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(number) = number else {
            return Err(IoError::invalid(what(), "not a process number", "give the number of a running process"));
        };
        let fd = pidfd_open(number, PidfdFlags::empty())
            .map_err(|cause| IoError::new(what(), cause, "give the number of a running process"))?;
        Ok(Self { fd })
    }

    /// Ends the process at once.
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EPERM` when it is not ours.
    pub fn kill(&self) -> Result<()> {
        self.send(Signal::KILL)
    }

    /// Asks the process to end (`SIGTERM`).
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EPERM` when it is not ours.
    pub fn terminate(&self) -> Result<()> {
        self.send(Signal::TERM)
    }

    /// Stops the process where it stands (`SIGSTOP`).
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EPERM` when it is not ours.
    pub fn stop(&self) -> Result<()> {
        self.send(Signal::STOP)
    }

    /// Lets a stopped process go on (`SIGCONT`).
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EPERM` when it is not ours.
    pub fn resume(&self) -> Result<()> {
        self.send(Signal::CONT)
    }

    fn send(&self, signal: Signal) -> Result<()> {
        pidfd_send_signal(&self.fd, signal)
            .map_err(|cause| IoError::new("signalling a process", cause, "it may have ended already"))
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The 8-byte count of an eventfd or timerfd; 0 when it would block.
fn read_count(fd: BorrowedFd<'_>) -> u64 {
    let mut bytes = [0; 8];
    match rustix::io::read(fd, &mut bytes) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => 0,
    }
}

/// A span the kernel understands; beyond its range it is "very long".
fn timespec(span: Duration) -> Timespec {
    Timespec::try_from(span).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_edge_is_reported_once_and_a_level_until_it_is_drained() {
        let event = EventFd::new().unwrap();
        let (mut edge, mut level) = (Epoll::new().unwrap(), Epoll::new().unwrap());
        edge.add(&event, 7, Trigger::Edge).unwrap();
        level.add(&event, 8, Trigger::Level).unwrap();
        event.signal();
        assert_eq!(edge.wait(Some(SECOND)).unwrap().collect::<Vec<_>>(), [7]);
        assert_eq!(edge.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        for _ in 0..2 {
            assert_eq!(level.wait(Some(SECOND)).unwrap().collect::<Vec<_>>(), [8]);
        }
        assert_eq!(event.drain(), 1);
        assert_eq!(level.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        event.signal();
        assert_eq!(edge.wait(Some(SECOND)).unwrap().count(), 1);
    }

    #[test]
    fn timers_fire() {
        let mut set = Epoll::new().unwrap();
        let (once, every) = (TimerFd::once(Duration::ZERO).unwrap(), TimerFd::every(Duration::from_millis(1)).unwrap());
        set.add(&once, 1, Trigger::Level).unwrap();
        assert_eq!(set.wait(Some(SECOND)).unwrap().next(), Some(1));
        assert_eq!(once.drain(), 1);
        set.remove(&once).unwrap();
        set.add(&every, 2, Trigger::Level).unwrap();
        for _ in 0..3 {
            assert_eq!(set.wait(Some(SECOND)).unwrap().next(), Some(2));
            assert!(every.drain() >= 1);
        }
    }

    #[test]
    fn a_pidfd_becomes_readable_when_the_process_ends() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = PidFd::open(child.id()).unwrap();
        let mut set = Epoll::new().unwrap();
        set.add(&process, 3, Trigger::Level).unwrap();
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        process.kill().unwrap();
        assert_eq!(set.wait(Some(SECOND)).unwrap().next(), Some(3));
        child.wait().unwrap();
    }
}
