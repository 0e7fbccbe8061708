//! Do frames to agents on other machines mean to tshark what they mean to us?

use std::process::Command;

use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::decode::Address;
use weir_ebpf_abi::services::{Encapsulation, ServiceKey, Wrap};
use weir_ebpf_loader::{AgentState, Service, ServiceAgent};

use crate::judge::{Judge, LOOPBACK};

/// Four-byte and sixteen-byte addresses for both levels.
const INSIDE4: [u8; 4] = [10, 9, 200, 9];
const INSIDE6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// A datagram with right checksums to the virtual address.
fn frame(version: u8, vlans: &[u16]) -> Vec<u8> {
    let (source, destination): (std::net::IpAddr, std::net::IpAddr) = match version {
        4 => ([10, 9, 0, 1].into(), INSIDE4.into()),
        _ => ("fd00::1".parse().expect("an address"), INSIDE6.into()),
    };
    let path = weir_appliance_lab::packet::Path {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        vlans: vlans.to_vec(),
        source,
        destination,
        source_port: 40_000,
        destination_port: 7_000,
    };
    path.udp(b"a datagram inside").0
}

fn service(version: u8, wrap: Wrap) -> Service {
    let address = match version {
        4 => Address { high: 0, low: u32::from_be_bytes(INSIDE4).into() },
        _ => Address { high: 0xfd00_0000_0000_0000, low: 9 },
    };
    let outer = if wrap.version == 4 { [10, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } else { [0xfc; 16] };
    let agent = Agent { id: 1, ifindex: LOOPBACK, address: outer, mac: [2, 0, 0, 0, 0, 9], ..Agent::default() };
    let agents = vec![ServiceAgent { agent, weight: 1, state: AgentState::Up, mtu: 1500 }];
    Service { key: ServiceKey::new(version, address, 17, 7_000), wrap, agents }
}

/// A capture file (pcap, Ethernet).
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

#[test]
fn outer_headers_are_what_tshark_takes_them_for() {
    const TEST: &str = "outer_headers_are_what_tshark_takes_them_for";
    if Command::new("tshark").arg("--version").output().is_err() {
        weir_tests::skip(TEST, "no tshark; `apt-get install tshark`");
        return;
    }
    let Some(mut judge) = Judge::new(TEST) else { return };
    let (mut frames, mut wanted) = (Vec::new(), Vec::new());
    for (how, name) in [(Encapsulation::IpInIp, ""), (Encapsulation::Geneve, "udp:geneve:")] {
        for (outer, inner) in [(4, 4), (4, 6), (6, 4), (6, 6)] {
            for vlans in [&[][..], &[7], &[7, 9]] {
                let source = if outer == 4 { [10, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } else { [0xfb; 16] };
                let wrap = Wrap { encapsulation: how as u8, version: outer, source, ..Wrap::default() };
                frames.push(judge.sent(service(inner, wrap), &frame(inner, vlans)));
                let ip = |version| if version == 4 { "ip" } else { "ipv6" };
                let tags = ["", "vlan:ethertype:", "vlan:ethertype:vlan:ethertype:"][vlans.len()]
                    .replace("vlan:ethertype:vlan", "ieee8021ad:ethertype:vlan");
                // A byte of the list of protocols for each: what follows the datagram's header is data.
                wanted.push(format!("eth:ethertype:{tags}{}:{name}{}:udp:data", ip(outer), ip(inner)));
            }
        }
    }
    let path = std::env::temp_dir().join(format!("weir-wrapped-{}.pcap", std::process::id()));
    std::fs::write(&path, capture(&frames)).expect("written");
    let fields =
        ["frame.protocols", "_ws.malformed", "_ws.expert.message", "ip.checksum.status", "udp.checksum.status"];
    let mut tshark = Command::new("tshark");
    tshark
        .args([
            "-n",
            "-o",
            "ip.check_checksum:TRUE",
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "udp.ignore_ipv6_zero_checksum:TRUE",
            "-T",
            "fields",
            "-r",
        ])
        .arg(&path);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let output = tshark.output().expect("tshark runs");
    let _ = std::fs::remove_file(&path);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(told.lines().count(), wanted.len(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for (line, wanted) in told.lines().zip(&wanted) {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns[0], wanted, "{line}");
        assert!(columns[1].is_empty(), "malformed: {line}");
        // 1 is good; 3 is a checksum that was left out, as the outer one of Geneve is.
        let sound = |column: &str| column.split(',').all(|status| matches!(status, "" | "1" | "3"));
        assert!(sound(columns[3]) && sound(columns[4]), "a checksum is wrong: {line}");
    }
}
