//! The NAPI instances of an interface, by generic netlink: the one place that tells which thread polls for which interface.
//! The threads' names do not: interfaces of the same name in two namespaces have threads of the same name.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use crate::error::{IoError, Result};

// include/uapi/linux/genetlink.h
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
// include/uapi/linux/netdev.h
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// `enum netdev_xdp_act`, by bit.
const XDP_FEATURES: [&str; 7] = ["basic", "redirect", "xmit", "zero-copy", "offload", "rx-sg", "xmit-sg"];
const NETDEV_CMD_NAPI_GET: u8 = 11;
const NETDEV_A_NAPI_IFINDEX: u16 = 1;
const NETDEV_A_NAPI_ID: u16 = 2;
const NETDEV_A_NAPI_IRQ: u16 = 3;
const NETDEV_A_NAPI_PID: u16 = 4;
/// Length of a message's head, and of netlink's and generic netlink's together.
const NETLINK_HEAD: usize = 16;
const HEADS: usize = NETLINK_HEAD + 4;
/// Bytes for one answer; the kernel fills at most 32 KiB at a time.
const ANSWER: usize = 32 << 10;
/// Datagrams of one answer at most: 64 instances take less than one.
const MOST_DATAGRAMS: usize = 1024;

/// One NAPI instance: what polls one queue, or one pair of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Napi {
    /// Its number, unique on the host.
    pub id: u32,
    /// The interrupt that starts it, where the driver says.
    pub irq: Option<u32>,
    /// The thread that polls, when it is threaded.
    pub thread: Option<u32>,
}

/// The NAPI instances of interface number `interface` of the calling thread's namespace, by number.
///
/// # Errors
/// `ENOENT` or `EOPNOTSUPP` before Linux 6.8.
pub fn instances(interface: u32) -> Result<Vec<Napi>> {
    let fail = |cause| {
        let what = format!("asking for the NAPI instances of interface number {interface}");
        IoError::new(what, cause, "run on Linux 6.8 or newer")
    };
    let (socket, family) = netdev().map_err(fail)?;
    let mut found = Vec::new();
    let only = (NETDEV_A_NAPI_IFINDEX, &interface.to_ne_bytes()[..]);
    ask(&socket, family, NETDEV_CMD_NAPI_GET, true, only, |attributes| {
        if let Some(id) = number(attributes, NETDEV_A_NAPI_ID) {
            let (irq, thread) = (number(attributes, NETDEV_A_NAPI_IRQ), number(attributes, NETDEV_A_NAPI_PID));
            found.push(Napi { id, irq, thread });
        }
    })
    .map_err(fail)?;
    found.sort_by_key(|napi| napi.id);
    Ok(found)
}

/// What the driver of interface number `interface` says that it can do with XDP, in the kernel's words; empty where it can
/// do nothing, so that programs run behind it (generic).
///
/// # Errors
/// `ENOENT` or `EOPNOTSUPP` before Linux 6.3, `ENODEV` when there is no such interface.
pub fn xdp_features(interface: u32) -> Result<Vec<&'static str>> {
    let fail = |cause| {
        let what = format!("asking what interface number {interface} can do with XDP");
        IoError::new(what, cause, "run on Linux 6.3 or newer")
    };
    let (socket, family) = netdev().map_err(fail)?;
    let mut bits = None;
    let only = (NETDEV_A_DEV_IFINDEX, &interface.to_ne_bytes()[..]);
    ask(&socket, family, NETDEV_CMD_DEV_GET, false, only, |attributes| {
        bits = bits.or_else(|| number(attributes, NETDEV_A_DEV_XDP_FEATURES));
    })
    .map_err(fail)?;
    let bits = bits.ok_or_else(|| fail(Errno::OPNOTSUPP))?;
    Ok(XDP_FEATURES.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, name)| *name).collect())
}

/// A socket of generic netlink, and the number of the family that knows interfaces.
fn netdev() -> rustix::io::Result<(OwnedFd, u16)> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::GENERIC))?;
    let mut family = None;
    ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, false, (CTRL_ATTR_FAMILY_NAME, b"netdev\0"), |attributes| {
        family = family.or_else(|| number(attributes, CTRL_ATTR_FAMILY_ID));
    })?;
    let family = family.and_then(|id| u16::try_from(id).ok()).ok_or(Errno::NOENT)?;
    Ok((socket, family))
}

/// Sends one command with one attribute and gives the attributes of each answer.
fn ask(
    socket: &OwnedFd,
    family: u16,
    command: u8,
    dump: bool,
    attribute: (u16, &[u8]),
    mut each: impl FnMut(&[u8]),
) -> rustix::io::Result<()> {
    send(socket, &request(family, command, dump, attribute), SendFlags::empty())?;
    let mut bytes = vec![0; ANSWER];
    for _ in 0..MOST_DATAGRAMS {
        let (length, _) = recv(socket, &mut bytes[..], RecvFlags::empty())?;
        let mut rest = bytes.get(..length).unwrap_or_default();
        while let Some(message) = Message::first_of(rest) {
            match i32::from(message.kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    let code = word(message.body, 0).map_or(0, |code| code as i32); // a negative errno, 0 for "done"
                    return if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(-code)) };
                }
                _ => each(message.body.get(HEADS - NETLINK_HEAD..).unwrap_or_default()),
            }
            rest = rest.get(message.room..).unwrap_or_default();
        }
        if !dump {
            return Ok(());
        }
    }
    Err(Errno::MSGSIZE)
}

fn request(family: u16, command: u8, dump: bool, (kind, value): (u16, &[u8])) -> Vec<u8> {
    let attribute = 4 + value.len();
    let length = HEADS + attribute.next_multiple_of(4);
    let flags = libc::NLM_F_REQUEST | if dump { libc::NLM_F_DUMP } else { 0 };
    let mut out = Vec::with_capacity(length);
    out.extend((length as u32).to_ne_bytes()); // a few dozen bytes
    out.extend(family.to_ne_bytes());
    out.extend((flags as u16).to_ne_bytes()); // the flags are bits below 0x1000
    out.extend([0; 8]); // sequence number and port: one question at a time
    out.extend([command, 1, 0, 0]);
    out.extend((attribute as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(length, 0);
    out
}

/// One message of a datagram.
struct Message<'a> {
    kind: u16,
    body: &'a [u8],
    /// Bytes to the next one.
    room: usize,
}

impl<'a> Message<'a> {
    fn first_of(bytes: &'a [u8]) -> Option<Self> {
        let length = word(bytes, 0)? as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(NETLINK_HEAD..length)?;
        Some(Self { kind, body, room: length.next_multiple_of(4) })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The number in attribute `wanted`, of two or four bytes; of one of eight the lower half, where all known bits are.
fn number(mut attributes: &[u8], wanted: u16) -> Option<u32> {
    while let (Some(length), Some(kind)) = (attributes.get(..2), attributes.get(2..4)) {
        let length = usize::from(u16::from_ne_bytes(length.try_into().ok()?));
        let kind = u16::from_ne_bytes(kind.try_into().ok()?) & !(1 << 15 | 1 << 14); // nested, byte order
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return match value {
                [a, b] => Some(u32::from(u16::from_ne_bytes([*a, *b]))),
                [..] if value.len() == 8 => value.try_into().ok().map(|eight| u64::from_ne_bytes(eight) as u32),
                _ => word(value, 0),
            };
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_or_is_too_old() {
        match instances(1) {
            Ok(found) => assert_eq!(found, [], "loopback has no NAPI instance"),
            Err(error) => assert!(error.to_string().contains("6.8"), "{error}"),
        }
    }

    #[test]
    fn loopback_has_generic_xdp_only() {
        match xdp_features(1) {
            Ok(features) => assert!(!features.contains(&"zero-copy"), "{features:?}"),
            Err(error) => assert!(error.to_string().contains("6.3"), "{error}"),
        }
        assert!(xdp_features(0x7fff_fff0).is_err(), "there is no such interface");
    }

    #[test]
    fn attributes_are_found_behind_others_and_broken_ones_end_the_search() {
        let bytes = [[6, 0, 1, 0], [7, 0, 0, 0], [8, 0, 2, 0], [1, 2, 0, 0]].concat();
        assert_eq!((number(&bytes, 1), number(&bytes, 2), number(&bytes, 3)), (Some(7), Some(0x201), None));
        for cut in 0..bytes.len() {
            let _ = (number(&bytes[..cut], 2), Message::first_of(&bytes[..cut]).is_none());
        }
        assert_eq!(number(&[0, 0, 0, 0, 9, 9, 9, 9], 5), None, "a length of nothing does not go round");
    }
}
