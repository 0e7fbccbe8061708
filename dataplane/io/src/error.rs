//! What a kernel call says when it refuses: the value, the cause and the cure, in one line.

use std::borrow::Cow;
use std::io;

use rustix::io::Errno;
use weir_dataplane_ring::RingError;

/// A refused kernel call, or a value that would make the kernel refuse it.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}; {cure}")]
pub struct IoError {
    /// What was tried, with its values.
    pub what: String,
    /// What the kernel said.
    pub cause: io::Error,
    /// What to do about it.
    pub cure: Cow<'static, str>,
}

/// The result of a kernel call.
pub type Result<T> = std::result::Result<T, IoError>;

impl IoError {
    /// An error with its cure.
    pub fn new(what: impl Into<String>, cause: impl Into<io::Error>, cure: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), cause: cause.into(), cure: cure.into() }
    }

    /// A value that is refused before the kernel sees it.
    pub fn invalid(what: impl Into<String>, cause: impl Into<String>, cure: impl Into<Cow<'static, str>>) -> Self {
        Self::new(what, io::Error::new(io::ErrorKind::InvalidInput, cause.into()), cure)
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.cause)
    }
}

impl From<RingError> for IoError {
    fn from(error: RingError) -> Self {
        Self::invalid("ring layout", error.to_string(), "give a power-of-two size that the mapping can hold")
    }
}
