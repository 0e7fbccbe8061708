//! Frames to services: counting, remembering the connection, and the headers in front.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use weir_ebpf_abi::decide::{Decision, Served};
use weir_ebpf_abi::decode::{Decoded, Reader};
use weir_ebpf_abi::reason::Reason;
use weir_ebpf_abi::rewrite::{Writer, route};
use weir_ebpf_abi::services::{Encapsulation, count_entry};
use weir_ebpf_abi::wrap::packet_length;

use crate::maps::{CONNECTIONS, SERVICE_COUNTS};
use crate::packet::Packet;
use crate::parts::wrap_frame;

/// Makes a frame ready for its agent. Where it cannot be, nothing of it is changed and it is not counted as the agent's.
#[inline(always)]
pub(crate) fn prepare(
    ctx: *mut xdp_md,
    decoded: &Decoded,
    decision: &Decision<'_>,
    served: &Served<'_>,
    bytes: u64,
) -> Result<(), Reason> {
    let wrap = served.wrap;
    if wrap.encapsulation == Encapsulation::None as u8 {
        route(Packet::new(ctx), decoded, &served.backend.agent);
    } else {
        let overhead = wrap.overhead();
        if packet_length(Packet::new(ctx), decoded) + overhead > served.backend.mtu as usize {
            return Err(Reason::TooLongForAgent);
        }
        // SAFETY: the program's own context; packet pointers from before are not used again.
        if unsafe { bpf_xdp_adjust_head(ctx, -(overhead as i32)) } != 0 {
            return Err(Reason::NoHeaderRoom);
        }
        wrap_frame(ctx, decoded, wrap, &served.backend.agent, decision.flow);
    }
    count(decision.service, served.place as usize, bytes, served.known);
    if !served.known {
        // A full map makes room by itself. Where it refuses all the same, the next frame of the connection asks again.
        let _ = CONNECTIONS.insert(decision.flow, served.connection(), 0);
    }
    Ok(())
}

/// Counts a frame of a service.
#[inline(always)]
pub(crate) fn count(service: u8, place: usize, bytes: u64, known: bool) {
    if let Some(count) = SERVICE_COUNTS.get_ptr_mut(count_entry(service, place)) {
        // SAFETY: this CPU's own value, which no other program touches while this one runs.
        unsafe { &mut *count }.count(bytes, known);
    }
}

/// Takes the headers in front away again, for the next turn of a measurement. Tags are not restored: frames that are
/// measured with an encapsulation have none.
#[inline(always)]
pub(crate) fn unwrap(ctx: *mut xdp_md, decoded: &Decoded, overhead: usize) {
    // SAFETY: the program's own context; packet pointers from before are not used again.
    if unsafe { bpf_xdp_adjust_head(ctx, overhead as i32) } != 0 {
        return;
    }
    let frame = Packet::new(ctx);
    if frame.has(14) {
        frame.set_be16(12, decoded.outer.ethertype);
    }
}
