//! Room 9: control. Frames come from no room and leave to none: here are the words of the file and the control socket.
//!
//! What a person types becomes a type here, once, and every room gets its own narrow struct by value. The server
//! (`appliance/weir`) and the client (`appliance/console`) share the messages of the control socket through [`message`].

pub mod class;
pub mod client;
pub mod config;
pub mod config_file;
pub mod experiments;
pub mod flags;
mod hex;
pub mod keeper;
pub mod management;
pub mod matching;
pub mod message;
pub mod name;
pub mod problem;
pub mod resources;
pub mod share;
pub mod tables;
pub mod taker;
