//! Where every source stands in its sequence: what has come, and what is finished.

use std::collections::{BTreeMap, VecDeque};

/// One source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) number: u32,
    /// Sequence of the message that is expected.
    pub(super) next: u64,
    /// Everything below is finished.
    base: u64,
    /// Which of [base, next) are finished.
    finished: VecDeque<bool>,
    /// Lanes with messages of it that are not finished, and how many.
    lying: Vec<(usize, u32)>,
    /// Its connection.
    pub(super) connection: Option<usize>,
    /// It is on the list of those whose sender is to be told something.
    pub(super) news: bool,
}

/// All of them. Places stay the same until a source is forgotten.
pub(super) struct Sources {
    all: Vec<Source>,
    places: BTreeMap<u32, usize>,
    most: usize,
    /// Where to look next for one to forget.
    hand: usize,
}

impl Sources {
    /// At most `most` sources; `known` are those of which the last durable sequence is on record.
    pub(super) fn new(most: usize, known: &BTreeMap<u32, u64>) -> Self {
        let mut sources = Self { all: Vec::new(), places: BTreeMap::new(), most, hand: 0 };
        for (number, last) in known.iter().take(most) {
            sources.add(*number, last.saturating_add(1));
        }
        sources
    }

    fn add(&mut self, number: u32, next: u64) -> usize {
        let place = self.all.len();
        let finished = VecDeque::new();
        self.all.push(Source { number, next, base: next, finished, lying: Vec::new(), connection: None, news: false });
        self.places.insert(number, place);
        place
    }

    /// The place of a source whose sender still has messages from `next` on. `None` when there are as many as may be, all
    /// of them in use.
    pub(super) fn open(&mut self, number: u32, next: u64) -> Option<usize> {
        let place = match self.places.get(&number) {
            Some(place) => *place,
            None if self.all.len() < self.most => self.add(number, next),
            None => self.replace(number, next)?,
        };
        if let Some(source) = self.all.get_mut(place).filter(|source| source.next < next) {
            // What lies between was acknowledged before this receiver began, and needed no log.
            (source.next, source.base) = (next, next);
            source.finished.clear();
        }
        Some(place)
    }

    /// Forgets a source that has no connection and nothing on a lane, and takes its place.
    fn replace(&mut self, number: u32, next: u64) -> Option<usize> {
        for _ in 0..self.all.len() {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.all.len().max(1);
            let source = self.all.get_mut(place)?;
            if source.connection.is_none()
                && source.base == source.next
                && source.lying.iter().all(|(_, count)| *count == 0)
            {
                self.places.remove(&source.number);
                let (finished, lying) = (VecDeque::new(), Vec::new());
                *source = Source { number, next, base: next, finished, lying, connection: None, news: false };
                self.places.insert(number, place);
                return Some(place);
            }
        }
        None
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Source> {
        self.all.get_mut(place)
    }
}

impl Source {
    /// Everything below this sequence is finished.
    #[inline]
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Messages below this sequence may be sent, `credit` of them on their way. A sender names any sequence, so the sum ends at
    /// the largest: that one is never allowed, and [`Source::next`] has room to count up to it.
    #[inline]
    pub(super) fn allowed(&self, credit: u64) -> u64 {
        self.base.saturating_add(credit)
    }

    /// The expected message has come.
    #[inline]
    pub(super) fn came(&mut self) {
        self.finished.push_back(false);
        self.next += 1;
    }

    /// The expected message has come and lies on a lane.
    #[inline]
    pub(super) fn came_on(&mut self, lane: usize) {
        self.came();
        match self.lying.iter_mut().find(|(other, _)| *other == lane) {
            Some((_, count)) => *count += 1,
            None => self.lying.push((lane, 1)),
        }
    }

    /// A message on a lane is finished. As [`Source::finish`].
    #[inline]
    pub(super) fn finish_on(&mut self, lane: usize, sequence: u64) -> bool {
        if let Some((_, count)) = self.lying.iter_mut().find(|(other, _)| *other == lane) {
            *count = count.saturating_sub(1);
        }
        self.finish(sequence)
    }

    /// Whether messages of it lie on a lane other than this.
    #[inline]
    pub(super) fn lies_elsewhere(&self, lane: usize) -> bool {
        self.lying.iter().any(|(other, count)| *other != lane && *count > 0)
    }

    /// A message is finished. True when everything below it is finished too.
    #[inline]
    pub(super) fn finish(&mut self, sequence: u64) -> bool {
        let place = sequence.checked_sub(self.base).and_then(|place| usize::try_from(place).ok());
        // One from before the sender's last acknowledgement is of no interest any more.
        let Some(flag) = place.and_then(|place| self.finished.get_mut(place)) else { return false };
        *flag = true;
        let before = self.base;
        while self.finished.front() == Some(&true) {
            self.finished.pop_front();
            self.base += 1;
        }
        self.base > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_out_of_order_counts_when_the_gap_closes() {
        let mut sources = Sources::new(2, &BTreeMap::from([(7, 41)]));
        let place = sources.open(7, 0).unwrap();
        let source = sources.get_mut(place).unwrap();
        assert_eq!((source.next, source.base()), (42, 42), "what is durable is not asked for again");
        (0..3).for_each(|_| source.came());
        assert_eq!((source.finish(43), source.base()), (false, 42));
        assert_eq!((source.finish(42), source.base(), source.next), (true, 44, 45));
        assert_eq!((source.finish(7), source.base()), (false, 44), "one from before");
    }

    #[test]
    fn only_a_source_at_rest_is_forgotten() {
        let mut sources = Sources::new(2, &BTreeMap::new());
        let (one, two) = (sources.open(1, 0).unwrap(), sources.open(2, 0).unwrap());
        sources.get_mut(one).unwrap().connection = Some(3);
        sources.get_mut(two).unwrap().came();
        assert_eq!(sources.open(3, 9), None, "both are in use");
        assert!(sources.get_mut(two).unwrap().finish(0));
        assert_eq!(sources.open(3, 9), Some(two));
        assert_eq!(sources.get_mut(two).unwrap().next, 9);
        sources.get_mut(two).unwrap().connection = Some(4);
        assert_eq!(sources.open(2, 5), None);
    }
}
