//! Does a connection through the host's own stack, as ssh is one, live through attach, replacement, detach and crash?

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::{Lab, LabSpec};
use weir_tests::{BOX, RULES, program, wired};

/// Sends a line and waits for its echo.
fn echoes(connection: &mut TcpStream, text: &str) {
    connection.write_all(text.as_bytes()).expect("the connection takes it");
    let mut back = vec![0; text.len()];
    connection.read_exact(&mut back).expect("the echo comes back");
    assert_eq!(back, text.as_bytes());
}

#[test]
fn a_connection_through_the_stack_survives_everything_the_box_does() {
    wired!("a_connection_through_the_stack_survives_everything_the_box_does");
    let lab = Lab::create(&LabSpec::line()).expect("a lab");
    let (left, inside) = (lab.node("left").expect("left"), lab.node("box").expect("box"));
    let listener =
        inside.run(|| TcpListener::bind("10.9.0.2:22")).expect("a thread").expect("port 22 of the box is free");
    std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a connection");
        let mut bytes = [0; 256];
        while let Ok(length) = peer.read(&mut bytes) {
            if length == 0 || peer.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
    });
    let mut connection = left.run(|| TcpStream::connect("10.9.0.2:22")).expect("a thread").expect("the box answers");
    connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
    echoes(&mut connection, "before weir");
    let config = format!("{BOX}{RULES}");
    let mut appliance = Appliance::start(&lab, inside, &program("weir"), &config).expect("weir starts");
    echoes(&mut connection, "attached");
    appliance.kill();
    echoes(&mut connection, "killed");
    let mut appliance =
        Appliance::start(&lab, inside, &program("weir"), &config).expect("weir starts over what the killed one left");
    echoes(&mut connection, "replaced");
    assert!(appliance.stop());
    echoes(&mut connection, "detached");
}

#[test]
fn neighbours_find_a_box_whose_flags_take_every_flow() {
    wired!("neighbours_find_a_box_whose_flags_take_every_flow");
    let lab = Lab::create(&LabSpec::line()).expect("a lab");
    let (left, inside) = (lab.node("left").expect("left"), lab.node("box").expect("box"));
    let config = format!("{BOX}flags: [{{name: all, to: [streaming], share: 100%}}]\n");
    let mut appliance = Appliance::start(&lab, inside, &program("weir"), &config).expect("weir starts");
    for address in ["10.9.0.2:22", "[fd00:9::2]:22"] {
        let family = if address.starts_with('[') { "-6" } else { "-4" };
        let ip = |node: &weir_appliance_lab::Node, words: &[&str]| {
            let ran =
                node.run(|| Command::new("ip").arg(family).args(words).status()).expect("a thread").expect("ip runs");
            assert!(ran.success(), "ip {words:?}");
        };
        if family == "-6" {
            ip(inside, &["address", "add", "fd00:9::2/64", "dev", "eth0", "nodad"]);
            ip(left, &["address", "add", "fd00:9::1/64", "dev", "wire0", "nodad"]);
        }
        // Whoever knew the box has forgotten it.
        ip(left, &["neigh", "flush", "dev", "wire0", "nud", "all"]);
        let listener =
            inside.run(|| TcpListener::bind(address)).expect("a thread").expect("port 22 of the box is free");
        let to = address.parse().expect("an address");
        let connection = left.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(10))).expect("a thread");
        assert!(connection.is_ok(), "{address}: {connection:?}");
        drop(listener);
    }
    assert!(appliance.stop());
}
