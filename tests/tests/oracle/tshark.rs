//! Does the decoder mean by a field what tshark means by it? Every comparable field of every captured frame.
//!
//! Exceptions, each on purpose: no PPPoE, PPP, ERSPAN, CFP or IP-in-IP inside; of a third VLAN tag and a second tunnel
//! nothing is read; 802.3 lengths stand where tshark has no ethertype; what tshark reassembles from several frames is
//! not one frame's; and of a malformed frame only what both could read is compared.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use weir_ebpf_abi::decode::{Layers, decode_inner_slice, decode_slice};

use crate::captures::{self, Captured};

/// One level of headers.
#[derive(Clone, Debug, Default, PartialEq)]
struct Level {
    ethertype: Option<u16>,
    vlans: Vec<u16>,
    addresses: Option<(IpAddr, IpAddr)>,
    protocol: Option<u8>,
    fragment: Option<(u16, bool)>,
    ports: Option<(u16, u16)>,
}

/// What tshark says about a frame.
#[derive(Clone, Debug, Default)]
struct Told {
    number: u64,
    outer: Level,
    tunnel: Option<&'static str>,
    inner: Option<Level>,
    malformed: bool,
    /// Headers that we do not follow have come: what comes after them is theirs.
    done: bool,
    /// The last header was the tunnel's.
    at_tunnel: bool,
}

impl Told {
    fn level(&mut self) -> &mut Level {
        self.inner.as_mut().unwrap_or(&mut self.outer)
    }

    /// A protocol begins.
    fn begin(&mut self, name: &str) {
        if self.done {
            return;
        }
        let opens = matches!(name, "eth" | "ip" | "ipv6");
        if self.at_tunnel {
            self.at_tunnel = false;
            if opens {
                self.inner = Some(Level::default());
            } else {
                self.done = true;
            }
            return;
        }
        match name {
            "eth" if self.outer != Level::default() && self.inner.is_none() => self.done = true,
            "ip" | "ipv6" if self.level().addresses.is_some() => self.done = true,
            "gre" | "vxlan" | "geneve" if self.tunnel.is_none() => {
                self.tunnel = [("gre", "gre"), ("vxlan", "vxlan"), ("geneve", "geneve")]
                    .into_iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, name)| name);
                self.at_tunnel = true;
            }
            "geninfo" | "frame" | "eth" | "vlan" | "ieee8021ad" | "ip" | "ipv6" | "udp" | "tcp" | "sll" | "raw"
            | "null" => {}
            "ppp" if self.outer == Level::default() => {}
            _ if name.starts_with("ipv6.") || name == "ah" => {}
            _ => self.done = true,
        }
    }

    /// A field of the protocol that is open.
    fn field(&mut self, name: &str, show: &str) {
        if name == "frame.number" {
            self.number = show.parse().expect("a number");
        }
        if name == "_ws.malformed" {
            self.malformed = true;
        }
        if self.done {
            return;
        }
        let number = || match show.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).unwrap_or(0),
            None => show.parse().unwrap_or(u32::from(show == "True")),
        };
        let level = self.level();
        match name {
            "eth.type" | "vlan.etype" | "ieee8021ad.etype" => level.ethertype = Some(number() as u16),
            "vlan.id" | "ieee8021ad.id" => level.vlans.push(number() as u16),
            "ip.src" | "ipv6.src" => {
                let address = show.parse().expect("an address");
                level.addresses = Some((address, address));
            }
            "ip.dst" | "ipv6.dst" => {
                if let Some(addresses) = &mut level.addresses {
                    addresses.1 = show.parse().expect("an address");
                }
            }
            // An IPv6 header behind an IPv4 one belongs to its payload.
            _ if name.starts_with("ipv6.") && level.addresses.is_some_and(|(source, _)| source.is_ipv4()) => {}
            "ip.proto" | "ipv6.nxt" | "ipv6.hopopts.nxt" | "ipv6.dstopts.nxt" | "ipv6.routing.nxt"
            | "ipv6.fraghdr.nxt" | "ah.next_header" => level.protocol = Some(number() as u8),
            "ip.flags.mf" if number() == 1 => level.fragment = Some((0, true)),
            "ip.frag_offset" if number() != 0 => {
                level.fragment = Some((number() as u16, level.fragment.is_some()));
            }
            "ipv6.fraghdr.offset" => level.fragment = Some((number() as u16, false)),
            "ipv6.fraghdr.more" => level.fragment = level.fragment.map(|(offset, _)| (offset, number() == 1)),
            "udp.srcport" | "tcp.srcport" if level.ports.is_none() => level.ports = Some((number() as u16, 0)),
            "udp.dstport" | "tcp.dstport" => {
                if let Some(ports) = &mut level.ports {
                    ports.1 = number() as u16;
                }
            }
            _ => {}
        }
    }
}

/// What we say.
fn ours(layers: &Layers) -> Level {
    Level {
        // Under 0x600 it is a length, and tshark says so by another field.
        ethertype: (layers.ethertype >= 0x600).then_some(layers.ethertype),
        vlans: layers.vlan_ids().to_vec(),
        addresses: layers.addresses(),
        protocol: layers.addresses().map(|_| layers.protocol),
        fragment: layers.fragment(),
        ports: layers.ports(),
    }
}

/// Runs tshark over a file; `None` where there is no tshark.
fn told(path: &Path) -> Option<Vec<Told>> {
    let mut child = Command::new("tshark")
        .args(["-n", "-T", "pdml", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-r"])
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut frames: Vec<Told> = Vec::new();
    let output = BufReader::new(child.stdout.take()?);
    for line in output.lines().map_while(Result::ok) {
        let line = line.trim_start();
        if line.starts_with("<packet>") {
            frames.push(Told::default());
        }
        let Some(frame) = frames.last_mut() else { continue };
        if line.contains("_ws.malformed") {
            frame.malformed = true;
        }
        if line.starts_with("<proto ") {
            frame.begin(attribute(line, " name=\"").unwrap_or_default());
        } else if line.starts_with("<field ")
            && let (Some(name), Some(show)) = (attribute(line, " name=\""), attribute(line, " show=\""))
        {
            frame.field(name, show);
        }
    }
    child.wait().ok()?;
    Some(frames)
}

fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = &line[line.find(name)? + name.len()..];
    rest.split_once('"').map(|(value, _)| value)
}

/// What is compared in one frame, and where it differs.
fn differences(frame: &Captured, told: &Told) -> Vec<String> {
    let decoded = decode_slice(&frame.bytes, frame.length);
    let inner = decode_inner_slice(&frame.bytes, frame.length, &decoded);
    let mut found = Vec::new();
    let sound = decoded.malformed().is_none() && !told.malformed;
    let mut level = |name: &str, ours: &Level, theirs: &Level, whole: bool| {
        let mut differ = |field: &str, ours: String, theirs: String| {
            if ours != theirs {
                found.push(format!("{name} {field}: ours {ours}, tshark {theirs}"));
            }
        };
        if frame.is_ethernet || name == "inner" {
            let known = theirs.ethertype.is_some();
            differ("ethertype", format!("{:?}", ours.ethertype.filter(|_| known)), format!("{:?}", theirs.ethertype));
            differ("vlans", format!("{:?}", ours.vlans), format!("{:?}", theirs.vlans));
        }
        // Where either could not read on, only what both have is compared.
        let both = ours.addresses.is_some() && theirs.addresses.is_some();
        if whole || both {
            differ("addresses", format!("{:?}", ours.addresses), format!("{:?}", theirs.addresses));
        }
        if whole {
            differ("protocol", format!("{:?}", ours.protocol), format!("{:?}", theirs.protocol));
            differ("fragment", format!("{:?}", ours.fragment), format!("{:?}", theirs.fragment));
            differ("ports", format!("{:?}", ours.ports), format!("{:?}", theirs.ports));
        }
    };
    level("outer", &ours(&decoded.outer), &told.outer, sound);
    if let (Some(ours_inner), Some(theirs)) = (inner, &told.inner) {
        level("inner", &ours(&ours_inner), theirs, sound);
    }
    if sound && told.tunnel != decoded.tunnel().name() {
        found.push(format!("tunnel: ours {:?}, tshark {:?}", decoded.tunnel().name(), told.tunnel));
    }
    if sound && told.inner.is_some() != inner.is_some() {
        found.push(format!("inner: ours {:?}, tshark {:?}", inner, told.inner));
    }
    found.truncate(4);
    found
}

#[test]
fn the_decoder_agrees_with_tshark() {
    const TEST: &str = "the_decoder_agrees_with_tshark";
    if Command::new("tshark").arg("--version").output().is_err() {
        println!("weir-skip: {TEST}: no tshark; `apt-get install tshark`");
        return;
    }
    let Some(files) = captures::files(TEST) else { return };
    let (mut compared, mut differing) = (0, Vec::new());
    for file in &files {
        let Some(theirs) = told(file) else { panic!("tshark does not start") };
        let mut theirs = theirs.into_iter().peekable();
        captures::for_each(file, |frame| {
            while theirs.next_if(|told| told.number < frame.number).is_some() {}
            let Some(told) = theirs.next_if(|told| told.number == frame.number) else { return };
            compared += 1;
            let found = differences(&frame, &told);
            if !found.is_empty() {
                let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                differing.push(format!("{name} frame {}: {}", frame.number, found.join("; ")));
            }
        });
    }
    println!("{compared} frames of {} captures compared, {} differ", files.len(), differing.len());
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(compared > 10_000, "only {compared} frames were compared");
}
