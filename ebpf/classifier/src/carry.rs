//! Carrying out a decision: counting, rewriting, redirecting.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_xdp_adjust_meta};
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::control::STAMPS;
use weir_ebpf_abi::counters::Counters;
use weir_ebpf_abi::decide::{Decision, Tables};
use weir_ebpf_abi::decode::{Decoded, Reader, WHOLE};
use weir_ebpf_abi::flow::bucket;
use weir_ebpf_abi::layout::{MAX_CLASSES, SOCKET_SLOTS};
use weir_ebpf_abi::meta::{FrameMeta, META_MAGIC, NO_RULE};
use weir_ebpf_abi::reason::Reason;
use weir_ebpf_abi::rewrite::{Writer, rewrite};
use weir_ebpf_abi::services::UNSERVED;

use crate::maps::{COUNTERS, EGRESS, Maps, RULE_COUNTS, SOCKETS};
use crate::packet::{Packet, first_buffer, frame_length};
use crate::serve;
use crate::watch::forwarded;

/// Does what was decided and counts it; gives the XDP return code.
#[inline(always)]
pub(crate) fn carry_out(ctx: *mut xdp_md, maps: &Maps, decoded: &Decoded, decision: Decision<'_>) -> u32 {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: this CPU's own value, which no other program touches while this one runs.
    let counters = unsafe { &mut *counters };
    // A frame of several buffers is longer than its first one, and then so is its packet.
    let bytes = if decoded.outer.flags & WHOLE != 0 { first_buffer(ctx) } else { frame_length(ctx) };
    counters.received.count(bytes);
    if decision.rule != NO_RULE
        && let Some(place) = RULE_COUNTS.get_ptr_mut(decision.rule as u32)
    {
        // SAFETY: as above.
        unsafe { &mut *place }.count(bytes);
    }
    match decision.action {
        Action::Pass => {
            if decision.reason == Reason::NoAgentUp as u8 {
                serve::count(decision.service, UNSERVED, bytes, false);
            }
            pass(counters, decision.reason, bytes)
        }
        Action::Drop => {
            note(counters, decision.reason);
            counters.dropped.count(bytes);
            XDP_DROP
        }
        Action::Forward => {
            if let Some(served) = decision.served() {
                return match serve::prepare(ctx, decoded, &decision, &served, bytes) {
                    Ok(()) => forward(ctx, counters, &served.backend.agent, bytes),
                    Err(reason) => pass(counters, reason as u8, bytes),
                };
            }
            let Some(agent) = decision.agent else { return pass(counters, decision.reason, bytes) };
            forwarded(maps, decoded);
            rewrite(Packet::new(ctx), decoded, agent);
            forward(ctx, counters, agent, bytes)
        }
        Action::Deliver => deliver(ctx, maps, counters, decoded, &decision, bytes),
        Action::Mirror => {
            let Some(agent) = decision.agent else { return pass(counters, decision.reason, bytes) };
            forwarded(maps, decoded);
            rewrite(Packet::new(ctx), decoded, agent);
            mirror(ctx, maps, counters, decoded, &decision, agent, bytes)
        }
    }
}

#[inline(always)]
fn note(counters: &mut Counters, reason: u8) {
    if reason != 0
        && let Some(place) = counters.reasons.get_mut(reason as usize)
    {
        *place = place.wrapping_add(1);
    }
}

#[inline(always)]
fn pass(counters: &mut Counters, reason: u8, bytes: u64) -> u32 {
    note(counters, reason);
    counters.passed.count(bytes);
    XDP_PASS
}

/// Sends a rewritten frame to its agent.
#[inline(always)]
fn forward(ctx: *mut xdp_md, counters: &mut Counters, agent: &Agent, bytes: u64) -> u32 {
    // SAFETY: the program's own context.
    if unsafe { (*ctx).ingress_ifindex } == agent.ifindex {
        counters.forwarded.count(bytes);
        return XDP_TX;
    }
    if EGRESS.redirect(agent.egress as u32, XDP_PASS as u64).is_err() {
        return pass(counters, Reason::NoEgress as u8, bytes);
    }
    counters.forwarded.count(bytes);
    XDP_REDIRECT
}

#[inline(always)]
fn deliver(
    ctx: *mut xdp_md,
    maps: &Maps,
    counters: &mut Counters,
    decoded: &Decoded,
    decision: &Decision<'_>,
    bytes: u64,
) -> u32 {
    match to_ring(ctx, maps, counters, decoded, decision) {
        Ok(()) => {
            counters.delivered.count(bytes);
            XDP_REDIRECT
        }
        Err(reason) => pass(counters, reason as u8, bytes),
    }
}

/// A mirrored frame that no ring takes is still forwarded.
#[inline(always)]
fn mirror(
    ctx: *mut xdp_md,
    maps: &Maps,
    counters: &mut Counters,
    decoded: &Decoded,
    decision: &Decision<'_>,
    agent: &Agent,
    bytes: u64,
) -> u32 {
    match to_ring(ctx, maps, counters, decoded, decision) {
        Ok(()) => {
            counters.forwarded.count(bytes);
            counters.mirrored.count(bytes);
            XDP_REDIRECT
        }
        Err(reason) => {
            note(counters, reason as u8);
            forward(ctx, counters, agent, bytes)
        }
    }
}

/// Describes the frame in front of it and redirects it to the ring of its class.
#[inline(always)]
fn to_ring(
    ctx: *mut xdp_md,
    maps: &Maps,
    counters: &mut Counters,
    decoded: &Decoded,
    decision: &Decision<'_>,
) -> Result<(), Reason> {
    let control = maps.control();
    let flow = if decision.flow != 0 { decision.flow } else { maps.fingerprint(decoded) };
    let received_ns = if control.state & STAMPS != 0 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() }
    } else {
        0
    };
    let meta = FrameMeta {
        flow,
        received_ns,
        rule: decision.rule,
        class: decision.class,
        kind: decoded.kind,
        payload_offset: decoded.payload_offset,
        payload_length: decoded.payload_length,
        agent_source: decoded.message.source_agent,
        bucket: bucket(flow),
        magic: META_MAGIC,
    };
    if !describe(ctx, &meta) {
        return Err(Reason::NoMetadataRoom);
    }
    // SAFETY: the program's own context.
    let (queue, interface) = unsafe { ((*ctx).rx_queue_index, (*ctx).ingress_ifindex) };
    let queue = queue + control.queue_base.0[interface as usize & 255] as u32;
    let class = decision.class as u32 & (MAX_CLASSES as u32 - 1);
    let slot = queue * MAX_CLASSES as u32 + class;
    if slot >= SOCKET_SLOTS as u32 || SOCKETS.redirect(slot, XDP_PASS as u64).is_err() {
        // Takes the description away again, so that the stack sees the frame as it came.
        // SAFETY: the program's own context; the helper checks the distance.
        unsafe { bpf_xdp_adjust_meta(ctx, FrameMeta::SIZE as i32) };
        return Err(Reason::NoTaker);
    }
    let count = &mut counters.classes[class as usize];
    *count = count.wrapping_add(1);
    Ok(())
}

/// Writes the description in front of the frame; false where the driver left no room.
#[inline(always)]
fn describe(ctx: *mut xdp_md, meta: &FrameMeta) -> bool {
    // SAFETY: the program's own context; packet pointers from before are not used again.
    if unsafe { bpf_xdp_adjust_meta(ctx, -(FrameMeta::SIZE as i32)) } != 0 {
        return false;
    }
    // SAFETY: the context's fields are rewritten by the verifier into pointers.
    let (start, end) = unsafe { ((*ctx).data_meta as usize as *mut u8, (*ctx).data as usize as *mut u8) };
    if start.wrapping_add(FrameMeta::SIZE) > end {
        return false;
    }
    // SAFETY: 32 bytes lie between the two pointers, as just asked; the verifier checks the same.
    unsafe { start.cast::<FrameMeta>().write_unaligned(*meta) };
    true
}

/// Takes the description away and gives the spent hop back; see [`crate::classify::measure`].
#[inline(always)]
pub(crate) fn undo(ctx: *mut xdp_md, decoded: &Decoded, forwards: bool, overhead: usize, code: u32) {
    if overhead != 0 {
        serve::unwrap(ctx, decoded, overhead);
    }
    if !forwards {
        if code == XDP_REDIRECT {
            // SAFETY: the program's own context; the helper refuses where there is no description.
            unsafe { bpf_xdp_adjust_meta(ctx, FrameMeta::SIZE as i32) };
        }
        return;
    }
    let at = if decoded.outer.version == 4 { 8 } else { 7 };
    let offset = decoded.network_offset as usize;
    if offset <= 0xff {
        let network = Packet::new(ctx).skip(offset);
        if network.has(20) {
            network.set_u8(at, decoded.hop_limit);
        }
    }
}
