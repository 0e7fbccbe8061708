//! How many cores of each role a feature gets.

use super::sum::{Unit, within};
use super::{Ask, Refused};
use crate::apportion::apportion;
use crate::machine::Machine;
use crate::profile::Profile;

/// Cores of a role that a feature gets.
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// So many of its own.
    Own(usize),
    /// One that others have too.
    InTurn,
}

impl Count {
    /// How many of its own.
    pub(super) fn own(self) -> usize {
        match self {
            Self::Own(count) => count,
            Self::InTurn => 0,
        }
    }
}

pub(super) fn critical_cores(machine: &Machine, asks: &[Ask], profiles: &[Profile]) -> Result<Vec<Count>, Refused> {
    let cores = machine.critical.len();
    let asked = asks.iter().map(|ask| (ask.feature.as_str(), ask.critical.map(u64::from)));
    let explicit = within(asked, cores as u64, Unit::Cores("critical"))?;
    // Where both roles are on the same CPUs the batch role gives them out.
    let wants = |(ask, profile): (&Ask, &Profile)| match ask.critical {
        None if !machine.roles_share() => u64::from(profile.critical),
        _ => 0,
    };
    let wants: Vec<u64> = asks.iter().zip(profiles).map(wants).collect();
    let rest = cores as u64 - explicit;
    let rest = if wants.iter().sum::<u64>() <= rest { rest } else { rest.saturating_sub(1) };
    let given = apportion(rest, &wants);
    let count = |(ask, given): (&Ask, u64)| ask.critical.map_or(given, u64::from) as usize;
    Ok(asks.iter().zip(given).map(count).map(Count::Own).collect())
}

pub(super) fn batch_cores(
    machine: &Machine,
    asks: &[Ask],
    profiles: &[Profile],
    critical: &[Count],
) -> Result<Vec<Count>, Refused> {
    let cores = machine.batch.len();
    let asked = asks.iter().map(|ask| (ask.feature.as_str(), ask.batch.map(u64::from)));
    let explicit = within(asked, cores as u64, Unit::Cores("batch"))?;
    let has_none = |place: usize| critical[place].own() == 0;
    if let Some((_, ask)) = asks.iter().enumerate().find(|(place, ask)| has_none(*place) && ask.batch == Some(0)) {
        return Err(Refused {
            value: ask.feature.clone(),
            cause: "this feature has no core of either role".to_owned(),
            cure: format!("give it one: resources, features, {}: cores: {{batch: 1}}", ask.feature),
        });
    }
    let rest = cores as u64 - explicit;
    let floors: Vec<u64> =
        asks.iter().enumerate().map(|(place, ask)| u64::from(ask.batch.is_none() && has_none(place))).collect();
    let needy = floors.iter().sum::<u64>();
    if needy > rest {
        if rest == 0 {
            return Err(nothing_left(asks, &floors, cores));
        }
        let count = |(ask, floor): (&Ask, &u64)| match ask.batch {
            Some(asked) => Count::Own(asked as usize),
            None if *floor > 0 => Count::InTurn,
            None => Count::Own(0),
        };
        return Ok(asks.iter().zip(&floors).map(count).collect());
    }
    let more = |(place, ask): (usize, &Ask)| match ask.batch {
        Some(_) => 0,
        None => u64::from(profiles[place].batch).saturating_sub(floors[place]),
    };
    let wants: Vec<u64> = asks.iter().enumerate().map(more).collect();
    let given = apportion(rest - needy, &wants);
    let count = |(place, ask): (usize, &Ask)| ask.batch.map_or(floors[place] + given[place], u64::from) as usize;
    Ok(asks.iter().enumerate().map(count).map(Count::Own).collect())
}

fn nothing_left(asks: &[Ask], floors: &[u64], cores: usize) -> Refused {
    let without = asks.iter().zip(floors).find(|(_, floor)| **floor > 0).map_or("", |(ask, _)| ask.feature.as_str());
    let with = asks.iter().filter(|ask| ask.batch.unwrap_or(0) > 0).map(|ask| ask.feature.as_str());
    Refused {
        value: without.to_owned(),
        cause: format!("no core is left for this feature: others ask for all {cores} batch cores"),
        cure: format!("lower `batch` of {}, or disable a feature", with.collect::<Vec<_>>().join(" or ")),
    }
}
