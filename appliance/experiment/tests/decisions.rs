//! Does an experiment end as it should: promoted, rolled back, held, and the same again when it is replayed?

use proptest::prelude::*;
use weir_appliance_experiment::{
    Arms, Decision, Guardrail, Histogram, Metric, SLICES, Spec, Stage, Verdict, Window, decide, replay,
};

mod noise;

use noise::{Harm, NO_HARM, Traffic, spec};

/// What breaks something.
type Break<T> = fn(&mut T);

/// Runs an experiment to its end; `harm` says what happens to the candidate in a window, `change` what else.
fn run(
    spec: &Spec,
    seed: u64,
    harm: impl Fn(u32, Stage) -> Harm,
    change: impl Fn(&mut Window),
) -> (Vec<Window>, Vec<Decision>) {
    let mut traffic = Traffic::new(seed);
    let (mut windows, mut decisions) = (Vec::new(), Vec::<Decision>::new());
    loop {
        let stage = decisions.last().map_or(Stage::Noise, |decision| decision.next);
        if stage == Stage::Ended {
            return (windows, decisions);
        }
        let number = windows.len() as u32 + 1;
        let mut window = traffic.window(spec, number, stage, harm(number, stage));
        change(&mut window);
        windows.push(window);
        decisions.push(decide(spec, &windows));
    }
}

#[test]
fn a_clean_candidate_climbs_all_steps() {
    let spec = spec();
    let (windows, decisions) = run(&spec, 1, |_, _| NO_HARM, |_| ());
    let last = decisions.last().unwrap();
    assert_eq!((last.verdict, last.next), (Verdict::Promote, Stage::Ended), "{}", last.reason);
    assert_eq!(decisions.iter().filter(|decision| decision.verdict == Verdict::Promote).count(), 5);
    assert_eq!(decisions[0].next, Stage::Step(0), "the noise floor first: {}", decisions[0].reason);
    assert!(windows.len() <= 20, "{} windows", windows.len());
    assert!(decisions[0].evidence.iter().all(|found| found.floor.is_some()), "the floor is published");
}

#[test]
fn a_hundred_clean_experiments_raise_no_alarm() {
    let (mut promoted, mut slices) = (0, 0);
    for seed in 0..100 {
        let (windows, decisions) = run(&spec(), 1_000 + seed, |_, _| NO_HARM, |_| ());
        let bad = decisions.iter().find(|decision| decision.verdict == Verdict::RollBack);
        assert!(bad.is_none(), "seed {seed}: {}", bad.unwrap().reason);
        promoted += u32::from(decisions.last().unwrap().verdict == Verdict::Promote);
        slices += windows.len() * SLICES;
    }
    println!("100 clean experiments, {slices} slices: 0 alarms, {promoted} promoted");
    assert!(promoted >= 95, "{promoted} of 100 were promoted");
}

#[test]
fn five_milliseconds_more_are_rolled_back_within_a_window() {
    let spec = spec();
    for step in 0..3 {
        for seed in 0..20 {
            let slow = |_, stage| if stage == Stage::Step(step) { Harm { later_ns: 5e6, lost: 0.0 } } else { NO_HARM };
            let (windows, decisions) = run(&spec, seed, slow, |_| ());
            let last = decisions.last().unwrap();
            assert_eq!((last.verdict, last.next), (Verdict::RollBack, Stage::Ended), "{}", last.reason);
            assert!(last.reason.starts_with("latency_p"), "{}", last.reason);
            let during = windows.iter().filter(|window| window.stage == Stage::Step(step)).count();
            assert_eq!(during, 1, "the first window finds it");
            // Before it was over: every look may stop.
            let part = |slices: usize| {
                let mut windows = windows.clone();
                windows.last_mut().unwrap().slices.truncate(slices);
                decide(&spec, &windows).verdict
            };
            let found = (1..=SLICES).find(|slices| part(*slices) == Verdict::RollBack).unwrap();
            assert!(found <= 30, "after {found} of {SLICES} slices");
        }
    }
}

#[test]
fn frames_that_are_lost_are_a_reason_too() {
    let mut spec = spec();
    for metric in [Metric::Lost, Metric::Throughput] {
        spec.guardrails = vec![Guardrail::of(metric)];
        let (_, decisions) = run(&spec, 3, |_, _| Harm { later_ns: 0.0, lost: 0.1 }, |_| ());
        let last = decisions.last().unwrap();
        assert_eq!(last.verdict, Verdict::RollBack, "{metric}: {}", last.reason);
    }
}

#[test]
fn no_data_holds_and_ends_it() {
    let spec = spec();
    let silent: [(&str, Break<Window>); 3] = [
        ("arm candidate had no frame", |window| {
            window.slices.iter_mut().for_each(|slice| slice.candidate = Default::default());
        }),
        ("arm control had no frame", |window| {
            window.slices.iter_mut().for_each(|slice| slice.control = Default::default());
        }),
        ("latency_p50 came in 0 of 40 slices", |window| {
            window
                .slices
                .iter_mut()
                .for_each(|slice| slice.candidate.waits = [Histogram::default(), Histogram::default()]);
        }),
    ];
    for (cause, silence) in silent {
        for from in 1..4 {
            let (windows, decisions) = run(
                &spec,
                5,
                |_, _| NO_HARM,
                |window| {
                    // The noise floor asks for the control alone.
                    let is_late = window.number > from && window.stage != Stage::Noise;
                    if is_late {
                        silence(window);
                    }
                },
            );
            let quiet = windows.iter().zip(&decisions).filter(|(window, _)| window.number > from);
            for (window, decision) in quiet {
                assert_eq!(decision.verdict, Verdict::Hold, "window {}: {}", window.number, decision.reason);
                assert!(decision.no_data && decision.reason.contains(cause), "{}", decision.reason);
            }
            let last = decisions.last().unwrap();
            assert!(last.next == Stage::Ended && last.reason.contains("3 windows in a row"), "{}", last.reason);
        }
    }
}

#[test]
fn a_clock_that_jumps_voids_its_window() {
    let spec = spec();
    for jump in [-3_600_000_i64, -400, 400, 86_400_000] {
        let (windows, decisions) = run(
            &spec,
            9,
            |_, _| NO_HARM,
            |window| {
                if window.number == 2 {
                    for slice in window.slices.iter_mut().skip(17) {
                        slice.end.wall_ms = slice.end.wall_ms.saturating_add_signed(jump);
                    }
                }
            },
        );
        let decision = &decisions[1];
        assert_eq!((decision.verdict, decision.next), (Verdict::Hold, windows[1].stage));
        let said = format!("void: the wall clock jumped by {} ms", jump.abs());
        assert!(decision.reason.contains(&said), "{}", decision.reason);
        assert_eq!(decisions.last().unwrap().verdict, Verdict::Promote, "the others still decide");
    }
    // What a time server does slowly is none.
    let (_, decisions) = run(
        &spec,
        9,
        |_, _| NO_HARM,
        |window| {
            for (at, slice) in window.slices.iter_mut().enumerate() {
                slice.end.wall_ms += at as u64 * 5;
            }
        },
    );
    assert!(decisions.iter().all(|decision| !decision.reason.contains("void")));
}

#[test]
fn it_ends_when_its_windows_are_used_up() {
    let mut spec = spec();
    spec.windows = 6;
    let (windows, decisions) = run(
        &spec,
        11,
        |_, _| NO_HARM,
        |window| {
            if window.stage != Stage::Noise {
                window.void = Some("somebody said so".to_owned());
            }
        },
    );
    assert_eq!(windows.len(), 6);
    let last = decisions.last().unwrap();
    assert!(last.next == Stage::Ended && last.verdict == Verdict::Hold && last.reason.contains("used up"), "{last:?}");
}

#[test]
fn with_all_flows_on_there_is_nothing_to_compare() {
    let mut spec = spec();
    spec.arms = Arms::OffOn;
    let (windows, decisions) = run(&spec, 2, |_, _| NO_HARM, |_| ());
    assert!(windows.iter().all(|window| window.stage != Stage::Step(4)));
    let last = decisions.last().unwrap();
    assert!(last.verdict == Verdict::Promote && last.reason.contains("no flow is left"), "{}", last.reason);
}

#[test]
fn what_cannot_be_an_experiment_is_refused() {
    let cases: [(&str, Break<Spec>); 12] = [
        ("nothing is guarded", |spec| spec.guardrails.clear()),
        ("guarded twice", |spec| spec.guardrails = vec![Guardrail::of(Metric::Lost); 2]),
        ("a tolerance is", |spec| spec.guardrails[0].tolerance_ppm = 0),
        ("a tolerance is", |spec| spec.guardrails[0].tolerance_ppm = 600_000),
        ("a ramp has", |spec| spec.steps.clear()),
        ("above 0 %", |spec| spec.steps = vec![0, 100]),
        ("at most 100 %", |spec| spec.steps = vec![10_001]),
        ("steps rise", |spec| spec.steps = vec![500, 500]),
        ("a window is", |spec| spec.window_ms = 7_999),
        ("number of windows is", |spec| spec.windows = 1),
        ("alpha is", |spec| spec.alpha_ppm = 0),
        ("none is off", |spec| (spec.arms, spec.steps) = (Arms::OffOn, vec![10_000])),
    ];
    assert_eq!(spec().judge(), Ok(()));
    for (cause, break_it) in cases {
        let mut bad = spec();
        break_it(&mut bad);
        let refused = bad.judge().unwrap_err().to_string();
        assert!(refused.contains(cause), "{refused}");
    }
    let unknown = "speed".parse::<Metric>().unwrap_err();
    assert!(unknown.cure.contains("throughput, lost, latency_p50, latency_p99"), "{unknown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_replay_from_what_was_written_is_the_same_to_the_byte(
        seed in 0..1_000_u64, harmed in 0..6_u32, later in 0..3_u8, silent in 0..8_u32,
    ) {
        let spec = spec();
        let harm = |number, _| if number == harmed { Harm { later_ns: f64::from(later) * 40_000.0, lost: 0.01 } } else { NO_HARM };
        let (windows, decisions) = run(&spec, seed, harm, |window| {
            if window.number == silent {
                window.slices.iter_mut().for_each(|slice| slice.control = Default::default());
            }
        });
        let written = serde_json::to_string(&(&spec, &windows, &decisions)).unwrap();
        let (spec, windows, stored): (Spec, Vec<Window>, Vec<Decision>) = serde_json::from_str(&written).unwrap();
        let replayed = replay(&spec, &windows, &stored);
        prop_assert_eq!(replayed.differs_at, None);
        prop_assert_eq!(serde_json::to_string(&(&spec, &windows, &replayed.decisions)).unwrap(), written);
    }

    #[test]
    fn no_data_never_promotes(seed in 0..1_000_u64, from in 1..9_u32, which in 0..2_u8) {
        let (windows, decisions) = run(&spec(), seed, |_, _| NO_HARM, |window| {
            if window.number >= from {
                for slice in &mut window.slices {
                    let arm = if which == 0 { &mut slice.control } else { &mut slice.candidate };
                    *arm = Default::default();
                }
            }
        });
        for (window, decision) in windows.iter().zip(&decisions).filter(|(window, _)| window.number >= from) {
            prop_assert_eq!(decision.verdict, Verdict::Hold, "{}: {}", window.number, &decision.reason);
        }
    }

    #[test]
    fn a_decision_that_was_changed_is_found(seed in 0..100_u64) {
        let spec = spec();
        let (windows, mut stored) = run(&spec, seed, |_, _| NO_HARM, |_| ());
        stored[1].verdict = Verdict::RollBack;
        prop_assert_eq!(replay(&spec, &windows, &stored).differs_at, Some(1));
    }
}
