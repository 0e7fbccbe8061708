//! A lab carries packets between its nodes and leaves nothing behind, and what a killed lab left is swept up.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail the test, or say why they skip it")]

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use weir_appliance_lab::{Lab, LabError, LabSpec};

/// A lab, or `None` with the reason printed where the rights are missing.
fn lab(test: &str, spec: &LabSpec) -> Option<Lab> {
    match Lab::create(spec) {
        Ok(lab) => Some(lab),
        Err(error @ (LabError::Command { .. } | LabError::System { .. })) if !rustix::process::geteuid().is_root() => {
            println!("weir-skip: {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn nodes_talk_over_both_protocols() {
    let Some(lab) = lab("nodes_talk_over_both_protocols", &LabSpec::line()) else { return };
    for (from, near, far) in [("left", "10.9.0.1:0", "10.9.0.2:9"), ("right", "[fd09:0:0:1::1]:0", "[fd09:0:0:1::2]:9")]
    {
        let receiver = lab.node("box").unwrap().run(|| UdpSocket::bind(far)).unwrap().unwrap();
        let sender = lab.node(from).unwrap().run(|| UdpSocket::bind(near)).unwrap().unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        sender.send_to(b"hello", far).unwrap();
        let mut bytes = [0; 16];
        assert_eq!(receiver.recv(&mut bytes).unwrap(), 5);
    }
    let eth0 = lab.node("box").unwrap().interface("eth0").unwrap();
    assert_eq!((eth0.mtu, eth0.mac, eth0.up), (1500, [2, 0x57, 0x45, 0x49, 0, 2], true));
}

#[test]
fn nothing_is_left_behind() {
    let Some(mut lab) = lab("nothing_is_left_behind", &LabSpec::pair()) else { return };
    let before = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").unwrap();
    let names: Vec<String> = lab.nodes().iter().map(|node| node.full_name().to_owned()).collect();
    let (folder, pins) = (lab.folder().to_owned(), lab.pin_root());
    std::fs::write(folder.join("anything"), "x").unwrap();
    let pinned = std::fs::create_dir(&pins).is_ok();
    lab.reserve_hugepages(2).unwrap();
    let mut child = lab.node("box").unwrap().start(Command::new("sleep").arg("1000")).unwrap();
    drop(lab);
    // A killed child is the only way this returns in time: sleep would take 1000 s.
    assert!(!child.wait().unwrap().success());
    for name in names {
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name} is still there");
    }
    assert!(!folder.exists());
    assert!(!pins.exists() || !pinned);
    let after = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").unwrap();
    assert!(after.trim().parse::<u64>().unwrap() <= before.trim().parse::<u64>().unwrap() + 64, "{before} {after}");
}

#[test]
fn labs_of_dead_processes_are_swept() {
    // A namespace by the name a lab of a dead process would have given it: number 1 started at boot, not at tick 77.
    let name = "weir-lab-1-77-0-box";
    let made = Command::new("ip").args(["netns", "add", name]).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("weir-skip: labs_of_dead_processes_are_swept: no right to add a network namespace");
        return;
    }
    let folder = Path::new("/run/weir-lab/weir-lab-1-77-0");
    std::fs::create_dir_all(folder).unwrap();
    let own = Lab::create(&LabSpec::pair()).unwrap();
    let swept = Lab::sweep().unwrap();
    assert!(swept.namespaces.contains(&name.to_owned()), "{swept:?}");
    assert!(swept.folders.contains(&folder.to_owned()), "{swept:?}");
    assert!(!Path::new("/run/netns").join(name).exists());
    assert_eq!(std::fs::metadata(folder).unwrap_err().kind(), ErrorKind::NotFound);
    for node in own.nodes() {
        assert!(Path::new("/run/netns").join(node.full_name()).exists(), "a living lab was swept");
    }
}

#[test]
fn impossible_specifications_are_refused() {
    let mut spec = LabSpec::pair();
    spec.links[0].mtu = 20;
    assert!(Lab::create(&spec).unwrap_err().to_string().contains("MTU is 20; give 68"));
    let mut spec = LabSpec::pair();
    spec.links[0].first.interface = "a-name-beyond-linux".to_owned();
    assert!(Lab::create(&spec).unwrap_err().to_string().contains("1 to 15 letters"));
}
