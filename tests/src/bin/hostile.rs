//! A worker that breaks the rules, for the tests: it attaches as any worker does and then does one bad deed.
//!
//! `hostile SOCKET NAME DEED`, where DEED is `cursor-ahead`, `cursor-back`, `speak`, `corrupt-records`, `send-ahead`,
//! `send-back` or `send-corrupt`. It ends with code 7 when nobody stopped it within ten seconds.
#![allow(clippy::exit, clippy::print_stderr)] // a test program's own words and code

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_dataplane_io::fds::Channel;
use weir_dataplane_io::shared;
use weir_dataplane_ring::{Memory, PAGE_LENGTH, Record, RecordProducer, SendRequest, TakerCursors, record_ring_length};
use weir_features_worker::attach::{Hello, Offer, parse};
use zerocopy::IntoBytes;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, name, deed] = arguments.as_slice() else {
        eprintln!("usage: hostile SOCKET NAME DEED");
        std::process::exit(2);
    };
    match misbehave(Path::new(socket), name, deed) {
        Ok(()) => std::process::exit(7),
        Err(error) => {
            eprintln!("hostile: {error}");
            std::process::exit(2);
        }
    }
}

fn misbehave(socket: &Path, name: &str, deed: &str) -> Result<(), Box<dyn std::error::Error>> {
    let connection = Channel::connect(socket)?;
    connection.send(Hello::new(name, 0).as_bytes(), &[])?;
    let mut bytes = [0_u8; size_of::<Offer>()];
    let received = connection.receive(&mut bytes)?;
    let offer: Offer = parse(&bytes[..received.length], "an offer")?;
    let page = |index: usize, length: usize| -> Result<Arc<dyn Memory>, Box<dyn std::error::Error>> {
        let file = received.descriptors.get(index).ok_or("too few descriptors")?;
        Ok(Arc::new(shared::open(file.as_fd(), length, true)?))
    };
    let cursors = TakerCursors::new(page(1, PAGE_LENGTH)?, 0)?;
    cursors.beat(1);
    match deed {
        "cursor-ahead" => cursors.publish(0, offer.rings[0].start + 1_000_000),
        "cursor-back" => cursors.publish(0, offer.rings[0].start.wrapping_sub(100_000)),
        "speak" => connection.send(b"let me out", &[])?,
        "corrupt-records" => {
            // The record ring's tail index lies 128 bytes in, where a cursor page has its second cursor.
            let ring = page(5, record_ring_length::<Record>(offer.record_slots))?;
            TakerCursors::new(ring, 0)?.publish(1, 0x7fff_ffff);
        }
        "send-ahead" | "send-back" | "send-corrupt" => {
            let ring = page(7, record_ring_length::<SendRequest>(offer.send_slots))?;
            let start = offer.rings[0].start;
            let place = if deed == "send-ahead" { start + 1_000_000 } else { start.wrapping_sub(1) };
            if deed == "send-corrupt" {
                TakerCursors::new(ring, 0)?.publish(1, 0x7fff_ffff);
            } else {
                let mut sends = RecordProducer::attach(ring, offer.send_slots)?;
                sends.push(&SendRequest::new(0, place, SendRequest::ANSWER, 0))?;
            }
        }
        other => return Err(format!("deed `{other}` is not known").into()),
    }
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(100)); // until killed
    }
    Ok(())
}
