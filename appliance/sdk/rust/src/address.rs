//! Where a box takes streams.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::StreamFailure;

/// `unix:/run/weir/ingest.sock`, or a host and port such as `192.0.2.1:48103`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestAddress {
    /// A host's name or address, and a port.
    Tcp(String),
    /// A local socket.
    Local(PathBuf),
}

impl IngestAddress {
    /// The box's own local socket.
    pub const LOCAL: &str = "unix:/run/weir/ingest.sock";
}

impl FromStr for IngestAddress {
    type Err = StreamFailure;

    fn from_str(text: &str) -> Result<Self, StreamFailure> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Local(PathBuf::from(path)));
        }
        let port = text.rsplit_once(':').and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
        match port {
            Some(_) => Ok(Self::Tcp(text.to_owned())),
            None => Err(StreamFailure::Address { address: text.to_owned() }),
        }
    }
}

impl fmt::Display for IngestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Local(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
