//! The receiver: connections in, frames on lanes, acknowledgements out. One thread, which never waits for anything but news.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use weir_dataplane_io::IoError;
use weir_dataplane_io::sockets::{BufferArea, Happened, Listening, Pieces, StreamPort, StreamWay, hang_up, keep_alive};
use weir_dataplane_io::umem::Umem;
use weir_dataplane_io::wait::Epoll;
use weir_dataplane_ring::{Descriptor, Memory, RingError};
use weir_ebpf_abi::meta::FrameMeta;
use weir_ebpf_abi::stream::{
    STREAM_HEADER, STREAM_PREFIX, StreamError, StreamHeader, StreamHello, StreamSays, StreamWord,
};
use zerocopy::IntoBytes;

use super::buffers::Buffers;
use super::connection::{Connection, Piece};
use super::counts::StreamCounts;
use super::lane::{Held, StreamLane};
use super::sources::Sources;
use super::{BUFFER_BYTES, Fate, Steering, StreamLimits};

/// Errors of a receive that goes on later (asm-generic/errno.h, the same on x86-64 and aarch64).
const ENOBUFS: i32 = 105;
const ECANCELED: i32 = 125;
/// Silence after which a connection is probed for a dead other side.
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// How often begun messages are looked at for their age, in nanoseconds.
const LOOK_EVERY_NS: u64 = 500_000_000;
/// Buffers that the kernel has at most at a time. They come back last in, first out, so a fast sender fills again what the
/// cache still has: these are half a second-level cache of 1 MiB. With 16 of them the copy into each waited for memory, and messages
/// of 1 KiB came at 0.6 of a plain receiver's rate instead of at the same (`just bench tcp`).
const LENT_AHEAD: u32 = 4;
/// The same where each piece, however small, takes a buffer for itself.
const LENT_WHOLE: u32 = 16;
/// Bits of a connection's name that are its place.
const PLACE_BITS: u32 = 24;

/// What a receiver is made of.
pub struct StreamSetup {
    /// The frames' memory.
    pub umem: Arc<Umem>,
    /// Address of the buffers in it: first those that are lent, then the spare ones, [`BUFFER_BYTES`] each.
    pub start: u64,
    /// Buffers that the kernel fills, a power of two.
    pub lent: u16,
    /// Buffers in which messages are put together, at least one for each lane.
    pub spare: u16,
    /// Where to listen.
    pub listeners: Vec<Listening>,
    /// Memory and size of each lane.
    pub lanes: Vec<(Arc<dyn Memory>, u32)>,
    /// Lanes that the log takes: bit i is lane i.
    pub durable: u64,
    /// What may be held.
    pub limits: StreamLimits,
    /// The last durable sequence of each source that is on record.
    pub known: BTreeMap<u32, u64>,
    /// Whether to ask the kernel for io_uring; epoll else.
    pub io_uring: bool,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Lanes on which takers find something new: bit i is lane i.
    pub published: u64,
    /// The watched epoll instance has something.
    pub woken: bool,
}

/// Whether a connection's bytes could be worked on.
#[derive(PartialEq, Eq)]
enum Step {
    Through,
    Waits,
}

/// Where a whole message lies.
#[derive(Clone, Copy)]
enum Place {
    /// In the buffer it came in, header first.
    There { buffer: u16, address: u64 },
    /// In the connection's carry.
    Carried,
}

/// The receiver.
pub struct Receiver {
    ring: StreamPort, // first: the kernel lets go of sockets and buffers before they go
    umem: Arc<Umem>,
    listeners: Vec<Listening>,
    lanes: Vec<StreamLane>,
    buffers: Buffers,
    /// Buffers that the kernel has.
    lent: u32,
    /// Buffers that it has at most.
    ahead: u32,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    named: u64,
    sources: Sources,
    limits: StreamLimits,
    counts: StreamCounts,
    carried: usize,
    /// Connections whose receive is to be asked for again.
    idle: Vec<usize>,
    waiting: Vec<usize>,
    /// Frames came back since those that wait were tried.
    returned: bool,
    /// Sources whose senders are to be told something.
    news: Vec<usize>,
    /// Lanes that the log takes.
    durable: u64,
    /// Lent buffers that the frames of one lane may lie in.
    share: usize,
    /// Number of the first spare buffer.
    lendable: u16,
    /// The time of this turn.
    now_ns: u64,
    looked_ns: u64,
    /// Listeners that are asked again at the next look.
    deaf: Vec<usize>,
}

impl Receiver {
    /// Listens. The thread that calls this must be the one that turns.
    ///
    /// # Errors
    /// The kernel refuses, or the memory is not what the setup says.
    pub fn new(setup: StreamSetup) -> Result<Self, StreamSetupError> {
        let StreamSetup { umem, start, lent, spare, listeners, lanes, durable, limits, known, io_uring } = setup;
        let area = BufferArea { start, count: lent, size: BUFFER_BYTES };
        let mut ring = StreamPort::new(Arc::clone(&umem), area, io_uring)?;
        for (number, listener) in listeners.iter().enumerate() {
            ring.accept(listener, number)?;
        }
        let ahead = if *ring.way() == StreamWay::Ring(Pieces::Whole) { LENT_WHOLE } else { LENT_AHEAD };
        // A class that stands still leaves the others theirs.
        let share = (usize::from(lent) / (lanes.len() + 1)).max(1);
        let lanes = lanes.into_iter().map(|(memory, size)| StreamLane::new(memory, size));
        Ok(Self {
            ring,
            umem,
            listeners,
            lanes: lanes.collect::<Result<_, _>>()?,
            buffers: Buffers::new(lent, spare, BUFFER_BYTES),
            lent: 0,
            ahead,
            connections: Vec::new(),
            free: Vec::new(),
            named: 0,
            sources: Sources::new(limits.sources, &known),
            limits,
            counts: StreamCounts::default(),
            carried: 0,
            idle: Vec::new(),
            waiting: Vec::new(),
            returned: false,
            news: Vec::new(),
            durable,
            share,
            lendable: lent,
            now_ns: 0,
            looked_ns: 0,
            deaf: Vec::new(),
        })
    }

    /// Comes back from a turn when `epoll` has something.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watch(&mut self, epoll: &Epoll) -> Result<(), IoError> {
        self.ring.watch(epoll)
    }

    /// How bytes come.
    #[must_use]
    pub fn way(&self) -> &StreamWay {
        self.ring.way()
    }

    /// Where it listens.
    #[must_use]
    pub fn listeners(&self) -> &[Listening] {
        &self.listeners
    }

    /// What it has seen.
    #[must_use]
    pub fn counts(&self) -> StreamCounts {
        let held = self.lanes.iter().map(StreamLane::held).sum::<usize>() as u64;
        StreamCounts { held, ..self.counts.clone() }
    }

    /// Whether frames are on lanes: somebody will finish them, so the next turn should come soon.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.lanes.iter().any(|lane| lane.held() > 0)
    }

    /// Every taker of `lane` has passed its oldest frame.
    #[inline]
    pub fn finished(&mut self, lane: usize) {
        let Some(Held { source, sequence, buffer }) = self.lanes.get_mut(lane).and_then(StreamLane::finished) else {
            return;
        };
        self.buffers.let_go(buffer);
        self.returned = true;
        if self.sources.get_mut(source).is_some_and(|there| there.finish_on(lane, sequence)) {
            self.tell(source);
        }
    }

    fn tell(&mut self, place: usize) {
        if let Some(source) = self.sources.get_mut(place)
            && !std::mem::replace(&mut source.news, true)
        {
            self.news.push(place);
        }
    }

    /// Works on what has happened, and waits at most `timeout` for the first of it. `now_ns` is CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// The kernel refuses; no connection can go on then.
    pub fn turn(&mut self, timeout: Duration, now_ns: u64, steering: &mut dyn Steering) -> Result<Turn, IoError> {
        self.now_ns = now_ns;
        if std::mem::take(&mut self.returned) {
            for place in std::mem::take(&mut self.waiting) {
                self.work(place, steering);
            }
        }
        self.say_news();
        while self.lent < self.ahead
            && let Some(buffer) = self.buffers.lend()
        {
            self.ring.lend(buffer);
            self.lent += 1;
        }
        if self.lent > 0 {
            for place in std::mem::take(&mut self.idle) {
                self.receive(place)?;
            }
        }
        // What those that waited have put is shown before anything is waited for: its takers may be all that happens next.
        let mut turn = Turn { published: self.publish(), woken: false };
        let timeout = if turn.published == 0 { timeout } else { Duration::ZERO };
        let mut happened = self.ring.wait(timeout)?;
        for event in happened.drain(..) {
            match event {
                Happened::Connected { socket, .. } => self.connected(socket, now_ns)?,
                Happened::ListenerStopped { listener, .. } => {
                    self.counts.failed += 1;
                    // No descriptor is left, most of all: asked again at once it would say so again at once.
                    self.deaf.push(listener);
                }
                Happened::Arrived { connection, buffer, address, length, emptied, more } => {
                    self.arrived(connection, Piece { buffer, address, length }, emptied, more, steering);
                }
                Happened::Ended { connection, error } => self.ended(connection, error.as_ref()),
                Happened::Woken => turn.woken = true,
            }
        }
        self.ring.done(happened);
        if now_ns.saturating_sub(self.looked_ns) > LOOK_EVERY_NS {
            self.looked_ns = now_ns;
            self.end_stalled(now_ns);
            for listener in std::mem::take(&mut self.deaf) {
                if let Some(there) = self.listeners.get(listener) {
                    self.ring.accept(there, listener)?;
                }
            }
        }
        turn.published |= self.publish();
        self.say_news();
        Ok(turn)
    }

    /// Shows takers what was put on lanes; gives the lanes, bit i for lane i.
    fn publish(&mut self) -> u64 {
        self.lanes.iter_mut().zip(0..u64::BITS).fold(0, |lanes, (lane, bit)| lanes | u64::from(lane.publish()) << bit)
    }

    fn place_of(&self, name: u64) -> Option<usize> {
        let place = (name & ((1 << PLACE_BITS) - 1)) as usize;
        let there = self.connections.get(place)?.as_ref()?;
        (there.name == name).then_some(place)
    }

    fn connected(&mut self, socket: OwnedFd, now_ns: u64) -> Result<(), IoError> {
        let open = self.connections.len() - self.free.len();
        if open >= self.limits.connections {
            self.counts.refuse(StreamError::TooMany);
            // One word into an empty socket goes out whole, or not at all.
            let _ = Connection::new(socket, 0, now_ns).say(&StreamWord::refused(StreamError::TooMany, 0));
            return Ok(());
        }
        keep_alive(&socket, PROBE_AFTER);
        let place = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.named += 1;
        let name = place as u64 | (self.named << PLACE_BITS) & ((1 << 56) - 1);
        self.connections[place] = Some(Connection::new(socket, name, now_ns));
        self.counts.connected += 1;
        self.counts.connections += 1;
        self.receive(place)
    }

    /// Asks for a connection's bytes, unless somebody has already or nobody wants them.
    fn receive(&mut self, place: usize) -> Result<(), IoError> {
        let Some(connection) = self.connections.get_mut(place).and_then(Option::as_mut) else { return Ok(()) };
        if connection.receiving || connection.waiting || connection.closed || connection.ending {
            return Ok(());
        }
        (connection.receiving, connection.begun_ns) = (true, self.now_ns);
        self.ring.receive(connection.socket.as_fd(), connection.name)
    }

    fn arrived(&mut self, name: u64, piece: Piece, emptied: bool, more: bool, steering: &mut dyn Steering) {
        self.buffers.hold(piece.buffer);
        if emptied {
            self.lent = self.lent.saturating_sub(1);
            self.buffers.emptied(piece.buffer);
        }
        let place = self.place_of(name);
        let connection = place.and_then(|place| self.connections.get_mut(place)?.as_mut());
        let (Some(place), Some(connection)) = (place, connection) else {
            self.buffers.let_go(piece.buffer);
            return;
        };
        if !more {
            connection.receiving = false;
        }
        if connection.ending {
            self.buffers.let_go(piece.buffer);
            if !more {
                self.forget(place);
            }
            return;
        }
        connection.pieces.push_back(piece);
        if !connection.waiting {
            self.work(place, steering);
        }
        if !more {
            self.idle.push(place);
        }
    }

    /// Works on what a connection has sent, as far as that goes now.
    fn work(&mut self, place: usize, steering: &mut dyn Steering) {
        let Some(mut connection) = self.connections.get_mut(place).and_then(Option::take) else { return };
        let done = if connection.ending { Ok(Step::Through) } else { self.pieces_of(&mut connection, place, steering) };
        match done {
            Ok(Step::Through) => {
                if std::mem::take(&mut connection.waiting) {
                    connection.begun_ns = self.now_ns; // it could not go on
                }
                connection.crowded = false;
                if connection.closed {
                    self.end(&mut connection, place);
                } else if connection.stopping || !connection.receiving {
                    self.idle.push(place);
                }
            }
            Ok(Step::Waits) => {
                self.counts.waits += u64::from(!connection.waiting);
                connection.waiting = true;
                self.waiting.push(place);
                if connection.receiving && !std::mem::replace(&mut connection.stopping, true) {
                    // A request that is refused leaves the receive as it is, and what comes waits in its pieces.
                    connection.stopping = self.ring.stop(connection.name).is_ok();
                }
            }
            Err(reason) => self.refuse(&mut connection, place, reason),
        }
        let gone = connection.ending && !connection.receiving;
        self.connections[place] = Some(connection);
        if gone {
            self.forget(place);
        }
    }

    fn pieces_of(
        &mut self,
        connection: &mut Connection,
        place: usize,
        steering: &mut dyn Steering,
    ) -> Result<Step, StreamError> {
        // A message that is whole and waits for a lane.
        if connection.source.is_some() && Some(connection.carry.len()) == stride(&connection.carry)? {
            if self.take(connection, Place::Carried, steering)? == Step::Waits {
                return Ok(Step::Waits);
            }
            self.drop_carry(connection);
        }
        while let Some(piece) = connection.pieces.front().copied() {
            let (used, step) = self.piece(connection, place, piece, steering)?;
            if let Some(front) = connection.pieces.front_mut() {
                front.address += u64::from(used);
                front.length -= used;
            }
            if used == piece.length {
                connection.pieces.pop_front();
                self.buffers.let_go(piece.buffer);
            }
            if step == Step::Waits {
                return Ok(Step::Waits);
            }
        }
        Ok(Step::Through)
    }

    /// Works on a piece; gives how many of its bytes are done with.
    fn piece(
        &mut self,
        connection: &mut Connection,
        place: usize,
        piece: Piece,
        steering: &mut dyn Steering,
    ) -> Result<(u32, Step), StreamError> {
        let mut used = 0;
        while used < piece.length {
            let (address, left) = (piece.address + u64::from(used), piece.length - used);
            if connection.source.is_none() {
                used += self.carry_on(connection, address, left, StreamHello::SIZE);
                if connection.carry.len() == StreamHello::SIZE {
                    self.hello(connection, place)?;
                    self.drop_carry(connection);
                }
                continue;
            }
            if !connection.carry.is_empty() {
                let want = stride(&connection.carry)?.unwrap_or(STREAM_HEADER);
                let more = want.saturating_sub(connection.carry.len());
                if self.carried + more > self.limits.carried {
                    connection.crowded = true;
                    return Ok((used, Step::Waits));
                }
                connection.crowded = false;
                used += self.carry_on(connection, address, left, want);
                if Some(connection.carry.len()) == stride(&connection.carry)? {
                    if self.take(connection, Place::Carried, steering)? == Step::Waits {
                        return Ok((used, Step::Waits));
                    }
                    self.drop_carry(connection);
                }
                continue;
            }
            let there = self.umem.bytes(address, left).unwrap_or_default();
            match stride(there)? {
                Some(stride) if stride <= there.len() => {
                    if self.take(connection, Place::There { buffer: piece.buffer, address }, steering)? == Step::Waits {
                        return Ok((used, Step::Waits));
                    }
                    used += stride as u32; // not more than `left`
                }
                _ => used += self.carry_on(connection, address, left, left as usize),
            }
        }
        Ok((used, Step::Through))
    }

    /// Moves bytes at `address` into the connection's carry until that has `want`; gives how many of the `left` it took.
    fn carry_on(&mut self, connection: &mut Connection, address: u64, left: u32, want: usize) -> u32 {
        let take = (want.saturating_sub(connection.carry.len()) as u32).min(left);
        if connection.carry.is_empty() && connection.source.is_some() {
            connection.begun_ns = self.now_ns;
        }
        connection.carry.extend_from_slice(self.umem.bytes(address, take).unwrap_or_default());
        self.carried += take as usize;
        take
    }

    fn drop_carry(&mut self, connection: &mut Connection) {
        self.carried = self.carried.saturating_sub(connection.carry.len());
        // Others may wait for this memory.
        self.returned |= !self.waiting.is_empty();
        // Memory for one message is not kept by ten thousand connections.
        connection.carry = Vec::new();
    }

    fn hello(&mut self, connection: &mut Connection, place: usize) -> Result<(), StreamError> {
        let hello = StreamHello::parse(&connection.carry)?;
        let (number, next) = (hello.source.get(), hello.next.get());
        let at = self.sources.open(number, next)?;
        let Some(source) = self.sources.get_mut(at) else { return Err(StreamError::TooMany) };
        let before = source.connection.replace(place);
        connection.source = Some(at);
        let word = StreamWord::new(StreamSays::Welcome, source.next, source.allowed(self.limits.credit));
        connection.say(&word);
        // What is finished may be more than the sender has heard: an acknowledgement may have died with a connection.
        self.tell(at);
        if let Some(before) = before
            && let Some(mut old) = self.connections.get_mut(before).and_then(Option::take)
        {
            old.source = None; // the source is the new one's
            self.refuse(&mut old, before, StreamError::Superseded);
            let gone = !old.receiving;
            self.connections[before] = Some(old);
            if gone {
                self.forget(before);
            }
        }
        Ok(())
    }

    /// Takes a whole message, unless a lane or a buffer has to be waited for.
    fn take(
        &mut self,
        connection: &Connection,
        place: Place,
        steering: &mut dyn Steering,
    ) -> Result<Step, StreamError> {
        let Self { umem, lanes, sources, counts, limits, .. } = self;
        let Some(at) = connection.source else { return Err(StreamError::NoHello) };
        let Some(source) = sources.get_mut(at) else { return Err(StreamError::NoHello) };
        let bytes = match place {
            Place::There { address, .. } => umem.bytes(address, STREAM_HEADER as u32).unwrap_or_default(),
            Place::Carried => &connection.carry,
        };
        let header = *StreamHeader::parse(bytes)?;
        let (length, stride) = (header.length.get(), header.stride());
        let sequence = header.prefix.sequence.get();
        if header.prefix.source.get() != source.number {
            return Err(StreamError::Source);
        }
        if sequence < source.next {
            counts.duplicates += 1;
            self.tell(at);
            return Ok(Step::Through);
        }
        if sequence > source.next {
            return Err(StreamError::Gap);
        }
        if sequence >= source.allowed(limits.credit) {
            return Err(StreamError::Credit);
        }
        let message = match place {
            Place::There { address, .. } => umem.bytes(address + STREAM_HEADER as u64, length).unwrap_or_default(),
            Place::Carried => connection.carry.get(STREAM_HEADER..STREAM_HEADER + length as usize).unwrap_or_default(),
        };
        match steering.fate(&connection.ends, header.form.get(), message) {
            Fate::Malformed => return Err(StreamError::BadMessage),
            Fate::Deliver { lane: number, meta } => {
                let Some(lane) = lanes.get_mut(number) else { return Err(StreamError::BadMessage) };
                // After a kill everything up to the last durable message of a source counts as acknowledged. So nothing
                // becomes durable before what came before it on other lanes was passed.
                let waits = !lane.has_room() || self.durable >> number & 1 == 1 && source.lies_elsewhere(number);
                let Some((buffer, address)) = (if waits { None } else { self.lay(connection, place, number, stride) })
                else {
                    return Ok(Step::Waits);
                };
                self.umem.write(address, meta.as_bytes());
                let frame = address + FrameMeta::SIZE as u64;
                let descriptor = Descriptor { address: frame, length: STREAM_PREFIX as u32 + length, options: 0 };
                if let (Some(lane), Some(source)) = (self.lanes.get_mut(number), self.sources.get_mut(at)) {
                    lane.put(descriptor, Held { source: at, sequence, buffer });
                    source.came_on(number);
                }
                self.counts.delivered += 1;
            }
            fate => {
                let count = if fate == Fate::Drop { &mut counts.dropped } else { &mut counts.untaken };
                *count += 1;
                source.came();
                if source.finish(sequence) {
                    self.tell(at);
                }
            }
        }
        self.counts.messages += 1;
        self.counts.bytes += u64::from(length);
        Ok(Step::Through)
    }

    /// Where a message for lane `number` lies from now on: in the buffer it came in, if it came whole and its lane has not its
    /// share of buffers; else side by side with others of the lane, which takes a copy. `None` while there is no room.
    fn lay(&mut self, connection: &Connection, place: Place, number: usize, stride: usize) -> Option<(u16, u64)> {
        if let Place::There { buffer, address } = place
            && self.lanes.get(number)?.may_hold(buffer, self.share)
        {
            self.buffers.hold(buffer);
            return Some((buffer, address));
        }
        let leave = leave_to_others(&self.lanes, &self.buffers, number, self.lendable);
        let (buffer, offset) = self.buffers.assemble(number, stride as u32, leave)?;
        let to = self.ring.address(buffer) + u64::from(offset);
        let bytes = match place {
            Place::There { address, .. } => self.umem.bytes(address, stride as u32).unwrap_or_default(),
            Place::Carried => &connection.carry,
        };
        self.umem.write(to, bytes);
        self.counts.copied += stride as u64;
        Some((buffer, to))
    }

    fn ended(&mut self, name: u64, error: Option<&std::io::Error>) {
        let Some(place) = self.place_of(name) else { return };
        let Some(mut connection) = self.connections.get_mut(place).and_then(Option::take) else { return };
        (connection.receiving, connection.stopping) = (false, false);
        match error.map(std::io::Error::raw_os_error) {
            // No buffer was there, or it was stopped here: it goes on when there is room again.
            Some(Some(ENOBUFS | ECANCELED)) if !connection.ending => self.idle.push(place),
            _ if connection.ending => {}
            None if connection.waiting => connection.closed = true,
            closed => {
                self.counts.failed += u64::from(closed.is_some() || !connection.carry.is_empty());
                self.end(&mut connection, place);
            }
        }
        let gone = connection.ending;
        self.connections[place] = Some(connection);
        if gone {
            self.forget(place);
        }
    }

    fn refuse(&mut self, connection: &mut Connection, place: usize, reason: StreamError) {
        self.counts.refuse(reason);
        let base = connection.source.and_then(|at| self.sources.get_mut(at)).map_or(0, |source| source.base());
        connection.say(&StreamWord::refused(reason, base));
        self.end(connection, place);
    }

    /// Ends a connection; what it held is free, and its place when the kernel has let go of it.
    fn end(&mut self, connection: &mut Connection, place: usize) {
        for piece in connection.pieces.drain(..) {
            self.buffers.let_go(piece.buffer);
            self.returned = true;
        }
        self.drop_carry(connection);
        if let Some(source) = connection.source.and_then(|at| self.sources.get_mut(at))
            && source.connection == Some(place)
        {
            source.connection = None;
        }
        connection.ending = true;
        hang_up(&connection.socket);
    }

    /// Its place is free: the kernel has let go of it.
    fn forget(&mut self, place: usize) {
        if self.connections.get_mut(place).and_then(Option::take).is_some() {
            self.free.push(place);
            self.counts.connections = self.counts.connections.saturating_sub(1);
        }
    }

    /// Tells senders what is finished and what they may send.
    fn say_news(&mut self) {
        let credit = self.limits.credit;
        let mut news = std::mem::take(&mut self.news);
        news.retain(|at| {
            let Some(source) = self.sources.get_mut(*at) else { return false };
            let word = StreamWord::new(StreamSays::Progress, source.base(), source.allowed(credit));
            let there = source.connection.and_then(|place| self.connections.get_mut(place)?.as_mut());
            let unsaid = there.is_some_and(|connection| !connection.say(&word));
            source.news = unsaid;
            unsaid
        });
        self.news.append(&mut news);
    }

    /// Ends connections that began something and did not end it in time.
    fn end_stalled(&mut self, now_ns: u64) {
        let limit = self.limits.stall.as_nanos() as u64; // a configured time, hours at most
        let (mut refused, mut oldest) = (false, None);
        for place in 0..self.connections.len() {
            let Some(connection) = self.connections[place].as_ref() else { continue };
            let begun = connection.source.is_none() || !connection.carry.is_empty();
            let late = now_ns.saturating_sub(connection.begun_ns) > limit;
            if !begun || !late || connection.ending {
                continue;
            }
            if connection.crowded {
                oldest = oldest.min(Some((connection.begun_ns, place))).or(Some((connection.begun_ns, place)));
            } else if connection.receiving && !connection.waiting {
                // Time in which we did not take its bytes would not be its fault.
                refused = true;
                self.end_late(place);
            }
        }
        // Begun messages that fill their memory wait for one another: the oldest makes room, unless somebody else just has.
        if let Some((_, place)) = oldest.filter(|_| !refused) {
            self.end_late(place);
        }
    }

    fn end_late(&mut self, place: usize) {
        let Some(mut connection) = self.connections.get_mut(place).and_then(Option::take) else { return };
        self.refuse(&mut connection, place, StreamError::Stalled);
        let gone = !connection.receiving;
        self.connections[place] = Some(connection);
        if gone {
            self.forget(place);
        }
    }
}

/// Spare buffers that lane `number` must not take, because other lanes have none yet. One that has none itself may take any:
/// nothing of it lies there that would be passed, so nothing would wake it.
fn leave_to_others(lanes: &[StreamLane], buffers: &Buffers, number: usize, first_spare: u16) -> usize {
    if !lanes.get(number).is_some_and(|lane| lane.lies_from(first_spare)) {
        return 0;
    }
    let has_none = |(place, lane): &(usize, &StreamLane)| {
        *place != number && !buffers.is_assembling(*place) && !lane.lies_from(first_spare)
    };
    lanes.iter().enumerate().filter(has_none).count()
}

/// Bytes from the header at the start of `bytes` to the next one; `None` while the header is not whole.
fn stride(bytes: &[u8]) -> Result<Option<usize>, StreamError> {
    if bytes.len() < STREAM_HEADER {
        return Ok(None);
    }
    StreamHeader::parse(bytes).map(|header| Some(header.stride()))
}

/// Why a receiver cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StreamSetupError {
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] IoError),
    /// A lane does not fit its memory.
    #[error("a stream lane does not fit its memory: {0}; report it")]
    Lane(#[from] RingError),
}
