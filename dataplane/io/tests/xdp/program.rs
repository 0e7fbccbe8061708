//! A classifier of ten instructions, so that this room is tested without the real one: the last byte of the destination
//! address is the class.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands and types of bpf(2) (include/uapi/linux/bpf.h).
const MAP_CREATE: u32 = 0;
const MAP_UPDATE: u32 = 2;
const PROGRAM_LOAD: u32 = 5;
const LINK_CREATE: u32 = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROGRAM_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

/// Keeps the program on the interface for as long as it lives.
pub(crate) struct Attached {
    _objects: [OwnedFd; 3],
}

/// Attaches the program to `interface` and gives class N's frames to socket N.
pub(crate) fn attach(interface: u32, sockets: [BorrowedFd<'_>; 2]) -> std::io::Result<Attached> {
    let map = object(MAP_CREATE, &[MAP_TYPE_XSKMAP, 4, 4, 2])?;
    for (class, socket) in sockets.iter().enumerate() {
        let (key, value) = (class as u32, socket.as_raw_fd());
        let [key_low, key_high] = pointer(&raw const key);
        let [value_low, value_high] = pointer(&raw const value);
        bpf(MAP_UPDATE, &[map.as_raw_fd() as u32, 0, key_low, key_high, value_low, value_high, 0, 0])
            .map(std::mem::forget)?;
    }
    // Opcode, destination register, source register, offset, immediate.
    let code: [u64; 11] = [
        instruction(0x61, 2, 1, 0, 0),               // r2 = packet start
        instruction(0x61, 3, 1, 4, 0),               // r3 = packet end
        instruction(0xbf, 4, 2, 0, 0),               // r4 = r2
        instruction(0x07, 4, 0, 0, 6),               // r4 += 6
        instruction(0xb7, 5, 0, 0, 0),               // r5 = class 0, for frames that are too short
        instruction(0x2d, 4, 3, 1, 0),               // if r4 > r3 skip one
        instruction(0x71, 5, 2, 5, 0),               // r5 = last byte of the destination address
        instruction(0x18, 1, 1, 0, map.as_raw_fd()), // r1 = the map
        0,                                           // (second half of the same)
        instruction(0xbf, 2, 5, 0, 0),               // r2 = r5
        instruction(0xb7, 3, 0, 0, 2),               // r3 = XDP_PASS, where no socket is
    ];
    let code: Vec<u64> =
        code.into_iter().chain([instruction(0x85, 0, 0, 0, 51), instruction(0x95, 0, 0, 0, 0)]).collect();
    let license: &CStr = c"Dual MIT/GPL";
    let [code_low, code_high] = pointer(code.as_ptr());
    let [license_low, license_high] = pointer(license.as_ptr());
    let load = [PROGRAM_TYPE_XDP, code.len() as u32, code_low, code_high, license_low, license_high, 0, 0, 0, 0];
    let program = object(PROGRAM_LOAD, &load)?;
    let link = object(LINK_CREATE, &[program.as_raw_fd() as u32, interface, ATTACH_TYPE_XDP, 0])?;
    Ok(Attached { _objects: [link, program, map] })
}

fn instruction(code: u64, to: u64, from: u64, offset: u64, immediate: i32) -> u64 {
    code | to << 8 | from << 12 | offset << 16 | u64::from(immediate as u32) << 32
}

fn pointer<T>(value: *const T) -> [u32; 2] {
    let address = value as u64;
    [address as u32, (address >> 32) as u32]
}

/// One bpf(2) call; `attributes` are the first words of its union, the rest is zero.
fn bpf(command: u32, attributes: &[u32]) -> std::io::Result<i32> {
    let mut union = [0_u32; 32];
    union[..attributes.len()].copy_from_slice(attributes);
    // SAFETY: the union is as long as said, and every pointer in it is to memory that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, union.as_ptr(), size_of_val(&union)) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A call that answers with a new descriptor.
fn object(command: u32, attributes: &[u32]) -> std::io::Result<OwnedFd> {
    let descriptor = bpf(command, attributes)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
