//! What does it say when it cannot start, or cannot do what it is asked? One line with value, cause and cure, and nothing half
//! started.

use std::process::Command;

use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::{Lab, LabSpec};
use weir_tests::{program, wired};

/// Starts weir in a lab's box with `config` and gives what it says when it refuses.
fn refusal(lab: &Lab, config: &str) -> String {
    let started = Appliance::start(lab, lab.node("box").expect("the box"), &program("weir"), config);
    let said = started.expect_err("it must refuse").to_string();
    let folder = lab.folder();
    assert!(
        !folder.join("control.sock").exists()
            || std::os::unix::net::UnixStream::connect(folder.join("control.sock")).is_err()
    );
    let shown = lab.node("box").expect("the box").run(|| Command::new("ip").args(["link", "show"]).output());
    let shown = String::from_utf8_lossy(&shown.expect("a thread").expect("ip runs").stdout).into_owned();
    assert!(!shown.contains("xdp"), "nothing is attached after a refusal: {shown}");
    said
}

#[test]
fn each_obstacle_has_one_line_with_its_cure() {
    wired!("each_obstacle_has_one_line_with_its_cure");
    let lab = Lab::create(&LabSpec::line()).expect("a lab");
    let cases = [
        ("interfaces: [{name: eth7}]", ["eth7", "ip link"]),
        ("interfaces: []", ["no interface", "--interface"]),
        ("interfaces: [{name: eth0, queues: 64}]", ["64", "queues"]),
        ("interfaces: [{name: eth0}]\nmemory: {rx_ring: 1000}", ["1000", "power of two"]),
        (
            "interfaces: [{name: eth0}]\nagents: [{id: 1, address: 10.9.0.1, mac: \"02:57:45:49:00:01\", interface: eth9}]",
            ["eth9", "interfaces"],
        ),
        ("interfaces: [{name: eth0}]\nrules: [{match: \"udp dport 70000\", action: drop}]", ["70000", "65535"]),
    ];
    for (config, expected) in cases {
        let said = refusal(&lab, config);
        for word in expected {
            assert!(said.contains(word), "{config}: `{word}` is not in: {said}");
        }
    }
}

#[test]
fn instructions_that_cannot_be_had_are_refused_and_not_replaced() {
    let folder = std::env::temp_dir().join(format!("weir-instructions-{}", std::process::id()));
    // Without an interface: this test needs no rights, and a weir that took the word would end too.
    let output = Command::new(program("weir"))
        .args(["up", "--socket"])
        .arg(folder.join("control.sock"))
        .env("WEIR_SIMD", "avx3")
        .output()
        .expect("weir runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("WEIR_SIMD=avx3") && said.contains("scalar, avx2 or avx512"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(!folder.exists(), "nothing was begun");
    let doctor = Command::new(program("weir")).args(["doctor", "--json"]).env("WEIR_SIMD", "scalar").output();
    let report = String::from_utf8_lossy(&doctor.expect("weir runs").stdout).into_owned();
    assert!(report.contains("scalar: WEIR_SIMD says so"), "{report}");
}

#[test]
fn an_interface_that_is_down_is_named_with_the_command_that_sets_it_up() {
    wired!("an_interface_that_is_down_is_named_with_the_command_that_sets_it_up");
    let lab = Lab::create(&LabSpec::line()).expect("a lab");
    let down =
        lab.node("box").expect("the box").run(|| Command::new("ip").args(["link", "set", "eth0", "down"]).status());
    assert!(down.expect("a thread").expect("ip runs").success());
    let said = refusal(&lab, "interfaces: [{name: eth0}]");
    assert!(said.contains("ip link set eth0 up"), "{said}");
}

#[test]
fn a_second_weir_does_not_push_the_first_aside() {
    wired!("a_second_weir_does_not_push_the_first_aside");
    let lab = Lab::create(&LabSpec::line()).expect("a lab");
    let inside = lab.node("box").expect("the box");
    let first =
        Appliance::start(&lab, inside, &program("weir"), "interfaces: [{name: eth0}]").expect("the first starts");
    let mut second = Command::new(program("weir"));
    second.arg("up").arg("--config").arg(first.config());
    let output = inside.run(|| second.output()).expect("a thread").expect("the second runs");
    assert_eq!(output.status.code(), Some(2), "the second refuses");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another weir answers"), "{said}");
    assert_eq!(first.status().expect("the first goes on").interfaces.len(), 1);
}

#[test]
fn without_rights_the_first_missing_one_is_named() {
    wired!("without_rights_the_first_missing_one_is_named");
    // setpriv gives up every capability but keeps the user, so that only the rights are missing.
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(program("weir"))
        .args(["up", "--interface", "lo", "--socket"])
        .arg(std::env::temp_dir().join(format!("weir-refusal-{}", std::process::id())).join("control.sock"))
        .output()
        .expect("setpriv runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("CAP_"), "the missing right is named: {said}");
}

#[test]
fn a_capture_that_is_not_of_ethernet_is_not_read_as_ethernet() {
    let folder = std::env::temp_dir().join(format!("weir-refusals-capture-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let capture = folder.join("frames.pcap");
    // Bytes that would be an IPv4 header behind an Ethernet header, and one byte of a frame.
    let packet: Vec<u8> = [&[0_u8; 12] as &[u8], &[8, 0, 0x45, 0, 0, 20], &[7; 16]].concat();
    let written = |link: u32| {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut bytes = words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, link]);
        for (frame, length) in [(&packet[..], 90), (&packet[..1], 1)] {
            bytes.extend(words(&[1_700_000_000, 5, frame.len() as u32, length]));
            bytes.extend(frame);
        }
        std::fs::write(&capture, bytes).expect("written");
    };
    let ask = |words: &[&str]| {
        let output = Command::new(program("weir")).args(words).arg(&capture).arg("--json").output().expect("it runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    written(105); // IEEE 802.11
    let said = ask(&["why", "--pcap"]);
    let first = said.lines().next().expect("a frame");
    for part in [
        r#""length":90,"captured":34,"time_ns":1700000000000005000,"note":"nothing is decoded: link type 105"#,
        r#""ethertype":"","vlans":[],"ip":null,"ports":null"#,
        r#""malformed":null"#,
    ] {
        assert!(first.contains(part), "{part} is missing in {first}");
    }
    written(1);
    assert!(ask(&["why", "--pcap"]).contains(r#""note":null,"ethertype":"0x0800""#));
    // A frame shorter than a header does not end the replay of all.
    if weir_tests::cannot_wire().is_none() {
        let said = ask(&["replay"]);
        assert!(said.contains(r#""frames":2"#) && said.contains(r#""truncated-ethernet":1"#), "{said}");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn down_says_that_it_may_not_ask() {
    let folder = std::env::temp_dir().join(format!("weir-refusals-down-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let socket = folder.join("control.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("nobody's");
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(program("weir"))
        .args(["down", "--socket"])
        .arg(&socket)
        .output()
        .expect("setpriv runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("this user may not ask"), "{said}");
    assert!(socket.exists());
    std::fs::remove_dir_all(&folder).expect("removed");
}
