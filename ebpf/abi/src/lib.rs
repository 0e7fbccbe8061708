//! Room 1: ebpf/abi, the vocabulary. Frames come from nowhere and leave to nowhere: these are the words both sides share.
//!
//! No allocation, no `std`, no `unsafe`, one dependency: the same decoder and the same decision run in the kernel
//! (`ebpf/classifier`) and on the host, where they are the oracle of the differential tests.
#![no_std]
#![forbid(unsafe_code)]

pub mod action;
pub mod agents;
pub mod batch;
pub mod control;
pub mod counters;
pub mod decide;
pub mod decode;
pub mod explain;
pub mod flow;
pub mod generator;
pub mod known;
pub mod layout;
pub mod maglev;
pub mod message;
pub mod meta;
pub mod reason;
pub mod resend;
pub mod rewrite;
pub mod rules;
pub mod ruleset;
pub mod services;
pub mod stream;
pub mod watched;
pub mod wrap;
