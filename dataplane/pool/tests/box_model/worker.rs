//! A worker's side: cursors, and requests to send.

use std::sync::Arc;

use weir_dataplane_pool::class::TakerId;
use weir_dataplane_ring::{HeapMemory, Memory, RecordProducer, SendRequest, TakerCursors};

use super::SEND_SLOTS;

/// One ring of a worker.
pub(crate) struct Line {
    pub(crate) queue: usize,
    pub(crate) class: usize,
    pub(crate) cursor: u64,
    /// The cursor at the last turn of the pool: nothing in front of it may be named any more.
    pub(crate) settled: u64,
}

/// A worker.
pub(crate) struct Worker {
    pub(crate) id: TakerId,
    pub(crate) lines: Vec<Line>,
    pub(crate) sends: RecordProducer<SendRequest>,
    pub(crate) memory: Arc<HeapMemory>,
    pub(crate) lied: bool,
    cursors: TakerCursors,
}

impl Worker {
    pub(crate) fn new(
        id: TakerId,
        page: Arc<dyn Memory>,
        memory: Arc<HeapMemory>,
        lines: impl Iterator<Item = ((usize, usize), u64)>,
    ) -> Self {
        let line = |((queue, class), cursor)| Line { queue, class, cursor, settled: cursor };
        Self {
            id,
            lines: lines.map(line).collect(),
            sends: RecordProducer::attach(Arc::clone(&memory) as _, SEND_SLOTS).expect("a ring"),
            memory,
            lied: false,
            cursors: TakerCursors::new(page, 0).expect("a page"),
        }
    }

    /// Publishes the cursor of one ring.
    pub(crate) fn publish(&self, line: usize) {
        self.cursors.publish(line, self.lines[line].cursor);
    }

    /// The pool has had a turn.
    pub(crate) fn settle(&mut self) {
        self.lines.iter_mut().for_each(|line| line.settled = line.cursor);
    }

    /// Its cursor on a ring, if it takes that ring.
    pub(crate) fn cursor(&self, queue: usize, class: usize) -> Option<u64> {
        self.lines.iter().find(|line| (line.queue, line.class) == (queue, class)).map(|line| line.cursor)
    }
}
