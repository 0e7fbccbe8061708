//! Messages over TCP into a worker, beside a plain `recv` into nothing.
//!
//! What is fair: the same loopback, the same sender with the same writes on the same core, the same bytes, alternated. The
//! plain receiver reads them into one buffer and looks at none, on the other core. On ours, on that core too, the box finds each
//! message, steers it, hands it to a worker in another process, which counts it, and acknowledges it; time ends with the last
//! acknowledgement. Rates are of message bytes on our side, whose headers therefore count against it, and of all bytes on the
//! plain one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_appliance_control::message::{BenchRow, Better, Status};
use weir_appliance_lab::{Lab, LabSpec};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_benches::{boxed, noise, wire};
use weir_dataplane_io::clock::monotonic_ns;
use weir_dataplane_io::cpu;
use weir_ebpf_abi::batch::{BATCH_HEADER, BatchHeader, BatchWriter, EVENT_HEADER, EventHeader, EventType};
use weir_ebpf_abi::message::{PORT_BATCH, PORT_STANDARD, StandardHeader};
use weir_ebpf_abi::stream::{STREAM_HEADER, StreamHeader, StreamHello, StreamSays, StreamWord};
use zerocopy::IntoBytes;

/// Bytes of a run.
const TOTAL: usize = 2048 << 20;
/// Bytes of one write.
const WRITE: usize = 256 << 10;
/// Least ratio to the plain receiver.
const GOAL: f64 = 0.8;
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 48_103);

const CONFIG: &str = "features: {streaming: {enabled: true}}
rules:
  - {name: messages, match: \"udp dport 48100\", action: deliver, to: [streaming]}
  - {name: batches, match: \"udp dport 48102\", action: deliver, to: [streaming]}
tcp: {listen: [\"127.0.0.1:48103\"], credit: 1048576, buffers_mib: 16}
";

/// What is sent: one message again and again, its sequence counted up.
struct Shape {
    name: &'static str,
    form: u16,
    message: Vec<u8>,
    /// Events in it.
    events: u32,
}

fn shapes() -> Vec<Shape> {
    let batch = |events: u16| {
        let mut buffer = vec![0; BATCH_HEADER + usize::from(events) * (EVENT_HEADER + 32)];
        let header = BatchHeader { event_count: events.into(), ..BatchHeader::default() };
        if let Some(mut writer) = BatchWriter::start(&mut buffer, &header) {
            for event in 0..events {
                let kind = EventType::ALL[usize::from(event) % EventType::ALL.len()] as u32;
                let header = EventHeader {
                    event_type: kind.into(),
                    source_id: u32::from(event % 16).into(),
                    ..EventHeader::default()
                };
                writer.push(&header, &[0; 32]);
            }
            writer.finish();
        }
        buffer
    };
    let standard = StandardHeader { source_agent_id: 7.into(), ..StandardHeader::default() };
    let mut message = standard.as_bytes().to_vec();
    message.resize(1024, 0);
    vec![
        Shape { name: "messages of 1024 B", form: PORT_STANDARD, message, events: 1 },
        Shape { name: "batches of 22 events of 64 B", form: PORT_BATCH, message: batch(22), events: 22 },
        Shape { name: "batches of 512 events of 64 B", form: PORT_BATCH, message: batch(512), events: 512 },
    ]
}

/// As many messages as fill a write, headers and all; gives them and their count.
fn block(shape: &Shape) -> (Vec<u8>, usize) {
    let header = StreamHeader::new(shape.form, shape.message.len() as u32, 7, 0);
    let mut one = header.as_bytes().to_vec();
    one.extend_from_slice(&shape.message);
    one.resize(header.stride(), 0);
    let count = (WRITE / one.len()).max(1);
    (one.repeat(count), count)
}

/// Writes the sequences from `first` on into a block.
fn number(block: &mut [u8], count: usize, first: u64) {
    let stride = block.len() / count;
    for (at, sequence) in block.chunks_exact_mut(stride).zip(first..) {
        at[STREAM_HEADER - 8..STREAM_HEADER].copy_from_slice(&sequence.to_le_bytes());
    }
}

/// Gigabits a second of messages that a worker has taken and the box acknowledged.
fn ours(lab: &Lab, shape: &Shape, copied: &std::cell::Cell<f64>) -> Result<f64> {
    let inside = lab.node("box")?;
    let mut appliance = boxed::start(lab, inside, CONFIG)?;
    let (mut bytes, count) = block(shape);
    let blocks = TOTAL / bytes.len();
    let end = (blocks * count) as u64;
    let seconds = inside.run(|| -> Result<f64> {
        cpu::pin(wire::GENERATOR)?;
        let mut stream = TcpStream::connect(ADDRESS)?;
        stream.write_all(StreamHello::new(7, 0).as_bytes())?;
        let mut word = [0; StreamWord::SIZE];
        stream.read_exact(&mut word)?;
        ensure!(StreamWord::parse(&word).is_some_and(|(says, _)| says == StreamSays::Welcome), "no welcome: {word:?}");
        let start = monotonic_ns();
        for block in 0..blocks {
            number(&mut bytes, count, (block * count) as u64);
            stream.write_all(&bytes)?;
        }
        loop {
            stream.read_exact(&mut word)?;
            match StreamWord::parse(&word) {
                Some((StreamSays::Progress, said)) if said.next.get() >= end => break,
                Some((StreamSays::Progress, _)) => {}
                other => bail!("the box ended the stream: {other:?}"),
            }
        }
        Ok((monotonic_ns() - start) as f64 / 1e9)
    })??;
    let all = |status: &Status| {
        let streams = status.streams.as_ref();
        streams.is_some_and(|streams| streams.per_taker.get("streaming") == Some(&end) && streams.messages == end)
    };
    let status = appliance.wait_until("the worker has every message", Duration::from_secs(5), all)?;
    let streams = status.streams.context("no streams")?;
    let all = bytes.len() as f64 * blocks as f64;
    copied.set(copied.get().max(streams.bytes_copied as f64 / all));
    appliance.stop();
    Ok(end as f64 * shape.message.len() as f64 * 8.0 / seconds / 1e9)
}

/// Gigabits a second that a plain receiver reads.
fn plain(lab: &Lab, shape: &Shape) -> Result<f64> {
    let inside = lab.node("box")?;
    let (mut bytes, count) = block(shape);
    let blocks = TOTAL / bytes.len();
    let seconds = inside.run(|| -> Result<f64> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let ready = Barrier::new(2);
        std::thread::scope(|scope| {
            let receiving = scope.spawn(|| -> Result<u64> {
                cpu::pin(wire::RECEIVER)?;
                ready.wait();
                let (mut stream, _) = listener.accept()?;
                let mut buffer = vec![0; WRITE];
                while stream.read(&mut buffer)? > 0 {}
                Ok(monotonic_ns())
            });
            cpu::pin(wire::GENERATOR)?;
            ready.wait();
            let mut stream = TcpStream::connect(address)?;
            let start = monotonic_ns();
            for block in 0..blocks {
                number(&mut bytes, count, (block * count) as u64);
                stream.write_all(&bytes)?;
            }
            drop(stream);
            let end = receiving.join().unwrap_or_else(|_| bail!("the receiving thread panicked"))?;
            Ok((end - start) as f64 / 1e9)
        })
    })??;
    Ok(bytes.len() as f64 * blocks as f64 * 8.0 / seconds / 1e9)
}

fn main() -> Result<()> {
    let words = Words::read(5)?;
    noise::settle();
    Lab::sweep()?;
    let mut lab = Lab::create(&LabSpec::pair())?;
    let pages = lab.reserve_hugepages(32)?;
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for shape in &shapes() {
        let copied = std::cell::Cell::new(0.0);
        let mut cases =
            [Case::new(shape.name, || ours(&lab, shape, &copied)), Case::new("plain recv", || plain(&lab, shape))];
        let measured = alternate(&mut cases, words.runs, &[wire::GENERATOR, wire::RECEIVER])?;
        let row = BenchRow::of_runs(shape.name, "Gbit/s", Better::Higher, &measured.runs[0]);
        rows.extend(row.map(|row| row.beside("plain recv, bytes unread", &measured.runs[1], GOAL)));
        let per_second =
            |gigabits: &f64| gigabits * 1e9 / 8.0 / shape.message.len() as f64 * f64::from(shape.events) / 1e6;
        let events: Vec<f64> = measured.runs[0].iter().map(per_second).collect();
        let case = format!("{}: events", shape.name);
        rows.extend(BenchRow::of_runs(case, "M/s", Better::Higher, &events));
        let copied = copied.get() * 100.0;
        notes.push(format!(
            "{}: {}; at most {copied:.1} % of the bytes copied by the box",
            shape.name,
            measured.note()
        ));
    }
    let rig = format!("loopback in a namespace, {pages} hugepages, sender on core 0, box and worker on core 1");
    report::print("tcp", &rig, rows, &notes)
}
