//! Senders in processes of their own, slow and hostile ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use weir_dataplane_io::fds::allow_descriptors;
use weir_ebpf_abi::stream::{STREAM_HEADER, StreamHello};
use zerocopy::IntoBytes;

use super::{BESIDE_CONNECTIONS, acknowledged, framed, hello, message};

/// Processes that send in it: both ends of ten thousand connections are more descriptors than one process may have.
pub(crate) const SENDING_PROCESSES: u32 = 3;
/// Tells a sending process what it is: address, first source and number of sources.
const SENDING: &str = "WEIR_TEST_SENDING";

/// What a sender in a process of its own does.
#[derive(PartialEq, Eq)]
pub(crate) enum Conduct {
    /// All of a message but its last byte, which would hold all buffers if it held one.
    Slow,
    /// Half a hello, and never the rest.
    HalfHello,
    /// Half a header, and a reset in the end.
    HalfHeader,
}

impl Conduct {
    pub(crate) fn of(source: u32) -> Self {
        match source % 10 {
            3 => Self::HalfHello,
            7 => Self::HalfHeader,
            _ => Self::Slow,
        }
    }
}

/// No test of its own: what [`Sending`] runs in another process.
#[test]
fn senders_of_another_process() {
    let Ok(told) = std::env::var(SENDING) else { return };
    let [address, first, count] = *told.split(' ').collect::<Vec<_>>() else { panic!("{told}") };
    let (address, first): (SocketAddr, u32) = (address.parse().expect("an address"), first.parse().expect("a source"));
    let count: u32 = count.parse().expect("a number");
    allow_descriptors(u64::from(count) + BESIDE_CONNECTIONS);
    let open = |source: u32| {
        let bytes = framed(source, 0, &message(1, 100, 1));
        let begun = match Conduct::of(source) {
            Conduct::HalfHello => {
                let mut stream = TcpStream::connect(address).expect("a connection");
                stream.write_all(&StreamHello::new(source, 0).as_bytes()[..16]).expect("sent");
                return stream;
            }
            Conduct::HalfHeader => &bytes[..STREAM_HEADER / 2],
            Conduct::Slow => &bytes[..bytes.len() - 1],
        };
        let (mut stream, _) = hello(address, source, 0);
        stream.write_all(begun).expect("sent");
        stream
    };
    let mut streams: Vec<(u32, TcpStream)> = (first..first + count).map(|source| (source, open(source))).collect();
    println!("\nREADY");
    assert!(std::io::stdin().read_line(&mut String::new()).expect("a word") > 0, "the receiver's process ended");
    streams.retain(|(source, _)| Conduct::of(*source) == Conduct::Slow);
    for (_, stream) in &mut streams {
        stream.write_all(&[0]).expect("sent");
    }
    streams.iter_mut().for_each(|(_, stream)| acknowledged(stream, 1));
    println!("\nDONE");
}

/// A process of senders.
pub(crate) struct Sending {
    /// The process.
    pub(crate) process: Child,
    said: BufReader<ChildStdout>,
}

impl Sending {
    pub(crate) fn start(address: SocketAddr, first: u32, count: u32) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "senders::senders_of_another_process", "--nocapture"])
            .env(SENDING, format!("{address} {first} {count}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let said = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, said }
    }

    pub(crate) fn wait_for(&mut self, word: &str) {
        let mut lines = self.said.by_ref().lines().map_while(Result::ok);
        assert!(lines.any(|line| line == word), "a process of senders ended before it said {word}");
    }
}
