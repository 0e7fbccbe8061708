//! Room 10: lab. Frames come from generators (kernel, AF_XDP, UDP, memory) and leave to the box under test.
//!
//! The rig of demo, load tools, tests and benchmarks: network namespaces joined by veth pairs, traffic of known content,
//! and the account of what arrived. Every result says which rig and which generator made it. Nothing stays behind:
//! what a lab makes carries its process's number, is removed with it, and is swept up by the next one if it was killed.
//!
//! * [`appliance`] starts the box inside a lab and asks it;
//! * [`network`] makes and removes namespaces, veth pairs, pins and hugepages;
//! * [`packet`] builds frames, messages and event batches with right checksums;
//! * [`traffic`] mixes them in exact shares from a seed;
//! * [`generate`] sends them: live XDP frames, AF_XDP, UDP sockets, or a ring in memory;
//! * [`host`] names the machine beside every figure;
//! * [`load`] paces a generator in an open loop and accounts for every frame by source and sequence.

pub mod appliance;
pub mod error;
pub mod generate;
pub mod host;
pub mod load;
pub mod network;
pub mod packet;
pub mod random;
pub mod sequence;
pub mod traffic;

pub use error::LabError;
pub use network::{Lab, LabSpec, Node};
