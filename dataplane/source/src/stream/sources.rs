//! Where every source stands in its sequence: what has come, and what is finished.

use std::collections::{BTreeMap, VecDeque};

use weir_ebpf_abi::stream::{STREAM_FIRST_MOST, StreamError};

/// One source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) number: u32,
    /// Sequence of the message that is expected.
    pub(super) next: u64,
    /// Everything below is finished.
    base: u64,
    /// Everything below is on record: no hello goes below it.
    floor: u64,
    /// Where its last hello began that was believed; `None` when it is only on record. While that is [`Source::next`], nothing
    /// has come to bear the hello out.
    begun: Option<u64>,
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
            sources.add(Source::new(*number, last.saturating_add(1)));
        }
        sources
    }

    fn add(&mut self, source: Source) -> usize {
        let place = self.all.len();
        self.places.insert(source.number, place);
        self.all.push(source);
        place
    }

    /// The place of a source whose sender still has messages from `next` on.
    ///
    /// # Errors
    /// [`StreamError::TooMany`] when there are as many as may be, all of them in use; [`StreamError::Ahead`] when nobody can
    /// have acknowledged what lies below `next`. Nothing is changed then.
    pub(super) fn open(&mut self, number: u32, next: u64) -> Result<usize, StreamError> {
        let place = self.places.get(&number).copied();
        let known = place.and_then(|place| self.all.get(place));
        if next > known.map_or(STREAM_FIRST_MOST, Source::believes) {
            return Err(StreamError::Ahead);
        }
        let place = match place {
            Some(place) => place,
            None if self.all.len() < self.most => self.add(Source::new(number, 0)),
            None => self.replace(number).ok_or(StreamError::TooMany)?,
        };
        if let Some(source) = self.all.get_mut(place).filter(|source| source.is_unproven()) {
            // What lies between was acknowledged before this receiver began, and needed no log.
            let next = next.max(source.floor);
            (source.next, source.base, source.begun) = (next, next, Some(next));
        }
        Ok(place)
    }

    /// Forgets a source that has no connection and nothing on a lane, and takes its place.
    fn replace(&mut self, number: u32) -> Option<usize> {
        for _ in 0..self.all.len() {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.all.len().max(1);
            let source = self.all.get_mut(place)?;
            if source.connection.is_none()
                && source.base == source.next
                && source.lying.iter().all(|(_, count)| *count == 0)
            {
                self.places.remove(&source.number);
                *source = Source { news: source.news, ..Source::new(number, 0) };
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
    /// One of which everything below `next` is on record.
    fn new(number: u32, next: u64) -> Self {
        let (finished, lying) = (VecDeque::new(), Vec::new());
        let (base, floor, begun) = (next, next, None);
        Self { number, next, base, floor, begun, finished, lying, connection: None, news: false }
    }

    /// Whether no message has come that bears out where it stands. What a hello alone says binds nobody: else one with a
    /// high number would make the real sender's messages look like those that have come before.
    fn is_unproven(&self) -> bool {
        self.begun.is_none_or(|begun| begun == self.next)
    }

    /// The highest `next` that a hello of it may name. All that this receiver acknowledged lies below what it has taken; only
    /// its predecessor may have acknowledged more than is on record.
    fn believes(&self) -> u64 {
        if self.is_unproven() { self.next.max(STREAM_FIRST_MOST) } else { self.next }
    }

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
        assert_eq!(sources.open(3, 9), Err(StreamError::TooMany), "both are in use");
        assert!(sources.get_mut(two).unwrap().finish(0));
        assert_eq!(sources.open(3, 9), Ok(two));
        assert_eq!(sources.get_mut(two).unwrap().next, 9);
        sources.get_mut(two).unwrap().connection = Some(4);
        assert_eq!(sources.open(2, 5), Err(StreamError::TooMany));
    }

    #[test]
    fn a_hello_alone_binds_nobody_and_one_that_is_ahead_changes_nothing() {
        let mut sources = Sources::new(4, &BTreeMap::from([(7, 41), (8, u64::MAX - 1)]));
        let next = |sources: &mut Sources, number, begin| {
            sources.open(number, begin).map(|place| sources.get_mut(place).unwrap().next)
        };
        assert_eq!(next(&mut sources, 1, STREAM_FIRST_MOST + 1), Err(StreamError::Ahead));
        assert_eq!(
            next(&mut sources, 1, STREAM_FIRST_MOST),
            Ok(STREAM_FIRST_MOST),
            "a first hello begins where it says"
        );
        assert_eq!(next(&mut sources, 1, 5), Ok(5), "nothing bore the first one out");
        // More than is on record may have been acknowledged before a restart; less was not.
        assert_eq!(next(&mut sources, 7, 1_000), Ok(1_000));
        assert_eq!(next(&mut sources, 7, 0), Ok(42));
        assert_eq!(next(&mut sources, 8, u64::MAX), Ok(u64::MAX), "as far as the record goes");
        let place = sources.open(7, 1_000).unwrap();
        sources.get_mut(place).unwrap().came();
        assert_eq!(next(&mut sources, 7, 1_002), Err(StreamError::Ahead), "one more than has come");
        assert_eq!((next(&mut sources, 7, 1_001), next(&mut sources, 7, 0)), (Ok(1_001), Ok(1_001)));
    }

    /// Whatever hellos come between, a sender that names what was acknowledged to it is let in and its messages are new.
    #[test]
    fn hellos_of_others_never_move_what_has_come() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 20
        };
        for _ in 0..200 {
            let mut sources = Sources::new(2, &BTreeMap::new());
            let begin = random() % 1_000;
            let mut sent = begin;
            for _ in 0..100 {
                if random() % 2 == 0 {
                    let far = random().wrapping_mul(random());
                    let _ = sources.open(7, [far, sent + random() % 10, random() % 1_000][(random() % 3) as usize]);
                    continue;
                }
                let place = sources.open(7, sent).expect("what was acknowledged is believed");
                let source = sources.get_mut(place).unwrap();
                assert_eq!(source.next, sent);
                source.came();
                assert!(source.finish(sent));
                sent += 1;
            }
        }
    }
}
