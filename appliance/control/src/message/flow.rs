//! How a person names one flow, and bytes in JSON.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hex;
use crate::matching::Protocol;
use crate::name::number;
use crate::problem::Problem;

/// One flow: `10.0.0.1:5000-10.0.0.2:48100/udp`, `[2001:db8::1]:5000-[2001:db8::2]:48100/tcp`. A protocol other than
/// UDP and TCP is a number; its ports are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FlowTuple {
    /// Who sends.
    pub source: SocketAddr,
    /// Who receives; the same IP version.
    pub destination: SocketAddr,
    /// The IP protocol.
    pub protocol: Protocol,
}

impl fmt::Display for FlowTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, protocol } = self;
        match *protocol {
            Protocol::UDP => write!(f, "{source}-{destination}/udp"),
            Protocol::TCP => write!(f, "{source}-{destination}/tcp"),
            Protocol(number) => write!(f, "{source}-{destination}/{number}"),
        }
    }
}

impl FromStr for FlowTuple {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = |cause: &str| Problem::new(text, cause, "write it as 10.0.0.1:5000-10.0.0.2:48100/udp");
        let (ends, protocol) = text.rsplit_once('/').ok_or_else(|| refuse("the protocol is missing"))?;
        let protocol = match protocol {
            "udp" => Protocol::UDP,
            "tcp" => Protocol::TCP,
            other => {
                let number = number(other, "a protocol").ok().and_then(|number| u8::try_from(number).ok());
                Protocol(number.ok_or_else(|| refuse("the protocol is not udp, tcp or a number from 0 to 255"))?)
            }
        };
        let (source, destination) =
            ends.split_once('-').ok_or_else(|| refuse("the other end of the flow is missing"))?;
        let end = |text: &str| text.parse::<SocketAddr>();
        let source = end(source).map_err(|_| refuse("the source is not an address with a port"))?;
        let destination = end(destination).map_err(|_| refuse("the destination is not an address with a port"))?;
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(refuse("source and destination are of different IP versions"));
        }
        Ok(Self { source, destination, protocol })
    }
}

crate::name::as_text!(FlowTuple);

/// Bytes, as hexadecimal digits in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HexBytes(pub Vec<u8>);

impl TryFrom<String> for HexBytes {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        hex::read(&text).map(Self).ok_or_else(|| {
            Problem::new(text.as_str(), "these are not bytes in hexadecimal", "write two digits a byte: 00ff10")
        })
    }
}

impl From<HexBytes> for String {
    fn from(bytes: HexBytes) -> Self {
        hex::write(&bytes.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_reads_back_from_its_text() {
        for text in ["10.0.0.1:5000-10.0.0.2:48100/udp", "[2001:db8::1]:1-[::1]:2/tcp", "10.0.0.1:0-10.0.0.2:0/47"] {
            assert_eq!(text.parse::<FlowTuple>().map(|flow| flow.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("1.1.1.1:1-2.2.2.2:2/17".parse::<FlowTuple>().map(|flow| flow.protocol), Ok(Protocol::UDP));
        for text in [
            "",
            "/",
            "-/udp",
            "1.1.1.1-2.2.2.2/udp",
            "1.1.1.1:1-[::1]:2/udp",
            "1.1.1.1:1-2.2.2.2:2/300",
            "1.1.1.1:1/udp",
        ] {
            assert!(text.parse::<FlowTuple>().is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_read_back_from_hexadecimal() {
        let all = HexBytes((0..=255).collect());
        assert_eq!(HexBytes::try_from(String::from(all.clone())), Ok(all));
        for text in ["0", "0g", "+1", "ä0"] {
            assert!(HexBytes::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
