//! What forwarded frames cost and how late they are, while somebody asks.
//!
//! Functions of their own, so that who is not watched pays for one question of a word that was read anyway.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use weir_ebpf_abi::decode::Decoded;

use crate::maps::{Maps, WATCHED};

/// Notes when a frame came in.
#[inline(always)]
pub(crate) fn begin(maps: &Maps) {
    if maps.control.watch != 0 {
        watch_begin();
    }
}

/// Counts a frame that is to be forwarded: what it has cost until here, and how late its message is.
#[inline(always)]
pub(crate) fn forwarded(maps: &Maps, decoded: &Decoded) {
    if maps.control.watch != 0 {
        watch_forwarded(decoded);
    }
}

/// [`begin`], apart.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn watch_begin() -> u32 {
    let Some(place) = WATCHED.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's own value, which no other program touches while this one runs; a helper without arguments.
    unsafe { (*place).begin_ns = bpf_ktime_get_ns() };
    0
}

/// [`forwarded`], apart.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn watch_forwarded(decoded: *const Decoded) -> u32 {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let (Some(maps), Some(place)) = (Maps::open(), WATCHED.get_ptr_mut(0)) else { return 1 };
    if decoded.is_null() {
        return 1;
    }
    // SAFETY: not null; the verifier has checked at the call that it points to a whole value. The other is this CPU's own.
    let (decoded, watched) = unsafe { (&*decoded, &mut *place) };
    watched.forwarded(maps.control.watch, now, decoded);
    0
}
