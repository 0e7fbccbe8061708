//! Can a worker that has been taken over reach anything but its own cursor page?
//!
//! A worker process maps what a real one maps, builds some or all of its walls, then tries everything that was thought
//! of, call by call. What aims at rings and frames must be refused by sealing alone as well as by the filter alone; what
//! aims at the world outside must be refused by the filter. A first worker without walls is the control: there the same
//! attacks must succeed, else this test tests nothing.
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout)]

#[path = "attack/attempts.rs"]
mod attempts;
#[path = "attack/net.rs"]
mod net;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use attempts::{ATTEMPTS, Aim, Target};
use weir_dataplane_io::fds::Channel;
use weir_dataplane_io::sandbox::{self, Sealing, Threads};
use weir_dataplane_io::shared::{self, SharedMemory, Writers};
use weir_dataplane_io::umem::{HugePages, Umem, UmemOptions, UmemView};
use weir_dataplane_io::xdp::{self, BindWish, Queue, Sizes};
use weir_dataplane_io::{Mapping, probe};

const NOBODY: u32 = 65534;
const RX_SIZE: u32 = 64;
const PAGE: usize = 4096;
/// The last line of a worker's report.
const DONE: &str = "done";

const THREAD: &str = "start a thread";

/// Which walls a worker builds.
const MODES: [&str; 5] = ["open", "sealed", "filtered", "both", "threads"];

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("worker") {
        return worker(&arguments.next().unwrap(), arguments.next().as_deref() == Some("store"));
    }
    if !rustix::process::geteuid().is_root() {
        println!("weir-skip: attacks: needs root for an AF_XDP socket and another user");
        return;
    }
    let sealing = probe::mseal().state == probe::State::Ok;
    if !sealing {
        println!("weir-skip: attacks, sealed: mseal needs Linux 6.10");
    }
    net::private_namespace().unwrap();
    let interface = net::veth("weirRa", "weirRb").unwrap();
    let rig = Rig::new(interface);
    for mode in MODES.into_iter().filter(|mode| sealing || !["sealed", "threads"].contains(mode)) {
        let (report, ended_well) = rig.run(mode, false);
        println!("{mode}:");
        for (name, outcome) in &report {
            println!("  {name:50} {outcome}");
        }
        assert!(ended_well, "{mode}: the worker did not come to its end");
        check(mode, sealing, &report);
        // The plain store ends the worker, so it has a process of its own.
        let (_, survived) = rig.run(mode, true);
        assert!(!survived, "{mode}: a store into the read-only ring went through");
        rig.assert_untouched(mode);
    }
    println!("attacks: every attempt was refused");
}

fn check(mode: &str, sealing: bool, report: &BTreeMap<String, String>) {
    for attempt in ATTEMPTS {
        let outcome = &report[attempt.name];
        let refused = outcome.starts_with("refused");
        match (mode, attempt.aim) {
            ("open", Aim::Control) => assert!(!refused, "{}: not even possible without walls: {outcome}", attempt.name),
            ("open", _) | (_, Aim::Own) => {}
            ("sealed", Aim::World) => {}
            // Anonymous memory laid over the worker's own view hurts only itself; sealing forbids even that.
            ("filtered", Aim::OwnView) => {}
            ("both", Aim::OwnView) if !sealing => {}
            _ => assert!(refused, "{mode}: {} gained: {outcome}", attempt.name),
        }
        if attempt.aim == Aim::Own && mode != "open" {
            assert!(!refused, "{mode}: {} must stay possible: {outcome}", attempt.name);
        }
    }
    // A filter for workers whose threads all run already lets no further one start; the other one does.
    let starts = !["filtered", "both"].contains(&mode);
    assert_eq!(report[THREAD].starts_with("refused"), !starts, "{mode}: {}", report[THREAD]);
    if !["open", "sealed"].contains(&mode) {
        assert_eq!(report["clone3 (must look absent)"], "refused ENOSYS");
    }
}

/// The owner's side: frames, a bound socket with its rings, a cursor page.
struct Rig {
    umem: Umem,
    primary: xdp::Primary,
    page: SharedMemory,
}

impl Rig {
    fn new(interface: u32) -> Self {
        let options = UmemOptions { frames: 64, frame_size: 2048, hugepages: HugePages::Never, node: None };
        let umem = Umem::create_with(options).unwrap();
        assert!(umem.write(0, b"a frame"));
        let sizes = Sizes { fill: 64, completion: 64, rx: RX_SIZE, tx: 0 };
        let place = Queue { interface, queue: 0 };
        let primary = xdp::primary(&umem, &sizes, place, BindWish::Copy, false).unwrap();
        Self { umem, primary, page: SharedMemory::create("weir-cursors", PAGE, Writers::Both).unwrap() }
    }

    /// Runs a worker; gives what it reported and whether it ended by itself.
    fn run(&self, mode: &str, store: bool) -> (BTreeMap<String, String>, bool) {
        let (here, there) = Channel::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["worker", mode, if store { "store" } else { "attack" }]);
        command.stdin(Stdio::from(there.into_fd()));
        let mut child = command.spawn().unwrap();
        drop(command); // the last copy of the worker's end on this side, so that its death closes the channel
        let length = (self.umem.length() as u64).to_le_bytes();
        here.send(&length, &[self.umem.file(), self.primary.socket.as_fd(), self.page.file()]).unwrap();
        let mut report = BTreeMap::new();
        let mut done = false;
        let mut buffer = [0; 256];
        loop {
            let length = here.receive(&mut buffer).map_or(0, |message| message.length);
            let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
            match line.split_once('\t') {
                Some((name, outcome)) => _ = report.insert(name.to_owned(), outcome.to_owned()),
                None => {
                    done |= line == DONE;
                    if length == 0 {
                        break;
                    }
                }
            }
        }
        let status = child.wait().unwrap();
        if store {
            assert_eq!(status.signal(), Some(libc::SIGSEGV), "{mode}: a store into the ring ended with {status}");
        }
        (report, done && status.success())
    }

    fn assert_untouched(&self, mode: &str) {
        assert_eq!(self.umem.bytes(0, 7), Some(&b"a frame"[..]), "{mode}: a frame was changed");
        assert_eq!(
            self.primary.rx.as_ref().map(|rx| (rx.producer(), rx.consumer())),
            Some((0, 0)),
            "{mode}: ring moved"
        );
    }
}

/// The worker: maps, builds its walls, attacks, reports.
fn worker(mode: &str, store: bool) {
    let channel = Channel::from_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let mut length = [0; 8];
    let message = channel.receive(&mut length).unwrap();
    let [frames, socket, page]: [OwnedFd; 3] = message.descriptors.try_into().unwrap();
    let umem_length = u64::from_le_bytes(length) as usize;
    let view = UmemView::map(frames.as_fd(), umem_length).unwrap();
    let ring = xdp::map_rx_reader(socket.as_fd(), RX_SIZE).unwrap();
    let cursors = Arc::new(shared::open(page.as_fd(), PAGE, true).unwrap());
    drop(page);
    assert_eq!(view.bytes(0, 7), Some(&b"a frame"[..]), "the worker sees the frame");
    assert_eq!(ring.reader.producer(), 0);
    let target = Target::new(&ring.mapping, view.mapping(), socket.as_raw_fd(), frames.as_raw_fd());
    if mode != "open" {
        drop((socket, frames));
    } else {
        // Left open, as a careless worker would.
        std::mem::forget((socket, frames));
    }
    let mappings: [&Mapping; 3] = [&ring.mapping, view.mapping(), &cursors];
    match mode {
        "open" => sandbox::drop_to(NOBODY, NOBODY).unwrap(),
        "sealed" | "threads" => {
            for mapping in mappings {
                assert_eq!(sandbox::seal(mapping).unwrap(), Sealing::Sealed);
            }
            sandbox::drop_to(NOBODY, NOBODY).unwrap();
            if mode == "threads" {
                sandbox::seccomp_worker(Threads::MayStart).unwrap();
            }
        }
        "filtered" => {
            sandbox::drop_to(NOBODY, NOBODY).unwrap();
            sandbox::seccomp_worker(Threads::Started).unwrap();
        }
        _ => _ = sandbox::enter_worker(&mappings, NOBODY, None).unwrap(),
    }
    if store {
        attempts::store(&target);
        report(&channel, DONE);
        return;
    }
    for attempt in ATTEMPTS {
        let outcome = match (attempt.run)(&target) {
            Ok(()) => "GAINED".to_owned(),
            Err(errno) => format!("refused {}", attempts::name_of(errno)),
        };
        report(&channel, &format!("{}\t{outcome}", attempt.name));
    }
    let thread = std::thread::Builder::new().spawn(|| ()).map(std::thread::JoinHandle::join);
    let outcome = thread.map_or_else(|cause| format!("refused {cause}"), |_| "GAINED".to_owned());
    report(&channel, &format!("{THREAD}\t{outcome}"));
    report(&channel, DONE);
}

/// By write(2), which the filter allows, where sendmsg is not.
fn report(channel: &Channel, line: &str) {
    let _ = rustix::io::write(channel, line.as_bytes());
}
