//! From the configuration's classes to the kernel's: a class with the sender becomes one class for each way out.
//!
//! Where a mirrored frame leaves depends on the agent it is for, and the sender must know that from the ring alone: it
//! does not read headers. So a set of takers with the sender in it has one kernel class for each interface.

use weir_appliance_control::class::ClassTable;
use weir_appliance_control::taker::{Taker, TakerSet};
use weir_ebpf_abi::layout::MAX_CLASSES;

/// A class as the kernel sees it: one ring on every queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KernelClass {
    /// Its number.
    pub number: u8,
    /// Who takes its frames.
    pub takers: TakerSet,
    /// Position of the interface its mirrored frames leave by, for a class with the sender.
    pub egress: Option<usize>,
}

/// All kernel classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelClasses {
    classes: Vec<KernelClass>,
}

/// More classes than the kernel's table has room for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{needed} classes are needed for {interfaces} interfaces, {MAX_CLASSES} is the limit; use fewer interfaces or mirror to fewer sets of features"
)]
pub(crate) struct TooManyClasses {
    needed: usize,
    interfaces: usize,
}

impl KernelClasses {
    /// The kernel classes of `table` on a box with `interfaces` interfaces.
    ///
    /// # Errors
    /// When they do not fit the kernel's table.
    pub(crate) fn of(table: &ClassTable, interfaces: usize) -> Result<Self, TooManyClasses> {
        let mut ways: Vec<(TakerSet, Option<usize>)> = Vec::new();
        for (_, takers) in table.iter() {
            if takers.contains(Taker::Sender) {
                ways.extend((0..interfaces).map(|egress| (takers, Some(egress))));
            } else {
                ways.push((takers, None));
            }
        }
        let needed = ways.len();
        if needed > MAX_CLASSES {
            return Err(TooManyClasses { needed, interfaces });
        }
        let classes = ways
            .into_iter()
            .zip(0..)
            .map(|((takers, egress), number)| KernelClass { number, takers, egress })
            .collect();
        Ok(Self { classes })
    }

    /// The first kernel class of a set of takers; for one with the sender, the class of the first interface, behind which
    /// those of the others follow in order.
    #[must_use]
    pub(crate) fn first_of(&self, takers: TakerSet) -> Option<u8> {
        self.classes.iter().find(|class| class.takers == takers).map(|class| class.number)
    }

    /// Every class, by number.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &KernelClass> {
        self.classes.iter()
    }

    /// The classes that the taker `name` takes.
    pub(crate) fn taken_by<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a KernelClass> + 'a {
        self.classes.iter().filter(move |class| class.takers.iter().any(|taker| taker.name() == name))
    }

    /// Who takes the frames of kernel class `number`.
    #[must_use]
    pub(crate) fn takers(&self, number: u8) -> TakerSet {
        self.classes.get(usize::from(number)).map(|class| class.takers).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_appliance_control::class::classes;
    use weir_appliance_control::config::Config;

    #[test]
    fn a_mirror_class_has_one_ring_for_each_way_out() {
        let table = classes(&Config::default());
        let kernel = KernelClasses::of(&table, 2).expect("few classes");
        let egress: Vec<_> = kernel.iter().map(|class| class.egress).collect();
        assert_eq!(egress, [None, Some(0), Some(1)]);
        assert_eq!(kernel.taken_by("streaming").count(), 3);
        assert!(KernelClasses::of(&table, 64).is_err(), "64 ways out and one plain class");
    }
}
