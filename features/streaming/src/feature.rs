//! The engine as a feature: frames of a batch in, records out.

use weir_ebpf_abi::batch::BATCH_HEADER;
use weir_ebpf_abi::message::MessageKind;
use weir_features_worker::batch::{Batch, FrameView};
use weir_features_worker::feature::{CheckpointError, Feature};
use weir_features_worker::outputs::Outputs;

use crate::checkpoint::{self, Damage, MARK};
use crate::events::{self, MessageHead};
use crate::query;
use crate::rows::Body;
use crate::windows::{Settings, Windows, plain_kind};

/// Streaming analytics: windows per source and type.
#[derive(Debug)]
pub struct Streaming {
    windows: Windows,
}

impl Streaming {
    /// The windows, for those who hold the feature themselves (tests, demo, replay).
    #[must_use]
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    #[inline]
    fn frame(&mut self, now_ns: u64, frame: &FrameView<'_>) {
        let (flow, bytes) = (frame.meta.flow, u64::from(frame.length));
        let payload = frame.payload();
        let kind = MessageKind::from_number(frame.meta.kind).unwrap_or(MessageKind::None);
        let head = if kind == MessageKind::None { None } else { MessageHead::read(payload) };
        let Some(head) = head else {
            return self.windows.plain(flow, bytes, plain_kind(frame.head), kind != MessageKind::None);
        };
        self.windows.message(now_ns, flow, bytes, head);
        if kind == MessageKind::Batch {
            self.batch(now_ns, frame, payload);
        }
    }

    #[inline]
    fn batch(&mut self, now_ns: u64, frame: &FrameView<'_>, payload: &[u8]) {
        let announced = events::announced(payload).unwrap_or(0);
        let windows = &mut self.windows;
        let whole = if frame.head.len() as u32 == frame.length {
            let first = payload.get(BATCH_HEADER..).unwrap_or_default();
            windows.events(now_ns, first, announced)
        } else {
            let skip = u64::from(frame.meta.payload_offset) + BATCH_HEADER as u64;
            events::walk_pieces(frame.segments(), skip, announced, |event| windows.event(now_ns, event))
        };
        self.windows.batch(announced, whole);
    }
}

/// Puts a row's body into a record of its kind.
fn emit(out: &mut Outputs<'_>, time_ns: u64, body: Body<'_>) {
    match body {
        Body::Window(row) => out.record(body.kind(), time_ns, row),
        Body::Talker(row) => out.record(body.kind(), time_ns, row),
        Body::Summary(row) => out.record(body.kind(), time_ns, row),
    }
}

impl Feature for Streaming {
    const NAME: &'static str = "streaming";
    const ID: u16 = 1;
    type Settings = Settings;

    fn make(settings: &Settings) -> Self {
        Self { windows: Windows::new(settings) }
    }

    fn on_batch(&mut self, batch: &Batch<'_>, out: &mut Outputs<'_>) {
        let now_ns = batch.now_ns;
        self.windows.advance(now_ns, &mut |time_ns, body| emit(out, time_ns, body));
        for frame in batch.frames() {
            self.frame(now_ns, frame);
        }
    }

    fn on_tick(&mut self, now_ns: u64, out: &mut Outputs<'_>) {
        self.windows.advance(now_ns, &mut |time_ns, body| emit(out, time_ns, body));
    }

    fn checkpoint(&self, into: &mut Vec<u8>) {
        checkpoint::write(&self.windows, into);
    }

    fn restore(&mut self, from: &[u8]) -> Result<(), CheckpointError> {
        let settings = self.windows.settings.clone();
        // As made, whatever comes: a refused checkpoint must leave nothing of itself or of what was before.
        self.windows = Windows::new(&settings);
        self.windows = checkpoint::read(&settings, from).map_err(|damage| match damage {
            Damage::Short { length, needed } => CheckpointError::Truncated { length, needed },
            Damage::Foreign { found } => {
                CheckpointError::Foreign { found, expected: String::from_utf8_lossy(&MARK).into_owned() }
            }
            Damage::OutOfRange { field, value, limit } => CheckpointError::OutOfRange { field, value, limit },
        })?;
        Ok(())
    }

    fn on_call(&mut self, call: &[u8], reply: &mut Vec<u8>) {
        query::answer(&self.windows, call, reply);
    }
}
