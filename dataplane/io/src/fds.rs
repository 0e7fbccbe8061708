//! Messages with file descriptors over unix sockets. `SOCK_SEQPACKET`: a message arrives whole or not at all.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recvmsg, sendmsg, socket_with, socketpair,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{IoError, Result};

/// Descriptors one message can carry. The kernel allows 253 (`SCM_MAX_FD`); a taker with all its rings needs fewer.
pub const DESCRIPTORS_MAX: usize = 64;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// One end of a connection.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

/// Who is at the other end, as the kernel recorded when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process number.
    pub pid: u32,
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
}

/// A message that arrived.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes of the message; 0 means that the other end has closed.
    pub length: usize,
    /// The descriptors it carried, close-on-exec, in order.
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn pair() -> Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|cause| IoError::new("creating a socket pair", cause, "raise `ulimit -n`"))?;
        Ok((Self { fd: one }, Self { fd: other }))
    }

    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// `ENOENT` or `ECONNREFUSED` when nobody listens there, `EACCES` when this user may not.
    pub fn connect(path: &Path) -> Result<Self> {
        let fail = |cause| {
            let what = format!("connecting to {}", path.display());
            IoError::new(what, cause, "start what listens there, or run as a user who may open it")
        };
        let address = SocketAddrUnix::new(path).map_err(fail)?;
        let fd = seqpacket().map_err(fail)?;
        connect(&fd, &address).map_err(fail)?;
        Ok(Self { fd })
    }

    /// A connected socket that was inherited or passed on.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The socket itself, to be inherited.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Sends `bytes` with `descriptors`; the receiver gets duplicates.
    ///
    /// # Errors
    /// More than [`DESCRIPTORS_MAX`] descriptors; `EPIPE` when the other end has closed; `EMSGSIZE` beyond the socket's
    /// buffer.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let what = || format!("sending {} bytes and {} descriptors", bytes.len(), descriptors.len());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        // Counted here, since the space is rounded up and may take one more.
        let fits = descriptors.len() <= DESCRIPTORS_MAX
            && (descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
        if !fits {
            let cure = format!("send at most {DESCRIPTORS_MAX} in one message");
            return Err(IoError::invalid(what(), "too many descriptors", cure));
        }
        loop {
            match sendmsg(&self.fd, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(cause) => return Err(IoError::new(what(), cause, "see whether the other end still runs")),
            }
        }
    }

    /// Waits for one message and puts its bytes into `into`.
    ///
    /// # Errors
    /// A message longer than `into` or with more than [`DESCRIPTORS_MAX`] descriptors (what came is closed again), or
    /// what recvmsg says.
    pub fn receive(&self, into: &mut [u8]) -> Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let room = into.len();
        let message = loop {
            let mut parts = [IoSliceMut::new(into)];
            match recvmsg(&self.fd, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message,
                Err(Errno::INTR) => {}
                Err(cause) => {
                    return Err(IoError::new("receiving a message", cause, "see whether the other end still runs"));
                }
            }
        };
        let mut descriptors = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = part {
                descriptors.extend(passed);
            }
        }
        if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            let cause = format!("it is longer than {room} bytes or carries more than {DESCRIPTORS_MAX} descriptors");
            return Err(IoError::invalid("receiving a message", cause, "run the same version at both ends"));
        }
        Ok(Received { length: message.bytes, descriptors })
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// What getsockopt says; nothing in normal use.
    pub fn peer(&self) -> Result<Peer> {
        peer_of(&self.fd)
    }
}

/// Who is at the other end of a connected unix socket.
///
/// # Errors
/// What getsockopt says; nothing in normal use.
pub fn peer_of(socket: impl AsFd) -> Result<Peer> {
    let peer = socket_peercred(socket)
        .map_err(|cause| IoError::new("asking for the peer's credentials", cause, "use a connected unix socket"))?;
    // Process numbers are positive.
    Ok(Peer { pid: peer.pid.as_raw_nonzero().get() as u32, uid: peer.uid.as_raw(), gid: peer.gid.as_raw() })
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A socket others connect to.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Listens at `path`, readable and writable for the owner only. A socket that a dead process left there is replaced;
    /// one that somebody answers is not.
    ///
    /// # Errors
    /// `EADDRINUSE` when somebody answers at `path`, `ENOENT` when its folder is missing.
    pub fn bind(path: &Path) -> Result<Self> {
        let fail = |cause| {
            let what = format!("listening at {}", path.display());
            IoError::new(what, cause, "stop the process that listens there, or create the folder")
        };
        let address = SocketAddrUnix::new(path).map_err(fail)?;
        let fd = seqpacket().map_err(fail)?;
        match bind(&fd, &address) {
            Err(Errno::ADDRINUSE) if is_abandoned(&address) => {
                rustix::fs::unlink(path).map_err(fail)?;
                bind(&fd, &address).map_err(fail)?;
            }
            result => result.map_err(fail)?,
        }
        rustix::fs::chmod(path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).map_err(fail)?;
        listen(&fd, BACKLOG).map_err(fail)?;
        Ok(Self { fd })
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// What accept says: `EMFILE` when the process has no descriptor left.
    pub fn accept(&self) -> Result<Channel> {
        loop {
            match accept_with(&self.fd, SocketFlags::CLOEXEC) {
                Ok(fd) => return Ok(Channel { fd }),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(cause) => return Err(IoError::new("accepting a connection", cause, "raise `ulimit -n`")),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn seqpacket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// True when nobody answers at `address`.
fn is_abandoned(address: &SocketAddrUnix) -> bool {
    seqpacket().and_then(|probe| connect(&probe, address)) == Err(Errno::CONNREFUSED)
}

/// Lets this process open `wanted` descriptors, as far as its hard limit goes; gives how many it may open now. A limit that
/// is higher already stays.
pub fn allow_descriptors(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (now, most) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let next = wanted.min(most);
    if next <= now {
        return now;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(next), maximum: limit.maximum }) {
        Ok(()) => next,
        Err(_) => now,
    }
}
