//! Room 5: dataplane/pool. Frames come from dataplane/io (lent to the kernel, back on a class's ring) and leave to dataplane/io again.
//!
//! The pool owns every frame. It lends frames to the kernel on the fill rings, under load the last that came home first
//! ([`lending`]), and takes them back from a class's ring once the slowest cursor of that class has passed. Nobody hands a
//! frame number to the pool: it reads the numbers from the kernel's own ring, so a worker cannot lie about them. A worker that
//! wants a frame sent names its place ([`send`]), and the pool moves the frame to a transmit ring instead of the fill ring
//! ([`ways`]). A wake-up costs a few loads for each class and one look at the clock; nothing here allocates, locks, logs or reads
//! a clock for a frame.

pub mod budget;
pub mod class;
pub mod gauges;
pub mod ledger;
pub mod lending;
pub mod outlet;
pub mod pool;
pub mod queue;
pub mod send;
pub mod sender;
pub mod transmit;
pub mod ways;
