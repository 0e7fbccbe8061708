//! pcapng: a chain of blocks `{type, length, body, length}`; a file may hold several sections of either byte order.
//!
//! Format: draft-ietf-opsawg-pcapng. Section headers, interface descriptions and the three packet blocks are read;
//! every other block is passed over by its length.

use std::io::Read;

use super::input::Input;
use super::{CAPTURED_BYTES_MAX, CaptureError, LinkType, Located, Order};

/// Block type of a section header: a palindrome, so that it reads alike in both byte orders.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const INTERFACE_DESCRIPTION: u32 = 1;
/// Packet block, obsolete since 2004 and still met in old files.
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MARK: u32 = 0x1a2b_3c4d;

/// Type and the two length words around a block's body.
const BLOCK_FRAMING: u64 = 12;
/// Most bytes of a block that is kept in memory: a frame of the largest size plus 64 KiB of options.
const BLOCK_BYTES_MAX: u64 = CAPTURED_BYTES_MAX as u64 + 64 * 1024;
/// Most interfaces of one section; real captures have a handful.
const INTERFACES_MAX: usize = 4096;

const OPTION_END: u16 = 0;
const OPTION_TIMESTAMP_RESOLUTION: u16 = 9;
const OPTION_TIMESTAMP_OFFSET: u16 = 14;

/// State of the section at hand.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
}

/// One interface description block.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snap_length: u32,
    resolution: Resolution,
    offset_seconds: i64,
}

/// Units of a timestamp: one second is so many of them.
#[derive(Clone, Copy, Debug)]
struct Resolution {
    units_per_second: u128,
}

impl Resolution {
    /// From the `if_tsresol` byte: a negative power of ten, or of two when the top bit is set.
    fn from_option(byte: u8) -> Self {
        let exponent = u32::from(byte & 0x7f);
        let units_per_second =
            if byte & 0x80 == 0 { 10u128.checked_pow(exponent) } else { 1u128.checked_shl(exponent) };
        // Finer than 10^-38 s is nonsense; every stamp then rounds to zero instead of overflowing.
        Self { units_per_second: units_per_second.unwrap_or(u128::MAX) }
    }

    /// A stamp in nanoseconds since 1970, clamped to what 64 bits hold (the year 2554).
    fn nanoseconds(self, stamp: u64, offset_seconds: i64) -> u64 {
        let stamp = u128::from(stamp);
        // Split at the second so that the product cannot overflow for any resolution up to 10^-29.
        let whole = stamp / self.units_per_second;
        let rest = (stamp % self.units_per_second).saturating_mul(1_000_000_000) / self.units_per_second;
        let nanoseconds = whole.saturating_mul(1_000_000_000).saturating_add(rest);
        let shifted =
            i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(i128::from(offset_seconds) * 1_000_000_000);
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

impl Pcapng {
    /// Reads the first section header, whose block type has been read already.
    pub(super) fn read_first_section<R: Read>(input: &mut Input<R>) -> Result<Self, CaptureError> {
        let mut section = Self { order: Order::Little, interfaces: Vec::new() };
        let raw_length = input.array("section header")?;
        section.begin_section(input, raw_length)?;
        Ok(section)
    }

    /// Reads blocks until one holds a frame; `None` at the regular end of the file.
    pub(super) fn next<R: Read>(
        &mut self,
        input: &mut Input<R>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Located>, CaptureError> {
        loop {
            let offset = input.offset();
            let Some(head) = input.array_or_end::<8>("block header")? else { return Ok(None) };
            if head[..4] == SECTION_HEADER {
                self.begin_section(input, [head[4], head[5], head[6], head[7]])?;
                continue;
            }
            let body = block_body(offset, self.order.u32(&head, 4))?;
            match self.order.u32(&head, 0) {
                kind @ (INTERFACE_DESCRIPTION | OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET) => {
                    read_body(input, buffer, offset, body)?;
                    let located = match kind {
                        INTERFACE_DESCRIPTION => self.add_interface(offset, buffer).map(|()| None),
                        OBSOLETE_PACKET => self.packet(offset, buffer, 2).map(Some),
                        ENHANCED_PACKET => self.packet(offset, buffer, 4).map(Some),
                        _ => self.simple_packet(offset, buffer).map(Some),
                    }?;
                    if located.is_some() {
                        return Ok(located);
                    }
                }
                _ => input.skip(body + 4, "block")?,
            }
        }
    }

    /// Starts a section: the byte order may change and the interfaces are forgotten.
    fn begin_section<R: Read>(&mut self, input: &mut Input<R>, raw_length: [u8; 4]) -> Result<(), CaptureError> {
        let offset = input.offset().saturating_sub(8);
        let fixed: [u8; 16] = input.array("section header")?;
        self.order = match Order::Little.u32(&fixed, 0) {
            BYTE_ORDER_MARK => Order::Little,
            mark if mark.swap_bytes() == BYTE_ORDER_MARK => Order::Big,
            mark => return Err(CaptureError::BadByteOrder { offset, mark }),
        };
        let (major, minor) = (self.order.u16(&fixed, 4), self.order.u16(&fixed, 6));
        if major != 1 {
            return Err(CaptureError::BadVersion { offset, major, minor });
        }
        let length = self.order.u32(&raw_length, 0);
        let body = block_body(offset, length)?;
        let Some(options) = body.checked_sub(fixed.len() as u64) else {
            return Err(CaptureError::BadLength { offset, what: "section header", length: u64::from(length) });
        };
        self.interfaces.clear();
        input.skip(options + 4, "section header")
    }

    /// Keeps what an interface description says about the frames that name it.
    fn add_interface(&mut self, offset: u64, body: &[u8]) -> Result<(), CaptureError> {
        let bad = CaptureError::BadLength { offset, what: "interface description", length: body.len() as u64 };
        if body.len() < 8 {
            return Err(bad);
        }
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(CaptureError::TooManyInterfaces { offset, limit: INTERFACES_MAX });
        }
        let mut interface = Interface {
            link: LinkType::from_number(u32::from(self.order.u16(body, 0))),
            snap_length: self.order.u32(body, 4),
            resolution: Resolution::from_option(6), // microseconds unless an option says otherwise
            offset_seconds: 0,
        };
        let mut options = &body[8..];
        while options.len() >= 4 {
            let (code, length) = (self.order.u16(options, 0), usize::from(self.order.u16(options, 2)));
            if code == OPTION_END {
                break;
            }
            let Some(value) = options.get(4..4 + length) else { return Err(bad) };
            match (code, value) {
                (OPTION_TIMESTAMP_RESOLUTION, [byte, ..]) => interface.resolution = Resolution::from_option(*byte),
                (OPTION_TIMESTAMP_OFFSET, [_, _, _, _, _, _, _, _]) => {
                    let (first, second) = (u64::from(self.order.u32(value, 0)), u64::from(self.order.u32(value, 4)));
                    let raw = match self.order {
                        Order::Little => second << 32 | first,
                        Order::Big => first << 32 | second,
                    };
                    interface.offset_seconds = raw.cast_signed();
                }
                _ => {}
            }
            options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// Finds the frame in an enhanced packet (4-byte interface number) or an obsolete one (2 bytes, and 2 of drops).
    fn packet(&self, offset: u64, body: &[u8], interface_bytes: usize) -> Result<Located, CaptureError> {
        if body.len() < 20 {
            return Err(CaptureError::BadLength { offset, what: "packet block", length: body.len() as u64 });
        }
        let number = match interface_bytes {
            2 => u32::from(self.order.u16(body, 0)),
            _ => self.order.u32(body, 0),
        };
        let interface = self.interface(offset, number)?;
        let stamp = u64::from(self.order.u32(body, 4)) << 32 | u64::from(self.order.u32(body, 8));
        let length = self.order.u32(body, 12) as usize;
        check_frame(offset, length, body.len() - 20)?;
        Ok(Located {
            start: 20,
            length,
            original_length: self.order.u32(body, 16),
            time_ns: interface.resolution.nanoseconds(stamp, interface.offset_seconds),
            link: interface.link,
        })
    }

    /// Finds the frame in a simple packet, which states its wire length only and belongs to the first interface.
    fn simple_packet(&self, offset: u64, body: &[u8]) -> Result<Located, CaptureError> {
        if body.len() < 4 {
            return Err(CaptureError::BadLength { offset, what: "simple packet block", length: body.len() as u64 });
        }
        let interface = self.interface(offset, 0)?;
        let original_length = self.order.u32(body, 0);
        let kept = match interface.snap_length {
            0 => original_length, // 0 means no limit
            snap_length => original_length.min(snap_length),
        };
        check_frame(offset, kept as usize, body.len() - 4)?;
        Ok(Located { start: 4, length: kept as usize, original_length, time_ns: 0, link: interface.link })
    }

    fn interface(&self, offset: u64, number: u32) -> Result<Interface, CaptureError> {
        let known = self.interfaces.len();
        let found = self.interfaces.get(number as usize).copied();
        found.ok_or(CaptureError::UnknownInterface { offset, interface: number, known })
    }
}

/// Length of a block's body from its total length, which counts type, both length words and padding to 4 bytes.
fn block_body(offset: u64, length: u32) -> Result<u64, CaptureError> {
    let length = u64::from(length);
    if length < BLOCK_FRAMING || !length.is_multiple_of(4) {
        return Err(CaptureError::BadLength { offset, what: "block", length });
    }
    Ok(length - BLOCK_FRAMING)
}

/// Reads a block's body into `buffer` and checks that the length behind it repeats the one before it.
fn read_body<R: Read>(input: &mut Input<R>, buffer: &mut Vec<u8>, offset: u64, body: u64) -> Result<(), CaptureError> {
    if body > BLOCK_BYTES_MAX {
        return Err(CaptureError::TooLong { offset, what: "block", length: body, limit: BLOCK_BYTES_MAX });
    }
    buffer.resize(body as usize, 0);
    input.exact(buffer, "block")?;
    input.skip(4, "block trailer")
}

/// Refuses a frame that is over the limit or longer than what its block holds.
fn check_frame(offset: u64, length: usize, room: usize) -> Result<(), CaptureError> {
    if length > CAPTURED_BYTES_MAX {
        let limit = CAPTURED_BYTES_MAX as u64;
        return Err(CaptureError::TooLong { offset, what: "frame", length: length as u64, limit });
    }
    if length > room {
        return Err(CaptureError::BadLength { offset, what: "frame", length: length as u64 });
    }
    Ok(())
}
