//! `resources:` as typed.

use serde_saphyr::Spanned;

use super::{ConfigError, Text, each_feature, need, optional, read_switch, typed, value};
use crate::config::rooms::read_size;
use crate::config::{AcceleratorUse, CPU_WEIGHT, FEATURE_CORES, FeatureResources, ResourceSpec, raw};
use crate::name::number_within;
use crate::problem::Problem;
use crate::share::Share;

pub(super) fn resources(raw: &raw::Resources) -> Result<ResourceSpec, ConfigError> {
    let mut spec = ResourceSpec {
        memory_limit: optional(raw.memory_limit.as_ref())?.unwrap_or_default(),
        ..ResourceSpec::default()
    };
    spec.borrow = switch(raw.borrow.as_ref())?.unwrap_or(spec.borrow);
    for (name, raw) in each_feature(raw.features.as_ref())? {
        spec.features.insert(name, raw.map_or(Ok(FeatureResources::default()), feature)?);
    }
    // One that says nothing is as if it were not there, so that a file reads back from its own text.
    spec.features.retain(|_, it| *it != FeatureResources::default());
    Ok(spec)
}

fn feature(raw: &raw::FeatureResources) -> Result<FeatureResources, ConfigError> {
    let of = |key: fn(&raw::FeatureCores) -> &Option<Text>| raw.cores.as_ref().and_then(|cores| key(cores).as_ref());
    let all = |text: Option<&Text>| text.map(|text| typed(text, read_cores)).transpose();
    Ok(FeatureResources {
        critical: all(of(|cores| &cores.critical))?,
        batch: all(of(|cores| &cores.batch))?,
        memory: raw.memory.as_ref().map(|text| typed(text, read_size)).transpose()?,
        cpu_weight: raw.cpu_weight.as_ref().map(|text| typed(text, read_weight)).transpose()?,
        class: optional(raw.class.as_ref())?,
        accelerator: raw.accelerator.as_ref().map(accelerator).transpose()?,
        borrow: switch(raw.borrow.as_ref())?,
    })
}

fn accelerator(item: &Spanned<raw::AcceleratorUse>) -> Result<AcceleratorUse, ConfigError> {
    let share = |text: &str| match text.parse::<Share>()? {
        Share::NONE => Err(Problem::new(text, "a share of nothing is no share", "remove `accelerator`")),
        share => Ok(share),
    };
    Ok(AcceleratorUse {
        name: value(need(&item.value.name, "name", item)?)?,
        share: typed(need(&item.value.share, "share", item)?, share)?,
    })
}

fn switch(text: Option<&Text>) -> Result<Option<bool>, ConfigError> {
    text.map(|text| typed(text, read_switch)).transpose()
}

fn read_cores(text: &str) -> Result<u32, Problem> {
    number_within(text, "a number of cores of a role", &(0..=FEATURE_CORES), "leave it out for its profile")
}

fn read_weight(text: &str) -> Result<u32, Problem> {
    number_within(text, "a weight", &CPU_WEIGHT, "write 100 for no difference")
}
