//! Room 6: source. Frames come from capture files and from streams, and leave to rings of the kernel's layout.
//!
//! A source puts frames on a class's ring and interprets nothing beyond its own framing, so a worker reads a capture
//! with the code that reads a socket.
//!
//! * [`capture`] reads classic pcap and pcapng files and writes pcap;
//! * [`lane`] puts frames with the classifier's words on a ring that the unchanged worker reads;
//! * [`stream`] takes messages over TCP and local sockets, acknowledges them, and puts them on lanes without a copy;
//! * [`ethernet`] presents frames of other link layers to a classifier that knows Ethernet only.

pub mod capture;
pub mod ethernet;
pub mod lane;
pub mod stream;
