//! Traffic from inside the kernel, and what counts it at the other end.
//!
//! [`LiveFrames`] runs the object's generator by BPF test-run with live frames: the kernel makes copies of a template,
//! the program numbers and stamps each, and redirects it out of an interface. Several million frames a second on one
//! core, with no process in between. A veth takes such frames only when its peer has an XDP program, such as a
//! [`Sink`].

use std::time::{Duration, Instant};

use aya::maps::DevMap;
use aya::programs::links::FdLink;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use weir_ebpf_abi::batch::{BATCH_HEADER, EVENT_HEADER};
use weir_ebpf_abi::counters::Tally;
use weir_ebpf_abi::decode::decode_slice;
use weir_ebpf_abi::generator::{MAX_EVENTS, MAX_SOURCES, Plan, Sequences};
use weir_ebpf_abi::layout::{self, program};
use weir_ebpf_abi::message::MessageKind;

use crate::attach::{self, AttachMode, AttachWish, Attached};
use crate::classifier::load_program;
use crate::error::LoadError;
use crate::object::OBJECT;
use crate::ran::run_error;
use crate::values::{bad_map, map_mut, read, refused, tally, write};

/// Frames that the kernel handles at a time; its own default.
const BATCH: u32 = 64;

/// What changes from frame to frame; see [`Plan`] for the meaning of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// `source_agent_id` of the first source.
    pub first_source: u32,
    /// Sources in turn, 1 to 1,024.
    pub sources: u32,
    /// First `message_type`.
    pub first_type: u32,
    /// Message types in turn, at least 1.
    pub types: u32,
}

impl Default for Traffic {
    /// One source, numbered 1, and one message type, 1.
    fn default() -> Self {
        Traffic { first_source: 1, sources: 1, first_type: 1, types: 1 }
    }
}

/// The generator of live frames on one interface.
#[derive(Debug)]
pub struct LiveFrames {
    ebpf: Ebpf,
    template: Vec<u8>,
}

impl LiveFrames {
    /// Makes a generator of copies of `template` out of the interface with index `ifindex`, in the caller's network
    /// namespace. A template that holds a message is numbered and stamped as `traffic` says, a batch's events
    /// included; any other frame is copied as it is. UDP checksums are not kept up: leave them 0.
    ///
    /// # Errors
    /// [`LoadError::Value`] for a template that is no frame or whose numbers cannot be written, [`LoadError::Load`]
    /// and [`LoadError::Map`] when the kernel refuses.
    pub fn new(ifindex: u32, template: &[u8], traffic: Traffic) -> Result<LiveFrames, LoadError> {
        let plan = plan(template, traffic)?;
        let mut ebpf = load_tool(program::GENERATE)?;
        write(&mut ebpf, layout::MAP_PLAN, 0, &plan)?;
        let map = map_mut(&mut ebpf, layout::MAP_EGRESS)?;
        let mut egress = DevMap::try_from(map).map_err(|error| bad_map(layout::MAP_EGRESS, &error))?;
        egress.set(0, ifindex, None, 0).map_err(|error| refused(layout::MAP_EGRESS, 0, &error))?;
        Ok(LiveFrames { ebpf, template: template.to_vec() })
    }

    /// Sends `count` frames as fast as this core can, and returns how long it took. Each call costs about 25 ms of
    /// set-up in the kernel, so a rate wants a million frames at a time. Frames that the interface refuses are lost
    /// in silence: count at the other end.
    ///
    /// # Errors
    /// [`LoadError::Run`] when the kernel refuses.
    pub fn send(&mut self, count: u32) -> Result<Duration, LoadError> {
        if count == 0 {
            return Ok(Duration::ZERO);
        }
        let attrs = TestRunAttrs::new().xdp_live_frames(BATCH.min(count));
        let options = TestRunOptions { data_in: Some(&self.template), repeat: count, attrs, ..TestRunOptions::new() };
        let start = Instant::now();
        let ran = attach::program(&mut self.ebpf, program::GENERATE)?.test_run(options);
        ran.map_err(|error| run_error(program::GENERATE, &self.template, &error))?;
        Ok(start.elapsed())
    }

    /// Frames made so far.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn sent(&self) -> Result<u64, LoadError> {
        Ok(read::<Plan>(&self.ebpf, layout::MAP_PLAN, 0)?.frames)
    }

    /// Events stamped so far, 0 unless the template is a batch.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn events(&self) -> Result<u64, LoadError> {
        Ok(read::<Plan>(&self.ebpf, layout::MAP_PLAN, 0)?.next_event)
    }
}

fn plan(template: &[u8], traffic: Traffic) -> Result<Plan, LoadError> {
    let bad = |what, value: usize, cause| Err(LoadError::Value { what, value: value.to_string(), cause });
    if template.len() < 14 || template.len() > 3500 {
        return bad("template bytes", template.len(), "a live frame has 14 to 3500 bytes: one page with its headroom");
    }
    if traffic.sources == 0 || traffic.sources as usize > MAX_SOURCES || traffic.types == 0 {
        return bad("sources", traffic.sources as usize, "there are 1 to 1024 sources and at least 1 message type");
    }
    let decoded = decode_slice(template, template.len());
    let kind = decoded.kind();
    let offset = u32::from(decoded.payload_offset);
    if kind != MessageKind::None && offset > 255 {
        return bad("message offset", offset as usize, "the generator writes to the first 255 bytes");
    }
    let mut events = 0;
    let mut stride = 0;
    if kind == MessageKind::Batch {
        (events, stride) = event_layout(template, offset as usize)?;
    }
    Ok(Plan {
        frames: 0,
        next_event: 0,
        head: head(template),
        egress: 0,
        message_offset: offset,
        kind: kind as u32,
        first_source: traffic.first_source,
        sources: traffic.sources,
        first_type: traffic.first_type,
        types: traffic.types,
        events,
        event_stride: stride,
        source: 0,
        r#type: 0,
        rotation: 0,
        sequences: Sequences([0; MAX_SOURCES]),
    })
}

/// The first 64 bytes as words; all 0 for a shorter frame, which the generator then leaves as it is.
fn head(template: &[u8]) -> [u64; 8] {
    let (words, _) = template.as_chunks::<8>();
    let mut head = [0; 8];
    for (place, word) in head.iter_mut().zip(words) {
        *place = u64::from_be_bytes(*word);
    }
    if words.len() < head.len() { [0; 8] } else { head }
}

/// Events of the template's batch and the distance between them, which must be the same everywhere.
fn event_layout(template: &[u8], offset: usize) -> Result<(u32, u32), LoadError> {
    let bad = |what, value: String, cause| Err(LoadError::Value { what, value, cause });
    let Some(Ok(batch)) = template.get(offset..).map(weir_ebpf_abi::batch::Batch::parse) else {
        return bad("batch at byte", offset.to_string(), "it cannot be read");
    };
    let mut lengths: Vec<usize> = batch.events().map(|event| event.payload.len().next_multiple_of(8)).collect();
    let count = lengths.len() as u32;
    lengths.dedup();
    if count != u32::from(batch.header.event_count.get()) || count > MAX_EVENTS || lengths.len() > 1 {
        let cause = "the generator stamps up to 64 events of one size, all of them in the template";
        return bad("events of the template", count.to_string(), cause);
    }
    let stride = EVENT_HEADER + lengths.first().copied().unwrap_or(0);
    debug_assert!(offset + BATCH_HEADER <= template.len());
    Ok((count, stride as u32))
}

/// What a sink does with a frame after counting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkAction {
    /// To the stack.
    Pass,
    /// Away.
    Drop,
}

/// A counting XDP program at the far end of a wire; dropped, it detaches.
#[derive(Debug)]
pub struct Sink {
    ebpf: Ebpf,
    attached: Attached,
    /// Kept for its drop.
    _link: FdLink,
}

impl Sink {
    /// Attaches to `interface` in the caller's network namespace, native where the driver can.
    ///
    /// # Errors
    /// As [`Classifier::attach`](crate::Classifier::attach).
    pub fn attach(interface: &str, action: SinkAction) -> Result<Sink, LoadError> {
        let index = attach::index_of(interface)?;
        let name = match action {
            SinkAction::Pass => program::SINK_PASS,
            SinkAction::Drop => program::SINK_DROP,
        };
        let mut ebpf = load_tool(name)?;
        let sink = attach::program(&mut ebpf, name)?;
        let (held, attached) = attach::attach(sink, None, interface, index, AttachWish::Best)?;
        Ok(Sink { ebpf, attached, _link: held.into_link() })
    }

    /// Frames and bytes counted.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses.
    pub fn count(&self) -> Result<Tally, LoadError> {
        tally(&self.ebpf, layout::MAP_SINK, 0)
    }

    /// How the interface runs the sink.
    pub const fn mode(&self) -> AttachMode {
        self.attached.mode
    }
}

/// Loads one program of the object that needs none of the big maps: those are made as small as they can be.
pub(crate) fn load_tool(name: &str) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    let big = [layout::MAP_RULES, layout::MAP_AGENTS, layout::MAP_FLOWS, layout::MAP_RULE_COUNTS, layout::MAP_SOCKETS];
    for map in big {
        loader.map_max_entries(map, 1);
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| LoadError::Load { cause: attach::chain(&error) })?;
    load_program(&mut ebpf, name)?;
    Ok(ebpf)
}
