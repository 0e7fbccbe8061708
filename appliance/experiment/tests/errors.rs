//! Are the error rates what they are said to be, at any moment at which somebody stops, and is what is really worse found?

use weir_appliance_experiment::betting::{Against, Bound, Starts, Wealth};

mod noise;

use noise::Random;

const WINDOWS: u32 = 48;
const SLICES: usize = weir_appliance_experiment::SLICES;

/// Whether the evidence ever reached `needs` in an experiment whose comparisons come from `draw`.
fn alarms(needs: f64, bound: Bound, mut draw: impl FnMut() -> f64) -> bool {
    let mut starts = Starts::over(WINDOWS);
    (0..WINDOWS).any(|_| {
        starts.begin();
        (0..SLICES).any(|_| {
            starts.observe(bound, draw());
            starts.value() >= needs
        })
    })
}

/// How many of `experiments` raise an alarm at 5 % for one guardrail; each has its own seed.
fn alarms_of(experiments: u64, tolerated: f64, draw: impl Fn(&mut Random) -> f64) -> u64 {
    let bound = Bound::new(tolerated).expect("a tolerance");
    (0..experiments)
        .filter(|seed| {
            let mut random = Random::new(*seed);
            alarms(20.0, bound, || draw(&mut random))
        })
        .count() as u64
}

#[test]
fn alike_arms_raise_no_alarm_at_any_moment() {
    // 4,000 experiments of 1,920 looks each, the noise three times what is tolerated.
    let alarms = alarms_of(4_000, 0.05, |random| 0.15 * random.normal());
    println!("alike arms: {alarms} alarms in 4,000 experiments of 1,920 looks, alpha 5 %");
    assert!(alarms <= 4, "{alarms} of 4,000");
}

#[test]
fn at_the_edge_of_what_is_tolerated_alarms_stay_below_alpha() {
    // The hardest case that the hypothesis allows: the mean is what is tolerated, here without being cut.
    let uniform = alarms_of(2_000, 0.05, |random| 0.05 + 0.2 * (random.uniform() - 0.5));
    let coins = alarms_of(2_000, 0.05, |random| if random.uniform() < 0.6667 { 0.2 } else { -0.25 });
    // 5 % of 2,000 are 100; three standard errors above are 129.
    println!("at the edge: {uniform} and {coins} alarms in 2,000 experiments of 1,920 looks, alpha 5 %");
    assert!(uniform <= 129 && coins <= 129, "{uniform} and {coins} of 2,000");
    assert!(uniform + coins > 0, "a test that can never alarm says nothing");
}

#[test]
fn noise_that_follows_itself_and_has_long_tails_stays_below_alpha() {
    // Busy seconds come together, and one slice in fifty is as bad as can be in either direction.
    let alarms = (0..2_000)
        .filter(|seed| {
            let mut random = Random::new(*seed);
            let mut level = 0.0;
            alarms(20.0, Bound::new(0.1).expect("a tolerance"), || {
                level = 0.7 * level + 0.05 * random.normal();
                let tail = if random.uniform() < 0.02 { if random.uniform() < 0.5 { 1.0 } else { -1.0 } } else { 0.0 };
                (level + tail).clamp(-1.0, 1.0)
            })
        })
        .count();
    println!("noise that follows itself: {alarms} alarms in 2,000 experiments of 1,920 looks, alpha 5 %");
    assert!(alarms <= 100, "{alarms} of 2,000");
}

#[test]
fn what_is_worse_is_found_within_a_window_however_late_it_begins() {
    let bound = Bound::new(0.15).expect("a tolerance");
    for good in [0, 1, 7, 47] {
        let mut found = 0;
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let mut starts = Starts::over(WINDOWS);
            for _ in 0..good {
                starts.begin();
                (0..SLICES).for_each(|_| starts.observe(bound, 0.1 * random.normal()));
            }
            starts.begin();
            found += u32::from((0..SLICES).any(|_| {
                starts.observe(bound, 0.6 + 0.2 * random.normal());
                starts.value() >= 40.0
            }));
        }
        assert!(found >= 297, "{found} of 300 after {good} good windows");
    }
}

#[test]
fn what_is_worse_than_tolerated_passes_a_step_in_fewer_than_beta() {
    let passes = |mean: f64, spread: f64| {
        let bound = Bound::new(0.1).expect("a tolerance");
        (0..2_000)
            .filter(|seed| {
                let (mut random, mut wealth) = (Random::new(*seed), Wealth::default());
                (0..WINDOWS as usize * SLICES).any(|_| {
                    wealth.observe(Against::Worse, bound, mean + spread * (random.uniform() - 0.5));
                    wealth.value() >= 20.0
                })
            })
            .count()
    };
    let (edge, beyond, alike) = (passes(0.1, 0.4), passes(0.15, 0.4), passes(0.0, 0.4));
    println!("passing a step at the edge: {edge} of 2,000, beyond it: {beyond}, beta 5 %");
    assert!(edge <= 129 && beyond <= 10, "{edge} at the edge and {beyond} beyond of 2,000");
    assert_eq!(alike, 2_000, "arms that are alike pass");
}

#[test]
fn evidence_does_not_depend_on_the_order_within_a_window() {
    let bound = Bound::new(0.08).expect("a tolerance");
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let mut losses: Vec<f64> = (0..SLICES).map(|_| 0.2 * random.normal()).collect();
        let evidence = |losses: &[f64]| {
            let (mut starts, mut wealth) = (Starts::over(WINDOWS), Wealth::default());
            starts.begin();
            for loss in losses {
                starts.observe(bound, *loss);
                wealth.observe(Against::Worse, bound, *loss);
            }
            (starts.value(), wealth.value())
        };
        let before = evidence(&losses);
        losses.reverse();
        let after = evidence(&losses);
        assert!((before.0 - after.0).abs() < 1e-9 * before.0 && (before.1 - after.1).abs() < 1e-9 * before.1);
    }
}
