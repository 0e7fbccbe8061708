//! The rates of the passport: each over several samples, all together within some seconds.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_appliance_control::message::{NotMeasured, Passport, Rate};
use weir_dataplane_io::Mapping;
use weir_dataplane_io::cpu::{self, CorePlan};
use weir_dataplane_ring::{PAGE_LENGTH, Record, RecordConsumer, RecordProducer, record_ring_length};
use weir_ebpf_abi::decode::decode_slice;

/// Time that one rate may take.
const EACH: Duration = Duration::from_millis(600);
/// Fewest and most samples of a rate.
const SAMPLES: (usize, usize) = (5, 31);
/// Bytes that are copied at once: more than the caches near a core hold.
const COPIED: usize = 64 << 20;
/// Bytes that are summed at once, and how often in one sample.
const SUMMED: usize = 1 << 20;
const SUMS: usize = 64;
/// Slots of the ring, as of a worker's.
const SLOTS: u32 = 4096;
/// Records handed over in one sample, and at once.
const HANDED: u64 = 200_000;
const AT_ONCE: usize = 32;
/// Frames decoded in one sample.
const DECODED: usize = 200_000;

/// Measures what can be measured on any machine.
pub(super) fn measure(plan: &CorePlan, passport: &mut Passport) {
    let critical = plan.critical.first().copied();
    // On a thread of its own, so that the caller stays where it is.
    let alone = std::thread::scope(|scope| {
        let measured = scope.spawn(|| {
            let placed = critical.filter(|cpu| cpu::pin(*cpu).is_ok());
            let on = placed.map_or_else(|| "on any CPU".to_owned(), |cpu| format!("on CPU {cpu}"));
            [copy(&on), sum(&on), decode(&on)]
        });
        measured.join()
    });
    match alone {
        Ok(rates) => passport.rates.extend(rates),
        Err(_) => passport.not_measured.push(not("memory copy, checksum, decode", "the measuring thread ended")),
    }
    match (critical, plan.batch.first().copied()) {
        (Some(from), Some(to)) if from != to => match ring(from, to) {
            Ok(rate) => passport.rates.push(rate),
            Err(why) => passport.not_measured.push(not("ring hand-over", &why)),
        },
        _ => passport.not_measured.push(not("ring hand-over", "it takes two CPUs, and this process has one")),
    }
}

fn not(name: &str, because: &str) -> NotMeasured {
    NotMeasured { name: name.to_owned(), because: because.to_owned() }
}

/// Samples of how much is done a second, the first one thrown away: it meets cold memory.
fn sample(name: &str, how: String, unit: &str, mut once: impl FnMut() -> f64) -> Rate {
    let start = Instant::now();
    once();
    let mut values = Vec::new();
    while values.len() < SAMPLES.0 || (values.len() < SAMPLES.1 && start.elapsed() < EACH) {
        values.push(once());
    }
    rate(name, how, unit, values, start.elapsed())
}

fn rate(name: &str, how: String, unit: &str, mut values: Vec<f64>, took: Duration) -> Rate {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
    let last = values.len().saturating_sub(1);
    // Of an even number of values the lower middle one: a value that was measured.
    let median = at(last / 2);
    Rate {
        name: name.to_owned(),
        how,
        unit: unit.to_owned(),
        n: values.len() as u32, // at most SAMPLES
        median,
        min: at(0),
        max: at(last),
        seconds: took.as_secs_f64(),
    }
}

fn copy(on: &str) -> Rate {
    let (from, mut to) = (vec![1_u8; COPIED], vec![0_u8; COPIED]);
    let how = format!("{} MiB copied once, {on}; bytes copied, not bytes read and written", COPIED >> 20);
    sample("memory copy", how, "GiB/s", || {
        let start = Instant::now();
        to.copy_from_slice(black_box(&from));
        black_box(&to);
        COPIED as f64 / start.elapsed().as_secs_f64() / f64::from(1 << 30)
    })
}

fn sum(on: &str) -> Rate {
    let bytes = vec![7_u8; SUMMED];
    let how = format!("CRC-32C of {} KiB, as the durable log sums its groups, {on}", SUMMED >> 10);
    sample("checksum", how, "GiB/s", || {
        let start = Instant::now();
        for _ in 0..SUMS {
            black_box(crc32c::crc32c(black_box(&bytes)));
        }
        (SUMS * SUMMED) as f64 / start.elapsed().as_secs_f64() / f64::from(1 << 30)
    })
}

/// An Ethernet frame of 128 bytes with an IPv4 UDP datagram in it.
fn frame() -> [u8; 128] {
    let mut frame = [0_u8; 128];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 114, 0, 0, 0, 0, 64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[34..40].copy_from_slice(&[0x13, 0x88, 0x13, 0x88, 0, 94]);
    frame
}

fn decode(on: &str) -> Rate {
    let frame = frame();
    let how = format!("headers of {DECODED} frames of {} bytes, in cache, by the host's decoder, {on}", frame.len());
    sample("decode", how, "M frames/s", || {
        let start = Instant::now();
        for _ in 0..DECODED {
            black_box(decode_slice(black_box(&frame), frame.len()));
        }
        DECODED as f64 / start.elapsed().as_secs_f64() / 1e6
    })
}

/// Records from one CPU to another over a worker's record ring.
fn ring(from: u32, to: u32) -> Result<Rate, String> {
    let length = record_ring_length::<Record>(SLOTS).next_multiple_of(PAGE_LENGTH);
    let memory = Arc::new(Mapping::anonymous(length).map_err(|error| error.to_string())?);
    let mut producer = RecordProducer::attach(Arc::clone(&memory) as _, SLOTS).map_err(|error| error.to_string())?;
    let mut consumer = RecordConsumer::<Record>::attach(memory as _, SLOTS).map_err(|error| error.to_string())?;
    let record = Record::new(1, 1, 0, &[]).ok_or("a record of nothing is refused")?;
    let records = [record; AT_ONCE];
    let (begun, over) = (Instant::now(), AtomicBool::new(false));
    let mut values = Vec::new();
    let outcome = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            cpu::pin(from).map_err(|error| error.to_string())?;
            while !over.load(Ordering::Relaxed) {
                if producer.push_batch(&records) == 0 {
                    std::hint::spin_loop();
                }
            }
            Ok::<(), String>(())
        });
        let received = (|| {
            cpu::pin(to).map_err(|error| error.to_string())?;
            // The first sample meets a thread that has not begun.
            for place in 0..=SAMPLES.1 {
                let (mut taken, start) = (0_u64, Instant::now());
                while taken < HANDED {
                    let some = consumer.consume(SLOTS, |record| {
                        black_box(record);
                    });
                    taken += u64::from(some.map_err(|error| error.to_string())?);
                    if start.elapsed() > 4 * EACH {
                        return Err("the other CPU did not keep up".to_owned());
                    }
                }
                if place > 0 {
                    values.push(taken as f64 / start.elapsed().as_secs_f64() / 1e6);
                }
                if values.len() >= SAMPLES.0 && begun.elapsed() > EACH {
                    break;
                }
            }
            Ok(())
        })();
        over.store(true, Ordering::Relaxed);
        let sent = sending.join().map_err(|_| "the sending thread ended".to_owned())?;
        received.and(sent)
    });
    outcome?;
    let how = format!("records of {} bytes, {AT_ONCE} at once, from CPU {from} to CPU {to}", size_of::<Record>());
    Ok(rate("ring hand-over", how, "M records/s", values, begun.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_was_measured_or_says_why_not() {
        let plan = cpu::roles(&cpu::Topology::live(), &cpu::CoreWish::default());
        let mut passport = Passport::default();
        measure(&plan, &mut passport);
        assert!(passport.rates.len() >= 3, "{passport:?}");
        assert_eq!(passport.rates.len() + passport.not_measured.len(), 4, "{passport:?}");
        for rate in &passport.rates {
            assert!(rate.n as usize >= SAMPLES.0 && rate.min > 0.0, "{rate:?}");
            assert!(rate.min <= rate.median && rate.median <= rate.max && rate.seconds > 0.0, "{rate:?}");
        }
    }

    #[test]
    fn the_frame_that_is_decoded_is_one() {
        assert_eq!(decode_slice(&frame(), 128).malformed(), None);
    }
}
