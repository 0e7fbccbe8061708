//! Does a frame come through AF_XDP as the rest of the product uses it: several classes on one queue, read-only takers,
//! another interface on the same UMEM, an edge to wait on, a busy queue?
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout)]

#[path = "attack/net.rs"]
mod net;
#[path = "xdp/program.rs"]
mod program;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use weir_dataplane_io::net::interface_index;
use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions, UmemView};
use weir_dataplane_io::wait::{Epoll, Trigger};
use weir_dataplane_io::xdp::{self, BindMode, BindWish, ClassSocket, Primary, Queue, Sizes};
use weir_dataplane_ring::{Allegation, Descriptor, RxOwner};

const SIZES: Sizes = Sizes { fill: 256, completion: 64, rx: 64, tx: 64 };
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs `test` in a thread with a network namespace of its own and a pair of interfaces, or says why not.
fn with_veth(name: &str, test: impl FnOnce(Queue, Queue) + Send) {
    if !rustix::process::geteuid().is_root() {
        println!("weir-skip: {name}: needs root for AF_XDP");
        return;
    }
    std::thread::scope(|scope| {
        let outcome = scope
            .spawn(|| {
                net::private_namespace().unwrap();
                let second = net::veth("weirRa", "weirRb").unwrap();
                let first = interface_index("weirRa").unwrap();
                test(Queue { interface: first, queue: 0 }, Queue { interface: second, queue: 0 });
            })
            .join();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

fn umem(frames: u32) -> Umem {
    Umem::create_with(UmemOptions { frames, frame_size: 2048, hugepages: HugePages::Never, node: None }).unwrap()
}

/// Two classes on the second interface and a sender on the first, all on one UMEM: frames 0..64 are the sender's.
struct Rig {
    umem: Umem,
    first: Primary,
    second: ClassSocket,
    sender: Primary,
    _program: program::Attached,
}

impl Rig {
    fn new(from: Queue, to: Queue) -> Self {
        let umem = umem(256);
        let mut first = xdp::primary(&umem, &SIZES, to, BindWish::ZeroCopyElseCopy, false).unwrap();
        assert_eq!(first.mode, BindMode::Copy);
        assert!(first.why.contains("refuses zero-copy"), "{}", first.why);
        let second = xdp::class(&first, SIZES.rx).unwrap();
        let sender = xdp::sender(&umem, &first.socket, SIZES.tx, from, BindWish::Copy).unwrap();
        assert!(sender.rx.is_none() && sender.tx.as_ref().is_some_and(|ring| ring.size() == SIZES.tx));
        let program = program::attach(to.interface, [first.socket.as_fd(), second.socket.as_fd()]).unwrap();
        for frame in 64..256 {
            first.fill.push(frame * 2048).unwrap();
        }
        first.fill.publish();
        Self { umem, first, second, sender, _program: program }
    }

    /// Sends frames `numbers`, even ones to class 0, and waits until the kernel has sent them.
    fn send(&mut self, numbers: std::ops::Range<u32>) {
        let ring = self.sender.tx.as_mut().unwrap();
        for (slot, number) in numbers.clone().enumerate() {
            let mut frame = [0_u8; 64];
            frame[5] = (number % 2) as u8; // the program routes by the last byte of the destination address
            frame[12..14].copy_from_slice(&[0x88, 0xb5]); // an EtherType for experiments
            frame[14..18].copy_from_slice(&number.to_le_bytes());
            assert!(self.umem.write(slot as u64 * 2048, &frame));
            ring.push(Descriptor { address: slot as u64 * 2048, length: 64, options: 0 }).unwrap();
        }
        ring.publish();
        assert!(ring.needs_wakeup(), "copy mode sends on request only");
        let (started, mut sent) = (Instant::now(), 0);
        while sent < numbers.len() {
            self.sender.socket.kick().unwrap();
            while self.sender.completion.pop().is_some() {
                sent += 1;
            }
            self.sender.completion.release();
            assert!(started.elapsed() < DEADLINE, "{sent} of {} frames were sent", numbers.len());
        }
    }
}

fn number_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[14..18].try_into().unwrap())
}

/// Waits until `ring` has `count` frames.
fn await_frames(ring: &RxOwner, count: u32) {
    let started = Instant::now();
    while ring.fill_level() < count {
        assert!(started.elapsed() < DEADLINE, "{} of {count} frames arrived", ring.fill_level());
        std::thread::yield_now();
    }
}

#[test]
fn frames_reach_their_class_and_its_taker_and_are_lent_again() {
    with_veth("frames_reach_their_class", |from, to| {
        let mut rig = Rig::new(from, to);
        let view = UmemView::map(rig.umem.file(), rig.umem.length()).unwrap();
        let takers = [
            xdp::map_rx_reader(rig.first.socket.as_fd(), SIZES.rx).unwrap(),
            xdp::map_rx_reader(rig.second.socket.as_fd(), SIZES.rx).unwrap(),
        ];
        let mut cursors = [0_u64; 2];
        // Twenty rounds of 64 frames go three times round rings of 64 and ten times round 192 frames.
        for round in 0..20 {
            let numbers = round * 64..round * 64 + 64;
            rig.send(numbers.clone());
            for class in 0..2 {
                let owner = if class == 0 { rig.first.rx.as_mut().unwrap() } else { &mut rig.second.rx };
                await_frames(owner, 32);
                let taker = &takers[class].reader;
                assert_eq!(taker.available(cursors[class]), 32);
                let got: Vec<u32> = taker
                    .batch(cursors[class], 32)
                    .map(|frame| number_of(view.bytes(frame.address, frame.length).unwrap()))
                    .collect();
                let expected: Vec<u32> = numbers.clone().filter(|number| number % 2 == class as u32).collect();
                assert_eq!(got, expected);
                cursors[class] += 32;
                let passed = owner.judge(Allegation::new(cursors[class])).unwrap();
                let lent: VecDeque<u64> = owner.until(passed).map(|frame| rig.umem.frame_of(frame.address)).collect();
                for address in lent {
                    rig.first.fill.push(address).unwrap();
                }
                rig.first.fill.publish();
                owner.release(passed);
            }
        }
        for socket in [&rig.first.socket, &rig.second.socket] {
            assert_eq!(socket.statistics().unwrap(), xdp::XdpStatistics::default(), "nothing was dropped");
        }
    });
}

#[test]
fn a_full_class_loses_its_own_frames_only_and_an_edge_wakes_its_waiter() {
    with_veth("a_full_class", |from, to| {
        let mut rig = Rig::new(from, to);
        let mut waiter = Epoll::new().unwrap();
        waiter.add(&rig.first.socket, 1, Trigger::Edge).unwrap();
        assert_eq!(waiter.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        for round in 0..3 {
            rig.send(round * 64..round * 64 + 64);
        }
        let ring = rig.first.rx.as_ref().unwrap();
        await_frames(ring, 64);
        assert_eq!(waiter.wait(Some(DEADLINE)).unwrap().next(), Some(1));
        assert_eq!(waiter.wait(Some(Duration::ZERO)).unwrap().count(), 0, "not recycled, and yet no second edge");
        // Class 1 got as much as class 0: 96 frames for a ring of 64.
        await_frames(&rig.second.rx, 64);
        let started = Instant::now();
        while rig.second.socket.statistics().unwrap().rx_ring_full < 32 {
            assert!(started.elapsed() < DEADLINE, "{:?}", rig.second.socket.statistics());
        }
        let statistics = rig.first.socket.statistics().unwrap();
        assert_eq!((statistics.rx_ring_full, statistics.fill_ring_empty, statistics.rx_dropped), (32, 0, 0));
    });
}

#[test]
fn a_socket_that_only_sends_has_its_frames_completed_on_the_first_ones_ring() {
    with_veth("a_socket_that_only_sends", |from, to| {
        let mut rig = Rig::new(from, to);
        let mut own = xdp::transmit(&rig.first, SIZES.tx).unwrap();
        // Twice round the ring: places of frames come back whose frames are those of the round before.
        for round in 0..4 {
            for slot in 0..32_u64 {
                let address = slot * 2048;
                assert!(rig.umem.write(address, &[0xff; 64]));
                own.tx.push(Descriptor { address, length: 64, options: 0 }).unwrap();
            }
            own.tx.publish();
            let (started, mut sent) = (Instant::now(), Vec::new());
            while sent.len() < 32 {
                own.socket.kick().unwrap();
                while let Some(address) = rig.first.completion.pop() {
                    sent.push(address);
                }
                rig.first.completion.release();
                assert!(started.elapsed() < DEADLINE, "{} of 32 frames were sent in round {round}", sent.len());
            }
            sent.sort_unstable();
            assert_eq!(sent, (0..32).map(|slot| slot * 2048).collect::<Vec<u64>>());
        }
        assert_eq!(own.socket.statistics().unwrap().tx_invalid, 0);
        // What comes in goes to its class as before.
        rig.send(0..2);
        await_frames(rig.first.rx.as_ref().unwrap(), 1);
        await_frames(&rig.second.rx, 1);
    });
}

#[test]
fn a_busy_queue_names_who_may_hold_it_and_is_free_once_the_rings_are_unmapped() {
    with_veth("a_busy_queue", |_, to| {
        let umem = umem(64);
        let holder = xdp::primary(&umem, &SIZES, to, BindWish::Copy, false).unwrap();
        let error = xdp::primary(&umem, &SIZES, to, BindWish::Copy, false).err().unwrap().to_string();
        let own = format!("{} (", std::process::id());
        assert!(
            error.contains("weirRb queue 0") && error.contains(&own) && error.contains("stop that process"),
            "{error}"
        );
        drop(holder);
        xdp::primary(&umem, &SIZES, to, BindWish::Copy, true).unwrap();
        let beyond = Queue { queue: 7, ..to };
        let error = xdp::primary(&umem, &SIZES, beyond, BindWish::Copy, false).err().unwrap().to_string();
        assert!(error.contains("queue 7") && error.contains("ethtool -l"), "{error}");
    });
}

#[test]
fn frame_memory_is_refused_or_sealed() {
    for frame_size in [1024, 3000, 8192] {
        let error = Umem::create(64, frame_size).unwrap_err().to_string();
        assert!(error.contains(&frame_size.to_string()) && error.contains("memory.frame_size"), "{error}");
    }
    assert!(Umem::create(0, 2048).is_err());
    let umem = umem(8);
    assert!(umem.write(2047, b"ab") && umem.bytes(2047, 2) == Some(&b"ab"[..]));
    assert!(!umem.write(8 * 2048 - 1, b"ab") && umem.bytes(8 * 2048 - 1, 2).is_none());
    assert!(umem.bytes(u64::MAX, 1).is_none() && umem.bytes(0, u32::MAX).is_none());
    assert_eq!(umem.frame_of(2 * 2048 + 256), 2 * 2048);
    let view = UmemView::map(umem.file(), umem.length()).unwrap();
    assert_eq!(view.bytes(2047, 2), Some(&b"ab"[..]));
    let writable = weir_dataplane_io::Mapping::map_shared(umem.file(), 2048, 0, true).unwrap_err();
    assert_eq!(writable.errno(), Some(rustix::io::Errno::PERM));
    assert!(UmemView::map(umem.file(), umem.length() + 1).is_err(), "longer than the file");
    let unsealed = rustix::fs::memfd_create("plain", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&unsealed, 4096).unwrap();
    let error = UmemView::map(unsealed.as_fd(), 4096).unwrap_err().to_string();
    assert!(error.contains("can still be shrunk"), "{error}");
}
