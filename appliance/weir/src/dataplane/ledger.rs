//! The [ledger] in this process: where its memory comes from, and whose numbers are whose.
//!
//! [ledger]: weir_dataplane_pool::ledger

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use weir_appliance_control::taker::Taker;
use weir_dataplane_io::shared;
use weir_dataplane_pool::class::{MAX_TAKERS, Taken};
pub(super) use weir_dataplane_pool::ledger::CLASSES;
use weir_dataplane_pool::ledger::{BookedRing, Ledger};
use weir_dataplane_ring::Memory;
use weir_ebpf_abi::layout::MAX_CLASSES;
use weir_ebpf_loader::Classifier;

use super::Ring;
use super::classes::KernelClasses;

const _: () = assert!(CLASSES == MAX_CLASSES && Taker::ALL.len() <= MAX_TAKERS);

/// The supervisor's memory at `path`, and whether a ledger can be kept in it: that of a supervisor of before has room for the
/// turns in any case, and may have less than a ledger takes now.
///
/// # Errors
/// It is not there.
pub(super) fn memory(path: &Path) -> Result<(Arc<dyn Memory>, bool)> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.with_context(|| format!("{}: the supervisor's ledger cannot be opened", path.display()))?;
    let found = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let keeps = found >= Ledger::LENGTH;
    if !keeps {
        tracing::warn!(
            "the ledger of the program before this one is not taken over, counters begin anew: it has {found} bytes"
        );
    }
    Ok((Arc::new(shared::open_lazily(file.as_fd(), found.min(Ledger::LENGTH), true)?), keeps))
}

/// Opens the ledger in the supervisor's memory and has every ring write its entry.
///
/// # Errors
/// The memory is too short, or the classifier does not say what it has delivered.
pub(super) fn open(
    memory: &Arc<dyn Memory>,
    classifier: &Classifier,
    classes: &KernelClasses,
    rings: &[Ring],
) -> Result<Ledger> {
    let mirrors = |number| classes.iter().any(|class| class.number == number && class.egress.is_some());
    let booked: Vec<_> =
        rings.iter().map(|ring| BookedRing { class: ring.class, mirrors: mirrors(ring.class) }).collect();
    let (ledger, entries) = Ledger::open(memory, &classifier.counters()?.classes, &booked)?;
    rings.iter().zip(entries).for_each(|(ring, entry)| ring.gauges.enter(entry));
    let past = ledger.past();
    let died = past.delivered.dataplane_died + past.mirrored.dataplane_died;
    if died > 0 {
        tracing::info!("{died} frames in all were on rings when a dataplane died");
    }
    Ok(ledger)
}

/// What each taker had finished before this process, by its name.
pub(super) fn taken(ledger: Option<&Ledger>) -> BTreeMap<String, Arc<Taken>> {
    let past = ledger.map(|ledger| ledger.past().taken).unwrap_or_default();
    let known = Taker::ALL.iter().zip(past).enumerate().filter(|(_, (_, frames))| *frames > 0);
    known
        .map(|(number, (taker, frames))| {
            (taker.name().to_owned(), Arc::new(Taken { number, frames: frames.into(), ..Taken::default() }))
        })
        .collect()
}

/// Where the frames are counted that the taker `name` has finished.
pub(super) fn taken_of(taken: &mut BTreeMap<String, Arc<Taken>>, name: &str) -> Arc<Taken> {
    // A name that nobody has would count beside the ledger; the classes know no such taker.
    let number = || Taker::ALL.iter().position(|taker| taker.name() == name).unwrap_or(MAX_TAKERS);
    let entry = taken.entry(name.to_owned());
    Arc::clone(entry.or_insert_with(|| Arc::new(Taken { number: number(), ..Taken::default() })))
}
