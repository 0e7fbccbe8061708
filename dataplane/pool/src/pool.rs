//! The pool: all queues, one thread, woken by takers.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender};
use std::time::Duration;

use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_io::umem::Umem;
use weir_dataplane_io::wait::{Epoll, EventFd};
use weir_dataplane_ring::{OwnerCursors, RecordConsumer, SLOTS, SendRequest};
use weir_ebpf_abi::agents::Agent;

use crate::class::{Deed, Hostile, Joining, Taken, TakerId};
use crate::ledger::{CLASSES, Turns};
use crate::lending::Lending;
use crate::queue::{Queue, Shares};
use crate::send::Named;
use crate::sender::{Refusal, SenderId, SenderSpec, Senders};
use crate::transmit::OnTheWay;
use crate::ways::Ways;

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
        /// Where the frames that it finishes are counted.
        taken: Arc<Taken>,
        /// Its rings.
        places: Vec<Place>,
        /// What it asks to be sent, if it may ask.
        sends: Option<SendRing>,
        /// Where the answer goes.
        answer: SyncSender<Result<Vec<u64>, Place>>,
    },
    /// A taker is gone.
    Leave(TakerId),
    /// So many takers each class has from now on, by number, whether they are here or come later; the sender counts for none.
    Expected(Box<[u8; CLASSES]>),
    /// What may be sent, from now on.
    Sending {
        /// Agents that frames may be sent on to.
        agents: Vec<Agent>,
        /// Most bits a second of each sender, by number; `None` for no cap.
        caps: Vec<Option<u64>>,
    },
    /// End the thread.
    Stop,
}

/// A worker's ring of send requests.
pub struct SendRing {
    /// Who is charged with the frames.
    pub sender: SenderId,
    /// The pool's side of the ring.
    pub ring: RecordConsumer<SendRequest>,
    /// Lines of the worker's cursor page that belong to streams, whose messages cannot leave by a port.
    pub streams: Range<u32>,
}

/// What the pool is given at its start.
pub struct Parts {
    /// The queues, as they were bound.
    pub queues: Vec<Queue>,
    /// Whose frames are whose.
    pub shares: Shares,
    /// The frames.
    pub frames: Arc<Umem>,
    /// For each interface the position of the queue it sends from.
    pub interfaces: Vec<usize>,
    /// Features that may send, by number.
    pub senders: Vec<SenderSpec>,
    /// Agents that frames may be sent on to.
    pub agents: Vec<Agent>,
}

/// A worker that may ask for frames to be sent.
struct Asking {
    taker: TakerId,
    sends: SendRing,
    /// Queue and position of the class for each line of its cursor page.
    rings: [Option<(usize, usize)>; SLOTS],
}

/// The pool and everything it owns.
pub struct Pool {
    queues: Vec<Queue>,
    ways: Ways,
    asking: Vec<Asking>,
    /// The queue that a turn begins with: each in turn, so that none always comes first.
    first: usize,
    requests: Receiver<Request>,
    hostile: Sender<Hostile>,
    turns: Option<Arc<Turns>>,
}

/// Longest sleep: gauges stay fresh, rings are recycled even when no taker kicks, and whoever watches sees it turn.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// Shortest sleep while frames wait for room on their way out; it doubles while none finds any.
const SOON: Duration = Duration::from_millis(1);

impl Pool {
    /// A pool over the queues of `parts`, all of whose frames are lent to the kernel here.
    #[must_use]
    pub fn new(parts: Parts, requests: Receiver<Request>, hostile: Sender<Hostile>) -> Self {
        let Parts { mut queues, shares, frames, interfaces, senders, agents } = parts;
        for queue in &mut queues {
            queue.lend_all(&shares);
        }
        let now_ns = monotonic_ns();
        let ways = Ways {
            on_the_way: OnTheWay::new(shares, queues.len()),
            outlets: queues.iter_mut().map(|queue| queue.tx.take()).collect(),
            interfaces: interfaces.into_boxed_slice(),
            senders: Senders::new(&senders, now_ns),
            frames,
            agents: sorted(agents),
            now_ns,
        };
        Self { queues, ways, asking: Vec::new(), first: 0, requests, hostile, turns: None }
    }

    /// The same pool, that counts its turns there: at least ten a second, also while nothing arrives.
    #[must_use]
    pub fn counting(self, turns: Arc<Turns>) -> Self {
        Self { turns: Some(turns), ..self }
    }

    /// Runs until [`Request::Stop`]. `epoll` holds `wake` (requests), the takers' kick descriptors, and the sockets of
    /// mirror classes.
    ///
    /// # Errors
    /// When the kernel refuses to wait, which ends the dataplane: without it no frame would come back.
    pub fn run(mut self, epoll: &mut Epoll, wake: &EventFd) -> Result<(), weir_dataplane_io::IoError> {
        let mut rest = LONGEST_SLEEP;
        loop {
            // Who kicked does not matter: a turn looks at all rings. Kicks are edges, so nobody has to read them.
            let woken = epoll.wait(Some(rest))?.count();
            wake.drain();
            let now_ns = monotonic_ns();
            while let Ok(request) = self.requests.try_recv() {
                if self.act(request, now_ns) {
                    return Ok(());
                }
            }
            let behind = self.turn(now_ns);
            if let Some(turns) = &self.turns {
                turns.turned();
            }
            rest = match behind {
                false => LONGEST_SLEEP,
                true if woken > 0 => SOON,
                true => (rest * 2).clamp(SOON, LONGEST_SLEEP),
            };
            if self.queues.iter().any(|queue| queue.fill.holds_back()) {
                rest = Lending::LOOK;
            }
        }
    }

    /// One turn over all queues at time `now_ns`: send, take back, lend again. True when frames wait for room on their way
    /// out.
    pub fn turn(&mut self, now_ns: u64) -> bool {
        self.ways.begin(now_ns);
        self.queues.iter_mut().for_each(|queue| queue.fill.begin(now_ns));
        self.mirror();
        let (ways, hostile) = (&mut self.ways, &self.hostile);
        for queue in &mut self.queues {
            queue.accept(ways, &mut |found| {
                let _ = hostile.send(found); // the receiver ends only with the process
            });
        }
        self.hear();
        self.give_back();
        self.ways.flush();
        self.complete();
        self.queues.iter_mut().for_each(|queue| queue.fill.lend());
        self.queues.iter_mut().for_each(|queue| queue.show(&self.ways));
        self.ways.senders.show(now_ns);
        self.ways.is_behind()
    }

    fn mirror(&mut self) {
        for class in self.queues.iter_mut().flat_map(|queue| &mut queue.classes) {
            if let Some(outlet) = class.outlet {
                class.ring.mirror(outlet, &mut self.ways);
            }
        }
    }

    /// Reads what workers want sent. All that is there: what is met in a later turn for a frame behind the cursor that was
    /// accepted in this one would be a lie.
    fn hear(&mut self) {
        let Self { queues, ways, asking, hostile, .. } = self;
        asking.retain_mut(|worker| {
            let found = worker.hear(queues, ways);
            if let Some(found) = found {
                let _ = hostile.send(found);
                queues.iter_mut().for_each(|queue| queue.leave(worker.taker, ways));
            }
            found.is_none()
        });
    }

    /// Gives back and sends in rounds, in each of which every feature that sends gets the same number of bytes on an outlet
    /// for which several compete. A round ends where a ring's next frame has to wait for another.
    fn give_back(&mut self) {
        let Self { queues, ways, first, .. } = self;
        *first = (*first + 1) % queues.len().max(1);
        loop {
            let (behind, before) = queues.split_at_mut(*first);
            let mut again = false;
            for queue in before.iter_mut().chain(behind) {
                again |= queue.give_back(ways); // every queue, whatever the ones before it said
            }
            if !again || !ways.next_round() {
                return;
            }
        }
    }

    /// Takes sent frames off the completion rings; a frame goes home to its own queue.
    fn complete(&mut self) {
        let ways = &mut self.ways;
        for index in 0..self.queues.len() {
            let mut moved = false;
            while let Some(address) = self.queues[index].completion.pop() {
                moved = true;
                let done = ways.on_the_way.completed(address);
                if let Some(figures) = done.sender.and_then(|sender| ways.senders.figures(sender)) {
                    figures.completed += 1;
                }
                let home = ways.on_the_way.home(address);
                if done.home
                    && let Some(home) = self.queues.get_mut(home)
                {
                    home.fill.push(address); // there is room by the frame budget
                }
            }
            self.queues[index].completion.release();
            if moved && let Some(outlet) = &mut ways.outlets[index] {
                outlet.moved();
            }
        }
    }

    /// Acts on a request at time `now_ns`; true ends the pool.
    pub fn act(&mut self, request: Request, now_ns: u64) -> bool {
        match request {
            Request::Join { taker, cursors, taken, places, sends, answer } => {
                let joined = self.join(&Joining { id: taker, cursors, slot: 0, taken }, &places);
                match (&joined, sends) {
                    (Ok(_), Some(sends)) => self.asking.push(Asking::new(taker, sends, &places, &self.queues)),
                    (Ok(_), None) => {}
                    (Err(_), _) => self.leave(taker),
                }
                let _ = answer.send(joined); // whoever asked may have given up; its connection's end removes the taker
                false
            }
            Request::Leave(taker) => {
                // What it had finished and named before it ended is still heard of.
                self.turn(now_ns);
                self.leave(taker);
                false
            }
            Request::Expected(takers) => {
                for ring in self.queues.iter_mut().flat_map(|queue| &mut queue.classes).map(|class| &mut class.ring) {
                    ring.expect(takers.get(usize::from(ring.class())).copied().unwrap_or(0).into());
                }
                false
            }
            Request::Sending { agents, caps } => {
                self.ways.agents = sorted(agents);
                self.ways.senders.set_caps(&caps, now_ns);
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
            let start = queue.join(place.class, here, &mut self.ways);
            starts.push(start.ok().flatten().ok_or(*place)?);
        }
        Ok(starts)
    }

    fn leave(&mut self, taker: TakerId) {
        self.asking.retain(|worker| worker.taker != taker);
        for queue in &mut self.queues {
            queue.leave(taker, &mut self.ways);
        }
    }
}

fn sorted(mut agents: Vec<Agent>) -> Box<[Agent]> {
    agents.sort_by_key(|agent| agent.id);
    agents.into_boxed_slice()
}

impl Asking {
    fn new(taker: TakerId, sends: SendRing, places: &[Place], queues: &[Queue]) -> Self {
        let mut rings = [None; SLOTS];
        for place in places {
            let classes = queues.get(place.queue).map_or(&[][..], |queue| &queue.classes);
            let at = classes.iter().position(|class| class.ring.class() == place.class);
            if let (Some(line), Some(at)) = (rings.get_mut(place.slot), at) {
                *line = Some((place.queue, at));
            }
        }
        Self { taker, sends, rings }
    }

    /// Marks every frame that was named since the last turn; what is hostile ends it.
    fn hear(&mut self, queues: &mut [Queue], ways: &mut Ways) -> Option<Hostile> {
        let Self { taker, sends: SendRing { sender, ring, streams }, rings } = self;
        let mut hostile = None;
        let size = ring.size();
        let heard = ring.consume(size, |request| {
            if hostile.is_some() {
                return;
            }
            if let Some(figures) = ways.senders.figures(*sender) {
                figures.requested += 1;
            }
            let line = rings.get(request.ring as usize).copied().flatten();
            let queue = line.and_then(|(queue, class)| Some((queues.get_mut(queue)?, class)));
            let named = match queue {
                Some((queue, class)) => queue.name(class, *taker, request, *sender, ways),
                None if streams.contains(&request.ring) => Ok(Named::Stream),
                None => Ok(Named::Unknown),
            };
            let Some(figures) = ways.senders.figures(*sender) else { return };
            match named {
                Ok(Named::Marked) => {}
                Ok(Named::Already) => figures.already_sent += 1,
                Ok(Named::Gone) => figures.abandoned += 1,
                Ok(Named::Unknown) => figures.refused[Refusal::UnknownRequest as usize] += 1,
                Ok(Named::Stream) => figures.refused[Refusal::StreamMessage as usize] += 1,
                Err(found) => {
                    figures.abandoned += 1;
                    hostile = Some(found);
                }
            }
        });
        let corrupt = |error: weir_dataplane_ring::Corrupt| Hostile {
            taker: *taker,
            deed: Deed::SendRing,
            class: 0,
            claim: u64::from(error.peer),
            least: u64::from(error.own),
            most: u64::from(error.own.wrapping_add(error.size)),
        };
        hostile.or_else(|| heard.err().map(corrupt))
    }
}
