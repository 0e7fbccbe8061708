//! Room 3: shared-memory rings. Frames come from the kernel's descriptor rings and leave to a taker that only reads them.
//!
//! Every structure here is a layout over memory that somebody else may map too: the kernel, another process or another
//! thread. Nothing in this room makes a system call, starts a thread or knows what a frame contains.
//!
//! | module | what it lays out |
//! |---|---|
//! | [`memory`] | who owns the bytes, and the only `unsafe` of the room: checked atomics inside them |
//! | [`order`] | the index arithmetic and the order of loads and stores, shared by all rings |
//! | [`positions`] | the same for positions that never wrap |
//! | [`descriptor`] | the kernel's frame descriptor and where a ring's words lie |
//! | [`receive`] | a class's RX ring: the taker's read-only view and the owner's view |
//! | [`lend`] | the fill and completion rings: frames lent to the kernel and returned by it |
//! | [`transmit`] | the TX ring, and the lane ring that stands in for a kernel RX ring |
//! | [`page`] | the page of cursors a taker writes, and the page of orders its owner writes |
//! | [`figures`] | figures that are whole after the sudden death of whoever wrote them |
//! | [`record`] | the one-producer one-consumer ring of records, events and calls |
//! | [`bytes`] | the one-producer one-consumer ring of messages of any length, and the view a C program has of it |
//! | [`send`] | what a worker asks the pool to send, over such a ring |
#![allow(unsafe_code)]

pub mod bytes;
pub mod descriptor;
pub mod figures;
pub mod flows;
pub mod lend;
pub mod memory;
pub mod order;
pub mod page;
pub mod positions;
pub mod receive;
pub mod record;
pub mod send;
pub mod transmit;

pub use bytes::{ByteRing, ByteRingError, Positions, byte_ring_length};
pub use descriptor::{Descriptor, RingOffsets};
pub use figures::{LastFigures, SharedWords};
pub use flows::FlowTable;
pub use lend::{CompletionRing, FillRing};
pub use memory::{HeapMemory, Memory, RingError};
pub use order::{Corrupt, Full, Hostile};
pub use page::{Allegation, OwnerCursors, OwnerPage, OwnerView, PAGE_LENGTH, SLOTS, TakerCursors};
pub use receive::{RxOwner, RxReader};
pub use record::{Record, RecordConsumer, RecordProducer, Reservation, record_ring_length};
pub use send::SendRequest;
pub use transmit::{LaneRing, TxRing};

#[cfg(not(target_endian = "little"))]
compile_error!("the ring layouts are written for little-endian machines (x86-64, aarch64)");
