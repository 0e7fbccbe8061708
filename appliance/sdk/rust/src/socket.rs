//! A stream socket that never makes its caller wait longer than asked.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::address::IngestAddress;

/// Time a TCP connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// Either kind, not blocking.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Local(UnixStream),
}

impl Socket {
    pub(crate) fn connect(address: &IngestAddress) -> io::Result<Self> {
        match address {
            IngestAddress::Local(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Self::Local(stream))
            }
            IngestAddress::Tcp(address) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            stream.set_nonblocking(true)?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// Reads what is there; `None` when nothing is.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let read = match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Local(stream) => stream.read(into),
        };
        none_if_later(read)
    }

    /// Writes what goes out at once; `None` when nothing does.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let written = match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Local(stream) => stream.write(bytes),
        };
        none_if_later(written)
    }

    /// Waits until there is something to read, or room to write if that is wanted too.
    pub(crate) fn wait(&self, to_write: bool, timeout: Duration) {
        let wanted = if to_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let timeout = Timespec::try_from(timeout).unwrap_or_default();
        // A signal or a fault ends the wait early; the caller looks again, and at its deadline.
        let _ = poll(&mut [PollFd::new(self, wanted)], Some(&timeout));
    }
}

fn none_if_later(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Local(stream) => stream.as_fd(),
        }
    }
}
