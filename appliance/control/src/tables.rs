//! From the configuration's words to those of the classifier's tables.

use std::net::IpAddr;

use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::decode::Address;
use weir_ebpf_abi::layout;
use weir_ebpf_abi::rules::{Match, Prefix, masks_with_any};
use weir_ebpf_abi::services::{self, ServiceKey, Wrap};

use crate::config::{self, Encapsulation, RuleAction, ServiceSpec};
use crate::matching::{IpPrefix, MatchExpression, Range};

// The file promises no more than the tables hold.
const _: () = assert!(config::MAX_RULES == layout::MAX_RULES);
const _: () = assert!(config::MAX_AGENTS == layout::MAX_AGENTS);
const _: () = assert!(config::MAX_CLASSES == layout::MAX_CLASSES);
const _: () = assert!(config::MAX_INTERFACES == layout::MAX_EGRESS);
const _: () = assert!(config::MAX_QUEUES as usize == layout::MAX_QUEUES);
const _: () = assert!(config::MAX_SERVICES == services::MAX_SERVICES);
const _: () = assert!(config::MAX_SERVICE_AGENTS == services::MAX_BACKENDS);

/// An address as the tables hold it: version 4 or 6, and 16 bytes of which IPv4 uses the first four.
pub fn address(address: IpAddr) -> (u8, [u8; 16]) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(address) => (6, address.octets()),
    }
}

impl From<IpPrefix> for Prefix {
    fn from(prefix: IpPrefix) -> Self {
        let (version, address) = address(prefix.address());
        Self { address, length: prefix.length(), version }
    }
}

impl From<MatchExpression> for Match {
    fn from(expression: MatchExpression) -> Self {
        Self {
            source: expression.source.map(Prefix::from),
            destination: expression.destination.map(Prefix::from),
            source_port: expression.source_port.map(Range::ends),
            destination_port: expression.destination_port.map(Range::ends),
            protocol: expression.protocol.map(|protocol| protocol.0),
            vlan: expression.vlan.map(Range::ends),
            message_type: expression.message_type.map(Range::ends),
            modality: expression.modality.map(|set| masks_with_any(set.bits())),
            no_ip: false,
        }
    }
}

impl From<&ServiceSpec> for ServiceKey {
    fn from(spec: &ServiceSpec) -> Self {
        let (version, halves) = match spec.address {
            IpAddr::V4(address) => (4, Address { high: 0, low: u32::from(address).into() }),
            IpAddr::V6(address) => {
                let whole = u128::from(address);
                (6, Address { high: (whole >> 64) as u64, low: whole as u64 })
            }
        };
        ServiceKey::new(version, halves, spec.protocol.number(), spec.port.unwrap_or(0))
    }
}

impl From<&ServiceSpec> for Wrap {
    fn from(spec: &ServiceSpec) -> Self {
        let encapsulation = match spec.encapsulation {
            Encapsulation::None => services::Encapsulation::None,
            Encapsulation::Ipip => services::Encapsulation::IpInIp,
            Encapsulation::Geneve => services::Encapsulation::Geneve,
        };
        let (version, source) = spec.source.map_or((0, [0; 16]), address);
        Self { encapsulation: encapsulation as u8, version, source, ..Self::default() }
    }
}

impl From<RuleAction> for Action {
    fn from(action: RuleAction) -> Self {
        match action {
            RuleAction::Pass => Self::Pass,
            RuleAction::Drop => Self::Drop,
            RuleAction::Forward => Self::Forward,
            RuleAction::Deliver => Self::Deliver,
            RuleAction::Mirror => Self::Mirror,
        }
    }
}

impl From<Action> for RuleAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Pass => Self::Pass,
            Action::Drop => Self::Drop,
            Action::Forward => Self::Forward,
            Action::Deliver => Self::Deliver,
            Action::Mirror => Self::Mirror,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_reaches_the_tables_whole() {
        let text = "tcp src 10.0.0.0/8 sport 1-2 dport 3 vlan 4-5 type 6 modality text|sensor";
        let expression: MatchExpression = text.parse().expect("a match");
        let source = [10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let whole = Match {
            source: Some(Prefix { address: source, length: 8, version: 4 }),
            destination: None,
            source_port: Some((1, 2)),
            destination_port: Some((3, 3)),
            protocol: Some(6),
            vlan: Some((4, 5)),
            message_type: Some((6, 6)),
            modality: Some(masks_with_any(9)),
            no_ip: false,
        };
        assert_eq!(Match::from(expression), whole);
        let expression: MatchExpression = "dst 2001:db8::/32".parse().expect("a match");
        let address = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let destination = Some(Prefix { address, length: 32, version: 6 });
        assert_eq!(Match::from(expression), Match { destination, ..Match::default() });
    }

    #[test]
    fn both_sides_write_actions_alike() {
        for action in Action::ALL {
            let word = RuleAction::from(action);
            assert_eq!((Action::from(word), word.as_str()), (action, action.name()));
        }
    }
}
