//! Busy polling: the thread that waits for frames runs the card's poll itself, so that no interrupt and no other thread has to.

use std::os::fd::{AsFd, AsRawFd};

use crate::error::{IoError, Result};
use crate::net::set_option;

/// `SO_BUSY_POLL_BUDGET` and `SO_PREFER_BUSY_POLL` (include/uapi/asm-generic/socket.h).
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
/// `EPIOCSPARAMS`: `_IOW(0x8A, 1, struct epoll_params)` (include/uapi/linux/eventpoll.h).
const EPIOCSPARAMS: libc::c_ulong = 0x4008_8a01;

/// How a socket is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// Microseconds that a wait polls before it sleeps.
    pub usecs: u32,
    /// Frames taken in one round.
    pub budget: u16,
}

/// `struct epoll_params`.
#[repr(C)]
struct EpollParams {
    usecs: u32,
    budget: u16,
    prefer: u8,
    /// Must be zero.
    padding: u8,
}

/// Has waits on `socket` poll its queue, in preference to the card's interrupts.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN, `ENOPROTOOPT` before Linux 5.11.
pub fn prefer_on_socket(socket: impl AsFd, wish: BusyPoll) -> Result<()> {
    let set = |what: &str, option: libc::c_int, value: u32| {
        set_option(&socket, libc::SOL_SOCKET, option, value).map_err(|cause| {
            IoError::new(format!("setting {what} to {value}"), cause, "grant CAP_NET_ADMIN, run on Linux 5.11 or newer")
        })
    };
    set("SO_PREFER_BUSY_POLL", SO_PREFER_BUSY_POLL, 1)?;
    set("SO_BUSY_POLL", libc::SO_BUSY_POLL, wish.usecs)?;
    set("SO_BUSY_POLL_BUDGET", SO_BUSY_POLL_BUDGET, u32::from(wish.budget))
}

/// What a socket was told: microseconds, and whether polling is preferred.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 5.11.
pub fn of_socket(socket: impl AsFd) -> Result<(u32, bool)> {
    let get = |option: libc::c_int| {
        let (mut value, mut size) = (0_u32, size_of::<u32>() as libc::socklen_t);
        let fd = socket.as_fd().as_raw_fd();
        let place = std::ptr::from_mut(&mut value).cast();
        // SAFETY: the kernel writes at most `size` bytes, the size of `value`; both outlive the call.
        if unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, place, &raw mut size) } == 0 {
            return Ok(value);
        }
        let cause = std::io::Error::last_os_error();
        Err(IoError::new("asking a socket how it is polled", cause, "run on Linux 5.11 or newer"))
    };
    Ok((get(libc::SO_BUSY_POLL)?, get(SO_PREFER_BUSY_POLL)? != 0))
}

/// Has waits on an epoll instance poll the queue that its sockets last received from.
///
/// # Errors
/// `ENOTTY` before Linux 6.9, `EPERM` for a budget above 64 without CAP_NET_ADMIN.
pub fn prefer_on_epoll(epoll: impl AsFd, wish: BusyPoll) -> Result<()> {
    let wanted = EpollParams { usecs: wish.usecs, budget: wish.budget, prefer: 1, padding: 0 };
    // SAFETY: the kernel reads a `struct epoll_params`, which this is and which outlives the call.
    if unsafe { libc::ioctl(epoll.as_fd().as_raw_fd(), EPIOCSPARAMS as _, std::ptr::from_ref(&wanted)) } == 0 {
        return Ok(());
    }
    let what = format!("busy polling for {} us in epoll", wish.usecs);
    Err(IoError::new(what, std::io::Error::last_os_error(), "run on Linux 6.9 or newer, or set net.core.busy_poll"))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::wait::Epoll;

    #[test]
    fn a_socket_says_what_it_was_told() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!of_socket(&socket).unwrap().1);
        match prefer_on_socket(&socket, BusyPoll { usecs: 50, budget: 64 }) {
            Ok(()) => assert_eq!(of_socket(&socket).unwrap(), (50, true)),
            Err(error) => assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}"),
        }
    }

    #[test]
    fn an_epoll_instance_takes_it_or_names_the_kernel() {
        match prefer_on_epoll(Epoll::new().unwrap(), BusyPoll { usecs: 50, budget: 8 }) {
            Ok(()) => {}
            Err(error) => assert!(error.to_string().contains("6.9"), "{error}"),
        }
    }
}
