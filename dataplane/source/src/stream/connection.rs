//! One connection: what came and was not worked on, what was begun and not finished, what is still to be said.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use weir_dataplane_io::sockets::{ends, send_now};
use weir_ebpf_abi::stream::StreamWord;
use zerocopy::IntoBytes;

/// Bytes that came, in a buffer that they hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) buffer: u16,
    pub(super) address: u64,
    pub(super) length: u32,
}

/// One connection.
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// Its name in the ring: its place and a count, so that a late completion of a predecessor is told apart.
    pub(super) name: u64,
    pub(super) ends: [SocketAddr; 2],
    /// Place of its source, once it has said hello.
    pub(super) source: Option<usize>,
    pub(super) pieces: VecDeque<Piece>,
    /// The begun hello or message.
    pub(super) carry: Vec<u8>,
    /// When what is begun was begun, or could go on again, in nanoseconds of the monotonic clock.
    pub(super) begun_ns: u64,
    /// The kernel receives for it.
    pub(super) receiving: bool,
    /// The receive was asked to end.
    pub(super) stopping: bool,
    /// It waits for a lane, a buffer or memory.
    pub(super) waiting: bool,
    /// What it waits for is memory for begun messages, which it may be holding itself.
    pub(super) crowded: bool,
    /// The other side sends no more; what it sent is still worked on.
    pub(super) closed: bool,
    /// It ends as soon as the kernel has let go of it.
    pub(super) ending: bool,
    /// The rest of a word that did not go out whole.
    unsaid: Vec<u8>,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, name: u64, now_ns: u64) -> Self {
        let ends = ends(&socket);
        Self {
            socket,
            name,
            ends,
            source: None,
            pieces: VecDeque::new(),
            carry: Vec::new(),
            begun_ns: now_ns,
            receiving: false,
            stopping: false,
            waiting: false,
            crowded: false,
            closed: false,
            ending: false,
            unsaid: Vec::new(),
        }
    }

    /// Says a word, if what was said before has gone out. False when it has to be said later: words are sums, so the next one
    /// says all that this one would have.
    pub(super) fn say(&mut self, word: &StreamWord) -> bool {
        if !self.unsaid.is_empty() && !self.say_rest() {
            return false;
        }
        let bytes = word.as_bytes();
        match send_now(&self.socket, bytes) {
            Ok(0) => false,
            Ok(sent) => {
                self.unsaid.extend_from_slice(bytes.get(sent..).unwrap_or_default());
                true
            }
            Err(_) => true, // gone; the receive will say so
        }
    }

    fn say_rest(&mut self) -> bool {
        match send_now(&self.socket, &self.unsaid) {
            Ok(sent) => {
                self.unsaid.drain(..sent.min(self.unsaid.len()));
                self.unsaid.is_empty()
            }
            Err(_) => true,
        }
    }
}
