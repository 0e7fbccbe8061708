//! The streaming feature alone: how fast one core counts frames that lie in its cache.

use anyhow::{Result, bail};
use weir_appliance_lab::traffic::{Content, Traffic, TrafficSpec};
use weir_dataplane_io::clock::monotonic_ns;
use weir_ebpf_abi::batch::BATCH_HEADER;
use weir_features_streaming::events::{MessageHead, announced};
use weir_features_streaming::simd::{Simd, VARIABLE};
use weir_features_streaming::windows::{Settings, Windows};

use crate::noise::{self, BURST};
use crate::wire;

/// Stream time between two frames: a million frames a second.
const STEP_NS: u64 = 1_000;
/// Bytes of Ethernet, IPv4 and UDP headers.
const HEADERS: u64 = 42;

/// The instructions that the feature is measured with: those that a worker would choose.
///
/// # Errors
/// The environment names a set that is not known or that the processor lacks.
pub fn instructions() -> Result<Simd> {
    Ok(Simd::chosen(std::env::var(VARIABLE).ok().as_deref())?)
}

/// Payloads of whole rounds of traffic, stamped up to 1 ms before `now`.
///
/// # Errors
/// A content that no frame can have.
pub fn payloads(spec: &TrafficSpec, now: u64) -> Result<Vec<Vec<u8>>> {
    let mut traffic = Traffic::new(spec)?;
    let count = traffic.templates().count() as u64;
    Ok((0..count).map(|number| traffic.next(now - number * 997 % 1_000_000).template.payload().to_vec()).collect())
}

/// Millions of events a second that the engine counts out of batches, or of frames out of messages.
///
/// # Errors
/// A content that no frame can have, a core that is not ours, or instructions that cannot be had.
pub fn rate(spec: &TrafficSpec) -> Result<f64> {
    let mut now = 1_000_000_000_000;
    let payloads = payloads(spec, now)?;
    let settings = Settings { simd: instructions()?, ..Settings::default() };
    let events = matches!(spec.content, Content::Batch { .. });
    let measuring = std::thread::spawn(move || -> Result<f64> {
        noise::measuring_thread(wire::RECEIVER)?;
        let mut windows = Windows::new(&settings);
        let (mut items, start) = (0_u64, monotonic_ns());
        let mut elapsed = 0;
        while elapsed < BURST.as_nanos() as u64 {
            for payload in &payloads {
                now += STEP_NS;
                windows.advance(now, &mut |_, _| {});
                let Some(head) = MessageHead::read(payload) else { continue };
                windows.message(now, u64::from(head.source), payload.len() as u64 + HEADERS, head);
                if events {
                    let count = announced(payload).unwrap_or(0);
                    let whole = windows.events(now, &payload[BATCH_HEADER..], count);
                    windows.batch(count, whole);
                    items += u64::from(whole);
                } else {
                    items += 1;
                }
            }
            elapsed = monotonic_ns() - start;
        }
        Ok(items as f64 * 1e3 / elapsed as f64)
    });
    measuring.join().unwrap_or_else(|_| bail!("the measuring thread panicked"))
}
