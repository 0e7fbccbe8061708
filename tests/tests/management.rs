//! Does a connection through the host's own stack, as ssh is one, live through attach, replacement, detach and crash?

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
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
