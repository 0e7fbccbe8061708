//! By what people reach the box, typed.

use super::super::raw::{self, List};
use super::super::{ConfigError, MAX_MANAGEMENT_ADDRESSES, MAX_MANAGEMENT_PORTS, ManagementSpec};
use super::services::read_port;
use super::{each, read_address, typed};
use crate::problem::Problem;

pub(super) fn management(raw: &raw::Management) -> Result<ManagementSpec, ConfigError> {
    let default = ManagementSpec::default();
    let addresses = once(raw.addresses.as_ref(), "address", "addresses", MAX_MANAGEMENT_ADDRESSES, read_address)?;
    let ports = once(raw.ports.as_ref(), "port", "ports", MAX_MANAGEMENT_PORTS, read_port)?;
    if let (Some(list), true) = (&raw.ports, ports.is_empty()) {
        let problem = Problem::new("ports", "the management has at least one port", "write [22], or leave it out");
        return Err(ConfigError::at(list.referenced, problem));
    }
    Ok(ManagementSpec { addresses, ports: if ports.is_empty() { default.ports } else { ports } })
}

/// A list of which each item stands once, ascending.
fn once<T: Ord>(
    list: Option<&List<String>>,
    one: &str,
    many: &str,
    most: usize,
    read: impl Fn(&str) -> Result<T, Problem>,
) -> Result<Vec<T>, ConfigError> {
    let mut found: Vec<T> = Vec::new();
    each(list, |_, item| {
        let value = typed(item, |text| {
            if found.len() == most {
                return Err(Problem::new(text, format!("the management has at most {most} {many}"), "remove one"));
            }
            let value = read(text)?;
            let cause = format!("this {one} stands twice");
            if found.contains(&value) { Err(Problem::new(text, cause, "remove one of the two")) } else { Ok(value) }
        })?;
        found.push(value);
        Ok(())
    })?;
    found.sort();
    Ok(found)
}
