//! `weir load burst`: a baseline with bursts. A burst lies in the middle of its interval, so that each has a baseline on
//! both sides. The first tenth of a baseline after a burst, at most 10 s, is left for queues to empty and is not judged.

use std::time::Duration;

use anyhow::Result;
use weir_appliance_console::load::{BurstArgs, Course};
use weir_appliance_control::config::MemorySpec;
use weir_appliance_control::message::{BenchReport, BenchRow, Better};
use weir_appliance_control::problem::Problem;
use weir_appliance_lab::load::{Consumer, Ledger, Overload, Phase};

use super::course::Rig;
use super::{content, count, course};

/// Bytes of a message's frame: the base messages that bursts are made of.
const MESSAGE_BYTES: u32 = 1024;
/// Frames on a ring in memory.
const RING: u32 = 4096;
/// Most time after a burst that is not judged.
const SETTLING: Duration = Duration::from_secs(10);
/// Most bursts of a run: each takes three phases.
const BURSTS: u64 = 80;
/// The phases of a burst in results.
const BASELINE: &str = "baseline";
const BURST: &str = "burst";

/// Offers, measures, and says how it went over time.
pub(super) fn run(args: &BurstArgs) -> Result<(BenchReport, Course)> {
    let content = content(MESSAGE_BYTES);
    let rig = course::rig(args.rig, Ok(()))?;
    let spec = plan(args, &rig)?;
    let ledger = course::run(&rig, &spec, content)?;
    let rate =
        |case: &str, rate: u64| BenchRow::of_runs(case, "events/s", Better::Higher, &[rate as f64 * args.scale.scale]);
    let mut rows = vec![rate("baseline asked for", args.baseline_rate), rate("burst asked for", args.burst_rate)];
    rows.extend(course::rows(&ledger, content));
    rows.extend(worst(&ledger));
    let consumer = format!("takes at most {} frames at once, without a delay", spec.consumer.batch);
    Ok((course::report("burst_load_test", &ledger, &consumer, rows), course::course(&ledger, content)))
}

/// What is offered when.
fn plan(args: &BurstArgs, rig: &Rig) -> Result<Overload, Problem> {
    let BurstArgs { burst_duration_sec: burst, burst_interval_sec: interval, .. } = *args;
    let total = args.total_duration_hours * 3600;
    let refuse = |value: u64, cause: String, cure: &str| Err(Problem::new(value.to_string(), cause, cure));
    if burst >= interval {
        let cause = format!("a burst must end before the next begins, {interval} s later (--burst-duration-sec)");
        return refuse(burst, cause, "write a shorter burst or a longer --burst-interval-sec");
    }
    if args.burst_rate <= args.baseline_rate {
        let cause = format!("a burst must be above the baseline of {} (--burst-rate)", args.baseline_rate);
        return refuse(args.burst_rate, cause, "write a higher --burst-rate");
    }
    let bursts = total / interval;
    if bursts == 0 || bursts > BURSTS {
        let cause = format!("{bursts} bursts fit into {total} s (--burst-interval-sec)");
        return refuse(interval, cause, "write an interval of which 1 to 80 fit into --total-duration-hours");
    }
    let scaled = |seconds: f64| Duration::from_secs_f64(seconds).mul_f64(args.scale.scale);
    let (side, settling) =
        (scaled((interval - burst) as f64 / 2.0), scaled((interval - burst) as f64 / 10.0).min(SETTLING));
    let phase = |name, duration, rate: u64| Phase { name, duration, per_second: rate as f64 * args.scale.scale };
    let mut phases = vec![phase(BASELINE, side, args.baseline_rate)];
    for number in 1..=bursts {
        // Between two bursts lie the second half of one interval and the first half of the next.
        let baseline = if number == bursts { side } else { side * 2 };
        phases.extend([
            phase(BURST, scaled(burst as f64), args.burst_rate),
            phase("settling", settling, args.baseline_rate),
            phase(BASELINE, baseline.saturating_sub(settling), args.baseline_rate),
        ]);
    }
    let ring = match rig {
        Rig::Wired => MemorySpec::default().rx_ring,
        Rig::Memory(_) => RING,
    };
    Ok(Overload { phases, consumer: Consumer::default(), ring, slices: course::SLICES })
}

/// The burst after which latency came back the least: if it is within its bound, all others are.
fn worst(ledger: &Ledger) -> Vec<Option<BenchRow>> {
    let of_burst = |phases: &[_]| match phases {
        [before, burst, _, after] => Some([before, burst, after].map(course::p99_us)),
        _ => None,
    };
    let bursts: Vec<[f64; 3]> =
        ledger.phases.windows(4).filter(|phases| phases[1].phase.name == BURST).filter_map(of_burst).collect();
    let number = count("bursts", bursts.len() as u64);
    let over = |[before, _, after]: &[f64; 3]| after / course::back_us(*before);
    let Some([before, burst, after]) = bursts.into_iter().max_by(|one, other| over(one).total_cmp(&over(other))) else {
        return vec![number];
    };
    vec![
        number,
        course::latency("p99 before the worst burst", before),
        course::latency("p99 in it", burst),
        course::latency("p99 after it", after).map(|row| row.bounded(course::back_us(before))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_appliance_console::load::{RigWish, Scale};

    fn args(scale: f64) -> BurstArgs {
        BurstArgs {
            baseline_rate: 3_000_000,
            burst_rate: 6_000_000,
            burst_duration_sec: 300,
            burst_interval_sec: 1800,
            total_duration_hours: 2,
            rig: RigWish::Memory,
            svg: None,
            scale: Scale { scale, json: false },
        }
    }

    #[test]
    fn the_books_of_bursts_balance() {
        let (report, course) = run(&args(0.0002)).unwrap();
        let value = |case: &str| report.rows.iter().find(|row| row.case == case).unwrap().value;
        let fates = value("delivered") + value("shed: ring full") + value("shed: sender late");
        assert_eq!(value("offered"), fates, "{report:?}");
        assert_eq!((value("lost without a count"), value("doubled"), value("bursts")), (0.0, 0.0, 4.0));
        // 600 a second for 1.2 s and 1200 for 0.24 s, less the parts of frames at the ends of 13 phases.
        assert!((995.0..=1008.0).contains(&value("offered")), "{report:?}");
        assert_eq!(course.points.len(), course::SLICES);
    }

    #[test]
    fn bursts_lie_in_the_middle_of_their_intervals() {
        let spec = plan(&args(1.0), &Rig::Memory(None)).unwrap();
        assert_eq!(spec.duration(), Duration::from_secs(7200));
        let shape: Vec<_> = spec.phases.iter().map(|phase| (phase.name, phase.duration.as_secs())).collect();
        assert_eq!(shape[..4], [("baseline", 750), ("burst", 300), ("settling", 10), ("baseline", 1490)]);
        assert_eq!(shape[12], ("baseline", 740));
    }

    #[test]
    fn bursts_that_do_not_fit_are_refused_in_one_line() {
        for (args, start) in [
            (BurstArgs { burst_duration_sec: 1800, ..args(1.0) }, "1800: a burst must end before the next begins"),
            (BurstArgs { burst_rate: 3_000_000, ..args(1.0) }, "3000000: a burst must be above the baseline of"),
            (BurstArgs { burst_interval_sec: 7201, ..args(1.0) }, "7201: 0 bursts fit into 7200 s"),
            (BurstArgs { burst_interval_sec: 10, burst_duration_sec: 1, ..args(1.0) }, "10: 720 bursts fit"),
        ] {
            let line = plan(&args, &Rig::Memory(None)).unwrap_err().to_string();
            assert!(line.starts_with(start) && line.contains("; write ") && !line.contains('\n'), "{line}");
        }
    }
}
