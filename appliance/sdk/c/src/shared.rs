//! The calls on shared buffers.

use std::ffi::{c_char, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use weir_appliance_sdk_rust::{SdkError, SharedBuffer};
use weir_dataplane_io::umem::Backing;
use weir_dataplane_ring::Positions;

use crate::answer::{NOTHING, answer, answer_int, invalid};
use crate::buffers::{self, Held};
use crate::layout::SharedBufferT;

const NO_STRUCT: &str = "pass the address of a shared_buffer_t";

/// The caller's struct.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header that lives, and whose plain fields nobody writes, for `'a`.
unsafe fn view<'a>(buffer: *const SharedBufferT) -> Result<&'a SharedBufferT, SdkError> {
    // SAFETY: the caller's part, see above; every bit pattern of the fields is a value.
    unsafe { buffer.as_ref() }.ok_or_else(|| invalid("buffer is NULL", NO_STRUCT))
}

/// The caller's struct and the buffer that it is a view of.
///
/// # Safety
/// As for [`view`].
unsafe fn held<'a>(buffer: *const SharedBufferT) -> Result<(&'a SharedBufferT, &'static Held), SdkError> {
    // SAFETY: the caller's part, the same as that of `view`.
    let view = unsafe { view(buffer) }?;
    Ok((view, buffers::find(view)?))
}

/// Fills the caller's struct and enters the buffer.
///
/// # Safety
/// `into` points to memory for a struct of the header.
unsafe fn give(buffer: SharedBuffer, into: NonNull<SharedBufferT>) -> Result<(), SdkError> {
    let positions = Positions::default();
    let ring = buffer.ring();
    ring.look(&positions);
    let view = SharedBufferT {
        feature_id: ring.feature(),
        buffer_size: ring.size() as usize, // it is mapped, so it is a usize
        numa_node: ring.node(),
        base_address: buffer.base().as_ptr().cast(),
        positions,
    };
    buffers::enter(buffer)?;
    // SAFETY: the caller's part, see above.
    unsafe { into.write(view) };
    Ok(())
}

/// `create_shared_buffer` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to memory for a struct of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn create_shared_buffer(
    buffer: *mut SharedBufferT,
    feature_id: u32,
    size: usize,
    numa_node: i32,
) -> i32 {
    answer_int(|| {
        let into = NonNull::new(buffer).ok_or_else(|| invalid("buffer is NULL", NO_STRUCT))?;
        let created = SharedBuffer::create(feature_id, size as u64, numa_node)?;
        // SAFETY: the caller's part, see above.
        unsafe { give(created, into) }.map(|()| 0)
    })
}

/// `weir_buffer_open` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to memory for a struct of the header; `file` is -1 or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_buffer_open(buffer: *mut SharedBufferT, file: i32) -> i32 {
    answer_int(|| {
        let into = NonNull::new(buffer).ok_or_else(|| invalid("buffer is NULL", NO_STRUCT))?;
        if file < 0 {
            return Err(invalid(format!("{file} is no descriptor"), "pass the one weir_buffer_file gave"));
        }
        // SAFETY: not negative, and open for the length of this call by the caller's part; the kernel refuses others.
        let file = unsafe { BorrowedFd::borrow_raw(file) };
        let file = file
            .try_clone_to_owned()
            .map_err(|cause| invalid(format!("descriptor {}: {cause}", file.as_raw_fd()), "pass an open one"))?;
        // SAFETY: the caller's part, see above.
        unsafe { give(SharedBuffer::open(file)?, into) }.map(|()| 0)
    })
}

/// `destroy_shared_buffer` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header, and no other call on this buffer is running.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn destroy_shared_buffer(buffer: *mut SharedBufferT) -> i32 {
    answer_int(|| {
        // SAFETY: the caller's part, see above: nobody else uses the struct during this call.
        let view = unsafe { buffer.as_mut() }.ok_or_else(|| invalid("buffer is NULL", NO_STRUCT))?;
        buffers::leave(view)?;
        (view.base_address, view.buffer_size) = (ptr::null_mut(), 0);
        Ok(0)
    })
}

/// `weir_buffer_write` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header; `message` points to `length` readable bytes, or `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_buffer_write(buffer: *mut SharedBufferT, message: *const c_void, length: usize) -> i32 {
    answer_int(|| {
        // SAFETY: the caller's part, see above.
        let (view, held) = unsafe { held(buffer) }?;
        let message: &[u8] = match length {
            0 => &[],
            _ if message.is_null() => return Err(invalid("message is NULL", "pass its bytes, or a length of 0")),
            _ if isize::try_from(length).is_err() => {
                return Err(invalid(format!("{length} bytes are no length of a message"), "pass its length"));
            }
            // SAFETY: not NULL, of a length that a slice may have, and readable by the caller's part.
            _ => unsafe { std::slice::from_raw_parts(message.cast(), length) },
        };
        held.buffer.ring().write(&view.positions, message)?;
        Ok(0)
    })
}

/// `weir_buffer_read` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header; `into` points to `room` writable bytes, or `room` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_buffer_read(buffer: *mut SharedBufferT, into: *mut c_void, room: usize) -> i64 {
    answer(|| {
        // SAFETY: the caller's part, see above.
        let (view, held) = unsafe { held(buffer) }?;
        let into: &mut [u8] = match room {
            0 => &mut [],
            _ if into.is_null() => return Err(invalid("into is NULL", "pass memory for the message, or a room of 0")),
            // SAFETY: not NULL and writable by the caller's part; no message is longer than half the address space.
            _ => unsafe { std::slice::from_raw_parts_mut(into.cast(), room.min(isize::MAX as usize)) },
        };
        let length = held.buffer.ring().read(&view.positions, into)?;
        Ok(length.map_or(NOTHING, |length| length as i64)) // at most the room
    })
}

/// `weir_buffer_look` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_buffer_look(buffer: *mut SharedBufferT) -> i32 {
    answer_int(|| {
        // SAFETY: the caller's part, see above.
        let (view, held) = unsafe { held(buffer) }?;
        held.buffer.ring().look(&view.positions);
        Ok(0)
    })
}

/// `weir_buffer_file` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_buffer_file(buffer: *const SharedBufferT) -> i32 {
    // SAFETY: the caller's part, see above.
    answer_int(|| unsafe { held(buffer) }.map(|(_, held)| held.buffer.file().as_raw_fd()))
}

/// `weir_buffer_page_size` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_buffer_page_size(buffer: *const SharedBufferT) -> i32 {
    // SAFETY: the caller's part, see above.
    answer_int(|| match unsafe { held(buffer) }?.1.buffer.backing() {
        Backing::HugePages2M => Ok(2 << 20),
        Backing::Plain { .. } => Ok(4096),
    })
}

/// `weir_buffer_pages` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_buffer_pages(buffer: *const SharedBufferT) -> *const c_char {
    let mut text = ptr::null();
    answer_int(|| {
        // SAFETY: the caller's part, see above.
        text = unsafe { held(buffer) }?.1.pages.as_ptr();
        Ok(0)
    });
    text
}

/// `weir_buffer_node` of `weir.h`.
///
/// # Safety
/// `buffer` is NULL or points to a struct of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_buffer_node(buffer: *const SharedBufferT, offset: usize) -> i32 {
    answer_int(|| {
        // SAFETY: the caller's part, see above.
        let (_, held) = unsafe { held(buffer) }?;
        held.buffer.node_of(offset as u64).map(|node| node as i32) // the kernel has at most 1024 nodes
    })
}
