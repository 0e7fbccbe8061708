//! Is a change that hurts the base path found in the window after it, and one that does not never?

use proptest::prelude::*;
use weir_appliance_experiment::base::{Figure, Limits, Ruling, SLICES, Sample, Trial, judge};
use weir_appliance_experiment::{BUCKETS, Histogram, bucket};

/// A generator of pseudo-random numbers (SplitMix64, Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from the exponential distribution with mean 1.
    fn wait(&mut self) -> f64 {
        -(1.0 - self.next()).ln()
    }
}

/// What is done to the base path.
#[derive(Clone, Copy)]
struct Harm {
    cost: f64,
    late: f64,
    later_ns: f64,
    lost: f64,
}

const NONE: Harm = Harm { cost: 1.0, late: 1.0, later_ns: 0.0, lost: 0.0 };

/// Traffic as a box sees it: the host is slower in one slice than in the next, some frames wait for an interrupt.
struct Box {
    dice: Dice,
    /// How slow the host is; it wanders.
    mood: f64,
}

impl Box {
    fn new(seed: u64) -> Self {
        Self { dice: Dice(seed), mood: 1.0 }
    }

    fn slice(&mut self, messages: u64, harm: Harm) -> Sample {
        self.mood = 1.0 + 0.7 * (self.mood - 1.0) + 0.04 * (self.dice.next() - 0.5);
        let (mut costs, mut cost_ns, mut late) = (vec![0; 256], vec![0; 256], vec![0; BUCKETS]);
        let mut lost = 0;
        for _ in 0..messages {
            if self.dice.next() < harm.lost {
                lost += 1;
                continue;
            }
            let stolen = if self.dice.next() < 0.01 { 5_000.0 * self.dice.wait() } else { 0.0 };
            let cost = (150.0 + 10.0 * self.dice.wait()) * harm.cost * self.mood + stolen;
            costs[bucket(cost as u64).min(255)] += 1;
            cost_ns[bucket(cost as u64).min(255)] += cost as u64;
            late[bucket(((20_000.0 * self.dice.wait() * self.mood) * harm.late + harm.later_ns) as u64)] += 1;
        }
        let sample =
            Sample { forwarded: messages - lost, unforwarded: lost, late: Histogram::of(&late), ..Sample::default() };
        sample.with_costs(&costs, &cost_ns)
    }

    fn slices(&mut self, messages: u64, harm: Harm) -> Vec<Sample> {
        (0..SLICES).map(|_| self.slice(messages, harm)).collect()
    }

    fn trial(seed: u64, messages: u64, harm: Harm) -> Trial {
        let mut made = Self::new(seed);
        Trial { reference: made.slices(messages, NONE), subject: made.slices(messages, harm) }
    }
}

/// After how many slices it was found worse.
fn found(trial: &Trial) -> Option<usize> {
    (1..=SLICES).find(|slices| {
        let part = Trial { subject: trial.subject[..*slices].to_vec(), ..trial.clone() };
        judge(&Limits::default(), &part).ruling == Ruling::Worse
    })
}

#[test]
fn a_hundred_clean_changes_raise_no_alarm() {
    let (mut kept, mut open) = (0, 0);
    for seed in 0..100 {
        let trial = Box::trial(seed, 300, NONE);
        // Every look may stop; the wealth is looked at after every slice.
        assert_eq!(found(&trial), None, "seed {seed}");
        match judge(&Limits::default(), &trial).ruling {
            Ruling::Kept => kept += 1,
            Ruling::Open => open += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("100 clean changes: 0 alarms, {kept} no worse, {open} not shown");
    assert!(kept >= 80, "{kept}");
}

#[test]
fn what_is_a_little_beyond_is_found_within_a_window() {
    let harms = [
        ("cost", Harm { cost: 1.06, ..NONE }),
        ("late", Harm { late: 1.4, ..NONE }),
        ("5 ms", Harm { later_ns: 5e6, ..NONE }),
        ("lost", Harm { lost: 0.03, ..NONE }),
    ];
    for (name, harm) in harms {
        let all: Vec<Option<usize>> = (0..20).map(|seed| found(&Box::trial(7_000 + seed, 300, harm))).collect();
        let times = all.iter().flatten().count();
        println!("{name}: found in {times} of 20, after {:?} slices", all.iter().flatten().max());
        assert!(times >= 19, "{name}: {all:?}");
    }
    let (reason, findings) = {
        let judged = judge(&Limits::default(), &Box::trial(1, 300, Harm { later_ns: 5e6, ..NONE }));
        (judged.reason, judged.findings)
    };
    assert!(reason.starts_with("late_p99 5") && reason.contains("noise floor of"), "{reason}");
    assert!(findings.iter().all(|finding| finding.floor.is_some()), "the floor is published");
}

#[test]
fn a_percent_beyond_the_floor_is_found_and_one_below_is_not() {
    // Traffic without noise: the floor is 0, and what counts is the injected part alone.
    let still = |cost_ns: u64| Sample { forwarded: 300, costed: 300, cost_ns: 300 * cost_ns, ..Sample::default() };
    let trial = |cost_ns| Trial { reference: vec![still(1_000); SLICES], subject: vec![still(cost_ns); SLICES] };
    assert_eq!(found(&trial(1_009)), None);
    assert!(found(&trial(1_021)).is_some_and(|slices| slices < SLICES), "{:?}", found(&trial(1_021)));
    let worse = judge(&Limits::default(), &trial(1_021));
    assert!(worse.reason.contains("cost 1021 ns instead of 1000 ns: worse by 2.1 %"), "{}", worse.reason);
}

#[test]
fn a_load_that_changes_alone_is_no_regression() {
    for (before, after) in [(300, 40), (300, 0), (120, 300)] {
        let mut made = Box::new(3);
        let trial = Trial { reference: made.slices(before, NONE), subject: made.slices(after, NONE) };
        assert_eq!(found(&trial), None, "{before} to {after}");
        let judged = judge(&Limits::default(), &trial);
        assert_eq!(judged.ruling, Ruling::NoData, "{}", judged.reason);
    }
}

#[test]
fn without_a_reference_nothing_is_worse() {
    let mut made = Box::new(4);
    let subject = made.slices(300, Harm { later_ns: 5e6, ..NONE });
    for slices in [0, 1, 3] {
        let reference = made.slices(300, NONE)[..slices].to_vec();
        let judged = judge(&Limits::default(), &Trial { reference, subject: subject.clone() });
        assert_eq!(judged.ruling, Ruling::NoData, "{}", judged.reason);
    }
}

#[test]
fn the_dearest_frames_are_left_out_of_the_cost() {
    let (mut costs, mut cost_ns) = (vec![0; 256], vec![0; 256]);
    (costs[50], cost_ns[50], costs[200], cost_ns[200]) = (90, 9_000, 10, 1_000_000);
    let sample = Sample::default().with_costs(&costs, &cost_ns);
    assert_eq!((sample.costed, sample.cost_ns, sample.value(Figure::Cost)), (90, 9_000, Some(100.0)));
}

fn sample() -> impl Strategy<Value = Sample> {
    let counts = prop::collection::vec(0u64..200, 0..6);
    (0u64..1000, 0u64..50, 0u64..1000, 0u64..1_000_000, 0usize..500, counts).prop_map(
        |(forwarded, unforwarded, costed, cost_ns, first, counts)| {
            let mut late = vec![0; BUCKETS];
            late[first..first + counts.len()].copy_from_slice(&counts);
            Sample { forwarded, unforwarded, costed, cost_ns, late: Histogram::of(&late) }
        },
    )
}

proptest! {
    /// Whatever the slices are: it is judged the same again from what is written, and a subject that is the reference itself
    /// is never worse.
    #[test]
    fn any_trial_is_judged_the_same_again(
        reference in prop::collection::vec(sample(), 0..120), subject in prop::collection::vec(sample(), 0..120)
    ) {
        let trial = Trial { reference: reference.clone(), subject };
        let text = serde_json::to_string(&trial).unwrap();
        let read: Trial = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &trial);
        let judged = judge(&Limits::default(), &trial);
        let again = serde_json::from_str(&serde_json::to_string(&judged).unwrap()).unwrap();
        prop_assert_eq!(&judge(&Limits::default(), &read), &judged);
        prop_assert_eq!(&judged, &again);
        let itself = Trial { subject: reference.clone(), reference };
        prop_assert!(judge(&Limits::default(), &itself).ruling != Ruling::Worse);
    }
}
