//! Keeping the history within its limits. What made each resource what it is stays, so the present state and the state
//! at every revision from the floor on are never lost.

use redb::{ReadableTable, WriteTransaction};

use super::record;
use super::tables::{BEHIND, BEHIND_BYTES, CHANGES, FLOOR, Fault, KEPT, META, NEWEST, number};
use crate::resources::{Retention, Revision, StoreError};

/// Called inside the transaction of every change, behind its writes.
pub(super) fn after_change(
    writing: &WriteTransaction,
    retention: Retention,
    pinned: Option<Revision>,
) -> Result<Result<(), StoreError>, Fault> {
    let mut meta = writing.open_table(META)?;
    let (mut behind, mut bytes) = (number(&meta, BEHIND)?, number(&meta, BEHIND_BYTES)?);
    if let Some(pinned) = pinned
        && retention.is_beyond_pin(behind, bytes)
    {
        return Ok(Err(StoreError::Pinned { pinned }));
    }
    if !retention.is_exceeded(behind, bytes) {
        return Ok(Ok(()));
    }
    let newest = number(&meta, NEWEST)?;
    let highest = (newest - 1).min(pinned.map_or(newest, |pinned| pinned.0));
    let mut floor = number(&meta, FLOOR)?;
    let mut changes = writing.open_table(CHANGES)?;
    let mut kept = writing.open_table(KEPT)?;
    while floor < highest && !retention.holds(behind, bytes) {
        floor += 1;
        let mut passed = Vec::new();
        for item in changes.range((floor, 0)..(floor + 1, 0))? {
            let (at, value) = item?;
            passed.push((at.value(), record::read_change(Revision(floor), value.value()).map_err(Fault::Record)?));
        }
        for (at, change) in passed {
            behind -= 1;
            bytes -= change.value_bytes();
            let key = (change.key.kind() as u8, change.key.name());
            // The change that stood for this resource until now is history that nobody can ask for any more.
            let before = if change.after.is_some() { kept.insert(key, at)? } else { kept.remove(key)? };
            if let Some(before) = before.map(|before| before.value()) {
                changes.remove(before)?;
            }
            if change.after.is_none() {
                changes.remove(at)?;
            }
        }
    }
    for (name, value) in [(FLOOR, floor), (BEHIND, behind), (BEHIND_BYTES, bytes)] {
        meta.insert(name, value)?;
    }
    Ok(Ok(()))
}
