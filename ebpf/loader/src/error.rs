//! What can go wrong between the classifier and the kernel; each message names the value, the cause and the cure.

use std::path::PathBuf;

/// An error of the loader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The kernel refused the object.
    #[error(
        "the classifier cannot be loaded: {cause}; it needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (or root) and Linux 6.6 or later"
    )]
    Load {
        /// What the kernel or the object's parser said.
        cause: String,
    },
    /// The embedded object lacks a map or program, or one has another type.
    #[error("the classifier's object has no usable `{name}`: {cause}; rebuild it with `cargo xtask classifier`")]
    Object {
        /// Name of the map or program.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A map refused a value.
    #[error("map {map}, entry {entry}: {cause}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// Index of the entry.
        entry: u32,
        /// What the kernel said.
        cause: String,
    },
    /// A pin could not be made, opened or removed.
    #[error("pin {}: {cause}; pins live on a BPF file system: `mount -t bpf bpf /sys/fs/bpf`", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        cause: String,
    },
    /// The interface has no such name in this network namespace.
    #[error("interface {interface}: there is none of this name here; `ip link` lists them")]
    NoInterface {
        /// The name.
        interface: String,
    },
    /// The program was not attached.
    #[error(
        "interface {interface}: the classifier cannot be attached: {cause}; another XDP program is removed with `ip link set dev {interface} xdp off`"
    )]
    Attach {
        /// The name.
        interface: String,
        /// What the kernel said, for each mode tried.
        cause: String,
    },
    /// Too many of something.
    #[error("{found} {what}: the classifier holds {limit}; combine some")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many fit.
        limit: usize,
    },
    /// A value is outside its range.
    #[error("{what} {value}: {cause}")]
    Value {
        /// Of what.
        what: &'static str,
        /// The value.
        value: String,
        /// Why it cannot be, and what can.
        cause: &'static str,
    },
    /// A test-run was refused.
    #[error(
        "program {program} on a frame of {length} bytes: {cause}; a test-run takes frames of 14 bytes or more and needs CAP_BPF"
    )]
    Run {
        /// Name of the program.
        program: &'static str,
        /// Bytes of the frame.
        length: usize,
        /// What the kernel said.
        cause: String,
    },
}
