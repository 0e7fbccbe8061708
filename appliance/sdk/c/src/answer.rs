//! What C is told: a number, and for who asks a line of text.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use weir_appliance_sdk_rust::{SdkError, StreamFailure};
use weir_dataplane_ring::ByteRingError;

// Linux's numbers on x86-64 and aarch64 (asm-generic/errno-base.h, errno.h).
const EAGAIN: i32 = 11;
const EINVAL: i32 = 22;
const EBADMSG: i32 = 74;
const EMSGSIZE: i32 = 90;
const ENOTCONN: i32 = 107;
const ETIMEDOUT: i32 = 110;
const ENOTRECOVERABLE: i32 = 131;

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

/// The text of this thread's last error.
pub(crate) fn last() -> *const c_char {
    LAST.with(|last| last.try_borrow().map_or(c"".as_ptr(), |last| last.as_ptr()))
}

fn remember(text: String) {
    // No message of ours has a zero byte; one from elsewhere is cut off there.
    let text = CString::new(text).unwrap_or_else(|error| {
        let end = error.nul_position();
        let mut bytes = error.into_vec();
        bytes.truncate(end);
        CString::new(bytes).unwrap_or_default()
    });
    LAST.with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = text;
        }
    });
}

/// Runs what a function does and gives C its number, or the negative errno value of its error or panic.
pub(crate) fn answer<T: Into<i64>>(work: impl FnOnce() -> Result<T, SdkError>) -> i64 {
    // What a panic leaves behind is behind locks that do not mind (`Ingest`), or the caller's.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(number)) => number.into(),
        Ok(Err(error)) => {
            let number = number(&error);
            remember(error.to_string());
            -i64::from(number)
        }
        Err(_) => {
            remember("a fault inside libweir, told on standard error; end the program and report it".to_owned());
            -i64::from(ENOTRECOVERABLE)
        }
    }
}

/// As [`answer`], for functions that return an int: the numbers they give are small.
pub(crate) fn answer_int<T: Into<i64>>(work: impl FnOnce() -> Result<T, SdkError>) -> i32 {
    answer(work) as i32
}

/// The error of a pointer that is NULL or a handle that is none.
pub(crate) fn invalid(what: impl Into<String>, cure: &'static str) -> SdkError {
    SdkError::Invalid { what: what.into(), cure }
}

fn number(error: &SdkError) -> i32 {
    match error {
        SdkError::Stream(StreamFailure::Full { .. })
        | SdkError::Limited { .. }
        | SdkError::Buffer(ByteRingError::Full { .. }) => EAGAIN,
        SdkError::Stream(StreamFailure::Unacknowledged { .. }) => ETIMEDOUT,
        SdkError::Stream(
            StreamFailure::Address { .. } | StreamFailure::Length { .. } | StreamFailure::NeverFits { .. },
        ) => EINVAL,
        SdkError::Stream(
            StreamFailure::Unreachable { .. }
            | StreamFailure::Foreign { .. }
            | StreamFailure::Refused { .. }
            | StreamFailure::Ahead { .. }
            | StreamFailure::Thread { .. },
        ) => ENOTCONN,
        SdkError::Buffer(ByteRingError::TooLong { .. } | ByteRingError::Small { .. }) => EMSGSIZE,
        SdkError::Buffer(ByteRingError::Corrupt { .. }) => EBADMSG,
        SdkError::Memory(error) => error.cause.raw_os_error().unwrap_or(EINVAL),
        SdkError::EventTooLong { .. } | SdkError::Count { .. } | SdkError::Invalid { .. } | SdkError::Ring(_) => EINVAL,
    }
}

/// Nothing to read is no error of the ring, but is one number for C.
pub(crate) const NOTHING: i64 = -(EAGAIN as i64);

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn text() -> String {
        // SAFETY: `last` points to a string that ends in zero and lives until this thread's next call.
        unsafe { CStr::from_ptr(last()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn panics_and_errors_become_numbers_with_a_text() {
        assert_eq!(text(), "");
        assert_eq!(answer(|| Ok(7_i64)), 7);
        assert_eq!(answer_int::<i64>(|| panic!("on purpose")), -131);
        assert!(text().contains("inside libweir"));
        assert_eq!(answer_int::<i64>(|| Err(invalid("a\0b", "c"))), -22);
        assert_eq!(text(), "a", "cut off where C would stop");
        let elsewhere = std::thread::spawn(text).join().unwrap_or_default();
        assert_eq!(elsewhere, "", "each thread has its own");
    }
}
