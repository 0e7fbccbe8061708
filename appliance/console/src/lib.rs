//! Room 11: console. Frames come from no room and leave to none: here people ask, and read the answers.
//!
//! One file per noun: its words on the command line ([`clap`]) and how its answer looks. What needs the data plane is
//! done by the binary, which hands the result to the noun's `render`; all else goes over the control socket.

pub mod agent;
pub mod answer;
pub mod chaos;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod experiment;
pub mod feature;
pub mod figures;
pub mod flag;
pub mod line;
pub mod load;
pub mod log;
pub mod numbers;
pub mod passport;
mod placement;
pub mod preservation;
pub mod replay;
pub mod resources;
pub mod service;
pub mod status;
pub mod steer;
pub mod table;
#[cfg(test)]
mod tests;
pub mod top;
pub mod upgrade;
pub mod why;
