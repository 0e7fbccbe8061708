//! The calls that send.

use std::ffi::{CStr, c_char};
use std::slice;
use std::sync::LazyLock;
use std::time::Duration;

use weir_appliance_sdk_rust::pack::{EVENTS_MAX, PAYLOAD_MAX};
use weir_appliance_sdk_rust::{EventView, Ingest, IngestOptions, SdkError};

use crate::answer::{answer_int, invalid};
use crate::layout::{EventBatchT, StatisticsT, StreamEventT};

/// The one stream of this process.
static INGEST: LazyLock<Ingest> = LazyLock::new(Ingest::new);

/// The batch's events, each with a payload that can be a slice, and counted as the batch says.
///
/// # Safety
/// `batch` is NULL or points to a batch of the header: `event_count` events follow it and their payloads are readable.
/// Nobody writes any of it for `'a`.
unsafe fn events<'a>(batch: *const EventBatchT) -> Result<&'a [StreamEventT], SdkError> {
    // SAFETY: the caller's part, see above.
    let head = unsafe { batch.as_ref() }.ok_or_else(|| invalid("batch is NULL", "pass the address of a batch"))?;
    let count = head.event_count as usize;
    if count == 0 || count > EVENTS_MAX {
        return Err(SdkError::Count { count, most: EVENTS_MAX });
    }
    // SAFETY: the events begin where the head ends, which is still an address of the batch.
    let first = unsafe { batch.byte_add(size_of::<EventBatchT>()) };
    // SAFETY: so many events follow by the caller's part; every bit pattern of theirs is a value.
    let events: &[StreamEventT] = unsafe { slice::from_raw_parts(first.cast(), count) };
    let mut payloads = 0;
    for (number, event) in events.iter().enumerate() {
        let length = event.payload_size;
        if length > PAYLOAD_MAX {
            return Err(SdkError::EventTooLong { number, length, most: PAYLOAD_MAX });
        }
        if length > 0 && event.payload.is_null() {
            let what = format!("event {number} has a payload of {length} bytes at NULL");
            return Err(invalid(what, "pass the payload's address, or a size of 0"));
        }
        payloads += length;
    }
    let structs = size_of::<EventBatchT>() + size_of_val(events);
    if ![0, payloads, structs, structs + payloads].contains(&head.total_size) {
        let what = format!("total_size is {} and the payloads of {count} events are {payloads} bytes", head.total_size);
        return Err(invalid(what, "set it to the sum of all payload_size, or to 0"));
    }
    Ok(events)
}

/// An event that [`events`] has checked.
fn event(raw: &StreamEventT) -> EventView<'_> {
    let payload: &[u8] = match raw.payload_size {
        0 => &[],
        // SAFETY: `events` saw that it is not NULL and at most PAYLOAD_MAX bytes; readable by its caller's part.
        length => unsafe { slice::from_raw_parts(raw.payload.cast(), length) },
    };
    EventView {
        event_id: raw.event_id,
        timestamp_ns: raw.timestamp_ns,
        event_type: raw.event_type,
        source_id: raw.source_id,
        payload,
    }
}

/// `stream_ingest_batch` of `weir.h`.
///
/// # Safety
/// `batch` is NULL or points to a batch of the header, whole and unchanged for the length of the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stream_ingest_batch(batch: *const EventBatchT) -> i32 {
    answer_int(|| {
        // SAFETY: the caller's part, see above.
        let events = unsafe { events(batch) }?;
        INGEST.send(events.iter().map(event)).map(|()| 0)
    })
}

/// `stream_get_backpressure_status` of `weir.h`.
#[unsafe(no_mangle)]
pub extern "C" fn stream_get_backpressure_status() -> i32 {
    answer_int(|| INGEST.fullness())
}

/// `stream_configure_rate_limit` of `weir.h`.
#[unsafe(no_mangle)]
pub extern "C" fn stream_configure_rate_limit(events_per_second: u32) -> i32 {
    answer_int(|| {
        INGEST.set_limit(events_per_second);
        Ok(0)
    })
}

/// `weir_connect` of `weir.h`.
///
/// # Safety
/// `place` is NULL or points to a string that ends in zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_connect(place: *const c_char) -> i32 {
    answer_int(|| {
        let mut options = IngestOptions::from_environment()?;
        if !place.is_null() {
            // SAFETY: not NULL, and a string by the caller's part.
            options.address = unsafe { CStr::from_ptr(place) }.to_string_lossy().parse()?;
        }
        INGEST.connect(options).map(|()| 0)
    })
}

/// `weir_flush` of `weir.h`.
#[unsafe(no_mangle)]
pub extern "C" fn weir_flush(timeout_ms: i32) -> i32 {
    answer_int(|| {
        let timeout = u64::try_from(timeout_ms)
            .map_err(|_| invalid(format!("a timeout of {timeout_ms} ms is none"), "pass 0 or more"))?;
        INGEST.flush(Duration::from_millis(timeout)).map(|()| 0)
    })
}

/// `weir_close` of `weir.h`.
#[unsafe(no_mangle)]
pub extern "C" fn weir_close() -> i32 {
    answer_int(|| {
        INGEST.close();
        Ok(0)
    })
}

/// `weir_statistics` of `weir.h`.
///
/// # Safety
/// `statistics` is NULL or points to memory for a struct of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_statistics(statistics: *mut StatisticsT) -> i32 {
    answer_int(|| {
        if statistics.is_null() {
            return Err(invalid("statistics is NULL", "pass the address of a weir_statistics_t"));
        }
        let now = INGEST.statistics();
        let now = StatisticsT {
            accepted: now.accepted,
            sent: now.sent,
            resent: now.resent,
            acknowledged: now.acknowledged,
            refused: now.refused,
            credit_waits: now.waits,
            connections: now.connected,
            window_used: now.window_used as u64,
            window_size: now.window_size as u64,
        };
        // SAFETY: not NULL, and memory for the struct by the caller's part.
        unsafe { statistics.write(now) };
        Ok(0)
    })
}
