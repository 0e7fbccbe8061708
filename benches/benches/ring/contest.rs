//! Which pairs are run, and the table of them.

use std::sync::Arc;

use anyhow::Result;
use weir_appliance_control::message::{BenchRow, Better};
use weir_benches::report::{self, Words};
use weir_benches::runs::{Case, alternate};
use weir_dataplane_ring::{HeapMemory, Memory, RecordConsumer, RecordProducer};

use crate::pairs::{self, Item, Lane, LaneOut, Large, Records, RecordsOut, Rtrb, RtrbOut, Small, between_threads};
use crate::process::{Kind, between_processes};

const PEER: &str = "rtrb 0.4, threads";

fn lane_threads(batch: u32) -> Result<f64> {
    let (lane, page) = pairs::lane_bytes();
    let memory: Arc<dyn Memory> = HeapMemory::zeroed(lane);
    let page: Arc<dyn Memory> = HeapMemory::zeroed(page);
    between_threads(Lane::new(&memory, &page)?, LaneOut::new(&memory, &page)?, batch)
}

fn record_threads<const N: usize>(batch: u32) -> Result<f64>
where
    [u64; N]: Item + weir_dataplane_ring::memory::Plain,
{
    let memory: Arc<dyn Memory> = HeapMemory::zeroed(pairs::record_bytes::<[u64; N]>());
    let producer = RecordProducer::<[u64; N]>::attach(Arc::clone(&memory), pairs::SLOTS)?;
    let consumer = RecordConsumer::<[u64; N]>::attach(memory, pairs::SLOTS)?;
    between_threads(Records::new(producer), RecordsOut(consumer), batch)
}

fn rtrb_threads<T: Item>(batch: u32) -> Result<f64> {
    let (producer, consumer) = rtrb::RingBuffer::<T>::new(pairs::SLOTS as usize);
    between_threads(Rtrb(producer), RtrbOut(consumer), batch)
}

/// Runs everything and prints the report.
pub(crate) fn run() -> Result<()> {
    let words = Words::read(7)?;
    let mut rows = Vec::new();
    let mut notes = vec!["1024 slots, producer on core 0, consumer on core 1".to_owned()];
    for batch in [1, 32] {
        let mut cases = [
            Case::new("rtrb, 16 bytes", || rtrb_threads::<Small>(batch)),
            Case::new("descriptor ring, threads", || lane_threads(batch)),
            Case::new("descriptor ring, processes", || between_processes(Kind::Lane, batch)),
            Case::new("record ring, 16 bytes, threads", || record_threads::<2>(batch)),
            Case::new("record ring, 16 bytes, processes", || between_processes(Kind::Small, batch)),
            Case::new("rtrb, 128 bytes", || rtrb_threads::<Large>(batch)),
            Case::new("record ring, 128 bytes, threads", || record_threads::<16>(batch)),
            Case::new("record ring, 128 bytes, processes", || between_processes(Kind::Large, batch)),
        ];
        let measured = alternate(&mut cases, words.runs, &pairs::CORES)?;
        notes.push(format!("batch {batch}: {}", measured.note()));
        for (case, runs) in cases.iter().zip(&measured.runs) {
            if case.name.starts_with("rtrb") {
                continue;
            }
            let peer = if case.name.contains("128") { &measured.runs[5] } else { &measured.runs[0] };
            let name = format!("{}, batch {batch}", case.name);
            let row = BenchRow::of_runs(name, "M items/s", Better::Higher, runs);
            rows.extend(row.map(|row| row.beside(PEER, peer, 1.0)));
        }
    }
    report::print("ring", "memory: two pinned real-time threads, or processes, of one box", rows, &notes)
}
