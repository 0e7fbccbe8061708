//! The workers that are attached, and those that were sent away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use weir_appliance_control::taker::FeatureName;
use weir_dataplane_io::wait::PidFd;
use weir_dataplane_pool::class::TakerId;
use weir_dataplane_ring::{OwnerCursors, OwnerPage};

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakerState {
    /// It has been lent its rings and closes its sandbox.
    Starting,
    /// It works inside its sandbox.
    Ready,
}

/// An attached worker.
#[derive(Clone)]
pub(super) struct Taker {
    /// Its name in the pool.
    pub id: TakerId,
    /// The feature.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// How often it was started before.
    pub restarts: u32,
    /// How far it has come.
    pub state: TakerState,
    /// It was asked to stop.
    pub leaving: bool,
    /// How far it says it has come on each of its rings.
    pub cursors: Arc<OwnerCursors>,
    /// The page on which it is asked to stop.
    pub stop: Arc<OwnerPage>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Takers {
    last_id: AtomicU64,
    evicted: AtomicU64,
    attached: Mutex<Vec<Taker>>,
}

impl Takers {
    /// A name that was never used.
    pub(super) fn next_id(&self) -> TakerId {
        TakerId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A worker was lent its rings.
    pub(super) fn add(&self, taker: Taker) {
        self.with(|attached| attached.push(taker));
    }

    /// A worker is gone.
    pub(super) fn remove(&self, id: TakerId) {
        self.with(|attached| attached.retain(|taker| taker.id != id));
    }

    /// A worker has shown its first heartbeat.
    pub(super) fn ready(&self, id: TakerId) {
        self.with(|attached| {
            if let Some(taker) = attached.iter_mut().find(|taker| taker.id == id) {
                taker.state = TakerState::Ready;
            }
        });
    }

    /// Kills a worker that broke the rules; the supervisor starts a fresh one.
    pub(super) fn evict(&self, id: TakerId, because: &str) {
        let Some(taker) = self.list().into_iter().find(|taker| taker.id == id) else { return };
        self.evicted.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("worker {} (process {}) is killed: {because}", taker.name, taker.pid);
        if let Err(error) = PidFd::open(taker.pid).and_then(|process| process.kill()) {
            tracing::error!("worker {} (process {}) cannot be killed: {error}", taker.name, taker.pid);
        }
    }

    /// Workers killed for breaking the rules since the dataplane started.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The workers that are attached, each with its feature.
    pub(super) fn features(&self) -> Vec<(Taker, FeatureName)> {
        let named = |taker: Taker| taker.name.parse().ok().map(|name| (taker, name));
        self.list().into_iter().filter_map(named).collect()
    }

    /// The attached workers.
    pub(super) fn list(&self) -> Vec<Taker> {
        self.with(|attached| attached.clone())
    }

    /// Asks all workers to stop.
    pub(super) fn ask_stop(&self) {
        self.list().iter().for_each(|taker| self.leaves(taker.id));
    }

    /// Asks one worker to finish what it has and to stop.
    pub(super) fn leaves(&self, id: TakerId) {
        self.with(|attached| {
            if let Some(taker) = attached.iter_mut().find(|taker| taker.id == id) {
                taker.leaving = true;
                taker.stop.ask_stop();
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Taker>) -> T) -> T {
        // A poisoned lock means that a thread panicked while it held the list; the list itself is still whole.
        act(&mut self.attached.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
