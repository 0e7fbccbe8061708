//! What can be wrong with a capture, said in one line with the offset, the value and the cure.

use super::CAPTURED_BYTES_MAX;

/// Why a capture cannot be read, or not any further. Offsets count bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The operating system refused to read or write.
    #[error(
        "byte {offset}: the capture cannot be read or written: {source}; check the path, its permissions and the disk"
    )]
    Io {
        /// Where in the file.
        offset: u64,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The first bytes are those of no capture format.
    #[error("byte 0: magic number 0x{magic:08x} is neither pcap nor pcapng; {cure}")]
    NotACapture {
        /// First four bytes of the file, the first one highest.
        magic: u32,
        /// What to do about it.
        cure: &'static str,
    },
    /// The file ends inside a record.
    #[error(
        "byte {offset}: {what} needs {wanted} bytes but the file ends after {found}; it was cut short: the frames before it are whole, copy it again or repair it with `editcap IN OUT`"
    )]
    CutShort {
        /// Where the record begins to miss bytes.
        offset: u64,
        /// Name of the part that is incomplete.
        what: &'static str,
        /// Bytes that the part needs.
        wanted: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A length field is over the limit.
    #[error(
        "byte {offset}: {what} of {length} bytes is over the limit of {limit}; the length field is damaged, or cut the frames with `editcap -s {CAPTURED_BYTES_MAX} IN OUT`"
    )]
    TooLong {
        /// Where the record begins.
        offset: u64,
        /// Name of the part.
        what: &'static str,
        /// Length that the file states.
        length: u64,
        /// Most that is accepted.
        limit: u64,
    },
    /// A length field contradicts the record it stands in.
    #[error(
        "byte {offset}: {what} of {length} bytes does not fit its block; the file is damaged: the frames before it are whole, copy it again"
    )]
    BadLength {
        /// Where the block begins.
        offset: u64,
        /// Name of the part.
        what: &'static str,
        /// Length that the file states.
        length: u64,
    },
    /// A pcapng section starts with an unknown byte-order mark.
    #[error(
        "byte {offset}: byte-order mark 0x{mark:08x} is not 0x1a2b3c4d in either order; the section header is damaged, copy the file again"
    )]
    BadByteOrder {
        /// Where the section header begins.
        offset: u64,
        /// Value found, read as little-endian.
        mark: u32,
    },
    /// A file of a version that nobody has defined.
    #[error("byte {offset}: format version {major}.{minor} is unknown; rewrite the file with `editcap -F pcap IN OUT`")]
    BadVersion {
        /// Where the version stands.
        offset: u64,
        /// Major number found.
        major: u16,
        /// Minor number found.
        minor: u16,
    },
    /// A pcapng packet names an interface that no block has described.
    #[error(
        "byte {offset}: frame of interface {interface} but the section describes {known}; the file is damaged, rewrite it with `editcap IN OUT`"
    )]
    UnknownInterface {
        /// Where the packet block begins.
        offset: u64,
        /// Interface number that the packet names.
        interface: u32,
        /// Interfaces that the section has described so far.
        known: usize,
    },
    /// More interfaces than any real capture has.
    #[error(
        "byte {offset}: more than {limit} interfaces in one section; the file is damaged, or split it with `editcap -c 100000 IN OUT`"
    )]
    TooManyInterfaces {
        /// Where the interface block begins.
        offset: u64,
        /// Most that is accepted.
        limit: usize,
    },
}

impl CaptureError {
    /// The error for a file that begins with `magic`, with a cure for the formats people mistake for captures.
    pub(super) fn not_a_capture(magic: [u8; 4]) -> Self {
        let cure = match magic {
            [0x1f, 0x8b, ..] => "it is gzip: unpack it with `gunzip` first",
            [0x28, 0xb5, 0x2f, 0xfd] => "it is zstd: unpack it with `unzstd` first",
            [0xfd, b'7', b'z', b'X'] => "it is xz: unpack it with `unxz` first",
            [b'P', b'K', ..] => "it is a zip archive: unpack it with `unzip` first",
            _ => "convert it with `editcap -F pcap IN OUT`",
        };
        Self::NotACapture { magic: u32::from_be_bytes(magic), cure }
    }
}
