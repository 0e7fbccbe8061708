//! The traffic generator: live frames from a template, each with its own sequence number, time and event types.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use weir_ebpf_abi::batch::{BATCH_HEADER, EVENT_HEADER, EventType};
use weir_ebpf_abi::decode::Reader;
use weir_ebpf_abi::generator::{MAX_EVENTS, MAX_SOURCES, Plan};
use weir_ebpf_abi::message::{MessageKind, STANDARD_HEADER};
use weir_ebpf_abi::rewrite::Writer;

use crate::maps::{EGRESS, PLAN};
use crate::packet::Packet;

/// Makes one frame and sends it.
#[xdp(frags)]
pub(crate) fn generate(ctx: XdpContext) -> u32 {
    let Some(plan) = PLAN.get_ptr_mut(0) else { return XDP_DROP };
    // SAFETY: one test-run at a time uses a plan; two would only mix up sequence numbers.
    let plan = unsafe { &mut *plan };
    plan.frames = plan.frames.wrapping_add(1);
    if plan.head[0] != 0 {
        restore(Packet::new(ctx.ctx), plan);
    }
    if plan.kind != MessageKind::None as u32 {
        let frame = Packet::new(ctx.ctx);
        stamp(frame.skip((plan.message_offset & 0xff) as usize), plan);
    }
    match EGRESS.redirect(plan.egress, XDP_DROP as u64) {
        Ok(code) | Err(code) => code,
    }
}

/// Writes the template's first bytes, whatever was done to the frame on its last way.
#[inline(always)]
fn restore(frame: Packet, plan: &Plan) {
    if frame.has(64) {
        for (place, word) in plan.head.iter().enumerate() {
            frame.set_be64(place * 8, *word);
        }
    }
}

/// Writes source, type, time and sequence number, and hands the turn on.
#[inline(always)]
fn stamp(message: Packet, plan: &mut Plan) {
    if !message.has(STANDARD_HEADER) {
        return;
    }
    let source = plan.source as usize & (MAX_SOURCES - 1);
    let sequence = plan.sequences.0[source];
    plan.sequences.0[source] = sequence.wrapping_add(1);
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let source_id = plan.first_source.wrapping_add(plan.source);
    message.set_be32(0, plan.first_type.wrapping_add(plan.r#type).swap_bytes());
    message.set_be32(4, source_id.swap_bytes());
    message.set_be64(12, now.swap_bytes());
    message.set_be32(24, sequence.swap_bytes());
    plan.source = if plan.source + 1 >= plan.sources { 0 } else { plan.source + 1 };
    plan.r#type = if plan.r#type + 1 >= plan.types { 0 } else { plan.r#type + 1 };
    if plan.kind == MessageKind::Batch as u32 && message.has(BATCH_HEADER) {
        message.set_be32(32, sequence.swap_bytes());
        message.set_be64(36, plan.next_event.swap_bytes());
        events(message.skip(BATCH_HEADER), plan, now, source_id);
    }
}

#[inline(always)]
fn events(first: Packet, plan: &mut Plan, now: u64, source_id: u32) {
    let mut at = 0usize;
    let mut turn = 0;
    while turn < MAX_EVENTS && turn < plan.events {
        // The bound is for the verifier: no frame is as long.
        if at > 0x3fff {
            return;
        }
        let event = first.skip(at);
        if !event.has(EVENT_HEADER) {
            return;
        }
        event.set_be64(0, plan.next_event.swap_bytes());
        event.set_be64(8, now.swap_bytes());
        event.set_be32(16, (EventType::of_rotation(plan.rotation as u64) as u32).swap_bytes());
        event.set_be32(20, source_id.swap_bytes());
        plan.next_event = plan.next_event.wrapping_add(1);
        plan.rotation = if plan.rotation >= 19 { 0 } else { plan.rotation + 1 };
        at = (at as u32 + plan.event_stride) as usize;
        turn += 1;
    }
}
