//! One of the two ways, with the same calls and the same events.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::poll::Poll;
use super::{BufferArea, Happened, Listening, Pieces, StreamRing};
use crate::error::Result;
use crate::umem::{HugePages, Umem, UmemOptions};
use crate::wait::Epoll;

/// How bytes come, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamWay {
    /// io_uring.
    Ring(Pieces),
    /// epoll, and a call for each piece.
    Poll {
        /// Why not io_uring.
        why: String,
    },
}

impl fmt::Display for StreamWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(pieces) => pieces.fmt(f),
            Self::Poll { why } => write!(f, "epoll and a call for each piece, because {why}"),
        }
    }
}

enum Port {
    Ring(Box<StreamRing>),
    Poll(Box<Poll>),
}

/// Listeners and connections, over io_uring or over epoll. To be used by the thread that made it.
pub struct StreamPort {
    port: Port,
    way: StreamWay,
    start: u64,
    size: u32,
    happened: Vec<Happened>,
}

impl StreamPort {
    /// A port whose bytes go to `area` of `umem`: over io_uring where it is wanted and the kernel has it, else over epoll,
    /// which [`StreamPort::way`] then says. No buffer is lent yet.
    ///
    /// # Errors
    /// Neither can be had, or the area does not lie in the memory.
    pub fn new(umem: Arc<Umem>, area: BufferArea, io_uring: bool) -> Result<Self> {
        area.check(&umem)?;
        let ring = match (io_uring, stream_ability()) {
            (false, _) => Err("io_uring was not asked for".to_owned()),
            (true, Err(why)) => Err(why),
            (true, Ok(_)) => StreamRing::new(Arc::clone(&umem), area).map_err(|error| error.to_string()),
        };
        let (port, way) = match ring {
            Ok(ring) => {
                let way = StreamWay::Ring(ring.pieces());
                (Port::Ring(Box::new(ring)), way)
            }
            Err(why) => (Port::Poll(Box::new(Poll::new(umem, area)?)), StreamWay::Poll { why }),
        };
        Ok(Self { port, way, start: area.start, size: area.size, happened: Vec::new() })
    }

    /// How bytes come, and why so.
    #[must_use]
    pub fn way(&self) -> &StreamWay {
        &self.way
    }

    /// Address of the first byte of a buffer.
    #[inline]
    #[must_use]
    pub fn address(&self, buffer: u16) -> u64 {
        self.start + u64::from(buffer) * u64::from(self.size)
    }

    /// As [`StreamRing::lend`].
    pub fn lend(&mut self, buffer: u16) {
        match &mut self.port {
            Port::Ring(ring) => ring.lend(buffer),
            Port::Poll(poll) => poll.lend(buffer),
        }
    }

    /// As [`StreamRing::accept`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn accept(&mut self, listener: &Listening, number: usize) -> Result<()> {
        match &mut self.port {
            Port::Ring(ring) => ring.accept(listener, number),
            Port::Poll(poll) => poll.accept(listener, number),
        }
    }

    /// As [`StreamRing::receive`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, connection: u64) -> Result<()> {
        match &mut self.port {
            Port::Ring(ring) => ring.receive(socket, connection),
            Port::Poll(poll) => poll.receive(socket, connection),
        }
    }

    /// As [`StreamRing::stop`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(&mut self, connection: u64) -> Result<()> {
        match &mut self.port {
            Port::Ring(ring) => ring.stop(connection),
            Port::Poll(poll) => {
                poll.stop(connection);
                Ok(())
            }
        }
    }

    /// As [`StreamRing::watch`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watch(&mut self, epoll: &Epoll) -> Result<()> {
        match &mut self.port {
            Port::Ring(ring) => ring.watch(epoll),
            Port::Poll(poll) => poll.watch(epoll),
        }
    }

    /// As [`StreamRing::wait`].
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Happened>> {
        match &mut self.port {
            Port::Ring(ring) => ring.wait(timeout),
            Port::Poll(poll) => {
                let mut happened = std::mem::take(&mut self.happened);
                poll.wait(timeout, &mut happened).map(|()| happened)
            }
        }
    }

    /// As [`StreamRing::done`].
    pub fn done(&mut self, mut happened: Vec<Happened>) {
        match &mut self.port {
            Port::Ring(ring) => ring.done(happened),
            Port::Poll(_) => {
                happened.clear();
                self.happened = happened;
            }
        }
    }
}

/// Whether io_uring can serve streams here, tried with one byte: older kernels know the calls but not their multishot form.
///
/// # Errors
/// Why it cannot, as the kernel says it.
pub fn stream_ability() -> std::result::Result<Pieces, String> {
    let said = |error: &dyn fmt::Display| error.to_string();
    let options = UmemOptions { frames: 1, frame_size: 4096, hugepages: HugePages::Never, node: None };
    let umem = Arc::new(Umem::create_with(options).map_err(|error| said(&error))?);
    let area = BufferArea { start: 0, count: 1, size: 4096 };
    let mut ring = StreamRing::new(umem, area).map_err(|error| said(&error))?;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| said(&error))?;
    rustix::io::write(&other, &[0; 1]).map_err(|error| said(&error))?;
    ring.lend(0);
    ring.receive(one.as_fd(), 0).map_err(|error| said(&error))?;
    let happened = ring.wait(Duration::from_secs(1)).map_err(|error| said(&error))?;
    match happened.first() {
        Some(Happened::Arrived { length: 1, .. }) => Ok(ring.pieces()),
        Some(Happened::Ended { error: Some(error), .. }) => Err(format!("a multishot receive said: {error}")),
        other => Err(format!("a multishot receive of one byte gave {other:?}")),
    }
}
