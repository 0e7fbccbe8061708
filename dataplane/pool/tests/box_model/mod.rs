//! A box in memory: two interfaces of one queue each, three classes, two workers, and a kernel that does what a test says.

mod frame;
mod kernel;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel, sync_channel};

use assert_no_alloc::assert_no_alloc;
use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions};
use weir_dataplane_pool::budget::{QueueShape, queue_budget};
use weir_dataplane_pool::class::{Hostile, TakerId};
use weir_dataplane_pool::pool::{Parts, Place, Pool, Request, SendRing};
use weir_dataplane_pool::queue::Shares;
use weir_dataplane_pool::sender::{SendFigures, SendGauges, SenderId, SenderSpec};
use weir_dataplane_ring::{
    HeapMemory, Memory, OwnerCursors, PAGE_LENGTH, RecordConsumer, SendRequest, record_ring_length,
};
use weir_ebpf_abi::agents::Agent;

use kernel::{Delivered, Kernel};
use worker::Worker;

/// Classes: 0 is worker 0's, 1 is worker 1's, 2 belongs to both and may be a mirror class.
pub(crate) const CLASSES: usize = 3;
const RING: u32 = 64;
const SEND_SLOTS: u32 = 512;
/// Line of a worker's cursors that belongs to a stream, behind those of its rings.
const STREAM_LINE: u32 = 4;
const FRAME: u32 = 2048;

/// What a worker wants done with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Send it back.
    Answer,
    /// Send it on to this agent; only 7 is known, behind interface 1.
    SendOn(u32),
    /// Send it out of this interface; there are 0 and 1.
    Out(u32),
}

impl Wish {
    fn request(self, ring: u32, place: u64) -> SendRequest {
        match self {
            Self::Answer => SendRequest::new(ring, place, SendRequest::ANSWER, 0),
            Self::SendOn(agent) => SendRequest::new(ring, place, SendRequest::SEND_ON, agent),
            Self::Out(interface) => SendRequest::new(ring, place, SendRequest::OUT, interface),
        }
    }

    /// The outlet by which the frame leaves that came in at `arrival`, if it can.
    fn outlet(self, arrival: usize) -> Option<usize> {
        match self {
            Self::Answer => Some(arrival),
            Self::SendOn(7) => Some(1),
            Self::Out(interface @ 0..2) => Some(interface as usize),
            _ => None,
        }
    }
}

fn agent() -> Agent {
    Agent { id: 7, address: frame::agent_address(), mac: frame::AGENT, version: 4, egress: 1, ..Agent::default() }
}

/// The box.
pub(crate) struct BoxModel {
    pool: Pool,
    hostile: Receiver<Hostile>,
    kernels: Vec<Kernel>,
    frames: Arc<Umem>,
    workers: [Option<Worker>; 2],
    gauges: [Arc<SendGauges>; 2],
    mirrors: bool,
    next_id: u64,
    now_ms: u64,
    /// Everything delivered, by the frame's own number.
    delivered: HashMap<u32, Delivered>,
    next_frame: u32,
    /// Frames that workers wanted sent and that were seen on a transmit ring.
    seen: u64,
    frames_per_queue: u32,
}

impl BoxModel {
    /// A box without workers, whose features have these caps in bits a second.
    pub(crate) fn new(mirrors: bool, caps: [Option<u64>; 2]) -> Self {
        let shape = QueueShape { classes: CLASSES as u32, rx_ring: RING, tx_ring: RING, pieces: true };
        let budget = queue_budget(shape).expect("a plain shape");
        let shares = Shares {
            frames_per_queue: budget.frames,
            frame_shift: FRAME.trailing_zeros(),
            on_the_way: budget.on_the_way,
        };
        let options =
            UmemOptions { frames: 2 * budget.frames, frame_size: FRAME, hugepages: HugePages::Never, node: None };
        let frames = Arc::new(Umem::create_with(options).expect("memory"));
        let gauges = [(); 2].map(|()| Arc::new(SendGauges::default()));
        let (mut queues, mut kernels) = (Vec::new(), Vec::new());
        for index in 0..2 {
            let (kernel, queue) = Kernel::new(index, budget, mirrors);
            kernels.push(kernel);
            queues.push(queue);
        }
        let senders =
            caps.iter().zip(&gauges).map(|(cap, gauges)| SenderSpec { cap_bits: *cap, gauges: Arc::clone(gauges) });
        let (_, requests) = channel();
        let (report, hostile) = channel();
        let parts = Parts {
            queues,
            shares,
            frames: Arc::clone(&frames),
            interfaces: vec![0, 1],
            senders: senders.collect(),
            agents: vec![agent()],
        };
        let mut model = Self {
            pool: Pool::new(parts, requests, report),
            hostile,
            kernels,
            frames,
            workers: [None, None],
            gauges,
            mirrors,
            next_id: 1,
            now_ms: weir_dataplane_io::clock::monotonic_ns() / 1_000_000 + 1,
            delivered: HashMap::new(),
            next_frame: 0,
            seen: 0,
            frames_per_queue: budget.frames,
        };
        model.turn(0);
        model
    }

    /// The model's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn now_ns(&self) -> u64 {
        self.now_ms * 1_000_000
    }

    /// What became of worker `worker`'s wishes, over all its lives.
    pub(crate) fn figures(&self, worker: usize) -> SendFigures {
        self.gauges[worker].read()
    }

    /// Whether worker `worker` is attached.
    pub(crate) fn lives(&self, worker: usize) -> bool {
        self.workers[worker].is_some()
    }

    /// The kernel puts up to `count` frames of `pieces` descriptors on the ring of `class` of `queue`.
    pub(crate) fn deliver(&mut self, queue: usize, class: usize, count: u8, pieces: u8) {
        for _ in 0..count {
            let bytes = frame::build(self.next_frame, pieces);
            let Some(place) = self.kernels[queue].deliver(class, &bytes, &self.frames) else { return };
            self.delivered.insert(self.next_frame, Delivered { queue, class, place, wishes: [None; 2], out: false });
            self.next_frame += 1;
        }
    }

    /// Worker `worker` reads up to `count` frames of each ring, names those whose bit of `bits` is set, and finishes them.
    pub(crate) fn work(&mut self, worker: usize, count: u8, bits: u8, wish: Wish) {
        let who = worker;
        let Some(worker) = self.workers[who].as_mut().filter(|worker| !worker.lied) else { return };
        for line in 0..worker.lines.len() {
            let (queue, class) = (worker.lines[line].queue, worker.lines[line].class);
            for frame in self.kernels[queue].frames_from(class, worker.lines[line].cursor, count) {
                if bits >> (frame.number % 8) & 1 == 1 && worker.sends.free() > 0 {
                    worker.sends.stage(&wish.request(line as u32, frame.place)).expect("a free slot");
                    if let Some(known) = self.delivered.get_mut(&frame::number(&self.frames, frame.address)) {
                        known.wishes[who] = Some(wish);
                    }
                }
                worker.lines[line].cursor = frame.end;
            }
            worker.sends.publish();
            worker.publish(line);
        }
    }

    /// Worker `worker` names the next frame of each ring and is killed before its cursor passes it.
    pub(crate) fn name_only(&mut self, worker: usize) {
        let Some(found) = self.workers[worker].as_mut().filter(|worker| !worker.lied) else { return };
        for line in 0..found.lines.len() {
            let at = &found.lines[line];
            if self.kernels[at.queue].frames_from(at.class, at.cursor, 1).next().is_some() {
                let _ = found.sends.stage(&Wish::Answer.request(line as u32, at.cursor));
            }
        }
        found.sends.publish();
        self.toggle(worker);
    }

    /// Worker `worker` names a message of a stream.
    pub(crate) fn name_message(&mut self, worker: usize, place: u64) {
        let Some(found) = self.workers[worker].as_mut().filter(|worker| !worker.lied) else { return };
        let _ = found.sends.push(&Wish::Answer.request(STREAM_LINE, place)); // not on a full ring
    }

    /// The caps of both workers' features, in bits a second, from now on.
    pub(crate) fn cap(&mut self, caps: [Option<u64>; 2]) {
        let sending = Request::Sending { agents: vec![agent()], caps: caps.to_vec() };
        self.pool.act(sending, self.now_ns());
    }

    /// Worker `worker` names a frame that is not its to name: beyond the ring, passed, again, inside another, or it breaks its
    /// ring of requests.
    pub(crate) fn lie(&mut self, worker: usize, how: u8) {
        let Some(worker) = self.workers[worker].as_mut().filter(|worker| !worker.lied) else { return };
        let line = &worker.lines[0];
        let next = self.kernels[line.queue].frames_from(line.class, line.cursor, 1).next();
        let beyond = self.kernels[line.queue].produced(line.class) + 1_000_000;
        let mut name = |place| worker.sends.push(&Wish::Answer.request(0, place)).expect("a free slot");
        match (how, next) {
            (1, _) => name(line.settled.wrapping_sub(1)),
            (2, Some(frame)) => [frame.place, frame.place].into_iter().for_each(&mut name),
            (3, Some(frame)) if frame.end > frame.place + 1 => name(frame.place + 1),
            (4, _) => worker.memory.set_index(128, 0x7fff_ffff).expect("the tail index is there"),
            _ => name(beyond),
        }
        worker.lied = true;
    }

    /// Worker `worker` dies if it lives, and joins if it does not.
    pub(crate) fn toggle(&mut self, worker: usize) {
        if let Some(gone) = self.workers[worker].take() {
            self.pool.act(Request::Leave(gone.id), self.now_ns());
            self.look();
            self.evict(Some(gone.id)); // it may have lied before it died
            return;
        }
        let id = TakerId(self.next_id);
        self.next_id += 1;
        let page = HeapMemory::zeroed(PAGE_LENGTH) as Arc<dyn Memory>;
        let memory = HeapMemory::zeroed(record_ring_length::<SendRequest>(SEND_SLOTS));
        let ring = RecordConsumer::attach(Arc::clone(&memory) as _, SEND_SLOTS).expect("a ring");
        let classes = [worker, 2];
        let lines = (0..2).flat_map(|queue| classes.map(|class| (queue, class)));
        let places = lines.clone().enumerate().map(|(slot, (queue, class))| Place { queue, class: class as u8, slot });
        let (answer, answered) = sync_channel(1);
        let join = Request::Join {
            taker: id,
            cursors: Arc::new(OwnerCursors::new(Arc::clone(&page), 0).expect("a page")),
            taken: Arc::default(),
            places: places.collect(),
            sends: Some(SendRing { sender: SenderId(worker as u8), ring, streams: STREAM_LINE..STREAM_LINE + 1 }),
            answer,
        };
        self.pool.act(join, self.now_ns());
        let starts = answered.try_recv().expect("an answer").expect("room for a taker");
        self.workers[worker] = Some(Worker::new(id, page, memory, lines.zip(starts)));
    }

    /// The pool wakes `milliseconds` later; who lied is found, and nobody else.
    pub(crate) fn turn(&mut self, milliseconds: u8) {
        self.now_ms += u64::from(milliseconds);
        let now_ns = self.now_ns();
        // Sending a liar away frees its pages, which is cold.
        if self.workers.iter().flatten().any(|worker| worker.lied) {
            self.pool.turn(now_ns);
        } else {
            assert_no_alloc(|| self.pool.turn(now_ns));
        }
        self.look();
        self.evict(None);
        assert!(self.workers.iter().flatten().all(|worker| !worker.lied), "a lie went unnoticed");
        self.workers.iter_mut().flatten().for_each(Worker::settle);
    }

    /// Sends away whoever the pool has found to be hostile, which must have lied or be `gone`.
    fn evict(&mut self, gone: Option<TakerId>) {
        let found: Vec<Hostile> = self.hostile.try_iter().collect();
        for found in found.into_iter().filter(|found| Some(found.taker) != gone) {
            let worker = self.workers.iter().position(|worker| worker.as_ref().is_some_and(|it| it.id == found.taker));
            let Some(worker) = worker else { continue }; // found at two rings at once
            let lied = self.workers[worker].take().is_some_and(|worker| worker.lied);
            assert!(lied, "an honest worker was called {found:?}");
            self.pool.act(Request::Leave(found.taker), self.now_ns());
            self.look();
        }
    }

    /// The kernel sends up to `count` descriptors of outlet `outlet`.
    pub(crate) fn wire(&mut self, outlet: usize, count: u8) {
        self.kernels[outlet].send(count);
    }

    /// Looks at what the pool has put on transmit rings since the last look.
    fn look(&mut self) {
        for outlet in 0..2 {
            for head in self.kernels[outlet].newly_out() {
                let number = frame::number(&self.frames, head.address);
                let known = self.delivered.get_mut(&number).expect("a frame that was delivered");
                assert!(!known.out, "frame {number} goes out twice");
                known.out = true;
                self.kernels[outlet].in_order(known);
                if self.mirrors && known.class == 2 {
                    assert_eq!(outlet, 1, "a mirrored frame leaves by its class's outlet");
                    assert_eq!(frame::read(&self.frames, head.address), frame::head(number), "untouched");
                    continue;
                }
                let is = frame::read(&self.frames, head.address);
                let came_true = known
                    .wishes
                    .iter()
                    .flatten()
                    .any(|wish| wish.outlet(known.queue) == Some(outlet) && is == frame::changed(number, *wish));
                assert!(came_true, "frame {number} leaves by {outlet} as {is:?}: {known:?}");
                for worker in self.workers.iter().flatten().filter(|worker| !worker.lied) {
                    let passed = worker.cursor(known.queue, known.class).is_none_or(|cursor| cursor > known.place);
                    assert!(passed, "frame {number} goes out while a worker reads it");
                }
                self.seen += 1;
            }
        }
    }

    /// Every frame is with the kernel, on a class's ring, or on its way out: once.
    pub(crate) fn check(&mut self) {
        for index in 0..2 {
            let shown = self.kernels[index].consumers();
            for worker in self.workers.iter().flatten().filter(|worker| !worker.lied) {
                for line in worker.lines.iter().filter(|line| line.queue == index) {
                    assert!(line.cursor >= shown[line.class], "a frame was given back under a worker");
                }
            }
        }
        let mut here = vec![0_u8; 2 * self.frames_per_queue as usize];
        let mut out = here.clone();
        let slot = |address: u64| (address / u64::from(FRAME)) as usize;
        for kernel in &mut self.kernels {
            kernel.here().for_each(|address| here[slot(address)] += 1);
            kernel.out().for_each(|address| out[slot(address)] += 1);
        }
        for (frame, (here, out)) in here.iter().zip(&out).enumerate() {
            // A mirrored frame is on its class's ring and on its way at once; no other is in two places.
            let least = if *out == 1 { 0 } else { 1 };
            let most = if *out == 1 && !self.mirrors { 0 } else { 1 };
            assert!(*out <= 1 && (least..=most).contains(here), "frame {frame}: {here} here, {out} on the way");
        }
    }

    /// Lets everything come to rest: all frames are home, and every wish has met its fate.
    pub(crate) fn settle(&mut self) {
        self.turn(1); // who lied goes first
        for worker in 0..2 {
            if !self.lives(worker) {
                self.toggle(worker);
            }
        }
        for _ in 0..400 {
            [0, 1].into_iter().for_each(|worker| self.work(worker, 255, 0, Wish::Answer));
            self.turn(1);
            [0, 1].into_iter().for_each(|outlet| self.wire(outlet, 255));
            self.turn(0);
            self.check();
            if self.kernels.iter_mut().map(Kernel::lent).sum::<usize>() == 2 * self.frames_per_queue as usize {
                break;
            }
        }
        let figures = [0, 1].map(|worker| self.figures(worker));
        for figures in &figures {
            assert_eq!((figures.waiting(), figures.in_flight()), (0, 0), "{figures:?}");
        }
        assert_eq!(figures[0].sent + figures[1].sent, self.seen, "what was sent was seen: {figures:?}");
        let lent: usize = self.kernels.iter_mut().map(Kernel::lent).sum();
        assert_eq!(lent, 2 * self.frames_per_queue as usize, "every frame is home");
    }
}
