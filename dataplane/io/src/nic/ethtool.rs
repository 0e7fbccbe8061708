//! Channels and RSS, by the ethtool ioctl: it is in every kernel that has AF_XDP, and needs no message builder.

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

use crate::error::{IoError, Result};
use crate::net::{control_socket, ifreq, last_error};

// include/uapi/linux/ethtool.h
const ETHTOOL_GDRVINFO: u32 = 0x0000_0003;
const ETHTOOL_GRXFHINDIR: u32 = 0x0000_0038;
const ETHTOOL_SRXFHINDIR: u32 = 0x0000_0039;
const ETHTOOL_GCHANNELS: u32 = 0x0000_003c;
const ETHTOOL_SCHANNELS: u32 = 0x0000_003d;
/// Entries of the largest indirection table that is believed; cards have 64 to 2048.
const MAX_TABLE: usize = 1 << 16;

/// `struct ethtool_channels`: how many queues there are of each kind. A combined one receives and transmits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    command: u32,
    /// Most that only receive.
    pub most_receive: u32,
    /// Most that only transmit.
    pub most_transmit: u32,
    most_other: u32,
    /// Most that do both.
    pub most_combined: u32,
    /// Those that only receive.
    pub receive: u32,
    /// Those that only transmit.
    pub transmit: u32,
    other: u32,
    /// Those that do both.
    pub combined: u32,
}

impl Channels {
    /// Queues that frames arrive on.
    pub fn receive_queues(&self) -> u32 {
        self.receive.saturating_add(self.combined)
    }

    /// The most queues that [`Channels::with_queues`] can give.
    pub fn most_queues(&self) -> u32 {
        if self.most_combined > 0 { self.most_combined.saturating_add(self.receive) } else { self.most_receive }
    }

    /// The same card with `queues` receive queues: combined ones where the card has such, else receiving ones. `None` when it
    /// has not so many, or more of them are fixed.
    #[must_use]
    pub fn with_queues(self, queues: u32) -> Option<Self> {
        if queues == 0 || queues > self.most_queues() {
            return None;
        }
        if self.most_combined == 0 {
            return Some(Self { receive: queues, ..self });
        }
        queues.checked_sub(self.receive).filter(|combined| *combined > 0).map(|combined| Self { combined, ..self })
    }
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 32 * 4 + 12 + 20],
}

const _: () = assert!(size_of::<DriverInfo>() == 196 && size_of::<Channels>() == 36);

/// One ethtool call on a structure that the kernel knows by its first word.
///
/// # Safety
/// `argument` points to the structure of the call in its first word, with as much room as that call fills.
unsafe fn call(name: &str, argument: *mut u8) -> rustix::io::Result<()> {
    let socket = control_socket()?;
    let mut wanted = ifreq(name)?;
    wanted.ifr_ifru.ifru_data = argument.cast();
    // SAFETY: the caller keeps room for what the kernel writes; both structures outlive the call. Worst case of a breach:
    // the kernel writes past the structure.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, std::ptr::from_mut(&mut wanted)) } != 0 {
        return Err(last_error());
    }
    Ok(())
}

/// The driver of interface `name`.
///
/// # Errors
/// `EOPNOTSUPP` when it does not say.
pub fn driver(name: &str) -> Result<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: GDRVINFO fills a `struct ethtool_drvinfo`, which this is.
    unsafe { call(name, std::ptr::from_mut(&mut info).cast()) }.map_err(|cause| {
        IoError::new(format!("asking {name} for its driver"), cause, "name one that `ip link` lists")
    })?;
    let text = CStr::from_bytes_until_nul(&info.driver).ok().and_then(|text| text.to_str().ok());
    Ok(text.unwrap_or_default().to_owned())
}

/// The channels of interface `name`.
///
/// # Errors
/// `EOPNOTSUPP` for a driver without channels: it has one queue.
pub fn channels(name: &str) -> Result<Channels> {
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    // SAFETY: GCHANNELS fills a `struct ethtool_channels`, which this is.
    unsafe { call(name, std::ptr::from_mut(&mut channels).cast()) }.map_err(|cause| {
        IoError::new(format!("asking {name} for its channels"), cause, "leave the number of queues as it is")
    })?;
    Ok(channels)
}

/// Gives interface `name` these channels. Many cards go down for a moment to do so.
///
/// # Errors
/// `EINVAL` when the driver refuses the number, an AF_XDP socket holds a queue that would go, or the RSS table names one;
/// `EOPNOTSUPP` for a driver that cannot.
pub fn set_channels(name: &str, channels: &Channels) -> Result<()> {
    let mut wanted = Channels { command: ETHTOOL_SCHANNELS, ..*channels };
    // SAFETY: SCHANNELS reads a `struct ethtool_channels`, which this is.
    unsafe { call(name, std::ptr::from_mut(&mut wanted).cast()) }.map_err(|cause| {
        let what = format!("setting {} queues on {name}", channels.receive_queues());
        IoError::new(
            what,
            cause,
            "see `ethtool -l` for what the card has, and close AF_XDP sockets on the queues that go",
        )
    })
}

/// The indirection table of RSS: the queue for each remainder of a flow's hash.
///
/// # Errors
/// `EOPNOTSUPP` for a card without RSS.
pub fn indirection(name: &str) -> Result<Vec<u32>> {
    let fail = |cause| {
        IoError::new(format!("reading the RSS table of {name}"), cause, "leave the spreading as it is (rss: keep)")
    };
    let mut size = [ETHTOOL_GRXFHINDIR, 0];
    // SAFETY: asked with room for no entry, GRXFHINDIR writes the two words of its head and no more.
    unsafe { call(name, size.as_mut_ptr().cast()) }.map_err(fail)?;
    let entries = size[1] as usize;
    if entries == 0 || entries > MAX_TABLE {
        return Err(fail(Errno::OPNOTSUPP));
    }
    let mut table = vec![0_u32; entries + 2];
    (table[0], table[1]) = (ETHTOOL_GRXFHINDIR, size[1]);
    // SAFETY: GRXFHINDIR refuses a number of entries that is not the card's, and else writes that many behind the head.
    unsafe { call(name, table.as_mut_ptr().cast()) }.map_err(fail)?;
    table.drain(..2);
    Ok(table)
}

/// Replaces the indirection table; an empty one is the driver's own again.
///
/// # Errors
/// `EINVAL` when an entry names a queue that is not there, `EOPNOTSUPP` for a card without RSS.
pub fn set_indirection(name: &str, table: &[u32]) -> Result<()> {
    let mut words = vec![ETHTOOL_SRXFHINDIR, table.len() as u32]; // at most MAX_TABLE
    words.extend(table);
    // SAFETY: SRXFHINDIR reads as many entries as the head says, and there are so many.
    unsafe { call(name, words.as_mut_ptr().cast()) }.map_err(|cause| {
        IoError::new(format!("setting the RSS table of {name}"), cause, "leave the spreading as it is (rss: keep)")
    })
}

/// A table that gives `queues` queues the same weight: as the kernel makes its default
/// (`ethtool_rxfh_indir_default`, include/linux/ethtool.h).
pub fn even(entries: usize, queues: u32) -> Vec<u32> {
    (0..queues.max(1)).cycle().take(entries).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_combined_channels_where_there_are_such() {
        let card = Channels { most_combined: 8, combined: 4, ..Channels::default() };
        assert_eq!(card.with_queues(8).map(|card| card.receive_queues()), Some(8));
        assert_eq!((card.with_queues(9), card.with_queues(0)), (None, None));
        let split = Channels { most_receive: 4, receive: 2, most_transmit: 4, transmit: 2, ..Channels::default() };
        assert_eq!(split.with_queues(4).map(|card| (card.receive, card.transmit)), Some((4, 2)));
        // One queue receives only and is fixed; the rest is combined.
        let mixed = Channels { most_combined: 4, combined: 2, receive: 1, most_receive: 1, ..Channels::default() };
        assert_eq!(mixed.with_queues(5).map(|card| card.combined), Some(4));
        assert_eq!(mixed.with_queues(1), None);
    }

    #[test]
    fn an_even_table_names_each_queue_as_often() {
        assert_eq!(even(8, 3), [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(even(4, 0), [0; 4]);
    }

    #[test]
    fn loopback_has_neither_channels_nor_rss() {
        assert_eq!(channels("lo").unwrap_err().errno(), Some(Errno::OPNOTSUPP));
        let error = indirection("lo").unwrap_err();
        assert_eq!(error.errno(), Some(Errno::OPNOTSUPP));
        assert!(error.to_string().contains("rss: keep"), "{error}");
        assert!(set_indirection("lo", &[0, 1]).is_err());
    }
}
