//! The engine agrees with a model that keeps every sample, loses nothing when its tables are full, gives equal records
//! twice and goes on from a checkpoint as if nothing had happened.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_features_streaming::checkpoint;
use weir_features_streaming::events::{EventHead, MessageHead};
use weir_features_streaming::histogram::{LATENCY_LIMIT_NS, RELATIVE_ERROR};
use weir_features_streaming::query;
use weir_features_streaming::rows::{Body, FLAG_PARTIAL, Scope, StreamRow, SummaryRow, TalkerRow};
use weir_features_streaming::windows::{Settings, Windows, plain_kind};

const SECOND: u64 = 1_000_000_000;
/// A clock that is far enough from zero for stamps of the past.
const START: u64 = 1_000 * SECOND;

#[derive(Clone, Debug)]
enum Step {
    Message { source: u32, kind: u32, bytes: u64, age: i64, flow: u64 },
    Batch { source: u32, events: Vec<(u32, u32, i64, u32)>, more: u16 },
    Plain { kind: u32, bytes: u64, flow: u64 },
}

/// A step and the nanoseconds that pass before it.
fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let age = prop_oneof![
        8 => 0..2_000_000i64,
        4 => 0..LATENCY_LIMIT_NS as i64,
        1 => -(SECOND as i64)..0,
        1 => LATENCY_LIMIT_NS as i64..900 * SECOND as i64,
    ]
    .boxed();
    let source = prop_oneof![6 => 0..6u32, 1 => any::<u32>()].boxed();
    let kind = prop_oneof![6 => 0..10u32, 1 => any::<u32>()].boxed();
    let event = (1..6u32, source.clone(), age.clone(), 0..100u32);
    let step = prop_oneof![
        (source.clone(), kind.clone(), 64..1500u64, age, 0..50u64)
            .prop_map(|(source, kind, bytes, age, flow)| Step::Message { source, kind, bytes, age, flow }),
        (source, prop::collection::vec(event, 0..12), 0..2u16).prop_map(|(source, events, more)| Step::Batch {
            source,
            events,
            more
        }),
        (kind, 64..1500u64, 0..50u64).prop_map(|(kind, bytes, flow)| Step::Plain { kind, bytes, flow }),
    ];
    let gap = prop_oneof![20 => 0..50_000_000u64, 2 => 0..3 * SECOND, 1 => 0..200 * SECOND];
    prop::collection::vec((gap, step), 0..200)
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Given {
    rows: Vec<(u64, StreamRow)>,
    talkers: Vec<(u64, TalkerRow)>,
    summaries: Vec<(u64, SummaryRow)>,
}

impl Given {
    fn take(&mut self, time: u64, body: Body<'_>) {
        match body {
            Body::Window(row) => self.rows.push((time, *row)),
            Body::Talker(row) => self.talkers.push((time, *row)),
            Body::Summary(row) => self.summaries.push((time, *row)),
        }
    }
}

fn stamp(now: u64, age: i64) -> u64 {
    now.wrapping_add_signed(-age)
}

fn apply(windows: &mut Windows, now: u64, step: &Step, given: &mut Given) {
    windows.advance(now, &mut |time, body| given.take(time, body));
    match step {
        Step::Message { source, kind, bytes, age, flow } => {
            let head = MessageHead { kind: *kind, source: *source, stamp_ns: stamp(now, *age) };
            windows.message(now, *flow, *bytes, head);
        }
        Step::Batch { source, events, more } => {
            windows.message(now, 7, 999, MessageHead { kind: 3, source: *source, stamp_ns: now });
            for (kind, source, age, length) in events {
                let stamp_ns = stamp(now, *age);
                windows.event(now, EventHead { kind: *kind, source: *source, stamp_ns, payload_length: *length });
            }
            windows.batch(events.len() as u16 + more, events.len() as u16);
        }
        Step::Plain { kind, bytes, flow } => windows.plain(*flow, *bytes, *kind, false),
    }
}

fn run(windows: &mut Windows, start: u64, steps: &[(u64, Step)]) -> Given {
    let mut given = Given::default();
    let mut now = start;
    for (gap, step) in steps {
        now += gap;
        apply(windows, now, step, &mut given);
    }
    windows.advance(now + 120 * SECOND, &mut |time, body| given.take(time, body));
    given
}

/// Every sample of one row.
#[derive(Clone, Debug, Default)]
struct Model {
    count: u64,
    bytes: u64,
    latencies: Vec<u64>,
    late: u32,
    early: u32,
}

type ModelKey = (u64, u32, u8, u32, u32); // window start, window ms, scope, source, kind

fn model(start: u64, steps: &[(u64, Step)]) -> BTreeMap<ModelKey, Model> {
    let mut rows: BTreeMap<ModelKey, Model> = BTreeMap::new();
    let mut now = start;
    for (gap, step) in steps {
        now += gap;
        let mut add = |scope: Scope, source: u32, kind: u32, bytes: u64, age: Option<i64>| {
            for length in [1, 60] {
                let window = now / (length * SECOND) * length * SECOND;
                let row = rows.entry((window, length as u32 * 1000, scope as u8, source, kind)).or_default();
                row.count += 1;
                row.bytes += bytes;
                match age {
                    None => {}
                    Some(age) if age < 0 => row.early += 1,
                    Some(age) if age as u64 >= LATENCY_LIMIT_NS => row.late += 1,
                    Some(age) => row.latencies.push(age as u64),
                }
            }
        };
        match step {
            Step::Message { source, kind, bytes, age, .. } => add(Scope::Message, *source, *kind, *bytes, Some(*age)),
            Step::Batch { source, events, .. } => {
                add(Scope::Message, *source, 3, 999, Some(0));
                for (kind, source, age, length) in events {
                    add(Scope::Event, *source, *kind, 32 + u64::from(*length), Some(*age));
                }
            }
            Step::Plain { kind, bytes, .. } => add(Scope::Plain, 0, *kind, *bytes, None),
        }
    }
    rows
}

fn near(read: u64, exact: u64) -> bool {
    read.abs_diff(exact) as f64 <= exact as f64 * RELATIVE_ERROR
}

fn check_row(row: &StreamRow, mut model: Model) {
    assert_eq!((row.count, row.bytes), (model.count, model.bytes), "{row:?}");
    assert_eq!((row.late, row.early), (model.late, model.early), "{row:?}");
    assert_eq!(row.latency_samples, model.latencies.len() as u64);
    model.latencies.sort_unstable();
    let exact = |quantile: f64| {
        let rank = (quantile * model.latencies.len() as f64).ceil() as usize;
        model.latencies.get(rank.max(1) - 1).copied().unwrap_or(0)
    };
    assert_eq!(row.latency_min_ns, exact(0.0));
    assert_eq!(row.latency_max_ns, exact(1.0));
    let sum: u128 = model.latencies.iter().map(|value| u128::from(*value)).sum();
    assert_eq!(u128::from(row.latency_mean_ns), sum.checked_div(model.latencies.len() as u128).unwrap_or(0));
    assert!(near(row.latency_p50_ns, exact(0.5)), "{row:?}");
    assert!(near(row.latency_p90_ns, exact(0.9)), "{row:?}");
    assert!(near(row.latency_p99_ns, exact(0.99)), "{row:?}");
    assert!(near(row.latency_p999_ns, exact(0.999)), "{row:?}");
}

proptest! {
    #[test]
    fn every_row_agrees_with_the_model(steps in steps(), offset in 0..60 * SECOND) {
        let given = run(&mut Windows::new(&Settings::default()), START + offset, &steps);
        let mut model = model(START + offset, &steps);
        for (time, row) in &given.rows {
            prop_assert_eq!(*time, row.window_start_ns + u64::from(row.window_ms) * 1_000_000);
            let key = (row.window_start_ns, row.window_ms, row.scope, row.source, row.kind);
            check_row(row, model.remove(&key).unwrap_or_default());
            prop_assert!(!row.is_other());
        }
        prop_assert!(model.is_empty(), "rows never given: {:?}", model.keys());
        for (_, summary) in &given.summaries {
            let rows = given.rows.iter().map(|(_, row)| row);
            let here: Vec<&StreamRow> = rows
                .filter(|row| (row.window_start_ns, row.window_ms) == (summary.window_start_ns, summary.window_ms))
                .collect();
            let sum = |scope: Scope| here.iter().filter(|row| row.scope == scope as u8).map(|row| row.count).sum::<u64>();
            prop_assert_eq!(summary.messages, sum(Scope::Message));
            prop_assert_eq!(summary.events, sum(Scope::Event));
            prop_assert_eq!(summary.plain, sum(Scope::Plain));
            prop_assert_eq!(summary.frames, summary.messages + summary.plain);
            prop_assert_eq!(summary.late, here.iter().map(|row| u64::from(row.late)).sum::<u64>());
            prop_assert_eq!(summary.early, here.iter().map(|row| u64::from(row.early)).sum::<u64>());
            prop_assert_eq!(summary.rows as usize, here.len());
            let talkers = given.talkers.iter().map(|(_, row)| row);
            let bytes: u64 = talkers
                .filter(|row| (row.window_start_ns, row.window_ms) == (summary.window_start_ns, summary.window_ms))
                .map(|row| row.bytes - row.bytes_error)
                .sum();
            prop_assert!(bytes <= summary.bytes);
        }
    }

    #[test]
    fn full_tables_keep_the_totals(steps in steps(), rows in 1..8usize) {
        let given = run(&mut Windows::new(&Settings { rows, ..Settings::default() }), START, &steps);
        let mut model_totals: BTreeMap<(u64, u32, u8), (u64, u64)> = BTreeMap::new();
        for ((start, length, scope, ..), row) in model(START, &steps) {
            let total = model_totals.entry((start, length, scope)).or_default();
            *total = (total.0 + row.count, total.1 + row.bytes);
        }
        let mut totals: BTreeMap<(u64, u32, u8), (u64, u64)> = BTreeMap::new();
        let mut known: BTreeMap<(u64, u32), usize> = BTreeMap::new();
        for (_, row) in &given.rows {
            let total = totals.entry((row.window_start_ns, row.window_ms, row.scope)).or_default();
            *total = (total.0 + row.count, total.1 + row.bytes);
            *known.entry((row.window_start_ns, row.window_ms)).or_default() += usize::from(!row.is_other());
        }
        prop_assert_eq!(totals, model_totals);
        prop_assert!(known.values().all(|count| *count <= rows));
    }

    #[test]
    fn two_runs_and_a_restart_give_equal_records(steps in steps(), cut in 0..=1000usize) {
        let settings = Settings { rows: 12, ..Settings::default() };
        let given = run(&mut Windows::new(&settings), START, &steps);
        prop_assert_eq!(&given, &run(&mut Windows::new(&settings), START, &steps));

        let (before, after) = steps.split_at(steps.len() * cut / 1000);
        let mut windows = Windows::new(&settings);
        let mut restarted = Given::default();
        let mut now = START;
        for (gap, step) in before {
            now += gap;
            apply(&mut windows, now, step, &mut restarted);
        }
        let mut kept = Vec::new();
        checkpoint::write(&windows, &mut kept);
        let mut windows = checkpoint::read(&settings, &kept).unwrap();
        let mut again = Vec::new();
        checkpoint::write(&windows, &mut again);
        prop_assert_eq!(&kept, &again);
        let rest = run(&mut windows, now, after);
        restarted.rows.extend(rest.rows);
        restarted.talkers.extend(rest.talkers);
        restarted.summaries.extend(rest.summaries);
        prop_assert_eq!(&given, &restarted);
    }

    #[test]
    fn damaged_checkpoints_are_refused_or_sound(
        steps in steps(),
        changes in prop::collection::vec((any::<u32>(), any::<u8>()), 0..4),
        keep in prop_oneof![3 => Just(1000usize), 1 => 0..1000usize],
    ) {
        let settings = Settings { rows: 12, ..Settings::default() };
        let mut windows = Windows::new(&settings);
        let mut given = Given::default();
        let mut now = START;
        for (gap, step) in &steps {
            now += gap;
            apply(&mut windows, now, step, &mut given);
        }
        let mut kept = Vec::new();
        checkpoint::write(&windows, &mut kept);
        for (place, value) in changes {
            let at = place as usize % kept.len();
            kept[at] = value;
        }
        kept.truncate(kept.len() * keep / 1000);
        if let Ok(mut windows) = checkpoint::read(&settings, &kept) {
            let mut reply = Vec::new();
            query::answer(&windows, b"rows 1s", &mut reply);
            windows.advance(u64::MAX, &mut |_, _| {});
        }
    }
}

#[test]
fn the_first_window_is_partial_and_later_ones_are_not() {
    let plain = |gap| (gap, Step::Plain { kind: 0, bytes: 64, flow: 1 });
    let steps = [plain(SECOND / 2), plain(SECOND), plain(60 * SECOND)];
    let given = run(&mut Windows::new(&Settings::default()), START, &steps);
    let partial: Vec<(u32, bool)> =
        given.summaries.iter().map(|(_, row)| (row.window_ms, row.flags & u32::from(FLAG_PARTIAL) != 0)).collect();
    assert_eq!(partial, [(1000, true), (1000, false), (60_000, true), (1000, false), (60_000, false)]);
}

#[test]
fn queries_are_answered_from_the_latest_window() {
    let mut windows = Windows::new(&Settings::default());
    let ask = |windows: &Windows, call: &str| {
        let mut reply = Vec::new();
        query::answer(windows, call.as_bytes(), &mut reply);
        String::from_utf8(reply).unwrap()
    };
    assert_eq!(ask(&windows, "rows 1s"), r#"{"rows":[]}"#);
    assert_eq!(ask(&windows, "summary 1m"), r#"{"summary":null}"#);
    assert_eq!(ask(&windows, "rows 2s"), "");
    assert_eq!(ask(&windows, "rows 1s more"), "");
    let mut given = Given::default();
    let step = Step::Message { source: 9, kind: 2, bytes: 100, age: 50, flow: 0xabc };
    apply(&mut windows, START, &step, &mut given);
    windows.advance(START + SECOND, &mut |_, _| {});
    assert!(
        ask(&windows, "rows 1s")
            .contains(r#""scope":"message","other":false,"partial":true,"source":9,"kind":2,"count":1"#)
    );
    assert!(ask(&windows, "talkers 1s").contains(r#""rank":1,"flow":"0000000000000abc","source":9,"bytes":100"#));
    assert!(ask(&windows, "summary 1s").contains(r#""frames":1,"bytes":100,"messages":1"#));
}

#[test]
fn plain_frames_are_told_apart_by_ethertype_and_protocol() {
    let mut frame = vec![0; 12];
    frame.extend([0x81, 0, 0, 5, 0x08, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
    assert_eq!(plain_kind(&frame), 0x0800_0011);
    assert_eq!(plain_kind(&frame[..20]), 0x0800_0000);
    assert_eq!(plain_kind(&frame[..13]), 0);
    let arp = [&[0; 12][..], &[0x08, 0x06]].concat();
    assert_eq!(plain_kind(&arp), 0x0806_0000);
}
