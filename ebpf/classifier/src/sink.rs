//! Programs for the other end of a wire and for the floor of measurements.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use weir_ebpf_abi::layout::MAX_CLASSES;

use crate::maps::{EGRESS, SINK, SOCKETS};
use crate::packet::frame_length;

#[inline(always)]
fn count(ctx: &XdpContext) {
    if let Some(place) = SINK.get_ptr_mut(0) {
        // SAFETY: this CPU's own value, which no other program touches while this one runs.
        unsafe { &mut *place }.count(frame_length(ctx.ctx));
    }
}

/// Counts the frame and passes it to the stack.
#[xdp(frags)]
pub(crate) fn sink_pass(ctx: XdpContext) -> u32 {
    count(&ctx);
    XDP_PASS
}

/// Counts the frame and drops it.
#[xdp(frags)]
pub(crate) fn sink_drop(ctx: XdpContext) -> u32 {
    count(&ctx);
    XDP_DROP
}

/// Passes.
#[xdp(frags)]
pub(crate) fn empty_pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Redirects to egress slot 0.
#[xdp(frags)]
pub(crate) fn empty_redirect(_ctx: XdpContext) -> u32 {
    match EGRESS.redirect(0, XDP_DROP as u64) {
        Ok(code) | Err(code) => code,
    }
}

/// Redirects to the socket of class 0 on the frame's queue.
#[xdp(frags)]
pub(crate) fn empty_socket(ctx: XdpContext) -> u32 {
    match SOCKETS.redirect(ctx.rx_queue_index() * MAX_CLASSES as u32, XDP_DROP as u64) {
        Ok(code) | Err(code) => code,
    }
}
