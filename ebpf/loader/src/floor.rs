//! The least that a program can do: what the classifier is measured beside on a wire.

use std::os::fd::BorrowedFd;

use aya::Ebpf;
use aya::maps::{DevMap, XskMap};
use aya::programs::links::FdLink;
use weir_ebpf_abi::layout::{self, program};

use crate::attach::{self, AttachMode, AttachWish, Attached};
use crate::error::LoadError;
use crate::generate::load_tool;
use crate::values::{bad_map, map_mut, refused};

/// A program without a thought, attached; dropped, it detaches.
#[derive(Debug)]
pub struct Floor {
    /// Keeps the maps that the program looks up.
    _ebpf: Ebpf,
    attached: Attached,
    /// Kept for its drop.
    _link: FdLink,
}

impl Floor {
    /// Redirects every frame of `interface` out of the interface with index `egress`: a bare device-map redirect.
    ///
    /// # Errors
    /// As [`Classifier::attach`](crate::Classifier::attach).
    pub fn redirect(interface: &str, egress: u32) -> Result<Floor, LoadError> {
        let mut ebpf = load_tool(program::EMPTY_REDIRECT)?;
        let map = map_mut(&mut ebpf, layout::MAP_EGRESS)?;
        let mut devices = DevMap::try_from(map).map_err(|error| bad_map(layout::MAP_EGRESS, &error))?;
        devices.set(0, egress, None, 0).map_err(|error| refused(layout::MAP_EGRESS, 0, &error))?;
        Floor::attach(ebpf, program::EMPTY_REDIRECT, interface)
    }

    /// Redirects every frame of queue 0 of `interface` to one AF_XDP socket: bare AF_XDP.
    ///
    /// # Errors
    /// As [`Classifier::attach`](crate::Classifier::attach).
    pub fn socket(interface: &str, socket: BorrowedFd<'_>) -> Result<Floor, LoadError> {
        let mut ebpf = load_tool(program::EMPTY_SOCKET)?;
        let map = map_mut(&mut ebpf, layout::MAP_SOCKETS)?;
        let mut sockets = XskMap::try_from(map).map_err(|error| bad_map(layout::MAP_SOCKETS, &error))?;
        sockets.set(0, socket, 0).map_err(|error| refused(layout::MAP_SOCKETS, 0, &error))?;
        Floor::attach(ebpf, program::EMPTY_SOCKET, interface)
    }

    fn attach(mut ebpf: Ebpf, name: &str, interface: &str) -> Result<Floor, LoadError> {
        let index = attach::index_of(interface)?;
        let floor = attach::program(&mut ebpf, name)?;
        let (held, attached) = attach::attach(floor, None, interface, index, AttachWish::Best)?;
        Ok(Floor { _ebpf: ebpf, attached, _link: held.into_link() })
    }

    /// How the interface runs it.
    pub const fn mode(&self) -> AttachMode {
        self.attached.mode
    }
}
