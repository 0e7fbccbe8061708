//! Traffic of known content: messages or event batches of several producers, in exact shares, from a seed.
//!
//! Event types come 40 % user, 30 % system, 5 % error, 20 % performance and 5 % security: each run of 20 events of a
//! producer holds exactly these, in an order that the seed shuffles. Frames are built beforehand and stamped when they
//! are sent, so a generator's cost is a copy and a few bytes.

mod frames;

use std::net::{IpAddr, Ipv4Addr};

use weir_ebpf_abi::message::PORT_STANDARD;

use crate::error::LabError;
use crate::packet::{Path, Template};
use crate::random::Random;

/// Events after which every share is exact.
pub const ROUND: usize = 20;

/// What each frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// One standard message whose frame, without the check sequence, has this many bytes. Its `message_type` is an event
    /// type, so the shares hold for messages as well.
    Message {
        /// Bytes of the frame, at least 70.
        frame_bytes: u32,
    },
    /// A batch of events.
    Batch {
        /// Events in each frame.
        events: u32,
        /// Bytes of each event, header and padding included: a multiple of 8, at least 32.
        event_bytes: u32,
    },
}

/// What traffic is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficSpec {
    /// Seed of the order of event types and of the payloads' bytes.
    pub seed: u64,
    /// Source agents; frames take turns.
    pub producers: u32,
    /// Id of the first source agent; the others follow.
    pub first_source: u32,
    /// Agent that messages are for.
    pub destination_agent: u32,
    /// What each frame carries.
    pub content: Content,
    /// From where to where; the destination port is set by the content, and the source port counts up by producer, so
    /// that each producer is a flow of its own.
    pub path: Path,
}

impl TrafficSpec {
    /// One producer on the [`LabSpec::pair`](crate::LabSpec::pair) from `outside` to `box`.
    #[must_use]
    pub fn pair(content: Content) -> Self {
        let path = Path {
            source_mac: [0x02, 0x57, 0x45, 0x49, 0, 1],
            destination_mac: [0x02, 0x57, 0x45, 0x49, 0, 2],
            vlans: Vec::new(),
            source: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)),
            destination: IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)),
            source_port: 40_000,
            destination_port: PORT_STANDARD,
        };
        Self { seed: 1, producers: 1, first_source: 1, destination_agent: 0, content, path }
    }
}

/// One producer's frames and where it stands.
#[derive(Clone, Debug)]
struct Producer {
    source: u32,
    templates: Vec<Template>,
    /// Numbers given to frames, those of shed frames included.
    numbered: u64,
    /// Events in these frames.
    events: u64,
    shed: u64,
    shed_events: u64,
}

/// What one source offered, and how much of it was shed before it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Source agent.
    pub source: u32,
    /// Frames that used up a number.
    pub offered: u64,
    /// Frames of these that were shed.
    pub shed: u64,
}

/// A frame ready to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Stamped<'a> {
    /// The frame, its payload and its events.
    pub template: &'a Template,
    /// Source agent.
    pub source: u32,
    /// Its number in the source's sequence.
    pub sequence: u32,
}

/// Traffic being sent.
#[derive(Clone, Debug)]
pub struct Traffic {
    producers: Vec<Producer>,
    turn: usize,
}

impl Traffic {
    /// Builds all frames.
    ///
    /// # Errors
    /// A size that no frame can have, or no producer.
    pub fn new(spec: &TrafficSpec) -> Result<Self, LabError> {
        if spec.producers == 0 || spec.producers > 1024 {
            return Err(LabError::spec("the number of producers", spec.producers, "give 1 to 1024"));
        }
        let mut random = Random::new(spec.seed);
        let producers = (0..spec.producers).map(|number| Producer::new(spec, number, &mut random));
        Ok(Self { producers: producers.collect::<Result<_, _>>()?, turn: 0 })
    }

    /// The next frame, stamped with its time; the order of producers and numbers is the same in every run.
    #[inline]
    pub fn next(&mut self, stamp_ns: u64) -> Stamped<'_> {
        let turn = self.turn;
        self.turn = if turn + 1 == self.producers.len() { 0 } else { turn + 1 };
        let producer = &mut self.producers[turn];
        let index = (producer.numbered % producer.templates.len() as u64) as usize;
        let template = &mut producer.templates[index];
        let sequence = producer.numbered as u32; // numbers wrap at 2^32 by the message's definition
        template.stamp(sequence, stamp_ns, producer.events);
        producer.numbered += 1;
        producer.events += template.events() as u64;
        Stamped { template, source: producer.source, sequence }
    }

    /// Takes back the frame given last, because it was not sent; its number is given again.
    pub fn unsend(&mut self) {
        self.turn = self.turn.checked_sub(1).unwrap_or(self.producers.len() - 1);
        let producer = &mut self.producers[self.turn];
        if let Some(before) = producer.numbered.checked_sub(1) {
            producer.numbered = before;
            let index = (before % producer.templates.len() as u64) as usize;
            producer.events -= producer.templates[index].events() as u64;
        }
    }

    /// Passes over the next frame. Its number is used up and counted as shed, so that the gap which the receiving side
    /// finds has a count on this side.
    pub fn shed(&mut self) {
        let turn = self.turn;
        self.turn = if turn + 1 == self.producers.len() { 0 } else { turn + 1 };
        let producer = &mut self.producers[turn];
        let index = (producer.numbered % producer.templates.len() as u64) as usize;
        let events = producer.templates[index].events() as u64;
        producer.numbered += 1;
        producer.events += events;
        producer.shed += 1;
        producer.shed_events += events;
    }

    /// What each source offered and what of it was shed.
    pub fn books(&self) -> impl Iterator<Item = Booked> + '_ {
        let book = |it: &Producer| Booked { source: it.source, offered: it.numbered, shed: it.shed };
        self.producers.iter().map(book)
    }

    /// Every frame there is, unstamped, as many for each producer.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.producers.iter().flat_map(|producer| &producer.templates)
    }

    /// Frames sent of each source.
    pub fn sent(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.producers.iter().map(|producer| (producer.source, producer.numbered - producer.shed))
    }

    /// Events sent, all sources together.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.producers.iter().map(|producer| producer.events - producer.shed_events).sum()
    }

    /// Bytes of a frame; all have the same.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.templates().next().map_or(0, |template| template.frame().len())
    }
}

impl Producer {
    fn new(spec: &TrafficSpec, number: u32, random: &mut Random) -> Result<Self, LabError> {
        let source = spec.first_source.wrapping_add(number);
        let mut path = spec.path.clone();
        path.source_port = path.source_port.wrapping_add(number as u16); // at most 1024 producers
        let templates = match spec.content {
            Content::Message { frame_bytes } => frames::messages(spec, source, &mut path, frame_bytes, random)?,
            Content::Batch { events, event_bytes } => {
                frames::batches(spec, source, &mut path, (events, event_bytes), random)?
            }
        };
        Ok(Self { source, templates, numbered: 0, events: 0, shed: 0, shed_events: 0 })
    }
}
