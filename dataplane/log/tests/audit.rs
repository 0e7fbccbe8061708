//! Does the audit count what is missing, doubled and out of order, across the wrap of the sources' counts?

use weir_dataplane_log::{Audit, Stamp, Tally};

fn audited(sequences: &[u32]) -> Tally {
    let mut audit = Audit::new(1);
    for sequence in sequences {
        audit.see(&Stamp { class: 1, source: 2, sequence: u64::from(*sequence), ..Stamp::default() });
    }
    let mut tallies = audit.tallies();
    tallies.next().expect("one source").1
}

#[test]
fn each_kind_of_disorder_is_counted_as_what_it_is() {
    // Lost, doubled, reordered, stale.
    let cases: [(&[u32], [u64; 4]); 8] = [
        (&[1, 2, 3], [0, 0, 0, 0]),
        (&[1, 4], [2, 0, 0, 0]),
        (&[1, 4, 3, 2], [0, 0, 2, 0]),
        (&[1, 2, 2, 1], [0, 2, 0, 0]),
        (&[5, 4, 7, 6], [0, 0, 2, 0]),
        (&[5, 8, 4], [2, 0, 1, 0]),
        (&[u32::MAX - 1, u32::MAX, 0, 2, 1], [0, 0, 1, 0]),
        (&[1, 1000, 2], [998, 0, 0, 1]),
    ];
    for (sequences, [lost, doubled, reordered, stale]) in cases {
        let records = sequences.len() as u64;
        assert_eq!(audited(sequences), Tally { records, lost, doubled, reordered, stale }, "{sequences:?}");
    }
}

#[test]
fn sources_beyond_the_limit_are_counted_and_cost_no_memory() {
    let mut audit = Audit::new(10);
    for source in 0..100 {
        audit.see(&Stamp { class: 0, source, ..Stamp::default() });
    }
    assert_eq!((audit.tallies().count(), audit.untracked()), (10, 90));
}
