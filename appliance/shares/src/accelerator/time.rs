//! Time of an accelerator in shares, by token buckets.
//!
//! An accelerator runs one job after the other and cannot be interrupted, and what a job takes is known when it is done. So
//! each user has a bucket of device time that fills with its share of the clock; a job may start while the bucket is not in
//! debt, and what it took is drawn from the bucket afterwards. Of several users who may start, the one that is furthest behind
//! its share does. Over some windows everybody who always has work gets its share, to within one job.
//!
//! A bucket holds at most its share of one [window](Executor::new): who was idle is not owed the past. Jobs longer than a window
//! are charged whole, but their users fall behind.

use std::collections::{BTreeMap, VecDeque};

use crate::profile::WHOLE;

/// Jobs that one user may have waiting.
pub const QUEUE: usize = 1024;

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<J> {
    /// Run this job of this user, and say when it is [done](Executor::done).
    Run(String, J),
    /// Nobody may start before this time.
    Wait(u64),
    /// Nobody has work, or a job runs.
    Nothing,
}

#[derive(Debug)]
struct User<J> {
    share: u32,
    /// Device time it may use, in nanoseconds times [`WHOLE`]; below zero it waits.
    tokens: i128,
    jobs: VecDeque<J>,
    /// Device time it has used.
    used: u64,
    refused: u64,
}

/// The time of one accelerator.
#[derive(Debug)]
pub struct Executor<J> {
    users: BTreeMap<String, User<J>>,
    window: u64,
    spare: bool,
    filled_at: u64,
    running: Option<String>,
}

impl<J> Executor<J> {
    /// An accelerator whose buckets hold their share of `window_ns`. With `spare` the time that nobody has a share of, or does
    /// not use, goes to whoever has work.
    pub fn new(window_ns: u64, spare: bool) -> Self {
        Self { users: BTreeMap::new(), window: window_ns.max(1), spare, filled_at: 0, running: None }
    }

    /// Gives a user a share in basis points; 0 takes it away, and its waiting jobs with it.
    pub fn set_share(&mut self, name: &str, share: u32) {
        if share == 0 {
            self.users.remove(name);
            return;
        }
        let new = User { share, tokens: 0, jobs: VecDeque::new(), used: 0, refused: 0 };
        self.users.entry(name.to_owned()).or_insert(new).share = share.min(WHOLE);
    }

    /// A job more.
    ///
    /// # Errors
    /// The job itself: the user has no share, or its queue is full. The latter is counted.
    pub fn submit(&mut self, name: &str, job: J) -> Result<(), J> {
        match self.users.get_mut(name) {
            Some(user) if user.jobs.len() < QUEUE => {
                user.jobs.push_back(job);
                Ok(())
            }
            Some(user) => {
                user.refused += 1;
                Err(job)
            }
            None => Err(job),
        }
    }

    /// What to do at this time.
    pub fn next(&mut self, now_ns: u64) -> Next<J> {
        self.fill(now_ns);
        if self.running.is_some() {
            return Next::Nothing;
        }
        let waiting = || self.users.iter().filter(|(_, user)| !user.jobs.is_empty());
        // How far ahead of its share a user is, in device time for the whole device.
        let ahead = |user: &User<J>| -user.tokens / i128::from(user.share);
        let may = |user: &User<J>| self.spare || user.tokens >= 0;
        let best = waiting().filter(|(_, user)| may(user)).min_by_key(|(name, user)| (ahead(user), (*name).clone()));
        let Some(name) = best.map(|(name, _)| name.clone()) else {
            let soonest = waiting().map(|(_, user)| ahead(user)).min();
            // A debt is paid when the share of the time that passes has filled it.
            return soonest.map_or(Next::Nothing, |debt| Next::Wait(now_ns + u64::try_from(debt).unwrap_or(0) + 1));
        };
        let job = self.users.get_mut(&name).and_then(|user| user.jobs.pop_front());
        match job {
            Some(job) => {
                self.running = Some(name.clone());
                Next::Run(name, job)
            }
            None => Next::Nothing,
        }
    }

    /// The job that runs is done and took so much of the device's time.
    pub fn done(&mut self, took_ns: u64, now_ns: u64) {
        self.fill(now_ns);
        let Some(user) = self.running.take().and_then(|name| self.users.get_mut(&name)) else { return };
        user.used += took_ns;
        user.tokens -= i128::from(took_ns) * i128::from(WHOLE);
        if self.spare {
            // What nobody else wanted is no debt without end.
            let most = i128::from(self.window) * i128::from(user.share);
            user.tokens = user.tokens.max(-most);
        }
    }

    /// Device time that a user has had, and jobs that its full queue refused.
    pub fn figures(&self, name: &str) -> (u64, u64) {
        self.users.get(name).map_or((0, 0), |user| (user.used, user.refused))
    }

    /// Fills the buckets. A clock that goes backwards fills nothing.
    fn fill(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.filled_at);
        self.filled_at = self.filled_at.max(now_ns);
        for user in self.users.values_mut() {
            let most = i128::from(self.window) * i128::from(user.share);
            user.tokens = (user.tokens + i128::from(passed) * i128::from(user.share)).min(most);
        }
    }
}
