//! The parts that the verifier checks by themselves.
//!
//! A global function is verified once, for any argument, instead of once for every way that leads to its call: the
//! sum of its ways and the caller's instead of their product. What it gives back the verifier knows nothing about,
//! so callers check offsets again.

use aya_ebpf::bindings::xdp_md;
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::decide::{Steered, steer};
use weir_ebpf_abi::decode::{Decoded, Layers, Reader, decode, decode_inner};
use weir_ebpf_abi::flow::fingerprint;
use weir_ebpf_abi::services::Wrap;
use weir_ebpf_abi::wrap::encapsulate;

use crate::maps::{Maps, RULES, zero};
use crate::packet::Packet;

/// For [`explain`](crate::classify::explain) only: the classifier itself decodes in line, since a call and its return
/// cost as much as a header. Decodes the frame's own headers into `decoded`, which is all zeros; 0 when done.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn decode_frame(ctx: *mut xdp_md, decoded: *mut Decoded) -> u32 {
    if decoded.is_null() {
        return 1;
    }
    // SAFETY: not null; the verifier has checked at the call that it points to a whole value.
    decode(Packet::new(ctx), unsafe { &mut *decoded });
    0
}

/// Decodes what a tunnel carries into `layers`, which is all zeros; 1 when there is such a thing.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn decode_inner_frame(ctx: *mut xdp_md, decoded: *const Decoded, layers: *mut Layers) -> u32 {
    if decoded.is_null() || layers.is_null() {
        return 0;
    }
    // SAFETY: neither is null; the verifier has checked at the call that they point to whole values.
    let (decoded, layers) = unsafe { (&*decoded, &mut *layers) };
    if decoded.inner_offset > 0x3fff {
        return 0;
    }
    let at = Packet::new(ctx).skip(decoded.inner_offset as usize);
    decode_inner(at, decoded, layers) as u32
}

/// The [`Steered`] word of the rules in force.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn steer_frame(decoded: *const Decoded, flow: u64) -> u32 {
    let Some(maps) = Maps::open() else { return Steered::NOTHING.0 };
    let Some(set) = RULES.get(maps.control.rule_bank()) else { return Steered::NOTHING.0 };
    if decoded.is_null() {
        return Steered::NOTHING.0;
    }
    // SAFETY: not null; the verifier has checked at the call that it points to a whole value.
    steer(maps.control, set, unsafe { &*decoded }, flow, zero()).0
}

/// The flow's fingerprint.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn fingerprint_frame(decoded: *const Decoded) -> u64 {
    let Some(maps) = Maps::open() else { return 1 };
    if decoded.is_null() {
        return 1;
    }
    // SAFETY: not null; the verifier has checked at the call that it points to a whole value.
    fingerprint(maps.control.flow_key, unsafe { &(*decoded).outer })
}

/// Writes the headers in front of a frame that has got room for them; 0 when done.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn wrap_frame(
    ctx: *mut xdp_md,
    decoded: *const Decoded,
    wrap: *const Wrap,
    agent: *const Agent,
    flow: u64,
) -> u32 {
    if decoded.is_null() || wrap.is_null() || agent.is_null() {
        return 1;
    }
    // SAFETY: none is null; the verifier has checked at the call that they point to whole values.
    let (decoded, wrap, agent) = unsafe { (&*decoded, &*wrap, &*agent) };
    encapsulate(Packet::new(ctx), decoded, wrap, agent, flow);
    0
}
