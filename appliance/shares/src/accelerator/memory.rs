//! Memory of an accelerator, given out by priority.
//!
//! Who cannot have what it asks for waits. What is freed goes to the one with the highest priority, the longest waiting of
//! equals first. Nobody overtakes: while the first in line is too large for what is free, smaller ones behind it wait too, or a
//! large model would never be loaded. And every waiting time of one [`AGE`](Memory::new) raises a priority by one, so a stream of
//! important requests delays an unimportant one, but only so long.

use std::collections::BTreeMap;

/// Requests that may wait.
pub const WAITING: usize = 1024;
/// The highest priority that can be asked for.
pub const HIGHEST: u8 = 7;

/// A request that is not kept: the accelerator never has so much, or too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A request that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its number: what to [release](Memory::release).
    pub number: u64,
    /// All that have got their memory by now, this one or others: time alone can change who is first in line.
    pub granted: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    bytes: u64,
    priority: u8,
    since: u64,
}

/// The memory of one accelerator.
#[derive(Debug)]
pub struct Memory {
    total: u64,
    age: u64,
    held: BTreeMap<u64, u64>,
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
}

impl Memory {
    /// So many bytes; a request that has waited `age` (in the unit of the caller's clock) counts as one priority higher.
    pub fn new(total: u64, age: u64) -> Self {
        Self { total, age: age.max(1), held: BTreeMap::new(), waiting: BTreeMap::new(), next: 0 }
    }

    /// Bytes that nobody has.
    pub fn free_bytes(&self) -> u64 {
        self.total - self.held.values().sum::<u64>()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Asks for memory. A priority above [`HIGHEST`] counts as that.
    ///
    /// # Errors
    /// The accelerator never has so much, or too many wait.
    pub fn request(&mut self, bytes: u64, priority: u8, now: u64) -> Result<Asked, Refused> {
        if bytes > self.total || self.waiting.len() >= WAITING {
            return Err(Refused);
        }
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, Waiting { bytes, priority: priority.min(HIGHEST), since: now });
        Ok(Asked { number, granted: self.grant(now) })
    }

    /// Gives memory back, or stops waiting for it; gives the requests that got theirs thereby.
    pub fn release(&mut self, number: u64, now: u64) -> Vec<u64> {
        self.held.remove(&number);
        self.waiting.remove(&number);
        self.grant(now)
    }

    /// Gives to the first in line for as long as there is enough for it.
    fn grant(&mut self, now: u64) -> Vec<u64> {
        let mut granted = Vec::new();
        while let Some((number, bytes)) = self.first(now)
            && bytes <= self.free_bytes()
        {
            self.waiting.remove(&number);
            self.held.insert(number, bytes);
            granted.push(number);
        }
        granted
    }

    /// Who is first in line, and how much it wants.
    fn first(&self, now: u64) -> Option<(u64, u64)> {
        let rank = |it: &Waiting| u64::from(it.priority) + now.saturating_sub(it.since) / self.age;
        let first = self.waiting.iter().max_by_key(|(number, it)| (rank(it), std::cmp::Reverse(**number)));
        first.map(|(number, it)| (*number, it.bytes))
    }
}
