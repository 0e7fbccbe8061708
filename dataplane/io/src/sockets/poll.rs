//! The epoll way, for kernels that refuse io_uring: the same events, with a system call for each of them. Buffers are filled
//! a piece at a time here too.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};
use weir_dataplane_ring::Memory;

use super::{ACCEPT, BufferArea, Happened, KIND, Listening, POLL, RECEIVE};
use crate::error::{IoError, Result};
use crate::umem::Umem;
use crate::wait::Epoll;

/// Descriptors reported by one wait at most.
const BATCH: usize = 256;
/// Connections accepted from one listener in a turn at most.
const ACCEPTED: usize = 64;

/// An epoll set of listeners and connections.
pub(super) struct Poll {
    set: OwnedFd,
    ready: Vec<epoll::Event>,
    umem: Arc<Umem>,
    area: BufferArea,
    lent: VecDeque<u16>,
    /// The buffer that is being filled, and how far it is.
    filling: Option<(u16, u32)>,
    listeners: HashMap<usize, RawFd>,
    connections: HashMap<u64, RawFd>,
    /// What happened within a call other than `wait`.
    happened: Vec<Happened>,
}

impl Poll {
    /// The caller has checked that the area lies in the memory.
    pub(super) fn new(umem: Arc<Umem>, area: BufferArea) -> Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|cause| IoError::new("making an epoll instance for streams", cause, "raise `ulimit -n`"))?;
        let (ready, lent) = (Vec::with_capacity(BATCH), VecDeque::with_capacity(usize::from(area.count)));
        let (listeners, connections) = (HashMap::new(), HashMap::new());
        Ok(Self { set, ready, umem, area, lent, filling: None, listeners, connections, happened: Vec::new() })
    }

    pub(super) fn lend(&mut self, buffer: u16) {
        if buffer < self.area.count {
            self.lent.push_back(buffer);
        }
    }

    fn add(&self, fd: BorrowedFd<'_>, word: u64) -> Result<()> {
        match epoll::add(&self.set, fd, epoll::EventData::new_u64(word), epoll::EventFlags::IN) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(cause) => Err(IoError::new("adding a stream to epoll", cause, "raise `ulimit -n`")),
        }
    }

    pub(super) fn accept(&mut self, listener: &Listening, number: usize) -> Result<()> {
        let fd = listener.as_fd();
        rustix::io::ioctl_fionbio(fd, true)
            .map_err(|cause| IoError::new("making a listener non-blocking", cause, "report this"))?;
        self.listeners.insert(number, fd.as_raw_fd());
        self.add(fd, ACCEPT | number as u64)
    }

    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, connection: u64) -> Result<()> {
        self.connections.insert(connection & !KIND, socket.as_raw_fd());
        self.add(socket, RECEIVE | connection & !KIND)
    }

    pub(super) fn stop(&mut self, connection: u64) {
        self.end(connection & !KIND, Some(Errno::CANCELED));
    }

    pub(super) fn watch(&self, epoll: &Epoll) -> Result<()> {
        self.add(epoll.as_fd(), POLL)
    }

    /// Looks at a connection no more, and says so.
    fn end(&mut self, connection: u64, error: Option<Errno>) {
        let Some(fd) = self.connections.remove(&connection) else { return };
        let _ = epoll::delete(&self.set, borrowed(fd)); // it is in, and stays open until the end was told
        self.happened.push(Happened::Ended { connection, error: error.map(Into::into) });
    }

    pub(super) fn wait(&mut self, timeout: Duration, happened: &mut Vec<Happened>) -> Result<()> {
        happened.append(&mut self.happened);
        let timeout = if happened.is_empty() { timeout } else { Duration::ZERO };
        let span = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        match epoll::wait(&self.set, spare_capacity(&mut ready), Some(&span)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => {
                return Err(IoError::new("waiting for streams", cause, "see the kernel's log; restart the dataplane"));
            }
        }
        for event in &ready {
            let word = event.data.u64();
            match word & KIND {
                ACCEPT => self.take_in((word & !KIND) as usize),
                RECEIVE => self.receive_once(word & !KIND),
                _ => self.happened.push(Happened::Woken),
            }
        }
        self.ready = ready;
        happened.append(&mut self.happened);
        Ok(())
    }

    fn take_in(&mut self, listener: usize) {
        let Some(fd) = self.listeners.get(&listener).copied() else { return };
        for _ in 0..ACCEPTED {
            match accept_with(borrowed(fd), SocketFlags::CLOEXEC) {
                Ok(socket) => self.happened.push(Happened::Connected { listener, socket }),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    let _ = epoll::delete(&self.set, borrowed(fd)); // until it is asked for again
                    self.happened.push(Happened::ListenerStopped { listener, error: error.into() });
                    return;
                }
            }
        }
    }

    fn receive_once(&mut self, connection: u64) {
        // One that was stopped after the kernel had reported it is not there any more.
        let Some(fd) = self.connections.get(&connection).copied() else { return };
        let next = self.filling.take().or_else(|| self.lent.pop_front().map(|buffer| (buffer, 0)));
        let Some((buffer, filled)) = next else { return self.end(connection, Some(Errno::NOBUFS)) };
        let address = self.area.start + u64::from(buffer) * u64::from(self.area.size) + u64::from(filled);
        let got = into_umem(&self.umem, address, self.area.size - filled, borrowed(fd));
        let length = got.unwrap_or(0) as u32; // at most what is left of the buffer
        let emptied = filled + length == self.area.size;
        if !emptied {
            self.filling = Some((buffer, filled + length));
        }
        match got {
            Ok(0) => self.end(connection, None),
            Ok(_) => {
                self.happened.push(Happened::Arrived { connection, buffer, address, length, emptied, more: true });
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => self.end(connection, Some(error)),
        }
    }
}

/// A listener or a connection, by its number.
fn borrowed<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the descriptors kept here are those that callers keep open: listeners as long as the set, connections until
    // their end was told, when they are taken out. Worst case of a breach: a call on another descriptor of that number.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Receives into the rest of a lent buffer.
fn into_umem(umem: &Umem, address: u64, length: u32, fd: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    let (offset, length) = (usize::try_from(address).map_err(|_| Errno::FAULT)?, length as usize);
    if length == 0 || offset.checked_add(length).is_none_or(|end| end > umem.length()) {
        return Err(Errno::FAULT);
    }
    // SAFETY: the range was just checked to be inside the mapping, which is writable.
    let start = unsafe { umem.mapping().base().add(offset) }.cast::<std::mem::MaybeUninit<u8>>();
    // SAFETY: the rest of a lent buffer is read by nobody before it has arrived, and slices are only made of what has.
    // Worst case of a breach: a torn message.
    let room = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) };
    recv(fd, room, RecvFlags::DONTWAIT).map(|(_, received)| received)
}
