//! The frames of one producer, built beforehand.

use weir_ebpf_abi::batch::{BATCH_HEADER, BatchHeader, EVENT_ALIGN, EVENT_HEADER, EventType};
use weir_ebpf_abi::message::{PORT_BATCH, PORT_STANDARD, STANDARD_HEADER, StandardHeader};

use super::{ROUND, TrafficSpec};
use crate::error::LabError;
use crate::packet::{Event, Path, Template, batch, message};
use crate::random::Random;

/// Bytes of Ethernet, IPv4 and UDP headers in front of a message.
const HEADERS: usize = 14 + 20 + 8;

/// The event types of one round, in random order.
fn round(random: &mut Random) -> [EventType; ROUND] {
    let mut types: [EventType; ROUND] = std::array::from_fn(|place| EventType::of_rotation(place as u64));
    random.shuffle(&mut types);
    types
}

fn header(spec: &TrafficSpec, source: u32, kind: u32) -> StandardHeader {
    StandardHeader {
        message_type: kind.into(),
        source_agent_id: source.into(),
        dest_agent_id: spec.destination_agent.into(),
        ..StandardHeader::default()
    }
}

/// The frames of one round of messages.
pub(super) fn messages(
    spec: &TrafficSpec,
    source: u32,
    path: &mut Path,
    frame_bytes: u32,
    random: &mut Random,
) -> Result<Vec<Template>, LabError> {
    let headers = path.udp(&[]).1.payload;
    let least = headers + STANDARD_HEADER;
    let Some(payload) = (frame_bytes as usize).checked_sub(least).filter(|_| frame_bytes <= 65_535) else {
        return Err(LabError::spec("the frame size", frame_bytes, "give at least 70 bytes (a message's headers)"));
    };
    path.destination_port = PORT_STANDARD;
    let mut bytes = vec![0; payload];
    random.fill(&mut bytes);
    let types = round(random);
    Ok(types.map(|kind| Template::new(path, &message(&header(spec, source, kind as u32), &bytes))).to_vec())
}

/// The frames of as many rounds as make whole batches.
pub(super) fn batches(
    spec: &TrafficSpec,
    source: u32,
    path: &mut Path,
    (events, event_bytes): (u32, u32),
    random: &mut Random,
) -> Result<Vec<Template>, LabError> {
    let total = HEADERS + BATCH_HEADER + events as usize * event_bytes as usize;
    if events == 0 || total > 65_535 {
        return Err(LabError::spec("the number of events in a frame", events, "give at least 1, and 64 KiB in all"));
    }
    if (event_bytes as usize) < EVENT_HEADER || !(event_bytes as usize).is_multiple_of(EVENT_ALIGN) {
        return Err(LabError::spec("the size of an event", event_bytes, "give a multiple of 8 of at least 32 bytes"));
    }
    path.destination_port = PORT_BATCH;
    let mut payload = vec![0; event_bytes as usize - EVENT_HEADER];
    random.fill(&mut payload);
    // As many events as make whole rounds: then the shares are exact over the templates.
    let mut types = Vec::with_capacity(ROUND * events as usize);
    for _ in 0..events {
        types.extend(round(random));
    }
    let frames = types.chunks(events as usize).map(|types| {
        let event = |kind: &EventType| Event { kind: *kind as u32, source, stamp_ns: 0, payload: payload.clone() };
        let standard = header(spec, source, EventType::User as u32);
        let events: Vec<Event> = types.iter().map(event).collect();
        Template::new(path, &batch(&BatchHeader { standard, ..BatchHeader::default() }, &events))
    });
    Ok(frames.collect())
}
