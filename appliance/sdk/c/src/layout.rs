//! The structs of `weir.h` as the compiler lays them out on 64-bit machines.

use std::ffi::c_void;
use std::mem::offset_of;

use weir_dataplane_ring::Positions;

/// `shared_buffer_t`.
#[repr(C)]
pub struct SharedBufferT {
    pub(crate) feature_id: u32,
    pub(crate) buffer_size: usize,
    pub(crate) numa_node: i32,
    pub(crate) base_address: *mut c_void,
    /// `read_pos` and `write_pos`.
    pub(crate) positions: Positions,
}

/// `stream_event_t`.
#[repr(C)]
pub(crate) struct StreamEventT {
    pub(crate) event_id: u64,
    pub(crate) timestamp_ns: u64,
    pub(crate) event_type: u32,
    pub(crate) source_id: u32,
    pub(crate) payload_size: usize,
    pub(crate) payload: *const c_void,
}

/// `event_batch_t` without its events, which follow.
#[repr(C)]
pub struct EventBatchT {
    pub(crate) event_count: u32,
    pub(crate) total_size: usize,
    pub(crate) events: [StreamEventT; 0],
}

/// `weir_statistics_t`.
#[repr(C)]
pub struct StatisticsT {
    pub(crate) accepted: u64,
    pub(crate) sent: u64,
    pub(crate) resent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) credit_waits: u64,
    pub(crate) connections: u64,
    pub(crate) window_used: u64,
    pub(crate) window_size: u64,
}

// The same numbers stand in tests/c/layout.c, for the other side.
const _: () = {
    assert!(size_of::<SharedBufferT>() == 48 && align_of::<SharedBufferT>() == 8);
    assert!(offset_of!(SharedBufferT, feature_id) == 0 && offset_of!(SharedBufferT, buffer_size) == 8);
    assert!(offset_of!(SharedBufferT, numa_node) == 16 && offset_of!(SharedBufferT, base_address) == 24);
    assert!(offset_of!(SharedBufferT, positions) + offset_of!(Positions, read) == 32);
    assert!(offset_of!(SharedBufferT, positions) + offset_of!(Positions, write) == 40);
    assert!(size_of::<StreamEventT>() == 40 && offset_of!(StreamEventT, source_id) == 20);
    assert!(offset_of!(StreamEventT, payload_size) == 24 && offset_of!(StreamEventT, payload) == 32);
    assert!(size_of::<EventBatchT>() == 16 && offset_of!(EventBatchT, events) == 16);
    assert!(size_of::<StatisticsT>() == 72);
};
