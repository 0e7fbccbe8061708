//! Services of the file, typed.

use serde_saphyr::Spanned;

use super::super::judge::Refused;
use super::super::raw;
use super::super::*;
use super::{Locate, at, each, need, optional, read_address, refused_at, typed, value, within};
use crate::name::number;
use crate::problem::Problem;

impl Locate for Spanned<raw::Service> {
    fn locate(&self, refused: Refused) -> ConfigError {
        let raw = &self.value;
        let place = match refused.key {
            "name" => at(&raw.name),
            "address" => at(&raw.address),
            "port" => at(&raw.port),
            "agents" => at(&raw.agents),
            "type" => at(&raw.kind),
            "encapsulation" => at(&raw.encapsulation),
            "source" => at(&raw.source),
            _ => at(&raw.health),
        };
        refused_at(place, self.referenced, refused)
    }
}

/// Types one service.
pub(super) fn service(item: &Spanned<raw::Service>) -> Result<ServiceSpec, ConfigError> {
    let raw = &item.value;
    Ok(ServiceSpec {
        name: value(need(&raw.name, "name", item)?)?,
        address: typed(need(&raw.address, "address", item)?, read_address)?,
        protocol: value(need(&raw.protocol, "protocol", item)?)?,
        port: raw.port.as_ref().map(|text| typed(text, read_port)).transpose()?,
        agents: each(raw.agents.as_ref(), |_, id| value(id))?,
        kind: raw.kind.as_ref().map(|text| typed(text, |text| number(text, "an agent's type"))).transpose()?,
        encapsulation: optional(raw.encapsulation.as_ref())?.unwrap_or_default(),
        source: raw.source.as_ref().map(|text| typed(text, read_address)).transpose()?,
        health: raw.health.as_ref().map_or(Ok(HealthSpec::default()), |health| self::health(&health.value))?,
    })
}

/// Reads a port that a service, or the management, can have.
pub(super) fn read_port(text: &str) -> Result<u16, Problem> {
    let refuse = || Problem::new(text, "a port is a number from 1 to 65535", "write one port, or no `port` for any");
    let port = number(text, "a port").map_err(|_| refuse())?;
    u16::try_from(port).ok().filter(|port| *port != 0).ok_or_else(refuse)
}

fn health(raw: &raw::Health) -> Result<HealthSpec, ConfigError> {
    let default = HealthSpec::default();
    // That an answer comes before the next check is judged with the rest of the service.
    let timeout_ms = 10..=*CHECK_EVERY_MS.end();
    Ok(HealthSpec {
        check: optional(raw.check.as_ref())?.unwrap_or_default(),
        port: raw.port.as_ref().map(|text| typed(text, read_port)).transpose()?,
        ask: optional(raw.ask.as_ref())?,
        answer: optional(raw.answer.as_ref())?,
        every_ms: within(raw.every_ms.as_ref(), "the time between checks in ms", CHECK_EVERY_MS, default.every_ms)?,
        timeout_ms: within(raw.timeout_ms.as_ref(), "the time for an answer in ms", timeout_ms, default.timeout_ms)?,
        rise: within(raw.rise.as_ref(), "`rise`", CHECK_ROW, default.rise)?,
        fall: within(raw.fall.as_ref(), "`fall`", CHECK_ROW, default.fall)?,
    })
}
