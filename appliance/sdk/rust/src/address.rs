//! Where a box listens, and a connection to it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use weir_ebpf_abi::stream::PORT_STREAM;

use crate::error::StreamFailure;

/// Where a box listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestAddress {
    /// `HOST:PORT`, or `tcp:HOST` for port [`PORT_STREAM`].
    Tcp(String, u16),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl FromStr for IngestAddress {
    type Err = StreamFailure;

    fn from_str(text: &str) -> Result<Self, StreamFailure> {
        let invalid = || StreamFailure::Address { address: text.to_owned() };
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("unix", _)) | None => Err(invalid()),
            Some((kind, rest)) => {
                let place = if kind == "tcp" { rest } else { text };
                let (host, port) = match place.rsplit_once(':') {
                    // An IPv6 address stands in brackets, so that its colons are not taken for a port's.
                    Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| invalid())?),
                    _ => (place, PORT_STREAM),
                };
                let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                if host.is_empty() || host.contains('/') {
                    Err(invalid())
                } else {
                    Ok(Self::Tcp(host.to_owned(), port))
                }
            }
        }
    }
}

impl fmt::Display for IngestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl IngestAddress {
    /// Where the box of this machine listens unless configured otherwise.
    pub const LOCAL: &str = "unix:/run/weir/ingest.sock";

    /// Whether the box shares this machine's monotonic clock.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Connects, trying each of a name's addresses for at most `timeout`.
    pub(crate) fn connect(&self, timeout: Duration) -> io::Result<Socket> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(Socket::Unix),
            Self::Tcp(host, port) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => {
                            // Blocks are whole already: waiting for more to send with them would only delay them.
                            stream.set_nodelay(true)?;
                            return Ok(Socket::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Ends both directions; whoever reads or writes returns at once.
    pub(crate) fn shutdown(&self) {
        // A connection that is gone already is what was wanted.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_they_are_written() {
        for text in ["unix:/run/weir/ingest.sock", "10.9.0.2:48103", "box:9", "[fd00::2]:5"] {
            assert_eq!(text.parse::<IngestAddress>().unwrap().to_string(), text);
        }
        for (text, whole) in [("tcp:box", "box:48103"), ("tcp:[::1]", "[::1]:48103"), ("tcp:10.0.0.1:7", "10.0.0.1:7")]
        {
            assert_eq!(text.parse::<IngestAddress>().unwrap().to_string(), whole);
        }
        for text in ["", "box", "/run/x", "unix:", "unix:x", "tcp:", "tcp::9", "tcp:box:x", "tcp:box:70000", "http://x"]
        {
            let error = text.parse::<IngestAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("unix:/"), "{error}");
        }
    }
}
