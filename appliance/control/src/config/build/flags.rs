//! Flags of the file, typed.

use serde_saphyr::{Location, Spanned};

use super::super::judge::{Judge, Refused};
use super::super::raw;
use super::super::*;
use super::{Locate, at, each, need, optional, refused_at, takers, typed, value};
use crate::flags;
use crate::name::{FlagName, number_within};
use crate::problem::Problem;

impl Locate for Spanned<raw::Flag> {
    fn locate(&self, refused: Refused) -> ConfigError {
        refused_at(self.value.place(refused.key), self.referenced, refused)
    }
}

impl raw::Flag {
    /// Where a key stands.
    fn place(&self, key: &str) -> Option<Location> {
        match key {
            "name" => at(&self.name),
            "to" => at(&self.to),
            "match" => at(&self.matches),
            "requires" => at(&self.requires),
            "variants" => at(&self.variants),
            "schedule" => at(&self.schedule),
            _ => at(&self.share),
        }
    }
}

/// Types all flags, by name.
pub(super) fn flags(file: &raw::File, judge: &mut Judge) -> Result<Vec<FlagSpec>, ConfigError> {
    let mut flags = each(file.flags.as_ref(), |place, raw| {
        let spec = flag(place, raw)?;
        judge.flag(&spec).map(|()| spec).map_err(|refused| raw.locate(refused))
    })?;
    let Some(list) = &file.flags else { return Ok(flags) };
    let wrong = flags::judge(&flags).err();
    let wrong = wrong.or_else(|| judge.room_for_flags(&flags).err());
    if let Some((name, key, problem)) = wrong {
        let item = flags.iter().position(|flag| flag.name == name).and_then(|place| list.value.get(place));
        let place = item.map_or(list.referenced, |item| item.value.place(key).unwrap_or(item.referenced));
        return Err(ConfigError::at(place, problem));
    }
    flags.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(flags)
}

fn flag(place: usize, item: &Spanned<raw::Flag>) -> Result<FlagSpec, ConfigError> {
    let raw = &item.value;
    Ok(FlagSpec {
        name: optional(raw.name.as_ref())?.unwrap_or_else(|| FlagName::numbered(place)),
        state: optional(raw.state.as_ref())?.unwrap_or_default(),
        to: takers(raw.to.as_ref())?,
        share: value(need(&raw.share, "share", item)?)?,
        matches: optional(raw.matches.as_ref())?.unwrap_or_default(),
        requires: each(raw.requires.as_ref(), |_, name| value(name))?,
        variants: each(raw.variants.as_ref(), |_, variant| self::variant(variant))?,
        schedule: each(raw.schedule.as_ref(), |_, step| self::step(step))?,
    })
}

fn weight(text: &str) -> Result<u32, Problem> {
    let cure = "choose smaller weights in the same proportion";
    number_within(text, "a variant's weight", &(0..=MAX_WEIGHT), cure)
}

fn variant(item: &Spanned<raw::Variant>) -> Result<VariantSpec, ConfigError> {
    let raw = &item.value;
    Ok(VariantSpec {
        name: value(need(&raw.name, "name", item)?)?,
        to: takers(raw.to.as_ref())?,
        weight: raw.weight.as_ref().map_or(Ok(1), |text| typed(text, weight))?,
    })
}

fn step(item: &Spanned<raw::Step>) -> Result<FlagStep, ConfigError> {
    let raw = &item.value;
    Ok(FlagStep { at: value(need(&raw.at, "at", item)?)?, share: value(need(&raw.share, "share", item)?)? })
}
