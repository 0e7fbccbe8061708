//! Room 11c: the C border. Frames come from a C program as structs of `weir.h` and leave to the client's room as Rust types.
//!
//! Functions for C and nothing else: pointers become references or an error, errors become numbers and a line of text, and
//! no panic crosses. What the functions do is [`weir_appliance_sdk_rust`]'s.
//!
//! | module | what it is |
//! |---|---|
//! | `layout` | the structs of `weir.h`, their offsets held by assertions |
//! | `answer` | errors to errno values and the thread's last message |
//! | `buffers` | which shared buffers there are |
//! | `shared` | the calls on shared buffers |
//! | `stream` | the calls that send |
#![allow(unsafe_code)]

mod answer;
mod buffers;
pub mod layout;
pub mod shared;
pub mod stream;

use std::ffi::{CStr, c_char};

/// The version, as C has it.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"unknown",
};

/// `weir_version` of `weir.h`.
#[unsafe(no_mangle)]
pub extern "C" fn weir_version() -> *const c_char {
    VERSION.as_ptr()
}

/// `weir_last_error` of `weir.h`.
#[unsafe(no_mangle)]
pub extern "C" fn weir_last_error() -> *const c_char {
    answer::last()
}
