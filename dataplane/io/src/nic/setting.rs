//! One setting of one interface: reading and writing it as text.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::cpu::{format_list, parse_list};
use crate::error::{IoError, Result};
use crate::net;
use crate::nic::ethtool;
use crate::nic::napi::instances;
use crate::nic::view::View;

/// What is set. The text of its value stands beside each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Receive queues: a number.
    Queues,
    /// RSS indirection table: `even N` when the first N queues have the same weight in turn, else every entry, with commas.
    Rss,
    /// Threaded NAPI: `0` or `1`.
    Threaded,
    /// Empty polls before interrupts are enabled again: a number.
    DeferHardIrqs,
    /// Time before a card that is not polled is looked at: nanoseconds.
    FlushTimeout,
    /// CPUs that answer interrupt vector so-and-so: a list such as `0,2-3`.
    Interrupt(u32),
    /// CPUs of the thread of NAPI instance so-and-so: a list.
    NapiThread(u32),
}

/// Words of [`What`] in the ledger's file, without the number that some have.
const WORDS: [(&str, What); 7] = [
    ("queues", What::Queues),
    ("rss", What::Rss),
    ("threaded", What::Threaded),
    ("napi_defer_hard_irqs", What::DeferHardIrqs),
    ("gro_flush_timeout", What::FlushTimeout),
    ("irq", What::Interrupt(0)),
    ("napi", What::NapiThread(0)),
];

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = |(_, what): &&(&str, What)| std::mem::discriminant(what) == std::mem::discriminant(self);
        let word = WORDS.iter().find(same).map_or("", |(word, _)| word);
        match self {
            Self::Interrupt(number) | Self::NapiThread(number) => write!(f, "{word}:{number}"),
            _ => f.write_str(word),
        }
    }
}

impl What {
    /// Reads what `Display` has written.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, number) = text.split_once(':').map_or((text, None), |(word, number)| (word, Some(number)));
        let number: Option<u32> = number.map(str::parse).transpose().ok()?;
        let (_, what) = WORDS.iter().find(|(known, _)| *known == word)?;
        match (what, number) {
            (Self::Interrupt(_), Some(number)) => Some(Self::Interrupt(number)),
            (Self::NapiThread(_), Some(number)) => Some(Self::NapiThread(number)),
            (Self::Interrupt(_) | Self::NapiThread(_), None) | (_, Some(_)) => None,
            (what, None) => Some(*what),
        }
    }

    /// Whether it is one of NAPI instances, which a virtual interface has only while a program is attached.
    pub fn is_of_napi(self) -> bool {
        matches!(self, Self::Threaded | Self::DeferHardIrqs | Self::FlushTimeout | Self::NapiThread(_))
    }

    /// Whether it is set before queues are bound, and goes back when they are free again.
    pub fn is_of_queues(self) -> bool {
        matches!(self, Self::Queues | Self::Rss)
    }

    /// Whether two texts are the same value.
    pub(super) fn same(self, one: &str, other: &str) -> bool {
        match self {
            Self::Interrupt(_) | Self::NapiThread(_) => parse_list(one) == parse_list(other),
            _ => one == other,
        }
    }
}

/// A setting of one interface, known by name and number, so that another interface of the same name is not taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The interface's name.
    pub interface: String,
    /// Its number in its network namespace.
    pub index: u32,
    /// What of it.
    pub what: What,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = &self.interface;
        match self.what {
            What::Queues => write!(f, "queues of {interface}"),
            What::Rss => write!(f, "RSS table of {interface}"),
            What::Threaded => write!(f, "threaded NAPI of {interface}"),
            What::DeferHardIrqs | What::FlushTimeout => write!(f, "{} of {interface}", self.what),
            What::Interrupt(number) => write!(f, "CPUs of interrupt {number} of {interface}"),
            What::NapiThread(id) => write!(f, "CPUs of NAPI thread {id} of {interface}"),
        }
    }
}

impl Setting {
    /// Whether its interface is still there.
    pub(super) fn is_present(&self, view: &View) -> bool {
        match self.what {
            What::Queues | What::Rss => net::interface_index(&self.interface).is_ok_and(|index| index == self.index),
            _ => view.shows(&self.interface, self.index),
        }
    }

    /// Its value.
    ///
    /// # Errors
    /// The device does not have it, or the interface is gone.
    pub fn read(&self, view: &View) -> Result<String> {
        match self.what {
            What::Queues => Ok(ethtool::channels(&self.interface)?.receive_queues().to_string()),
            What::Rss => Ok(table_text(&ethtool::indirection(&self.interface)?)),
            What::NapiThread(id) => Ok(format_list(&cpus_of(self.thread(id)?))),
            _ => self.in_view(view).and_then(|path| view.read(&path, &self.to_string())),
        }
    }

    /// Gives it a value.
    ///
    /// # Errors
    /// The device refuses it; the line names setting, device and cause.
    pub(super) fn write(&self, view: &View, value: &str) -> Result<()> {
        match self.what {
            What::Queues => {
                let (now, queues) = (ethtool::channels(&self.interface)?, value.parse().unwrap_or(0));
                let wanted = now.with_queues(queues).ok_or_else(|| {
                    let cause = format!("the card has 1 to {}", now.most_queues());
                    IoError::invalid(format!("setting {self} to {value}"), cause, "give a number that it has")
                })?;
                ethtool::set_channels(&self.interface, &wanted)
            }
            What::Rss => self.write_table(value),
            What::NapiThread(id) => {
                let thread = self.thread(id)?;
                pin(thread, &parse_list(value)).map_err(|cause| {
                    IoError::new(format!("setting {self} to {value}"), cause, "name CPUs that are online")
                })
            }
            _ => self.in_view(view).and_then(|path| view.write(&path, value, &self.to_string())),
        }
    }

    fn write_table(&self, value: &str) -> Result<()> {
        let now = ethtool::indirection(&self.interface)?;
        let Some(queues) = value.strip_prefix("even ").and_then(|queues| queues.parse().ok()) else {
            let table: Vec<u32> = value.split(',').filter_map(|queue| queue.parse().ok()).collect();
            return ethtool::set_indirection(&self.interface, &table);
        };
        let all = ethtool::channels(&self.interface).map(|channels| channels.receive_queues());
        if all.is_ok_and(|all| all == queues) {
            // Over all queues it is the driver's own table, which follows later changes of their number.
            ethtool::set_indirection(&self.interface, &[])?;
            if table_text(&ethtool::indirection(&self.interface)?) == value {
                return Ok(());
            }
        }
        ethtool::set_indirection(&self.interface, &ethtool::even(now.len(), queues))
    }

    /// The file of a setting that is one.
    fn in_view(&self, view: &View) -> Result<PathBuf> {
        if !view.shows(&self.interface, self.index) {
            let cause = "the interface is gone, or /sys is of another network namespace and no other can be mounted";
            return Err(IoError::invalid(self.to_string(), cause, "grant CAP_SYS_ADMIN, or leave it as it is (keep)"));
        }
        Ok(match self.what {
            What::Threaded => view.interface(&self.interface).join("threaded"),
            What::Interrupt(number) => view.proc().join(format!("irq/{number}/smp_affinity_list")),
            what => view.interface(&self.interface).join(what.to_string()),
        })
    }

    fn thread(&self, id: u32) -> Result<u32> {
        let found = instances(self.index)?.into_iter().find(|napi| napi.id == id).and_then(|napi| napi.thread);
        found.ok_or_else(|| IoError::new(self.to_string(), Errno::SRCH, "switch threaded NAPI on (threaded_napi: on)"))
    }
}

/// `even N`, or every entry.
fn table_text(table: &[u32]) -> String {
    let queues = table.iter().max().map_or(1, |most| most.saturating_add(1));
    if table == ethtool::even(table.len(), queues) {
        return format!("even {queues}");
    }
    table.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn cpus_of(thread: u32) -> Vec<u32> {
    let set = Pid::from_raw(thread as i32).and_then(|pid| sched_getaffinity(Some(pid)).ok());
    let is_set = |cpu: &u32| set.as_ref().is_some_and(|set| set.is_set(*cpu as usize));
    (0..CpuSet::MAX_CPU as u32).filter(is_set).collect()
}

fn pin(thread: u32, cpus: &[u32]) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| (**cpu as usize) < CpuSet::MAX_CPU) {
        set.set(*cpu as usize);
    }
    sched_setaffinity(Some(Pid::from_raw(thread as i32).ok_or(Errno::SRCH)?), &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for (_, what) in WORDS {
            assert_eq!(What::parse(&what.to_string()), Some(what));
        }
        assert_eq!(What::parse("irq:37"), Some(What::Interrupt(37)));
        for wrong in ["", "irq", "irq:x", "queues:1", "napi:", "mtu"] {
            assert_eq!(What::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_table_is_even_only_if_every_queue_comes_in_turn() {
        assert_eq!(table_text(&[0, 1, 2, 3, 0, 1, 2, 3]), "even 4");
        assert_eq!(table_text(&[0, 0, 0, 0]), "even 1");
        assert_eq!(table_text(&[0, 1, 1, 0]), "0,1,1,0");
        assert_eq!(table_text(&[2, 0, 1]), "2,0,1");
    }
}
