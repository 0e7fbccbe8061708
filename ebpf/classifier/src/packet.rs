//! The packet pointer as the decoder's cursor.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use weir_ebpf_abi::decode::Reader;
use weir_ebpf_abi::rewrite::Writer;

use crate::maps::zero;

/// A cursor in the first buffer of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    at: *mut u8,
    end: *mut u8,
    ctx: *mut xdp_md,
}

impl Packet {
    /// At the frame's first byte.
    #[inline(always)]
    pub(crate) fn new(ctx: *mut xdp_md) -> Packet {
        // SAFETY: the kernel passes a valid context; both fields are rewritten by the verifier into pointers.
        let (at, end) = unsafe { ((*ctx).data as usize as *mut u8, (*ctx).data_end as usize as *mut u8) };
        Packet { at, end, ctx }
    }

    #[inline(always)]
    fn read<T: Copy>(self, at: usize) -> T {
        // SAFETY: the decoder reads only where `has` said yes, and the verifier refuses the program if it ever does
        // not: a wrong read cannot be loaded, let alone run.
        unsafe { core::ptr::read_unaligned(self.at.wrapping_add(at).cast::<T>()) }
    }

    #[inline(always)]
    fn write<T>(self, at: usize, value: T) {
        // SAFETY: as for `read`; the classifier alone has the frame while it runs.
        unsafe { core::ptr::write_unaligned(self.at.wrapping_add(at).cast::<T>(), value) }
    }
}

/// Bytes of the frame's first buffer.
#[inline(always)]
pub(crate) fn first_buffer(ctx: *mut xdp_md) -> u64 {
    // SAFETY: the kernel passes a valid context; the verifier lets programs with CAP_PERFMON subtract the pointers.
    let (start, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    end.wrapping_sub(start) as u64
}

/// Bytes of a frame over all its buffers; a helper call, which costs as much as a header.
#[inline(always)]
pub(crate) fn frame_length(ctx: *mut xdp_md) -> u64 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_xdp_get_buff_len(ctx) }
}

impl Reader for Packet {
    #[inline(always)]
    fn has(self, bytes: usize) -> bool {
        self.at.wrapping_add(bytes) <= self.end
    }
    #[inline(always)]
    fn u8(self, at: usize) -> u8 {
        self.read(at)
    }
    #[inline(always)]
    fn be16(self, at: usize) -> u16 {
        u16::from_be(self.read(at))
    }
    #[inline(always)]
    fn be32(self, at: usize) -> u32 {
        u32::from_be(self.read(at))
    }
    #[inline(always)]
    fn be64(self, at: usize) -> u64 {
        u64::from_be(self.read(at))
    }
    #[inline(always)]
    fn le16(self, at: usize) -> u16 {
        u16::from_le(self.read(at))
    }
    #[inline(always)]
    fn le32(self, at: usize) -> u32 {
        u32::from_le(self.read(at))
    }
    #[inline(always)]
    fn le64(self, at: usize) -> u64 {
        u64::from_le(self.read(at))
    }
    #[inline(always)]
    fn skip(self, bytes: usize) -> Self {
        Packet { at: self.at.wrapping_add(bytes), ..self }
    }
    #[inline(always)]
    fn frame_length(self) -> usize {
        frame_length(self.ctx) as usize
    }
    #[inline(always)]
    fn forget(self, number: u16) -> u16 {
        number ^ zero()
    }
}

impl Writer for Packet {
    #[inline(always)]
    fn set_u8(self, at: usize, value: u8) {
        self.write(at, value);
    }
    #[inline(always)]
    fn set_be16(self, at: usize, value: u16) {
        self.write(at, value.to_be());
    }
    #[inline(always)]
    fn set_be32(self, at: usize, value: u32) {
        self.write(at, value.to_be());
    }
    #[inline(always)]
    fn set_be64(self, at: usize, value: u64) {
        self.write(at, value.to_be());
    }
}
