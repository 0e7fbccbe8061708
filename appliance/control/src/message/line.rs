//! One message, one line: framing that both ends of the control socket share.

use std::io::{self, BufRead, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest line in bytes, with its end: a status of 64 interfaces x 64 queues x 16 classes is shorter.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// Why a line could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The socket failed or its deadline passed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The peer closed the connection inside or before a line.
    #[error("the connection was closed before the whole line had come")]
    Closed,
    /// The line is longer than [`MAX_LINE_BYTES`].
    #[error("the line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// The line is not the JSON that was expected.
    #[error("the line is not the message that was expected: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads one message; never holds more than [`MAX_LINE_BYTES`].
///
/// # Errors
/// See [`LineError`].
pub fn read_line<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<T, LineError> {
    let mut line = Vec::new();
    loop {
        let chunk = match from.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(chunk.len(), |end| end + 1);
        if taken == 0 {
            return Err(LineError::Closed);
        }
        if line.len() + taken > MAX_LINE_BYTES {
            return Err(LineError::TooLong);
        }
        line.extend(chunk.iter().take(taken));
        from.consume(taken);
        if end.is_some() {
            return Ok(serde_json::from_slice(&line)?);
        }
    }
}

/// Writes one message and flushes.
///
/// # Errors
/// See [`LineError`]; nothing is written if the line is too long.
pub fn write_line(to: &mut impl Write, message: &impl Serialize) -> Result<(), LineError> {
    // JSON escapes control characters in strings, so the text has no line end of its own.
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > MAX_LINE_BYTES {
        return Err(LineError::TooLong);
    }
    to.write_all(&line)?;
    Ok(to.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_each_other_in_one_stream() {
        let mut bytes = Vec::new();
        write_line(&mut bytes, &"one\ntwo").expect("written");
        write_line(&mut bytes, &7).expect("written");
        let mut from = io::BufReader::with_capacity(3, bytes.as_slice());
        assert_eq!(read_line::<String>(&mut from).expect("read"), "one\ntwo");
        assert_eq!(read_line::<u32>(&mut from).expect("read"), 7);
        assert!(matches!(read_line::<u32>(&mut from), Err(LineError::Closed)));
    }

    #[test]
    fn endless_and_broken_lines_are_refused() {
        let mut endless = io::BufReader::new(io::repeat(b'x'));
        assert!(matches!(read_line::<String>(&mut endless), Err(LineError::TooLong)));
        assert!(matches!(read_line::<u32>(&mut b"12".as_slice()), Err(LineError::Closed)));
        assert!(matches!(read_line::<u32>(&mut b"{]\n".as_slice()), Err(LineError::Json(_))));
        assert!(matches!(write_line(&mut Vec::new(), &"x".repeat(MAX_LINE_BYTES)), Err(LineError::TooLong)));
    }
}
