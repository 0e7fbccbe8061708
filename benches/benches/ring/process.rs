//! The consumer in a process of its own: the ring's memory comes by descriptor, the answer goes by standard output.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use weir_benches::noise;
use weir_dataplane_io::shared::{self, SharedMemory, Writers};
use weir_dataplane_ring::{Memory, RecordConsumer, RecordProducer};

use crate::pairs::{self, Lane, LaneOut, Large, Records, RecordsOut, Small, consume, produce};

/// How a consumer's command line begins.
pub(crate) const ROLE: &str = "--consume=";

/// Which ring a consumer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lane,
    Small,
    Large,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] = [(Self::Lane, "lane"), (Self::Small, "small"), (Self::Large, "large")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// One burst between two processes.
pub(crate) fn between_processes(kind: Kind, batch: u32) -> Result<f64> {
    let (lane, page) = pairs::lane_bytes();
    let length = match kind {
        Kind::Lane => lane,
        Kind::Small => pairs::record_bytes::<Small>(),
        Kind::Large => pairs::record_bytes::<Large>(),
    };
    let memory = SharedMemory::create("weir-bench-ring", length, Writers::Both)?;
    let cursors = SharedMemory::create("weir-bench-page", page, Writers::Both)?;
    let ring = Arc::clone(memory.mapping()) as Arc<dyn Memory>;
    let fds = [memory.file().as_raw_fd(), cursors.file().as_raw_fd()];
    let role = format!("{ROLE}{}:{batch}:{}:{}:{}", kind.name(), std::process::id(), fds[0], fds[1]);
    let mut child =
        Command::new(std::env::current_exe()?).arg(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut answer = BufReader::new(child.stdout.take().context("the consumer's output")?);
    let mut line = String::new();
    // The consumer says that it has mapped everything and is in its place; the producer, in its own, lets it begin.
    answer.read_line(&mut line)?;
    let stop = AtomicBool::new(false);
    line.clear();
    let mut go = child.stdin.take().context("the consumer's input")?;
    std::thread::scope(|scope| -> Result<()> {
        let producer = scope.spawn(|| -> Result<()> {
            noise::measuring_thread(pairs::CORES[0])?;
            writeln!(go, "go")?;
            match kind {
                Kind::Lane => {
                    let page = Arc::clone(cursors.mapping()) as Arc<dyn Memory>;
                    produce(&mut Lane::new(&ring, &page)?, batch, &stop);
                }
                Kind::Small => {
                    produce(
                        &mut Records::<Small>::new(RecordProducer::attach(Arc::clone(&ring), pairs::SLOTS)?),
                        batch,
                        &stop,
                    );
                }
                Kind::Large => {
                    produce(
                        &mut Records::<Large>::new(RecordProducer::attach(Arc::clone(&ring), pairs::SLOTS)?),
                        batch,
                        &stop,
                    );
                }
            }
            Ok(())
        });
        let read = answer.read_line(&mut line);
        stop.store(true, Ordering::Relaxed);
        producer.join().unwrap_or_else(|_| bail!("the producer panicked"))?;
        read?;
        Ok(())
    })?;
    ensure!(child.wait()?.success(), "the consumer process failed");
    let (rate, wrong) = line.trim().split_once(' ').context("the consumer's answer")?;
    ensure!(wrong == "0", "{wrong} items were lost, doubled or torn: the ring is broken");
    Ok(rate.parse()?)
}

/// Runs as the consumer that `role` names.
pub(crate) fn consumer(role: &str) -> Result<()> {
    let words: Vec<&str> = role.trim_start_matches(ROLE).split(':').collect();
    let [kind, batch, parent, ring, page] = words[..] else { bail!("`{role}` is no consumer's role") };
    let batch = batch.parse()?;
    let open = |fd: &str, length: usize| -> Result<Arc<dyn Memory>> {
        let file = File::options().read(true).write(true).open(format!("/proc/{parent}/fd/{fd}"))?;
        Ok(Arc::new(shared::open(file.as_fd(), length, true)?))
    };
    let (lane, page_length) = pairs::lane_bytes();
    let (rate, wrong) = match kind {
        "lane" => {
            let mut out = LaneOut::new(&open(ring, lane)?, &open(page, page_length)?)?;
            ready()?;
            consume(&mut out, batch)
        }
        "small" => {
            let memory = open(ring, pairs::record_bytes::<Small>())?;
            let mut out = RecordsOut::<Small>(RecordConsumer::attach(memory, pairs::SLOTS)?);
            ready()?;
            consume(&mut out, batch)
        }
        _ => {
            let memory = open(ring, pairs::record_bytes::<Large>())?;
            let mut out = RecordsOut::<Large>(RecordConsumer::attach(memory, pairs::SLOTS)?);
            ready()?;
            consume(&mut out, batch)
        }
    };
    writeln!(std::io::stdout(), "{rate} {wrong}")?;
    Ok(())
}

/// Becomes a measuring thread, says so, and waits for the word to begin.
fn ready() -> Result<()> {
    noise::measuring_thread(pairs::CORES[1])?;
    writeln!(std::io::stdout(), "ready")?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
