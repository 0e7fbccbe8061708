//! The pool: all queues, one thread, woken by takers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::Duration;

use weir_dataplane_io::wait::{Epoll, EventFd};
use weir_dataplane_ring::OwnerCursors;

use crate::class::{Hostile, Joining, TakerId};
use crate::queue::{Queue, Shares};
use crate::transmit::OnTheWay;

/// A ring a taker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the queue in the pool.
    pub queue: usize,
    /// The class.
    pub class: u8,
    /// Line of the taker's cursor page.
    pub slot: usize,
}

/// What other threads ask of the pool. Few and rare: takers come and go.
pub enum Request {
    /// Let a taker in; answers with the place where it begins on each ring, or the place that could not be had.
    Join {
        /// The taker.
        taker: TakerId,
        /// Its cursors.
        cursors: Arc<OwnerCursors>,
        /// Frames it has finished, counted on over all its lives.
        taken: Arc<AtomicU64>,
        /// Its rings.
        places: Vec<Place>,
        /// Where the answer goes.
        answer: SyncSender<Result<Vec<u64>, Place>>,
    },
    /// A taker is gone.
    Leave(TakerId),
    /// End the thread.
    Stop,
}

/// The pool and everything it owns.
pub struct Pool {
    queues: Vec<Queue>,
    shares: Shares,
    on_the_way: OnTheWay,
    requests: Receiver<Request>,
    hostile: Sender<Hostile>,
}

/// Longest sleep: gauges stay fresh and rings are recycled even when no taker kicks.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

impl Pool {
    /// A pool over `queues`, all of whose frames are lent to the kernel here.
    #[must_use]
    pub fn new(mut queues: Vec<Queue>, shares: Shares, requests: Receiver<Request>, hostile: Sender<Hostile>) -> Self {
        for queue in &mut queues {
            queue.lend_all(&shares);
        }
        let frames = shares.frames_per_queue.saturating_mul(queues.len() as u32);
        let on_the_way = OnTheWay::new(frames, shares.frame_shift);
        Self { queues, shares, on_the_way, requests, hostile }
    }

    /// Runs until [`Request::Stop`]. `epoll` holds `wake` (requests), the takers' kick descriptors, and the sockets of
    /// mirror classes.
    ///
    /// # Errors
    /// When the kernel refuses to wait, which ends the dataplane: without it no frame would come back.
    pub fn run(mut self, epoll: &mut Epoll, wake: &EventFd) -> Result<(), weir_dataplane_io::IoError> {
        loop {
            // Who kicked does not matter: a turn looks at all rings. Kicks are edges, so nobody has to read them.
            let _ = epoll.wait(Some(LONGEST_SLEEP))?.count();
            wake.drain();
            while let Ok(request) = self.requests.try_recv() {
                if self.answer(request) {
                    return Ok(());
                }
            }
            self.turn();
        }
    }

    /// One turn over all queues: send, take back, lend again.
    pub fn turn(&mut self) {
        self.mirror();
        let (on_the_way, hostile) = (&mut self.on_the_way, &self.hostile);
        for queue in &mut self.queues {
            queue.recycle(on_the_way, &mut |found| {
                let _ = hostile.send(found); // the receiver ends only with the process
            });
        }
        self.complete();
    }

    fn mirror(&mut self) {
        for index in 0..self.queues.len() {
            for class in 0..self.queues[index].classes.len() {
                let Some(outlet) = self.queues[index].classes[class].outlet else { continue };
                let Some(mut out) = self.queues.get_mut(outlet).and_then(|queue| queue.tx.take()) else { continue };
                if self.queues[index].classes[class].ring.mirror(&mut out.ring, &mut self.on_the_way) {
                    out.ring.publish();
                    out.waiting = true;
                }
                self.queues[outlet].tx = Some(out);
            }
        }
        for out in self.queues.iter_mut().filter_map(|queue| queue.tx.as_mut()) {
            // A kick sends a limited number of frames (32 in copy mode), so it is repeated until the ring is empty.
            if out.waiting {
                out.waiting = out.kick();
            }
        }
    }

    /// Takes sent frames off the completion rings; a frame goes home to its own queue.
    fn complete(&mut self) {
        for index in 0..self.queues.len() {
            while let Some(address) = self.queues[index].completion.pop() {
                if self.on_the_way.completed(address)
                    && let Some(home) = self.queues.get_mut(self.shares.home(address))
                {
                    let _ = home.fill.push(address); // there is room by the frame budget
                    home.fill.publish();
                }
            }
            self.queues[index].completion.release();
        }
    }

    /// Acts on a request; true ends the pool.
    fn answer(&mut self, request: Request) -> bool {
        match request {
            Request::Join { taker, cursors, taken, places, answer } => {
                let joined = self.join(&Joining { id: taker, cursors, slot: 0, taken }, &places);
                if joined.is_err() {
                    self.leave(taker);
                }
                let _ = answer.send(joined); // whoever asked may have given up; its connection's end removes the taker
                false
            }
            Request::Leave(taker) => {
                self.leave(taker);
                false
            }
            Request::Stop => true,
        }
    }

    fn join(&mut self, joining: &Joining, places: &[Place]) -> Result<Vec<u64>, Place> {
        let mut starts = Vec::with_capacity(places.len());
        for place in places {
            let queue = self.queues.get_mut(place.queue).ok_or(*place)?;
            let here = Joining { slot: place.slot, ..joining.clone() };
            let start = queue.join(place.class, here, &mut self.on_the_way);
            starts.push(start.ok().flatten().ok_or(*place)?);
        }
        Ok(starts)
    }

    fn leave(&mut self, taker: TakerId) {
        for queue in &mut self.queues {
            queue.leave(taker);
        }
    }
}
