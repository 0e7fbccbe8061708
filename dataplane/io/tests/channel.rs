//! Do messages and descriptors arrive whole, and is every kind of broken peer told apart?
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::io::Errno;
use weir_dataplane_io::fds::{Channel, DESCRIPTORS_MAX, Listener};
use weir_dataplane_io::shared::{self, SharedMemory, Writers};
use weir_dataplane_io::wait::EventFd;
use weir_dataplane_ring::{OwnerPage, OwnerView, PAGE_LENGTH};

/// A path of the test's own, short enough for a socket.
fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("weirR-{name}-{}", std::process::id()))
}

#[test]
fn descriptors_arrive_in_order_and_alive() {
    let (here, there) = Channel::pair().unwrap();
    let (one, other) = (EventFd::new().unwrap(), EventFd::new().unwrap());
    here.send(b"hello", &[one.as_fd(), other.as_fd()]).unwrap();
    let mut bytes = [0; 16];
    let message = there.receive(&mut bytes).unwrap();
    assert_eq!(&bytes[..message.length], b"hello");
    let [first, second] = <[_; 2]>::try_from(message.descriptors).unwrap().map(EventFd::from_fd);
    other.signal();
    assert_eq!((first.drain(), second.drain()), (0, 1));
    assert_eq!(there.peer().unwrap().pid, std::process::id());
    drop(here);
    assert_eq!(there.receive(&mut bytes).unwrap().length, 0, "the end of the connection");
    let error = there.send(b"too late", &[]).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::PIPE));
}

#[test]
fn what_does_not_fit_is_refused_not_cut() {
    let (here, there) = Channel::pair().unwrap();
    let event = EventFd::new().unwrap();
    let many = vec![event.as_fd(); DESCRIPTORS_MAX + 1];
    assert!(here.send(b"x", &many).unwrap_err().to_string().contains("65 descriptors"));
    here.send(b"x", &many[1..]).unwrap();
    assert_eq!(there.receive(&mut [0; 4]).unwrap().descriptors.len(), DESCRIPTORS_MAX);
    here.send(b"12345", &many[..1]).unwrap();
    assert!(there.receive(&mut [0; 4]).unwrap_err().to_string().contains("longer than 4 bytes"));
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let path = path("listen");
    let listener = Listener::bind(&path).unwrap();
    assert_eq!(Listener::bind(&path).unwrap_err().errno(), Some(Errno::ADDRINUSE));
    drop(listener); // the file stays
    let listener = Listener::bind(&path).unwrap();
    let client = Channel::connect(&path).unwrap();
    // The refused bind above left nothing behind but its own probe, which the dropped listener took along.
    let served = listener.accept().unwrap();
    client.send(b"1", &[]).unwrap();
    assert_eq!(served.receive(&mut [0; 1]).unwrap().length, 1);
    drop(listener);
    let error = Channel::connect(&path).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::CONNREFUSED));
    fs::remove_file(&path).unwrap();
    assert!(Channel::connect(&path).unwrap_err().to_string().contains("weirR-listen"));
}

#[test]
fn shared_memory_is_one_memory_and_its_creator_can_keep_it_to_itself() {
    let memory = SharedMemory::create("weir-test", PAGE_LENGTH, Writers::Creator).unwrap();
    let owner = OwnerPage::new(memory.mapping().clone(), 0).unwrap();
    let view =
        OwnerView::new(std::sync::Arc::new(shared::open(memory.file(), PAGE_LENGTH, false).unwrap()), 0).unwrap();
    assert!(!view.stop());
    owner.ask_stop();
    assert!(view.stop());
    assert_eq!(shared::open(memory.file(), PAGE_LENGTH, true).unwrap_err().errno(), Some(Errno::PERM));
    assert!(shared::open(memory.file(), PAGE_LENGTH + 1, false).is_err());
    assert_eq!(rustix::fs::ftruncate(memory.file(), 0), Err(Errno::PERM));
    let both = SharedMemory::create("weir-test", PAGE_LENGTH, Writers::Both).unwrap();
    assert!(shared::open(both.file(), PAGE_LENGTH, true).unwrap().is_writable());
    let reserved = shared::reserve("weir-test", PAGE_LENGTH).unwrap();
    assert!(shared::open_lazily(reserved.as_fd(), PAGE_LENGTH, true).unwrap().is_writable());
    assert!(shared::open_lazily(reserved.as_fd(), PAGE_LENGTH + 1, true).is_err());
}
