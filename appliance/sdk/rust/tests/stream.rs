//! Does every message arrive once and in order, whatever happens to the connection, and is nobody kept waiting unasked?
#![allow(clippy::unwrap_used)]

mod receiver;

use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use receiver::{DEADLINE, Manners, Receiver};
use weir_appliance_sdk_rust::{StreamClient, StreamFailure, StreamOptions};
use weir_ebpf_abi::message::PORT_STANDARD;
use weir_ebpf_abi::stream::StreamError;

fn options(source: u32) -> StreamOptions {
    let (first_pause, longest_pause) = (Duration::from_millis(1), Duration::from_millis(20));
    StreamOptions { adopt: true, window_bytes: 256 << 10, first_pause, longest_pause, ..StreamOptions::new(source) }
}

fn connect(receiver: &Receiver, options: StreamOptions) -> Result<StreamClient, StreamFailure> {
    StreamClient::connected(receiver.endpoint().parse().unwrap(), options)
}

/// A message whose length and content follow from its number.
fn message(number: u64) -> Vec<u8> {
    let length = 28 + (number.wrapping_mul(2_654_435_761) >> 7) as usize % 900;
    let mut bytes = vec![number as u8; length];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn send(client: &StreamClient, numbers: std::ops::Range<u64>) {
    for number in numbers {
        client.send(PORT_STANDARD, &message(number), DEADLINE).unwrap();
    }
}

/// Whether the receiver has exactly the messages 0 to `count`.
fn expect(receiver: &Receiver, source: u32, count: u64) {
    let known = receiver.wait(source, |known| known.acknowledged as u64 == count);
    assert_eq!(known.messages.len() as u64, count);
    for (number, got) in known.messages.iter().enumerate() {
        assert_eq!((got.form, &got.bytes), (PORT_STANDARD, &message(number as u64)), "message {number}");
    }
}

#[test]
fn messages_arrive_once_and_in_order() {
    let receiver = Receiver::start("plain", Manners { acknowledge_every: 7, credit: 64, ..Manners::default() });
    let client = connect(&receiver, options(11)).unwrap();
    send(&client, 0..5000);
    // 5000 is no multiple of 7, so the last of them wait for more; the credit of 64 forces acknowledgement before.
    receiver.wait(11, |known| known.messages.len() == 5000);
    send(&client, 5000..5002);
    send(&client, 5002..5008);
    let statistics = client.statistics();
    assert_eq!((statistics.accepted, statistics.resent, statistics.connected), (5008, 0, 1));
    assert!(statistics.waits > 0, "{statistics:?}");
    receiver.wait(11, |known| known.messages.len() == 5008);
}

#[test]
fn a_cut_connection_costs_no_message_and_doubles_none() {
    for forgetful in [false, true] {
        let name = if forgetful { "forgets" } else { "remembers" };
        let manners = Manners { cut_every: 37, forgetful, acknowledge_every: 5, ..Manners::default() };
        let receiver = Receiver::start(name, manners);
        let client = connect(&receiver, options(12)).unwrap();
        send(&client, 0..1000);
        // 1000 is a multiple of neither; the cuts move the acknowledgements about.
        let known = receiver.wait(12, |known| known.messages.len() == 1000);
        assert!(known.connections > 20, "{}", known.connections);
        for (number, got) in known.messages.iter().enumerate() {
            assert_eq!(got.bytes, message(number as u64));
        }
        let statistics = client.statistics();
        assert_eq!(statistics.sent - statistics.resent, 1000, "{statistics:?}");
        assert!(!forgetful || statistics.resent > 0, "{statistics:?}");
    }
}

#[test]
fn a_full_window_refuses_at_once_and_takes_again_when_the_receiver_reads() {
    let receiver = Receiver::start("held", Manners { credit: 200, ..Manners::default() });
    // Before the connection: a receiver that waits for a message already reads that one.
    receiver.hold(true);
    let client = connect(&receiver, options(13)).unwrap();
    let mut taken = 0;
    while let Some(sequence) = client.try_send(PORT_STANDARD, &message(taken)).unwrap() {
        assert_eq!(sequence, taken);
        taken += 1;
    }
    assert!(taken > 200, "{taken} messages fit a window of 256 KiB");
    assert!(client.pressure() >= 99 && client.waiting() as u64 == taken && !client.has_room(1, 65_504));
    let error = client.send(PORT_STANDARD, &message(taken), Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, StreamFailure::Full { .. }), "{error}");
    let error = client.flush(Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, StreamFailure::Unacknowledged { .. }), "{error}");
    // All or nothing: two messages of which only the first would fit.
    let before = client.statistics();
    let error = client.try_send_with(PORT_STANDARD, &[28, 65_504], |_, _, _| {}).unwrap_err();
    assert!(matches!(error, StreamFailure::Full { .. }), "{error}");
    assert_eq!(client.statistics().accepted, before.accepted);
    receiver.hold(false);
    send(&client, taken..taken + 50);
    client.flush(DEADLINE).unwrap();
    assert_eq!((client.pressure(), client.waiting()), (0, 0));
    expect(&receiver, 13, taken + 50);
    assert_eq!(client.statistics().refused, 3);
}

#[test]
fn what_a_stream_cannot_carry_is_refused_before_anything_happens() {
    let receiver = Receiver::start("lengths", Manners::default());
    let client = connect(&receiver, options(14)).unwrap();
    for length in [0, 27, 65_505, 1 << 20] {
        let error = client.try_send(PORT_STANDARD, &vec![0; length]).unwrap_err();
        assert!(matches!(error, StreamFailure::Length { .. }), "{error}");
    }
    let error = client.try_send_with(PORT_STANDARD, &[65_504; 5], |_, _, _| {}).unwrap_err();
    assert!(matches!(error, StreamFailure::NeverFits { .. }), "{error}");
    client.try_send(PORT_STANDARD, &[7; 65_504]).unwrap();
    client.flush(DEADLINE).unwrap();
    assert_eq!(client.statistics().acknowledged, 1);
}

#[test]
fn a_program_that_starts_again_goes_on_where_the_box_counts() {
    let receiver = Receiver::start("again", Manners::default());
    for life in 0..3 {
        let client = connect(&receiver, options(15)).unwrap();
        send(&client, life * 100..(life + 1) * 100);
        client.flush(DEADLINE).unwrap();
    }
    expect(&receiver, 15, 300);
}

#[test]
fn a_program_that_keeps_count_is_told_of_a_difference_and_one_may_start_before_its_box() {
    let receiver = Receiver::start("count", Manners::default());
    let address = receiver.endpoint().parse().unwrap();
    let client = StreamClient::new(address, StreamOptions { adopt: false, ..options(20) });
    send(&client, 0..10); // accepted whether or not it is connected already
    client.connect(DEADLINE).unwrap();
    client.flush(DEADLINE).unwrap();
    drop(client);
    let error = connect(&receiver, StreamOptions { adopt: false, ..options(20) }).unwrap_err();
    assert!(matches!(error, StreamFailure::Ahead { source_id: 20, expected: 10 }), "{error}");
    let client = connect(&receiver, StreamOptions { adopt: false, first: 10, ..options(20) }).unwrap();
    assert_eq!((client.sequence(), client.is_connected()), (10, true));
    send(&client, 10..20);
    client.flush(DEADLINE).unwrap();
    expect(&receiver, 20, 20);
}

#[test]
fn nobody_there_and_somebody_who_refuses_are_told_apart() {
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nobody.sock");
    let started = Instant::now();
    let address = format!("unix:{}", nowhere.display()).parse().unwrap();
    let error = StreamClient::connected(address, options(16)).unwrap_err();
    assert!(matches!(error, StreamFailure::Unreachable { .. }) && error.to_string().contains("nobody.sock"), "{error}");
    assert!(started.elapsed() < DEADLINE);
    let receiver = Receiver::start("refuses", Manners::default());
    receiver.refuse(Some(StreamError::Version));
    let error = connect(&receiver, options(16)).unwrap_err();
    assert!(matches!(error, StreamFailure::Refused { .. }) && error.to_string().contains("another version"), "{error}");
    receiver.refuse(Some(StreamError::Ahead));
    let error = connect(&receiver, options(16)).unwrap_err();
    assert!(
        matches!(error, StreamFailure::Refused { .. }) && error.to_string().contains("beyond what this box"),
        "{error}"
    );
    receiver.refuse(Some(StreamError::TooMany));
    let error = connect(&receiver, options(16)).unwrap_err();
    assert!(matches!(error, StreamFailure::Unreachable { .. }), "{error}");
    // A refusal for good while messages wait ends the client; one that passes does not.
    receiver.refuse(None);
    let client = connect(&receiver, options(16)).unwrap();
    receiver.refuse(Some(StreamError::TooMany));
    receiver.cut();
    send(&client, 0..10);
    receiver.refuse(None);
    client.flush(DEADLINE).unwrap();
    receiver.refuse(Some(StreamError::Superseded));
    receiver.cut();
    // The window takes messages until the refusal is known, and then tells every caller.
    let deadline = Instant::now() + DEADLINE;
    while !client.has_ended() {
        assert!(Instant::now() < deadline, "the refusal was not noticed");
        std::thread::yield_now();
    }
    let error = client.try_send(PORT_STANDARD, &message(10)).unwrap_err();
    assert!(matches!(error, StreamFailure::Refused { .. }) && error.to_string().contains("took over"), "{error}");
    assert!(client.standing().is_err() && client.flush(DEADLINE).is_ok(), "nothing was outstanding");
}

#[test]
fn a_receiver_that_says_nothing_any_more_is_left() {
    let receiver = Receiver::start("silent", Manners { acknowledge_every: 1000, ..Manners::default() });
    let silence = Duration::from_millis(40);
    let client = connect(&receiver, StreamOptions { silence, ..options(17) }).unwrap();
    send(&client, 0..10);
    receiver.wait(17, |known| known.connections >= 3);
    expect_once(&receiver, 17, 10);
}

/// Whether nothing came twice, though it was not acknowledged.
fn expect_once(receiver: &Receiver, source: u32, count: u64) {
    let known = receiver.wait(source, |known| known.messages.len() as u64 >= count);
    let numbers: Vec<u64> =
        known.messages.iter().map(|message| u64::from_le_bytes(message.bytes[..8].try_into().unwrap())).collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

/// Carries bytes both ways between TCP connections and the receiver's socket; gives the place to connect to.
fn over_tcp(receiver: &Receiver) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let socket = receiver.endpoint().strip_prefix("unix:").unwrap().to_owned();
    // Ends with the test's process; each connection ends when either side does.
    std::thread::spawn(move || {
        for outside in listener.incoming() {
            let (outside, inside) = (outside.unwrap(), UnixStream::connect(&socket).unwrap());
            let (mut from, mut to) = (outside.try_clone().unwrap(), inside.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let (mut from, mut to) = (inside, outside);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
    place
}

#[test]
fn a_stream_over_tcp_is_the_same() {
    let receiver = Receiver::start("tcp", Manners { cut_every: 300, ..Manners::default() });
    let client = StreamClient::connected(over_tcp(&receiver).parse().unwrap(), options(19)).unwrap();
    send(&client, 0..2000);
    client.flush(DEADLINE).unwrap();
    expect(&receiver, 19, 2000);
    assert!(client.statistics().connected > 1);
}

#[test]
fn threads_share_a_client() {
    let receiver = Receiver::start("threads", Manners { cut_every: 500, ..Manners::default() });
    let client = connect(&receiver, options(18)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let client = &client;
            scope.spawn(move || {
                for number in 0..500 {
                    client.send(PORT_STANDARD, &message(thread << 32 | number), DEADLINE).unwrap();
                }
            });
        }
    });
    client.flush(DEADLINE).unwrap();
    let known = receiver.wait(18, |known| known.acknowledged == 2000);
    let mut next = [0; 4];
    for message in known.messages {
        let number = u64::from_le_bytes(message.bytes[..8].try_into().unwrap());
        let place = &mut next[(number >> 32) as usize];
        assert_eq!(number & 0xffff_ffff, *place, "each thread's messages keep their order");
        *place += 1;
    }
}
