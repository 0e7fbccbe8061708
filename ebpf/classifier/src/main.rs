//! Room 1: ebpf/classifier. Frames come from the driver's receive queue and leave to a ring, another interface, the
//! stack or nowhere.
//!
//! The decoder and the decision are `ebpf/abi`'s, compiled for the kernel: this crate adds packet pointers, maps and
//! the carrying out. Costs and the verifier's limits are in README.md.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![allow(unsafe_code)] // packet pointers, map values and helpers: the verifier checks each of them again

#[cfg(target_arch = "bpf")]
mod carry;
#[cfg(target_arch = "bpf")]
mod classify;
#[cfg(target_arch = "bpf")]
mod generate;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod parts;
#[cfg(target_arch = "bpf")]
mod serve;
#[cfg(target_arch = "bpf")]
mod sink;
#[cfg(target_arch = "bpf")]
mod watch;

/// The kernel lends some helpers to GPL-compatible programs only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop, so a panic that could be reached would not load at all.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
