//! What is divided by bytes and by shares: memory and accelerators.

use super::sum::{Unit, bytes, within};
use super::{AcceleratorGrant, Ask, LEAST_MEMORY, Refused};
use crate::apportion::apportion;
use crate::machine::Machine;
use crate::profile::{Profile, WHOLE};

pub(super) fn memory(machine: &Machine, asks: &[Ask], profiles: &[Profile]) -> Result<Vec<u64>, Refused> {
    let asked = asks.iter().map(|ask| (ask.feature.as_str(), ask.memory));
    let explicit = within(asked, machine.memory, Unit::Memory)?;
    let rest = machine.memory - explicit;
    let others = asks.iter().filter(|ask| ask.memory.is_none()).count() as u64;
    let floor = others * LEAST_MEMORY;
    if floor > rest {
        return Err(Refused {
            value: bytes(explicit),
            cause: format!(
                "this leaves {} of {} for {others} more features, each needs at least {}",
                bytes(rest),
                bytes(machine.memory),
                bytes(LEAST_MEMORY)
            ),
            cure: "lower a `memory` under resources, or disable a feature".to_owned(),
        });
    }
    let more = |(ask, profile): (&Ask, &Profile)| match ask.memory {
        Some(_) => 0,
        None => profile.memory.saturating_sub(LEAST_MEMORY),
    };
    let given = apportion(rest - floor, &asks.iter().zip(profiles).map(more).collect::<Vec<_>>());
    Ok(asks.iter().zip(given).map(|(ask, given)| ask.memory.unwrap_or(LEAST_MEMORY + given)).collect())
}

pub(super) fn accelerators(
    machine: &Machine,
    asks: &[Ask],
    profiles: &[Profile],
) -> Result<Vec<Vec<AcceleratorGrant>>, Refused> {
    let here = |name: &str| machine.accelerators.iter().any(|one| one.name == name);
    if let Some(ask) = asks.iter().filter_map(|ask| ask.accelerator.as_ref()).find(|ask| !here(&ask.name)) {
        let found: Vec<&str> = machine.accelerators.iter().map(|one| one.name.as_str()).collect();
        let found = if found.is_empty() { "none was found".to_owned() } else { format!("found: {}", found.join(", ")) };
        return Err(Refused {
            value: ask.name.clone(),
            cause: format!("this machine has no such accelerator, {found}"),
            cure: "remove `accelerator` under resources".to_owned(),
        });
    }
    let mut grants = vec![Vec::new(); asks.len()];
    for device in &machine.accelerators {
        let mine = |ask: &Ask| ask.accelerator.as_ref().filter(|ask| ask.name == device.name).map(|ask| ask.share);
        let asked = asks.iter().map(|ask| (ask.feature.as_str(), mine(ask).map(u64::from)));
        let explicit = within(asked, u64::from(WHOLE), Unit::Share(&device.name))?;
        let default = |(ask, profile): (&Ask, &Profile)| {
            let wanted = profile.accelerators.iter().find(|(name, ..)| *name == device.name);
            wanted.filter(|_| mine(ask).is_none()).map_or((0, 0), |(_, share, memory)| (u64::from(*share), *memory))
        };
        let (shares, memories): (Vec<u64>, Vec<u64>) = asks.iter().zip(profiles).map(default).unzip();
        let (given, memories) = (apportion(u64::from(WHOLE) - explicit, &shares), apportion(device.memory, &memories));
        for (place, ask) in asks.iter().enumerate() {
            let share = mine(ask).unwrap_or(given[place] as u32); // at most WHOLE
            if share > 0 {
                grants[place].push(AcceleratorGrant { name: device.name.clone(), share, memory: memories[place] });
            }
        }
    }
    Ok(grants)
}
