//! Stream sockets over io_uring: connections and their bytes arrive without a call for each, in buffers that lie in the
//! frames' memory.
//!
//! ```text
//! lend(buffer) ─► the kernel fills it, a piece at a time ─► Arrived{piece} … Emptied{buffer} ─► the last piece is finished ─► lend
//! ```
//! The buffers are a ring that the kernel takes from by itself (a provided-buffer ring). Since Linux 6.12 it goes on with a
//! buffer where the last piece ended, so a connection that sends single bytes costs no more than it sends; before that each
//! piece takes a buffer. Where the kernel refuses io_uring, [`StreamPort`] does the same over epoll and says so.

mod poll;
mod port;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::net::{SendFlags, Shutdown, sockopt};
use weir_dataplane_ring::Memory;

pub use port::{StreamPort, StreamWay, stream_ability};

use crate::error::{IoError, Result};
use crate::mapping::Mapping;
use crate::umem::Umem;
use crate::wait::Epoll;

/// Completions the kernel keeps room for: more than a round of all buffers.
const COMPLETIONS: u32 = 8192;
/// Requests handed over at once; a full queue is submitted and used again.
const SUBMISSIONS: u32 = 1024;
/// The one group of provided buffers.
const GROUP: u16 = 0;
/// `IOU_PBUF_RING_INC` of linux/io_uring.h: a buffer is consumed a piece at a time (Linux 6.12).
const PIECEWISE: u16 = 2;
/// Most buffers of a ring (io_uring/kbuf.c).
const BUFFERS_MAX: u16 = 32_768;

/// What a completion belongs to, in the upper byte of its word.
const ACCEPT: u64 = 1 << 56;
const RECEIVE: u64 = 2 << 56;
const POLL: u64 = 3 << 56;
const CANCEL: u64 = 4 << 56;
const KIND: u64 = 0xff << 56;

/// How the bytes come, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// A buffer is filled a piece at a time.
    Shared,
    /// Each piece takes a buffer of its own.
    Whole,
}

impl fmt::Display for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "io_uring multishot receive, buffers filled piece by piece",
            Self::Whole => "io_uring multishot receive, a buffer for each piece since the kernel is older than 6.12",
        })
    }
}

/// What happened.
#[derive(Debug)]
pub enum Happened {
    /// Somebody connected to listener `listener`.
    Connected {
        /// Position of the listener.
        listener: usize,
        /// The new socket.
        socket: OwnedFd,
    },
    /// A listener takes no more connections until [`StreamRing::accept`] is called again.
    ListenerStopped {
        /// Position of the listener.
        listener: usize,
        /// Why, `EMFILE` for one.
        error: io::Error,
    },
    /// Bytes came.
    Arrived {
        /// What the receiver called the connection.
        connection: u64,
        /// Buffer they lie in.
        buffer: u16,
        /// Address of the first of them in the frames' memory.
        address: u64,
        /// How many.
        length: u32,
        /// The kernel is done with the buffer: it can be lent again when the last piece of it is finished.
        emptied: bool,
        /// More will come by itself; else [`StreamRing::receive`] is to be called again.
        more: bool,
    },
    /// The receive of a connection has ended.
    Ended {
        /// What the receiver called the connection.
        connection: u64,
        /// `None` when the other side has closed; `ENOBUFS` when no buffer was lent, `ECANCELED` after a stop.
        error: Option<io::Error>,
    },
    /// The watched epoll instance has something.
    Woken,
}

/// The ring of provided buffers, as the kernel shares it with us.
struct Lent {
    entries: Mapping,
    mask: u16,
    tail: u16,
    /// Where each buffer has been filled up to.
    filled: Vec<u32>,
}

/// An io_uring for listeners and connections. To be used by the thread that made it.
pub struct StreamRing {
    ring: IoUring, // first: the kernel lets go of the memory before it goes
    lent: Lent,
    umem: Arc<Umem>,
    start: u64,
    size: u32,
    pieces: Pieces,
    happened: Vec<Happened>,
}

/// Which memory the bytes go to: `count` buffers of `size` bytes each from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferArea {
    /// Address of the first buffer in the frames' memory.
    pub start: u64,
    /// Buffers, a power of two.
    pub count: u16,
    /// Bytes of each.
    pub size: u32,
}

impl BufferArea {
    /// Refuses an area that does not lie in the memory.
    fn check(&self, umem: &Umem) -> Result<()> {
        let Self { start, count, size } = *self;
        let end = start.checked_add(u64::from(count) * u64::from(size));
        if !count.is_power_of_two() || count > BUFFERS_MAX || end.is_none_or(|end| end > umem.length() as u64) {
            let what = format!("{count} stream buffers of {size} bytes at {start}");
            return Err(IoError::invalid(
                what,
                "they do not lie in the frames' memory",
                "report it: the budget is wrong",
            ));
        }
        Ok(())
    }
}

impl StreamRing {
    /// A ring whose bytes go to `area` of `umem`. No buffer is lent yet.
    ///
    /// # Errors
    /// The kernel has no io_uring for us, or an area that does not lie in the memory.
    pub fn new(umem: Arc<Umem>, area: BufferArea) -> Result<Self> {
        const CURE: &str = "allow io_uring (sysctl kernel.io_uring_disabled=0) and run on Linux 6.1 or newer";
        area.check(&umem)?;
        let BufferArea { start, count, size } = area;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)
            .map_err(|cause| IoError::new("io_uring for streams", cause, CURE))?;
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let entries = Mapping::anonymous(bytes.next_multiple_of(4096))?;
        let address = entries.raw().0 as u64;
        let register = |flags| {
            // SAFETY: the entries are page-aligned and zero, hold `count` of them, and live as long as the ring, behind
            // which they stand in the fields' order. Worst case: bytes land where an entry says that they should not,
            // which `lend` rules out by taking addresses from the area only.
            unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, flags) }
        };
        let pieces = match register(PIECEWISE) {
            Ok(()) => Pieces::Shared,
            Err(_) => {
                register(0).map_err(|cause| IoError::new("io_uring's ring of buffers", cause, CURE))?;
                Pieces::Whole
            }
        };
        let lent = Lent { entries, mask: count - 1, tail: 0, filled: vec![0; usize::from(count)] };
        let happened = Vec::with_capacity(COMPLETIONS as usize);
        Ok(Self { ring, lent, umem, start, size, pieces, happened })
    }

    /// How bytes come.
    #[must_use]
    pub fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// Lends a buffer to the kernel. Nothing of it may be in use any more; numbers beyond the area are ignored.
    pub fn lend(&mut self, buffer: u16) {
        let Some(filled) = self.lent.filled.get_mut(usize::from(buffer)) else { return };
        *filled = 0;
        let Ok(offset) = usize::try_from(self.start + u64::from(buffer) * u64::from(self.size)) else { return };
        // SAFETY: `new` has checked that the whole area lies in the memory.
        let address = unsafe { self.umem.mapping().base().add(offset) };
        let base: NonNull<BufRingEntry> = self.lent.entries.base().cast();
        let slot = usize::from(self.lent.tail & self.lent.mask);
        // SAFETY: `slot` is below the number of entries, which the mapping holds.
        let entry = unsafe { base.add(slot) };
        // SAFETY: the entry is ours until the tail moves past it: at most as many buffers are lent as there are entries,
        // since each is lent once. Worst case of a breach: an entry is lost, and bytes wait.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address.as_ptr() as u64);
        entry.set_len(self.size);
        entry.set_bid(buffer);
        self.lent.tail = self.lent.tail.wrapping_add(1);
        // SAFETY: the tail is the last word of the first entry, in the mapping.
        let tail = unsafe { BufRingEntry::tail(base.as_ptr()) };
        // SAFETY: it is aligned, mapped as long as `self`, and written by nobody else; the kernel reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.lent.tail, Ordering::Release);
    }

    /// Takes connections of `listener`, which must stay open as long as this; they come as [`Happened::Connected`] with
    /// this number.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn accept(&mut self, listener: &Listening, number: usize) -> Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_fd().as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry.user_data(ACCEPT | number as u64))
    }

    /// Takes the bytes of `socket`, which must stay open until [`Happened::Ended`]; they come under the name `connection`, of
    /// which the upper 8 bits are not kept.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, connection: u64) -> Result<()> {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(entry.user_data(RECEIVE | connection & !KIND))
    }

    /// Ends the receive of a connection, after what has come already; [`Happened::Ended`] follows.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn stop(&mut self, connection: u64) -> Result<()> {
        self.push(opcode::AsyncCancel::new(RECEIVE | connection & !KIND).build().user_data(CANCEL))
    }

    /// Comes back from [`StreamRing::wait`] when `epoll` has something.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn watch(&mut self, epoll: &Epoll) -> Result<()> {
        let events = libc::POLLIN as u32; // a small positive constant
        let entry = opcode::PollAdd::new(Fd(epoll.as_fd().as_raw_fd()), events).multi(true).build();
        self.push(entry.user_data(POLL))
    }

    fn push(&mut self, entry: squeue::Entry) -> Result<()> {
        const CURE: &str = "raise `ulimit -n` and the memory limit, or lower tcp.connections";
        // SAFETY: the entries made here name descriptors whose owners keep them open as the callers' docs demand, and no
        // memory but the provided buffers. Worst case of a closed descriptor: the request fails, or names another socket.
        if unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return Ok(());
        }
        self.ring.submit().map_err(|cause| IoError::new("submission of a stream request", cause, CURE))?;
        // SAFETY: as above.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(|_| IoError::invalid("a stream request", "the queue is full", CURE))
    }

    /// Submits what was asked, waits at most `timeout` if nothing has happened yet, and gives what has.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Happened>> {
        let time = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
        let args = SubmitArgs::new().timespec(&time);
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(_) => {}
            // A time that is over, a signal, and completions that wait for room are no faults.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(cause) => {
                return Err(IoError::new("waiting for streams", cause, "see the kernel's log; restart the dataplane"));
            }
        }
        let mut happened = std::mem::take(&mut self.happened);
        let (lent, start, size) = (&mut self.lent, self.start, self.size);
        for entry in self.ring.completion() {
            happened.extend(read(&entry, lent, start, size));
        }
        Ok(happened)
    }

    /// Gives a list back whose events were worked off, so that the next one needs no memory.
    pub fn done(&mut self, mut happened: Vec<Happened>) {
        happened.clear();
        self.happened = happened;
    }
}

/// What a completion says.
fn read(entry: &cqueue::Entry, lent: &mut Lent, start: u64, size: u32) -> Option<Happened> {
    let (word, result, flags) = (entry.user_data(), entry.result(), entry.flags());
    let error = || io::Error::from_raw_os_error(-result);
    match word & KIND {
        ACCEPT if result >= 0 => {
            // SAFETY: a completed accept gives a descriptor that nobody else has.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            Some(Happened::Connected { listener: (word & !KIND) as usize, socket })
        }
        ACCEPT if !cqueue::more(flags) => {
            Some(Happened::ListenerStopped { listener: (word & !KIND) as usize, error: error() })
        }
        RECEIVE => {
            let connection = word & !KIND;
            let Some(buffer) = cqueue::buffer_select(flags).filter(|_| result > 0) else {
                return Some(Happened::Ended { connection, error: (result < 0).then(error) });
            };
            let length = result as u32; // positive
            let filled = lent.filled.get_mut(usize::from(buffer))?;
            let address = start + u64::from(buffer) * u64::from(size) + u64::from(*filled);
            *filled += length;
            let (emptied, more) = (!cqueue::buffer_more(flags), cqueue::more(flags));
            Some(Happened::Arrived { connection, buffer, address, length, emptied, more })
        }
        POLL => Some(Happened::Woken),
        _ => None,
    }
}

/// Where streams are listened for.
#[derive(Debug)]
pub enum Listening {
    /// At a TCP address.
    Tcp(TcpListener),
    /// At a local socket; its file goes with it.
    Local(UnixListener, PathBuf),
}

impl Listening {
    /// Listens at a TCP address.
    ///
    /// # Errors
    /// The address is not ours, or taken.
    pub fn tcp(address: SocketAddr) -> Result<Self> {
        let cure = "free the address, or write another one under `tcp: listen:`";
        let bound = TcpListener::bind(address);
        bound.map(Self::Tcp).map_err(|cause| IoError::new(format!("listening on {address}"), cause, cure))
    }

    /// Listens at a local socket. What a dead process left there is removed.
    ///
    /// # Errors
    /// Somebody listens there, or the folder cannot be written.
    pub fn local(path: &Path) -> Result<Self> {
        let what = || format!("listening on {}", path.display());
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(IoError::invalid(
                what(),
                "somebody listens there",
                "stop it, or write another path under `tcp: listen:`",
            ));
        }
        if let Err(cause) = std::fs::remove_file(path)
            && cause.kind() != io::ErrorKind::NotFound
        {
            return Err(IoError::new(what(), cause, "check who owns the folder"));
        }
        let bound = UnixListener::bind(path);
        let listener = bound.map_err(|cause| IoError::new(what(), cause, "make the folder, and check who owns it"))?;
        Ok(Self::Local(listener, path.to_owned()))
    }

    /// The TCP address that was got, with its port.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Local(..) => None,
        }
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Local(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Self::Local(_, path) = self {
            let _ = std::fs::remove_file(path); // another start removes what this could not
        }
    }
}

/// Sends what goes out at once, without waiting; gives how many bytes went.
///
/// # Errors
/// The connection is gone.
pub fn send_now(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) => Ok(sent),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Ends a connection for both sides; a receive that waits on it ends too.
pub fn hang_up(socket: impl AsFd) {
    let _ = rustix::net::shutdown(socket, Shutdown::Both); // one that is gone needs no ending
}

/// Makes a connection notice a dead other side within `idle` and some probes, and send small words at once.
pub fn keep_alive(socket: impl AsFd, idle: Duration) {
    let socket = socket.as_fd();
    // Local sockets know none of these, and do without.
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, idle);
    let _ = sockopt::set_tcp_keepintvl(socket, idle / 4);
    let _ = sockopt::set_tcp_keepcnt(socket, 4);
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

/// Both ends of a connection, ours first; a local socket's are loopback addresses with port 0.
#[must_use]
pub fn ends(socket: impl AsFd) -> [SocketAddr; 2] {
    let none = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let ours = rustix::net::getsockname(&socket).ok().and_then(|address| SocketAddr::try_from(address).ok());
    let theirs =
        rustix::net::getpeername(&socket).ok().flatten().and_then(|address| SocketAddr::try_from(address).ok());
    [ours.unwrap_or(none), theirs.unwrap_or(none)]
}
