//! The caller's end of the control socket.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::message::{LineError, Reply, Request, read_line, write_line};
use crate::problem::Problem;

/// How long a call may take, from the first byte to the last.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Asks the weir behind this socket and waits for its answer, at most [`DEADLINE`].
///
/// # Errors
/// Nobody answers there, in time or in these words. That the request was refused is no error here: it is
/// [`Reply::Error`].
pub fn call(socket: &Path, request: &Request) -> Result<Reply, Problem> {
    call_within(socket, request, DEADLINE)
}

/// The same with another deadline.
///
/// # Errors
/// As [`call`].
pub fn call_within(socket: &Path, request: &Request, limit: Duration) -> Result<Reply, Problem> {
    let path = socket.display();
    let stream = UnixStream::connect(socket).map_err(|error| unreachable(socket, &error))?;
    let mut timed = Timed { stream, end: Instant::now() + limit };
    let failed = |error: LineError| match error {
        LineError::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Problem::new(
                path.to_string(),
                format!("no answer came within {} s", limit.as_secs_f64()),
                "see what weir is doing with: weir doctor, and its log",
            )
        }
        LineError::Json(error) => Problem::new(
            path.to_string(),
            format!("the answer is not in the words of this version ({error})"),
            "use the weir program that is running there",
        ),
        error => Problem::new(path.to_string(), error.to_string(), "try again; if it stays so, see weir's log"),
    };
    write_line(&mut timed, request).map_err(failed)?;
    read_line(&mut BufReader::new(timed)).map_err(failed)
}

fn unreachable(socket: &Path, error: &io::Error) -> Problem {
    let path = socket.display().to_string();
    match error.kind() {
        io::ErrorKind::NotFound => Problem::new(
            "weir is not running",
            format!("no control socket at {path}"),
            "start it with: weir up --interface NAME",
        ),
        io::ErrorKind::ConnectionRefused => Problem::new(
            "weir is not running",
            format!("nobody listens at {path}"),
            "start it with: weir up --interface NAME",
        ),
        io::ErrorKind::PermissionDenied => {
            Problem::new(path, "this user may not use the control socket", "use sudo, or join the group that owns it")
        }
        _ => Problem::new(path, format!("the control socket cannot be used: {error}"), "check the path"),
    }
}

/// A stream whose every read and write ends by one instant.
struct Timed {
    stream: UnixStream,
    end: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        // A zero timeout would mean "for ever", so it is an error of its own.
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use super::*;
    use crate::message::{Answer, Done};

    fn socket(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("weir-client-{test}-{}.sock", std::process::id()))
    }

    /// Serves one caller with these bytes, after its request was read; holds the connection open until the caller goes.
    fn serve(path: &Path, bytes: &'static [u8]) -> thread::JoinHandle<Request> {
        let listener = UnixListener::bind(path).expect("bound");
        thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a caller");
            let mut from = BufReader::new(stream.try_clone().expect("cloned"));
            let request = read_line(&mut from).expect("a request");
            (&stream).write_all(bytes).expect("answered");
            if bytes.ends_with(b"\n") || bytes.is_empty() {
                let _ = from.read(&mut [0]);
            }
            request
        })
    }

    #[test]
    fn an_answer_comes_back() {
        let path = socket("answer");
        let server = serve(&path, b"{\"ok\":{\"done\":{\"text\":\"stopping\",\"saved\":true}}}\n");
        let reply = call(&path, &Request::Stop).expect("an answer");
        let done = Done { text: "stopping".into(), saved: true, unsaved_because: None };
        assert_eq!(reply, Reply::Ok(Answer::Done(done)));
        assert_eq!(server.join().expect("served"), Request::Stop);
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_missing_socket_says_how_to_start() {
        let path = socket("missing");
        let problem = call(&path, &Request::Status).expect_err("nobody");
        let text = format!(
            "weir is not running: no control socket at {}; start it with: weir up --interface NAME",
            path.display()
        );
        assert_eq!(problem.to_string(), text);
        // A socket file whose process is gone.
        drop(UnixListener::bind(&path).expect("bound"));
        let problem = call(&path, &Request::Status).expect_err("nobody");
        assert!(problem.cause.starts_with("nobody listens"), "{problem}");
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn silence_half_an_answer_and_strange_words_are_told_apart() {
        for (test, bytes, cause) in [
            ("silent", b"".as_slice(), "no answer came within 0.05 s"),
            ("half", b"{\"ok\":".as_slice(), "closed before the whole line"),
            ("strange", b"{\"maybe\":1}\n".as_slice(), "not in the words of this version"),
        ] {
            let path = socket(test);
            let server = serve(&path, bytes);
            let problem = call_within(&path, &Request::Status, Duration::from_millis(50)).expect_err(test);
            assert!(problem.cause.contains(cause), "{problem}");
            server.join().expect("served");
            std::fs::remove_file(path).expect("removed");
        }
    }
}
