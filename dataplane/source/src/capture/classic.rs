//! Classic pcap: a 24-byte file header, then records of a 16-byte header and the frame.
//!
//! Format: draft-ietf-opsawg-pcap. Two magic numbers tell microseconds from nanoseconds, their byte order tells the
//! writer's; a third marks the files of an old Linux patch whose records carry 8 bytes more.

use std::io::Read;

use super::input::Input;
use super::{CAPTURED_BYTES_MAX, CaptureError, LinkType, Located, Order};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const MAGIC_PATCHED: u32 = 0xa1b2_cd34;
/// Bytes of the file header behind the magic number.
const HEADER_REST: usize = 20;
const RECORD_HEADER: usize = 16;
/// Interface index, protocol and packet type that patched files add to each record.
const PATCHED_EXTRA: u64 = 8;
/// The upper six bits of the link-type word describe the frame check sequence (libpcap's LT_LINKTYPE).
const LINK_TYPE_MASK: u32 = 0x03ff_ffff;

/// What the file header says about all records.
#[derive(Debug)]
pub(super) struct Classic {
    order: Order,
    nanoseconds_per_fraction: u64,
    patched: bool,
    link: LinkType,
}

impl Classic {
    /// The format behind a magic number, or `None` if it is not pcap.
    pub(super) fn from_magic(magic: [u8; 4]) -> Option<Self> {
        [Order::Little, Order::Big].into_iter().find_map(|order| {
            let (nanoseconds_per_fraction, patched) = match order.u32(&magic, 0) {
                MAGIC_MICROSECONDS => (1_000, false),
                MAGIC_NANOSECONDS => (1, false),
                MAGIC_PATCHED => (1_000, true),
                _ => return None,
            };
            Some(Self { order, nanoseconds_per_fraction, patched, link: LinkType::Ethernet })
        })
    }

    /// Reads what follows the magic number.
    pub(super) fn read_header<R: Read>(mut self, input: &mut Input<R>) -> Result<Self, CaptureError> {
        let offset = input.offset();
        let header: [u8; HEADER_REST] = input.array("pcap file header")?;
        let (major, minor) = (self.order.u16(&header, 0), self.order.u16(&header, 2));
        // 2.2 and earlier swapped two length fields; no tool of the last 25 years writes them.
        if major != 2 || minor < 3 {
            return Err(CaptureError::BadVersion { offset, major, minor });
        }
        self.link = LinkType::from_number(self.order.u32(&header, 16) & LINK_TYPE_MASK);
        Ok(self)
    }

    /// Reads one record into `buffer`; `None` at the regular end of the file.
    pub(super) fn next<R: Read>(
        &self,
        input: &mut Input<R>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Located>, CaptureError> {
        let offset = input.offset();
        let Some(header) = input.array_or_end::<RECORD_HEADER>("record header")? else { return Ok(None) };
        let seconds = u64::from(self.order.u32(&header, 0));
        let fraction = u64::from(self.order.u32(&header, 4));
        let length = self.order.u32(&header, 8) as usize;
        if length > CAPTURED_BYTES_MAX {
            let limit = CAPTURED_BYTES_MAX as u64;
            return Err(CaptureError::TooLong { offset, what: "frame", length: length as u64, limit });
        }
        if self.patched {
            input.skip(PATCHED_EXTRA, "record header")?;
        }
        buffer.resize(length, 0);
        input.exact(buffer, "frame")?;
        Ok(Some(Located {
            start: 0,
            length,
            original_length: self.order.u32(&header, 12),
            time_ns: seconds * 1_000_000_000 + fraction * self.nanoseconds_per_fraction,
            link: self.link,
        }))
    }
}
