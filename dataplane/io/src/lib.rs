//! Room 4: every kernel call of the data plane. Frames come from AF_XDP queues and leave as rings for the pool and takers.
//!
//! | module | kernel facility |
//! |---|---|
//! | [`mapping`] | mmap: memory that lives as long as the value |
//! | [`shared`] | memfd: pages and rings two processes share, sealed |
//! | [`umem`] | the frames' memory on hugepages, and a taker's read-only view of it |
//! | [`xdp`] | AF_XDP sockets and their rings |
//! | [`fds`] | file descriptors passed over unix sockets |
//! | [`sockets`] | io_uring, else epoll: many stream sockets received from into the frames' memory |
//! | [`wait`] | epoll, eventfd, timerfd, pidfd |
//! | [`sandbox`] | mseal, credentials, Landlock, seccomp: what a worker gives up |
//! | [`cpu`] | kinds of cores, roles, pinning, real-time priority |
//! | [`cgroup`] | control groups: what a worker may use of cores and memory |
//! | [`accelerators`] | accelerators that the kernel shows |
//! | [`hardware`] | what the machine is: processor, caches, cards, power counters |
//! | [`memory`] | hugepages and memory in use |
//! | [`region`] | shared memory of any length, on hugepages and a node of choice |
//! | [`net`] | interfaces and network namespaces |
//! | [`nic`] | queues, spreading, interrupts and polling of a card, each change undone later |
//! | [`numa`] | memory nodes: of a card, of a page, and where memory comes from |
//! | [`probe`] | what this host can do, and the cure where it cannot |
//! | [`bpffs`] | the BPF file system that pins live in |
//! | [`disk`] | files written past the page cache, blocks given in advance |
//! | [`uring`] | io_uring: durable writes from registered memory |
//! | [`clock`] | clocks in nanoseconds |
#![allow(unsafe_code)]

pub mod accelerators;
pub mod bpffs;
pub mod cgroup;
pub mod clock;
pub mod cpu;
pub mod disk;
pub mod error;
pub mod fds;
pub mod hardware;
pub mod mapping;
pub mod memory;
pub mod net;
pub mod nic;
pub mod numa;
pub mod probe;
pub mod region;
pub mod sandbox;
pub mod shared;
pub mod sockets;
pub mod umem;
pub mod uring;
pub mod wait;
pub mod xdp;

pub use error::IoError;
pub use mapping::Mapping;
