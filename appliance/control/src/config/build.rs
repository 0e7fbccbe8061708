//! From the file as written to the typed configuration: every value is judged here, and the error knows its place.

mod flags;
mod management;
mod resources;
mod services;

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use serde_saphyr::{Location, Spanned};

mod preservation;
mod supervise;
mod tcp;

use super::judge::{Judge, Refused};
use super::placement::placement;
use super::raw::{self, List, Text};
use super::*;
use crate::name::{AgentId, RuleName, number, number_within};
use crate::problem::Problem;

/// Types the whole file.
pub(super) fn build(file: &raw::File) -> Result<Config, ConfigError> {
    let features = features(file)?;
    let enabled = features.iter().filter(|(_, spec)| spec.enabled).map(|(name, _)| *name);
    let mut judge = Judge::new(enabled);
    let interfaces = each(file.interfaces.as_ref(), |_, raw| {
        let spec = interface(raw)?;
        judge.interface(&spec).map(|()| spec).map_err(|refused| raw.locate(refused))
    })?;
    let rules = each(file.rules.as_ref(), |place, raw| {
        let spec = rule(place, raw)?;
        judge.rule(&spec).map(|()| spec).map_err(|refused| raw.locate(refused))
    })?;
    let flags = flags::flags(file, &mut judge)?;
    let program_flags = optional(file.program_flags.as_ref())?;
    let mut agents = each(file.agents.as_ref(), |_, raw| {
        let spec = agent(raw)?;
        judge.agent(&spec).map(|()| spec).map_err(|refused| raw.locate(refused))
    })?;
    agents.sort_by_key(|agent| agent.id);
    let services = each(file.services.as_ref(), |_, raw| {
        let spec = services::service(raw)?;
        judge.service(&spec).map(|()| spec).map_err(|refused| raw.locate(refused))
    })?;
    let memory = file.memory.as_ref().map(memory).transpose()?.unwrap_or_default();
    let cores = file.cores.as_ref().map(cores).transpose()?.unwrap_or_default();
    let resources = file.resources.as_ref().map(resources::resources).transpose()?.unwrap_or_default();
    let control = file.control.as_ref().map(control).transpose()?.unwrap_or_default();
    let log = file.log.as_ref().map(log).transpose()?.unwrap_or_default();
    let tcp = file.tcp.as_ref().map(tcp::tcp).transpose()?.unwrap_or_default();
    let supervise = file.supervise.as_ref().map(supervise::supervise).transpose()?.unwrap_or_default();
    let preservation = file.preservation.as_ref().map(preservation::preservation).transpose()?.unwrap_or_default();
    let management = file.management.as_ref().map(management::management).transpose()?.unwrap_or_default();
    let wait = optional(file.wait.as_ref())?.unwrap_or_default();
    Ok(Config {
        interfaces,
        memory,
        cores,
        resources,
        wait,
        features,
        rules,
        flags,
        program_flags,
        agents,
        services,
        log,
        tcp,
        supervise,
        preservation,
        control,
        management,
    })
}

/// Where a key of an item stands, for a judge's refusal: where the item starts if the key is not there.
trait Locate {
    fn locate(&self, refused: Refused) -> ConfigError;
}

fn at<T>(value: &Option<Spanned<T>>) -> Option<Location> {
    value.as_ref().map(|value| value.referenced)
}

fn refused_at(place: Option<Location>, item: Location, refused: Refused) -> ConfigError {
    ConfigError::at(place.unwrap_or(item), refused.problem)
}

impl Locate for Spanned<raw::Interface> {
    fn locate(&self, refused: Refused) -> ConfigError {
        refused_at(at(&self.value.name), self.referenced, refused)
    }
}

impl Locate for Spanned<raw::Rule> {
    fn locate(&self, refused: Refused) -> ConfigError {
        let place = match refused.key {
            "name" => at(&self.value.name),
            "to" => at(&self.value.to),
            "durable" => at(&self.value.durable),
            _ => at(&self.value.action),
        };
        refused_at(place, self.referenced, refused)
    }
}

impl Locate for Spanned<raw::Agent> {
    fn locate(&self, refused: Refused) -> ConfigError {
        let place = match refused.key {
            "address" => at(&self.value.address),
            "interface" => at(&self.value.interface),
            "weight" => at(&self.value.weight),
            _ => at(&self.value.id),
        };
        refused_at(place, self.referenced, refused)
    }
}

/// A key that must be there; its absence is reported where the item starts.
fn need<'a, T, I>(value: &'a Option<T>, key: &str, item: &Spanned<I>) -> Result<&'a T, ConfigError> {
    value.as_ref().ok_or_else(|| {
        let problem = Problem::new(key, "this key is missing here", format!("add `{key}: …`"));
        ConfigError::at(item.referenced, problem)
    })
}

/// Types every item of a list that may be absent; the function gets the item's number, from 1.
fn each<R, T>(
    list: Option<&List<R>>,
    mut make: impl FnMut(usize, &Spanned<R>) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    let items = list.map(|list| list.value.as_slice()).unwrap_or_default();
    items.iter().enumerate().map(|(index, item)| make(index + 1, item)).collect()
}

/// Types one scalar by its `FromStr`.
fn value<T: FromStr<Err = Problem>>(text: &Text) -> Result<T, ConfigError> {
    typed(text, str::parse)
}

pub(super) fn optional<T: FromStr<Err = Problem>>(text: Option<&Text>) -> Result<Option<T>, ConfigError> {
    text.map(value).transpose()
}

pub(super) fn typed<T>(text: &Text, read: impl FnOnce(&str) -> Result<T, Problem>) -> Result<T, ConfigError> {
    read(&text.value).map_err(|problem| ConfigError::at(text.referenced, problem))
}

/// Types a whole number that has bounds and a default.
fn within(text: Option<&Text>, what: &str, range: RangeInclusive<u32>, default: u32) -> Result<u32, ConfigError> {
    let read = |text: &str| number_within(text, what, &range, format!("write {default}"));
    text.map_or(Ok(default), |text| typed(text, read))
}

fn takers(list: Option<&List<String>>) -> Result<Vec<FeatureName>, ConfigError> {
    each(list, |_, name| value(name))
}

fn interface(item: &Spanned<raw::Interface>) -> Result<InterfaceSpec, ConfigError> {
    let raw = &item.value;
    let queues = optional(raw.queues.as_ref())?.unwrap_or_default();
    let placement = raw.placement.as_ref().map(|item| placement(item, queues)).transpose()?;
    Ok(InterfaceSpec {
        name: value(need(&raw.name, "name", item)?)?,
        queues,
        mode: optional(raw.mode.as_ref())?.unwrap_or_default(),
        placement: placement.unwrap_or_default(),
    })
}

fn rule(place: usize, item: &Spanned<raw::Rule>) -> Result<RuleSpec, ConfigError> {
    let raw = &item.value;
    Ok(RuleSpec {
        name: optional(raw.name.as_ref())?.unwrap_or_else(|| RuleName::numbered(place)),
        matches: value(need(&raw.matches, "match", item)?)?,
        action: value(need(&raw.action, "action", item)?)?,
        to: takers(raw.to.as_ref())?,
        share: optional(raw.share.as_ref())?.unwrap_or_default(),
        durable: raw.durable.as_ref().map_or(Ok(false), |text| typed(text, read_switch))?,
    })
}

fn agent(item: &Spanned<raw::Agent>) -> Result<AgentSpec, ConfigError> {
    let raw = &item.value;
    let weight =
        |text: &str| number_within(text, "a weight", &(1..=MAX_WEIGHT), "remove the agent if it shall get nothing");
    let kind = |text: &str| number(text, "an agent's type");
    Ok(AgentSpec {
        id: value::<AgentId>(need(&raw.id, "id", item)?)?,
        address: typed(need(&raw.address, "address", item)?, read_address)?,
        mac: value(need(&raw.mac, "mac", item)?)?,
        interface: value(need(&raw.interface, "interface", item)?)?,
        kind: raw.kind.as_ref().map_or(Ok(1), |text| typed(text, kind))?,
        weight: raw.weight.as_ref().map_or(Ok(1), |text| typed(text, weight))?,
        modality: optional(raw.modality.as_ref())?,
        draining: raw.draining.as_ref().map_or(Ok(false), |text| typed(text, read_switch))?,
    })
}

/// Reads the address of one host.
pub(super) fn read_address(text: &str) -> Result<std::net::IpAddr, Problem> {
    let cure = "write one address, for example 10.9.0.2 or 2001:db8::2";
    text.parse().map_err(|_| Problem::new(text, "this is not an IP address", cure))
}

/// What a file says of features, by name, in the order of the file: the map that was read has none, and the first mistake
/// of the file shall be the one that is reported.
fn each_feature<T>(map: Option<&HashMap<Text, Option<T>>>) -> Result<Vec<(FeatureName, Option<&T>)>, ConfigError> {
    let mut written: Vec<_> = map.into_iter().flatten().collect();
    written.sort_by_key(|(name, _)| (name.referenced.line(), name.referenced.column()));
    written.into_iter().map(|(name, raw)| Ok((value(name)?, raw.as_ref()))).collect()
}

/// The features of this build at their defaults, changed by what the file says.
fn features(file: &raw::File) -> Result<BTreeMap<FeatureName, FeatureSpec>, ConfigError> {
    let mut features = Config::default().features;
    for (name, raw) in each_feature(file.features.as_ref())? {
        let mut spec = FeatureSpec::default();
        if let Some(raw) = raw {
            spec.enabled = raw.enabled.as_ref().map_or(Ok(spec.enabled), |text| typed(text, read_switch))?;
            spec.wait = optional(raw.wait.as_ref())?.unwrap_or(spec.wait);
            spec.run = optional(raw.run.as_ref())?.unwrap_or(spec.run);
            spec.send_mbit = raw.send_mbit.as_ref().map(|text| typed(text, read_cap)).transpose()?;
            spec.program = raw.program.as_ref().map(|text| typed(text, read_program)).transpose()?;
        }
        features.insert(name, spec);
    }
    Ok(features)
}

fn read_cap(text: &str) -> Result<u32, Problem> {
    number_within(text, "a feature's cap in Mbit/s", &SEND_MBIT, "leave it out for no cap")
}

fn read_program(text: &str) -> Result<PathBuf, Problem> {
    let cure = "write an absolute path, for example /opt/weir-next/weir, or leave it out for the box's own";
    file_path(text, "a program", MAX_PROGRAM_PATH).map_err(|cause| Problem::new(text, cause, cure))
}

/// The absolute path of a file of at most so many bytes, or what is wrong with it.
fn file_path(path: &str, what: &str, longest: usize) -> Result<PathBuf, String> {
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err(format!("{what} has the absolute path of a file"));
    }
    if path.len() > longest {
        return Err(format!("{what}'s path has at most {longest} bytes"));
    }
    Ok(PathBuf::from(path))
}

fn read_switch(text: &str) -> Result<bool, Problem> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::new(text, "this is neither true nor false", "write true or false")),
    }
}

fn memory(raw: &raw::Memory) -> Result<MemorySpec, ConfigError> {
    let default = MemorySpec::default();
    let frame_size = |text: &str| match text {
        "2048" => Ok(2048),
        "4096" => Ok(4096),
        _ => Err(Problem::new(text, "a frame has 2048 or 4096 bytes", "write 2048; longer frames take several")),
    };
    let rx_ring = |text: &str| {
        let (least, most) = (RX_RING.start(), RX_RING.end());
        let cause = format!("a ring's length is a power of two from {least} to {most}");
        // Any number first: the cure names the power of two that is nearest.
        let length = number_within(text, "a ring's length", &(0..=u32::MAX), format!("write {most}"))
            .map_err(|problem| Problem { cause: cause.clone(), ..problem })?;
        let fits = RX_RING.contains(&length) && length.is_power_of_two();
        let cure = format!("write {}", length.clamp(*least, *most).next_power_of_two());
        if fits { Ok(length) } else { Err(Problem::new(text, cause, cure)) }
    };
    Ok(MemorySpec {
        frame_size: raw.frame_size.as_ref().map_or(Ok(default.frame_size), |text| typed(text, frame_size))?,
        rx_ring: raw.rx_ring.as_ref().map_or(Ok(default.rx_ring), |text| typed(text, rx_ring))?,
        hugepages: optional(raw.hugepages.as_ref())?.unwrap_or(default.hugepages),
    })
}

fn cores(raw: &raw::Cores) -> Result<CoreSpec, ConfigError> {
    let critical: CoreSet = optional(raw.critical.as_ref())?.unwrap_or_default();
    let batch: CoreSet = optional(raw.batch.as_ref())?.unwrap_or_default();
    Ok(CoreSpec { critical, batch })
}

fn log(raw: &raw::Log) -> Result<LogSpec, ConfigError> {
    let default = LogSpec::default();
    let folder = |text: &str| {
        if !text.starts_with('/') || text.contains('\0') {
            let cure = format!("write one, for example {}", LogSpec::DEFAULT_FOLDER);
            return Err(Problem::new(text, "this is not the absolute path of a folder", cure));
        }
        Ok(PathBuf::from(text))
    };
    let segment = |text: &str| number_within(text, "a segment's size in MiB", &SEGMENT_MIB, "write 64");
    let segment_mib = raw.segment_mib.as_ref().map_or(Ok(default.segment_mib), |text| typed(text, segment))?;
    let keep = |text: &str| {
        let mib = number(text, "what the log keeps in MiB")?;
        let least = 2 * segment_mib;
        let cause = format!("a log keeps at least two segments, {least} MiB");
        if mib >= least { Ok(mib) } else { Err(Problem::new(text, cause, format!("write at least {least}"))) }
    };
    let hours = |text: &str| number(text, "the hours that the log keeps").map(Some);
    Ok(LogSpec {
        folder: raw.folder.as_ref().map_or(Ok(default.folder), |text| typed(text, folder))?,
        segment_mib,
        keep_mib: raw.keep_mib.as_ref().map_or(Ok(default.keep_mib.max(2 * segment_mib)), |text| typed(text, keep))?,
        keep_hours: raw.keep_hours.as_ref().map_or(Ok(None), |text| typed(text, hours))?,
        when_full: optional(raw.when_full.as_ref())?.unwrap_or_default(),
    })
}

fn control(raw: &raw::Control) -> Result<ControlSpec, ConfigError> {
    let socket = |text: &str| {
        let cure = format!("write an absolute path, for example {}", ControlSpec::DEFAULT_SOCKET);
        file_path(text, "a socket", MAX_SOCKET_PATH).map_err(|cause| Problem::new(text, cause, cure))
    };
    let socket = raw.socket.as_ref().map(|text| typed(text, socket)).transpose()?;
    Ok(socket.map_or_else(ControlSpec::default, |socket| ControlSpec { socket }))
}

impl FromStr for Queues {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if text == "all" {
            return Ok(Self::All);
        }
        let refuse = || Problem::new(text, format!("queues is `all` or a number from 1 to {MAX_QUEUES}"), "write all");
        let count = number(text, "the number of queues").map_err(|_| refuse())?;
        if (1..=MAX_QUEUES).contains(&count) { Ok(Self::First(count)) } else { Err(refuse()) }
    }
}

impl FromStr for CoreSet {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let refuse = |cause: &str| Problem::new(text, cause, "write auto, or cores such as \"0\" or \"0,2-3\"");
        let mut cores = std::collections::BTreeSet::new();
        for part in text.split(',') {
            let (low, high) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            let read = |text: &str| number(text, "a core").ok().filter(|core| *core <= MAX_CORE);
            let (Some(low), Some(high)) = (read(low), read(high)) else {
                return Err(refuse("this is not a list of cores"));
            };
            if low > high {
                return Err(refuse("a range of cores is upside down"));
            }
            if !(low..=high).all(|core| cores.insert(core)) {
                return Err(refuse("a core stands twice"));
            }
        }
        Ok(Self::List(cores.into_iter().collect()))
    }
}
