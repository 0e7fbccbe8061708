//! Typed values in maps. Values cross the border as byte arrays, so that no map type of ours has to promise anything
//! to the map library by hand.

use aya::maps::{Array, Map, MapData, PerCpuArray};
use aya::{Ebpf, Pod};
use weir_ebpf_abi::agents::AgentTable;
use weir_ebpf_abi::control::Control;
use weir_ebpf_abi::counters::{Counters, Tally};
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::flow::FlowVerdict;
use weir_ebpf_abi::generator::Plan;
use weir_ebpf_abi::ruleset::RuleSet;
use weir_ebpf_abi::services::{ServiceCount, ServiceIndex, ServiceTable};
use weir_ebpf_abi::watched::Watched;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::attach::chain;
use crate::error::LoadError;

/// A value of a map, and the byte array of its size.
pub(crate) trait Value: FromBytes + IntoBytes + Immutable {
    type Bytes: Pod + FromBytes + IntoBytes + Immutable + KnownLayout;
}

macro_rules! values {
    ($($name:ty),+) => {
        $(impl Value for $name {
            type Bytes = [u8; size_of::<$name>()];
        })+
    };
}

values!(
    AgentTable,
    Control,
    Counters,
    Explanation,
    FlowVerdict,
    Plan,
    RuleSet,
    ServiceCount,
    ServiceIndex,
    ServiceTable,
    Tally,
    Watched
);

/// Reads one entry of an array; for values that fit on the stack.
pub(crate) fn read<T: Value>(ebpf: &Ebpf, name: &'static str, entry: u32) -> Result<T, LoadError> {
    let map = ebpf.map(name).ok_or_else(|| missing(name))?;
    let array: Array<_, T::Bytes> = Array::try_from(map).map_err(|error| bad_map(name, &error))?;
    let bytes = array.get(&entry, 0).map_err(|error| refused(name, entry, &error))?;
    T::read_from_bytes(bytes.as_bytes()).map_err(|_| missing(name))
}

/// Writes one entry of an array.
pub(crate) fn write<T: Value>(ebpf: &mut Ebpf, name: &'static str, entry: u32, value: &T) -> Result<(), LoadError> {
    let mut array: Array<_, T::Bytes> = Array::try_from(map_mut(ebpf, name)?).map_err(|error| bad_map(name, &error))?;
    let bytes = T::Bytes::ref_from_bytes(value.as_bytes()).map_err(|_| missing(name))?;
    array.set(entry, bytes, 0).map_err(|error| refused(name, entry, &error))
}

/// Reads one entry of a per-CPU array, for each CPU.
pub(crate) fn per_cpu<T: Value>(ebpf: &Ebpf, name: &'static str, entry: u32) -> Result<Vec<T>, LoadError> {
    let map = ebpf.map(name).ok_or_else(|| missing(name))?;
    let array: PerCpuArray<_, T::Bytes> = PerCpuArray::try_from(map).map_err(|error| bad_map(name, &error))?;
    let parts = array.get(&entry, 0).map_err(|error| refused(name, entry, &error))?;
    parts.iter().map(|bytes| T::read_from_bytes(bytes.as_bytes()).map_err(|_| missing(name))).collect()
}

/// The sum over CPUs of one entry of a map of tallies.
pub(crate) fn tally(ebpf: &Ebpf, name: &'static str, entry: u32) -> Result<Tally, LoadError> {
    let parts = per_cpu::<Tally>(ebpf, name, entry)?;
    Ok(parts.iter().fold(Tally::default(), |mut sum, part| {
        sum.add(part);
        sum
    }))
}

pub(crate) fn missing(name: &str) -> LoadError {
    LoadError::Object { name: name.to_owned(), cause: "it is not there".to_owned() }
}

pub(crate) fn bad_map(name: &str, error: &dyn std::error::Error) -> LoadError {
    LoadError::Object { name: name.to_owned(), cause: chain(error) }
}

pub(crate) fn refused(map: &'static str, entry: u32, error: &dyn std::error::Error) -> LoadError {
    LoadError::Map { map, entry, cause: chain(error) }
}

pub(crate) fn map_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map, LoadError> {
    ebpf.map_mut(name).ok_or_else(|| missing(name))
}

pub(crate) fn map_data<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData, LoadError> {
    match ebpf.map(name) {
        Some(Map::Array(data) | Map::PerCpuArray(data) | Map::XskMap(data) | Map::DevMap(data)) => Ok(data),
        _ => Err(missing(name)),
    }
}
