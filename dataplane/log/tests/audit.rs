//! Does the audit count what is missing, doubled and out of order, across the wrap of the sources' counts?

use weir_dataplane_log::{Audit, Stamp, Tally};

fn audited(sequences: &[u64], stream: bool) -> Tally {
    let mut audit = Audit::new(1);
    for sequence in sequences {
        audit.see(&Stamp { class: 1, source: 2, sequence: *sequence, stream, time_ns: 0 });
    }
    let mut tallies = audit.tallies();
    tallies.next().expect("one source").1
}

#[test]
fn each_kind_of_disorder_is_counted_as_what_it_is() {
    // Lost, doubled, reordered, stale.
    let cases: [(&[u64], [u64; 4]); 7] = [
        (&[1, 2, 3], [0, 0, 0, 0]),
        (&[1, 4], [2, 0, 0, 0]),
        (&[1, 4, 3, 2], [0, 0, 2, 0]),
        (&[1, 2, 2, 1], [0, 2, 0, 0]),
        (&[5, 4, 7, 6], [0, 0, 2, 0]),
        (&[5, 8, 4], [2, 0, 1, 0]),
        (&[1, 1000, 2], [998, 0, 0, 1]),
    ];
    for (sequences, [lost, doubled, reordered, stale]) in cases {
        let (records, far) = (sequences.len() as u64, sequences.iter().map(|sequence| sequence + (1 << 32)));
        let expected = Tally { records, lost, doubled, reordered, stale };
        assert_eq!(audited(sequences, false), expected, "{sequences:?}");
        assert_eq!(audited(&far.collect::<Vec<_>>(), true), expected, "{sequences:?} of a stream");
    }
}

#[test]
fn each_count_wraps_at_its_own_end() {
    let reordered = |records| Tally { records, reordered: 1, ..Tally::default() };
    for (last, stream) in [(u64::from(u32::MAX), false), (u64::MAX, true)] {
        assert_eq!(audited(&[last - 1, last, 0, 2, 1], stream), reordered(5));
    }
    // The wrap of 32 bits is none for a stream.
    assert_eq!(audited(&[u64::from(u32::MAX), 0], true).stale, 1);
    // A source is counted apart by its ways.
    let mut audit = Audit::new(2);
    for stream in [false, true, false, true] {
        audit.see(&Stamp { class: 1, source: 2, sequence: 1, stream, time_ns: 0 });
    }
    assert!(audit.tallies().all(|(_, tally)| (tally.records, tally.doubled) == (2, 1)));
    assert_eq!((audit.tallies().count(), audit.untracked()), (2, 0));
}

#[test]
fn sources_beyond_the_limit_are_counted_and_cost_no_memory() {
    let mut audit = Audit::new(10);
    for source in 0..100 {
        audit.see(&Stamp { class: 0, source, sequence: 0, stream: false, time_ns: 0 });
    }
    assert_eq!((audit.tallies().count(), audit.untracked()), (10, 90));
}
