//! Flags as the classifier knows them: for every bucket of flows, the class that its frames go to.

use weir_ebpf_abi::layout::{BUCKETS, FLAG_TABLES, MAX_CLASSES};
use weir_ebpf_abi::rules::Match;
use weir_ebpf_abi::ruleset::{NO_CLASS, RuleSet};

use crate::error::LoadError;

/// What happens, by bucket, to flows that no rule took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagTable {
    /// Which flows; [`Match::default`] for those that no other table matches. The first table that matches decides.
    pub matches: Match,
    classes: Vec<u8>,
}

impl FlagTable {
    /// A table for flows that match, with a class for some of the [`BUCKETS`] buckets.
    pub fn new(matches: Match, class_of: impl Fn(u16) -> Option<u8>) -> FlagTable {
        let class = |bucket| class_of(bucket).unwrap_or(NO_CLASS);
        FlagTable { matches, classes: (0..BUCKETS as u16).map(class).collect() }
    }

    /// A table for flows that match: classes, each for so many buckets, one after the other from bucket 0.
    pub fn of_widths(matches: Match, widths: &[(u8, u16)]) -> FlagTable {
        let each = |&(class, width): &(u8, u16)| std::iter::repeat_n(class, usize::from(width));
        let mut classes: Vec<u8> = widths.iter().flat_map(each).take(BUCKETS).collect();
        classes.resize(BUCKETS, NO_CLASS);
        FlagTable { matches, classes }
    }

    /// Class of a bucket below [`BUCKETS`].
    pub fn class(&self, bucket: u16) -> Option<u8> {
        self.classes.get(usize::from(bucket)).copied().filter(|class| *class != NO_CLASS)
    }

    pub(crate) fn is_for_all_others(&self) -> bool {
        self.matches == Match::default()
    }
}

/// Fills the tables of a set: number 0 for all other flows, then the others in their order. Whether any of them gives a
/// frame to anybody.
pub(crate) fn fill(set: &mut RuleSet, flags: &[FlagTable]) -> Result<bool, LoadError> {
    set.flags.as_flattened_mut().fill(NO_CLASS);
    let (others, targeted): (Vec<_>, Vec<_>) = flags.iter().partition(|table| table.is_for_all_others());
    for (what, found, limit) in [
        ("flag tables with a match", targeted.len(), FLAG_TABLES - 1),
        ("flag tables without a match", others.len(), 1),
    ] {
        if found > limit {
            return Err(LoadError::TooMany { what, found, limit });
        }
    }
    let numbered = others.iter().map(|table| (0, table)).chain((1..).zip(&targeted));
    let mut any = false;
    for (number, table) in numbered {
        for class in table.classes.iter().filter(|class| **class != NO_CLASS) {
            any = true;
            if usize::from(*class) >= MAX_CLASSES {
                let cause = "classes are 0 to 63";
                return Err(LoadError::Value { what: "class", value: class.to_string(), cause });
            }
        }
        if let Some(place) = set.flags.get_mut(number) {
            place.copy_from_slice(&table.classes);
        }
    }
    Ok(any)
}
