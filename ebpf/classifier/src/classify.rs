//! The classifier, and its twin that only tells.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use weir_ebpf_abi::decide::{Tables, decide};
use weir_ebpf_abi::decode::{Decoded, decode};
use weir_ebpf_abi::maglev::mixed;

use crate::carry::{carry_out, undo};
use crate::maps::{EXPLANATION, Maps, SINK};
use crate::packet::Packet;
use crate::parts::{decode_frame, decode_inner_frame};
use crate::watch;

/// Classifies one frame.
#[xdp(frags)]
pub(crate) fn classify(ctx: XdpContext) -> u32 {
    let Some(maps) = Maps::open() else { return XDP_PASS };
    watch::begin(&maps);
    let mut place = MaybeUninit::uninit();
    let decoded = blank(&mut place);
    decode(Packet::new(ctx.ctx), decoded);
    let decision = decide(&maps, decoded);
    carry_out(ctx.ctx, &maps, decoded, decision)
}

/// Classifies one frame and then undoes what would change the next turn of a repeated test-run over the same frame:
/// the description in front of it and the spent hop. A little dearer than [`classify`], never cheaper.
#[xdp(frags)]
pub(crate) fn measure(ctx: XdpContext) -> u32 {
    let Some(maps) = Maps::open() else { return XDP_PASS };
    repeat(&ctx, maps)
}

/// As [`measure`], and every turn is another flow to the services: what the first frame of a connection costs.
#[xdp(frags)]
pub(crate) fn measure_new(ctx: XdpContext) -> u32 {
    let Some(maps) = Maps::open() else { return XDP_PASS };
    let Some(turn) = SINK.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: this CPU's own value, which no other program touches while this one runs.
    let turn = unsafe { &mut *turn };
    turn.frames = turn.frames.wrapping_add(1);
    repeat(&ctx, maps.salted(mixed(turn.frames)))
}

#[inline(always)]
fn repeat(ctx: &XdpContext, maps: Maps) -> u32 {
    let mut place = MaybeUninit::uninit();
    let decoded = blank(&mut place);
    decode(Packet::new(ctx.ctx), decoded);
    let decision = decide(&maps, decoded);
    let forwards = decision.agent.is_some();
    let overhead = decision.served().map_or(0, |served| served.wrap.overhead());
    let code = carry_out(ctx.ctx, &maps, decoded, decision);
    // What passes after all was not wrapped.
    undo(ctx.ctx, decoded, forwards, if code == XDP_PASS { 0 } else { overhead }, code);
    code
}

/// Decodes and decides as [`classify`] does, tunnels included, and writes down the grounds instead of acting.
#[xdp(frags)]
pub(crate) fn explain(ctx: XdpContext) -> u32 {
    let Some(maps) = Maps::open() else { return XDP_PASS };
    let Some(place) = EXPLANATION.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: a map value of this very type; only test-runs write it, one at a time. User space zeroed it.
    let explanation = unsafe { &mut *place };
    decode_frame(ctx.ctx, &mut explanation.decoded);
    explanation.has_inner = decode_inner_frame(ctx.ctx, &explanation.decoded, &mut explanation.inner) as u8;
    let maps = maps.afresh();
    let decision = decide(&maps, &explanation.decoded);
    explanation.conclude(maps.control().flow_key, &decision);
    XDP_PASS
}

/// Writes zeros word by word: the compiler's own way is a call of a byte-wise loop.
#[inline(always)]
fn blank(place: &mut MaybeUninit<Decoded>) -> &mut Decoded {
    const WORDS: usize = size_of::<Decoded>() / 8;
    let start = place.as_mut_ptr().cast::<u64>();
    let mut word = 0;
    while word < WORDS {
        // SAFETY: WORDS words make up the value, which is aligned to 8.
        unsafe { start.add(word).write_volatile(0) };
        word += 1;
    }
    // SAFETY: every byte is written, and all zeros is a valid value.
    unsafe { place.assume_init_mut() }
}

const _: () = assert!(size_of::<Decoded>() % 8 == 0 && align_of::<Decoded>() == 8);
