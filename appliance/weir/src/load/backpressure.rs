//! `weir load backpressure`: more is offered than a slow consumer can take, and then again less.
//!
//! | phase | rate | how long |
//! |---|---|---|
//! | before | half of what the consumer can take | a tenth of the duration |
//! | overload | the asked one | the duration |
//! | settling | half of what the consumer can take | twice the time in which the ring must empty at this rate |
//! | after | the same | a tenth of the duration |

use std::time::Duration;

use anyhow::Result;
use weir_appliance_console::load::{BackpressureArgs, Course};
use weir_appliance_control::config::MemorySpec;
use weir_appliance_control::message::{BenchReport, BenchRow, Better};
use weir_appliance_control::problem::Problem;
use weir_appliance_lab::load::{Consumer, Ledger, Overload, Phase};
use weir_appliance_lab::traffic::Content;

use super::course::Rig;
use super::{content, course, events_per_frame};

/// Bytes of an event: small ones, so that a frame holds many and the rate is that of events.
const EVENT_BYTES: u32 = 64;
/// Frames of a batch at full scale.
const BATCH: f64 = 64.0;
/// Batches that the ring holds.
const BATCHES: u32 = 64;
/// Shortest calm phase: enough frames for a 99th percentile at the least rates.
const CALM: Duration = Duration::from_millis(500);

/// Offers, measures, and says how it went over time.
pub(super) fn run(args: &BackpressureArgs) -> Result<(BenchReport, Course)> {
    let content = content(EVENT_BYTES);
    let rig = course::rig(args.rig, plan(args, content, &Rig::Wired).map(drop))?;
    let spec = plan(args, content, &rig)?;
    let ledger = course::run(&rig, &spec, content)?;
    let mut rows = vec![BenchRow::of_runs(
        "asked for",
        "events/s",
        Better::Higher,
        &[spec.phases[1].per_second * events_per_frame(content)],
    )];
    rows.extend(course::rows(&ledger, content));
    rows.extend(recovery(&spec, &ledger));
    let Consumer { batch, delay } = spec.consumer;
    let consumer = format!("waits {} ms for each batch of at most {batch} frames", delay.as_millis());
    Ok((course::report("stream_backpressure_test", &ledger, &consumer, rows), course::course(&ledger, content)))
}

/// What is offered when. In memory batch and ring shrink with the rates, so that an overload is as deep at every scale; the
/// box's are what they are.
fn plan(args: &BackpressureArgs, content: Content, rig: &Rig) -> Result<Overload, Problem> {
    let scale = args.scale.scale;
    let batch = match rig {
        Rig::Wired => BATCH as u32,
        Rig::Memory(_) => (BATCH * scale).ceil().clamp(1.0, BATCH) as u32,
    };
    let consumer = Consumer { batch, delay: Duration::from_millis(args.consumer_delay_ms) };
    let (offered, capacity) = (args.max_rate as f64 * scale / events_per_frame(content), consumer.capacity());
    let ring = match rig {
        Rig::Wired => MemorySpec::default().rx_ring,
        Rig::Memory(_) => (batch * BATCHES).next_power_of_two(),
    };
    let duration = Duration::from_secs(args.duration).mul_f64(scale);
    // Twice the ring's length must be left over, so that something is shed whatever the ring held before.
    let left_over = (offered - capacity) * duration.as_secs_f64();
    if left_over < f64::from(2 * ring) {
        let events = |frames: f64| (frames * events_per_frame(content)).round() as u64;
        let cause = format!(
            "in {:.2} s the consumer's {} events/s and its ring can take nearly all of them, so too little would be shed",
            duration.as_secs_f64(),
            events(capacity),
        );
        let cure = "raise --scale, --max-rate, --duration or --consumer-delay-ms";
        return Err(Problem::new(format!("{} events/s", events(offered)), cause, cure));
    }
    let calm = (duration / 10).max(CALM).max(consumer.delay * BATCHES);
    // A calm half of what the consumer can take leaves it the other half for what the overload left on the ring.
    let settling = consumer.delay * (ring / batch) * 2 * 2;
    let phase = |name, duration, per_second| Phase { name, duration, per_second };
    let phases = vec![
        phase("before", calm, capacity / 2.0),
        phase("overload", duration, offered),
        phase("settling", settling, capacity / 2.0),
        phase("after", calm, capacity / 2.0),
    ];
    Ok(Overload { phases, consumer, ring, slices: course::SLICES })
}

/// Whether something was shed at all, and how it went on afterwards.
fn recovery(spec: &Overload, ledger: &Ledger) -> Vec<Option<BenchRow>> {
    let [before, overload, settling, after] = ledger.phases.as_slice() else { return Vec::new() };
    let shed = BenchRow::of_runs("shed in the overload", "frames", Better::Higher, &[overload.shed.total() as f64]);
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    // A ring that was never seen drained took longer than there was.
    let drained = ledger.drained_after.unwrap_or(spec.duration());
    let drained = BenchRow::of_runs("ring drained after", "ms", Better::Lower, &[ms(drained)]);
    let p99_before = course::p99_us(before);
    vec![
        // Without any the overload was none, and the rest would prove nothing.
        shed.map(|row| row.bounded(1.0)),
        drained.map(|row| row.bounded(ms(settling.phase.duration))),
        course::latency("p99 before", p99_before),
        course::latency("p99 in the overload", course::p99_us(overload)),
        course::latency("p99 after", course::p99_us(after)).map(|row| row.bounded(course::back_us(p99_before))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_appliance_console::load::{RigWish, Scale};

    fn args(scale: f64) -> BackpressureArgs {
        let scale = Scale { scale, json: false };
        BackpressureArgs {
            max_rate: 15_000_000,
            consumer_delay_ms: 10,
            duration: 300,
            rig: RigWish::Memory,
            svg: None,
            scale,
        }
    }

    #[test]
    fn a_consumer_slower_than_offered_sheds_with_counts() {
        let args = BackpressureArgs { max_rate: 60_000_000, consumer_delay_ms: 2, ..args(0.001) };
        let (report, course) = run(&args).unwrap();
        let value = |case: &str| report.rows.iter().find(|row| row.case == case).unwrap().value;
        // On a starved host the sender may come too late to find the ring full: either reason is a count.
        let shed = value("shed: ring full") + value("shed: sender late");
        assert!(shed > 0.0 && value("shed in the overload") > 0.0, "{report:?}");
        let fates = value("delivered") + shed;
        assert_eq!(value("offered"), fates, "{report:?}");
        assert_eq!((value("lost without a count"), value("doubled")), (0.0, 0.0));
        assert_eq!(course.points.len(), course::SLICES);
        assert!(course.points.iter().any(|point| point.shed > 0.0));
        assert!(report.rig.contains("bottleneck: ") && report.rig.contains("generator: memory ring of 64 frames"));
    }

    #[test]
    fn the_overload_is_as_deep_at_every_scale() {
        for (scale, batch, ring) in [(1.0, 64, 4096), (0.1, 7, 512), (0.001, 1, 64), (10.0, 64, 4096)] {
            let spec = plan(&args(scale), content(EVENT_BYTES), &Rig::Memory(None)).unwrap();
            assert_eq!((spec.consumer.batch, spec.ring), (batch, ring), "{scale}");
            assert!(spec.phases[1].per_second > 5.0 * spec.consumer.capacity(), "{scale}");
        }
    }

    #[test]
    fn an_overload_that_is_none_is_refused_in_one_line() {
        let slow = BackpressureArgs { max_rate: 100_000, ..args(1.0) };
        for (args, start) in [(args(0.0001), "1500 events/s: in 0.03 s"), (slow, "100000 events/s: in 300.00 s")] {
            let line = plan(&args, content(EVENT_BYTES), &Rig::Memory(None)).unwrap_err().to_string();
            assert!(line.starts_with(start) && line.contains("; raise --scale") && !line.contains('\n'), "{line}");
        }
    }
}
