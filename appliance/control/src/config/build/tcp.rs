//! Where streams are taken, and how much they may hold.

use std::str::FromStr;

use super::super::{
    ConfigError, ListenAddress, MAX_LISTEN, MAX_SOCKET_PATH, STREAM_BUFFERS_MIB, STREAM_CONNECTIONS, STREAM_CREDIT,
    STREAM_STALL_SECONDS, TcpSpec,
};
use super::{file_path, raw, typed, within};
use crate::name::number;
use crate::problem::Problem;

pub(super) fn tcp(raw: &raw::Tcp) -> Result<TcpSpec, ConfigError> {
    let default = TcpSpec::default();
    let mut listen = Vec::new();
    for item in raw.listen.iter().flat_map(|list| &list.value) {
        let address = typed(item, |text| {
            if listen.len() == MAX_LISTEN {
                return Err(Problem::new(
                    text,
                    format!("streams are listened for at most {MAX_LISTEN} addresses"),
                    "remove one",
                ));
            }
            let address: ListenAddress = text.parse()?;
            if listen.contains(&address) {
                return Err(Problem::new(text, "this address stands twice", "remove one of the two"));
            }
            Ok(address)
        })?;
        listen.push(address);
    }
    let buffers = |text: &str| {
        let (least, most) = (STREAM_BUFFERS_MIB.start(), STREAM_BUFFERS_MIB.end());
        let cause = format!("the MiB of buffers are a power of two from {least} to {most}");
        // Any number first: the cure names the power of two that is nearest.
        let mib = number(text, "the MiB of buffers").map_err(|problem| Problem { cause: cause.clone(), ..problem })?;
        if STREAM_BUFFERS_MIB.contains(&mib) && mib.is_power_of_two() {
            return Ok(mib);
        }
        Err(Problem::new(text, cause, format!("write {}", mib.clamp(*least, *most).next_power_of_two())))
    };
    Ok(TcpSpec {
        listen,
        connections: within(raw.connections.as_ref(), "connections", STREAM_CONNECTIONS, default.connections)?,
        buffers_mib: raw.buffers_mib.as_ref().map_or(Ok(default.buffers_mib), |text| typed(text, buffers))?,
        credit: within(raw.credit.as_ref(), "a credit in messages", STREAM_CREDIT, default.credit)?,
        stall_seconds: within(
            raw.stall_seconds.as_ref(),
            "a time in seconds",
            STREAM_STALL_SECONDS,
            default.stall_seconds,
        )?,
    })
}

impl FromStr for ListenAddress {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        const CURE: &str = "write 127.0.0.1:48103, [::]:48103 or unix:/run/weir/ingest.sock";
        let Some(path) = text.strip_prefix("unix:") else {
            let refuse = |_| Problem::new(text, "this is neither an address with a port nor unix: and a path", CURE);
            return text.parse().map(Self::Tcp).map_err(refuse);
        };
        let path = file_path(path, "a socket", MAX_SOCKET_PATH);
        path.map(Self::Local).map_err(|cause| Problem::new(text, cause, CURE))
    }
}
