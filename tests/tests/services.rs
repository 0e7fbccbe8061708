//! Do services keep what they promise? Connections by weight to agents that answer clients themselves, in namespaces.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_appliance_control::message::{Answer, Request, ServiceStatus, Status, WhyQuestion};
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::generate::Sender;
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_appliance_lab::network::{End, Link};
use weir_appliance_lab::packet::Path;
use weir_appliance_lab::{Lab, LabSpec};
use weir_ebpf_abi::rewrite::ones_sum;
use weir_ebpf_loader::generate::{Sink, SinkAction};
use weir_tests::{DEADLINE, program, wired};

/// The virtual address, of which only agents and clients know.
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 9, 200, 9);
const PORT: u16 = 7_000;
const CHECKED: u16 = 9_000;
/// Agents by number; the third has as much weight as the others together.
const AGENTS: [u32; 3] = [1, 2, 3];
const FLOWS: u16 = 400;

const CONFIG: &str = "\
interfaces: [{name: eth0}, {name: eth1}, {name: eth2}, {name: eth3}]
memory: {rx_ring: 1024}
agents:
  - {id: 1, address: 10.9.1.1, mac: \"02:57:45:49:01:01\", interface: eth1}
  - {id: 2, address: 10.9.2.1, mac: \"02:57:45:49:02:01\", interface: eth2}
  - {id: 3, address: 10.9.3.1, mac: \"02:57:45:49:03:01\", interface: eth3, weight: 2}
services:
  - {name: web, address: 10.9.200.9, protocol: udp, port: 7000, type: 1,
     health: {check: tcp, port: 9000, every_ms: 100, timeout_ms: 100, rise: 1, fall: 2}}
  - {name: asked, address: 10.9.200.9, protocol: udp, port: 7003, agents: [1, 2],
     health: {check: udp, port: 9001, ask: \"0x0a3f\", answer: well, every_ms: 100, timeout_ms: 100, rise: 1, fall: 2}}
  - {name: inside-ip, address: 10.9.200.9, protocol: udp, port: 7001, agents: [1], encapsulation: ipip, source: 10.9.1.2}
  - {name: inside-udp, address: 10.9.200.9, protocol: udp, port: 7002, agents: [1], encapsulation: geneve, source: 10.9.1.2}
";

/// Which agent each client port came to, in all and since the last look.
type Seen = Arc<Mutex<BTreeMap<u16, Vec<u32>>>>;

/// A client, the box, and an agent behind each of its other interfaces.
struct Site {
    appliance: Appliance,
    sender: XdpSender,
    seen: Seen,
    /// By agent: dropped, its health check fails.
    checked: Vec<Option<TcpListener>>,
    stop: Arc<AtomicBool>,
    _sinks: Vec<Sink>,
    lab: Lab,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lab() -> Lab {
    let link = |first, second| Link { first, second, mtu: 1500, queues: 1 };
    let mut spec = LabSpec { nodes: vec!["client".into(), "box".into()], links: Vec::new() };
    spec.links.push(link(End::new("client", "wire0", &["10.9.0.1/24"]), End::new("box", "eth0", &["10.9.0.2/24"])));
    for id in AGENTS {
        let (name, own, near) = (format!("agent{id}"), format!("10.9.{id}.1/24"), format!("10.9.{id}.2/24"));
        let far = End::new("box", &format!("eth{id}"), &[near.as_str()]);
        spec.links.push(link(End::new(&name, "wire0", &[own.as_str()]), far));
        spec.nodes.push(name);
    }
    Lab::create(&spec).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs `ip` inside a node.
fn ip(lab: &Lab, node: &str, words: &[&str]) {
    let inside = lab.node(node).and_then(|node| node.run(|| Command::new("ip").args(words).output()));
    let output = inside.unwrap_or_else(|error| panic!("{error}")).expect("ip runs");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Site {
    fn new() -> Site {
        let lab = lab();
        let node = |name: &str| lab.node(name).unwrap_or_else(|error| panic!("{error}"));
        // Agents answer the client themselves: the box carries what they send like any router.
        let routes = || {
            let all = std::fs::read_dir("/proc/sys/net/ipv4/conf").expect("the kernel's settings");
            all.flatten().for_each(|entry| std::fs::write(entry.path().join("rp_filter"), "0").expect("no filter"));
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwards");
        };
        node("box").run(routes).unwrap_or_else(|error| panic!("{error}"));
        ip(&lab, "client", &["route", "add", "10.9.200.0/24", "via", "10.9.0.2"]);
        let mut sinks = vec![sink(&lab, "client")];
        let (seen, stop) = (Seen::default(), Arc::new(AtomicBool::new(false)));
        let mut checked = Vec::new();
        for id in AGENTS {
            let name = format!("agent{id}");
            ip(&lab, &name, &["addr", "add", &format!("{VIRTUAL}/32"), "dev", "lo"]);
            ip(&lab, &name, &["route", "add", "default", "via", &format!("10.9.{id}.2")]);
            sinks.push(sink(&lab, &name));
            let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, CHECKED)).expect("listens");
            checked.push(Some(node(&name).run(listen).expect("a thread")));
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            let serve = move || answer(id, &seen, &stop);
            node(&name).spawn("agent", serve).unwrap_or_else(|error| panic!("{error}"));
        }
        let appliance = Appliance::start(&lab, node("box"), &program("weir"), CONFIG);
        let appliance = appliance.unwrap_or_else(|error| panic!("{error}"));
        let sender = XdpSender::new(node("client"), "wire0").unwrap_or_else(|error| panic!("{error}"));
        Site { appliance, sender, seen, checked, stop, _sinks: sinks, lab }
    }

    /// One datagram of each of these flows; gives which agent got it. So many at a time that no queue of a link between
    /// here and there can overflow, however late its reader: a veth pair holds 256.
    fn send(&mut self, ports: std::ops::Range<u16>) -> BTreeMap<u16, u32> {
        self.seen.lock().expect("not poisoned").clear();
        let ports: Vec<u16> = ports.collect();
        let mut sent = 0;
        for some in ports.chunks(64) {
            for port in some {
                self.put(&path(*port, PORT).udp(b"who are you?").0);
            }
            sent += some.len();
            self.arrived(sent);
        }
        let seen = self.seen.lock().expect("not poisoned");
        seen.iter().map(|(port, agents)| (*port, one(*port, agents))).collect()
    }

    /// Waits until so many flows have arrived.
    fn arrived(&self, count: usize) {
        let end = Instant::now() + DEADLINE;
        loop {
            let seen = self.seen.lock().expect("not poisoned").len();
            if seen == count {
                return;
            }
            assert!(Instant::now() < end, "{seen} of {count} datagrams arrived");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn put(&mut self, frame: &[u8]) {
        while !self.sender.send_bytes(frame).unwrap_or_else(|error| panic!("{error}")) {}
        self.sender.flush().unwrap_or_else(|error| panic!("{error}"));
    }

    fn ask(&self, request: &Request) -> Answer {
        self.appliance.ask(request).unwrap_or_else(|error| panic!("{error}"))
    }

    fn drain(&self, id: u32, draining: bool) {
        let agent = id.try_into().expect("a number");
        let Answer::Changed(changed) = self.ask(&Request::ServiceDrain { agent, draining }) else {
            panic!("no change")
        };
        assert!(changed.saved, "{changed:?}");
    }

    /// The service `web` once it satisfies `condition`.
    fn web(&mut self, what: &str, condition: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        let met = |status: &Status| condition(&status.services[0]);
        let status = self.appliance.wait_until(what, DEADLINE, met).unwrap_or_else(|error| panic!("{error}"));
        status.services[0].clone()
    }
}

fn sink(lab: &Lab, node: &str) -> Sink {
    let sink = lab.node(node).and_then(|node| node.run(|| Sink::attach("wire0", SinkAction::Pass)));
    sink.unwrap_or_else(|error| panic!("{error}")).unwrap_or_else(|error| panic!("{error}"))
}

/// Says to whoever sends a datagram to the virtual address which agent this is.
fn answer(id: u32, seen: &Seen, stop: &AtomicBool) {
    let socket = UdpSocket::bind((VIRTUAL, PORT)).expect("the virtual address is here");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((_, client)) => {
                seen.lock().expect("not poisoned").entry(client.port()).or_default().push(id);
                socket.send_to(&id.to_be_bytes(), client).expect("there is a way back");
            }
            // Nobody listens at most of the client's ports, and its kernel says so.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
    }
}

fn one(port: u16, agents: &[u32]) -> u32 {
    assert_eq!(agents.len(), 1, "port {port} came to {agents:?}");
    agents[0]
}

fn path(source_port: u16, destination_port: u16) -> Path {
    Path {
        source_mac: [0x02, 0x57, 0x45, 0x49, 0, 1],
        destination_mac: [0x02, 0x57, 0x45, 0x49, 0, 2],
        vlans: Vec::new(),
        source: Ipv4Addr::new(10, 9, 0, 1).into(),
        destination: VIRTUAL.into(),
        source_port,
        destination_port,
    }
}

fn held(flows: &BTreeMap<u16, u32>, id: u32) -> u64 {
    flows.values().filter(|agent| **agent == id).count() as u64
}

#[test]
fn connections_spread_by_weight_and_stay() {
    wired!("connections_spread_by_weight_and_stay");
    let mut site = Site::new();
    let answered = |service: &ServiceStatus| {
        service.agents.iter().all(|agent| agent.health.as_ref().is_some_and(|health| health.contains("answered")))
    };
    let before = site.web("every agent was checked", answered);
    assert_eq!(before.agents.iter().map(|agent| agent.share).collect::<Vec<_>>(), [25.0, 25.0, 50.0]);

    let client = site.lab.node("client").and_then(|node| node.run(|| UdpSocket::bind("0.0.0.0:20000")));
    let client = client.expect("a thread").expect("a socket");
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let flows = site.send(20_000..20_000 + FLOWS);
    let mut buffer = [0; 64];
    let (length, from) = client.recv_from(&mut buffer).expect("an answer");
    assert_eq!(from, SocketAddr::from((VIRTUAL, PORT)), "the agent answers as the virtual address");
    assert_eq!(buffer[..length], flows[&20_000].to_be_bytes());
    for (id, due) in AGENTS.into_iter().zip([100, 100, 200]) {
        // Five standard deviations of 400 throws.
        assert!(held(&flows, id).abs_diff(due) <= 50, "agent {id} got {} of {FLOWS}, due {due}", held(&flows, id));
    }
    let after = site.web("all are counted", |service| service.picks == u64::from(FLOWS));
    let counted: Vec<u64> = after.agents.iter().map(|agent| agent.frames).collect();
    assert_eq!(counted, AGENTS.map(|id| held(&flows, id)));
    assert_eq!(site.send(20_000..20_000 + FLOWS), flows, "a known connection keeps its agent");
    site.web("all were known", |service| service.known == u64::from(FLOWS));

    let question = format!("10.9.0.1:20001-{VIRTUAL}:{PORT}/udp").parse().expect("a flow");
    let Answer::Flow(why) = site.ask(&Request::Why(WhyQuestion::Flow(question))) else { panic!("no explanation") };
    assert_eq!((why.verdict.service.as_deref(), why.verdict.agent), (Some("web"), Some(flows[&20_001])));
    let step = why.steps.iter().find(|step| step.decided).expect("a ground");
    assert!(step.stage == "service" && step.because.contains("connection is known"), "{step:?}");

    site.drain(3, true);
    assert_eq!(site.send(20_000..20_000 + FLOWS), flows, "draining moves no connection");
    let new = site.send(30_000..30_000 + FLOWS);
    assert_eq!(held(&new, 3), 0, "and gets no new one");
    site.drain(3, false);

    site.checked[1] = None;
    site.web("agent 2 is found dead", |service| service.agents[1].state.as_str() == "down");
    let moved = site.send(20_000..20_000 + FLOWS);
    assert_eq!(held(&moved, 2), 0);
    let others = flows.iter().filter(|(_, agent)| **agent != 2);
    assert!(others.clone().all(|(port, agent)| moved[port] == *agent), "only its connections move");
    let unserved = site.web("it is counted", |service| service.agents[1].share == 0.0).unserved;
    assert_eq!(unserved, 0, "no datagram found no agent");

    let name = "web".parse().expect("a name");
    let Answer::Changed(_) = site.ask(&Request::ServiceRemove { name }) else { panic!("no change") };
    let status = site.appliance.status().unwrap_or_else(|error| panic!("{error}"));
    assert!(status.services.iter().all(|service| service.name.as_str() != "web"));
    assert!(status.counters.is_balanced(), "{:?}", status.counters);
}

#[test]
fn an_agent_that_answers_no_datagram_gets_none() {
    wired!("an_agent_that_answers_no_datagram_gets_none");
    let mut site = Site::new();
    let wait = |appliance: &mut Appliance, states: [&str; 2], said: &str| {
        let met = |status: &Status| {
            let agents = &status.services[1].agents;
            let said = agents.iter().any(|agent| agent.health.as_ref().is_some_and(|health| health.contains(said)));
            said && agents.iter().map(|agent| agent.state.as_str()).eq(states)
        };
        appliance.wait_until(said, DEADLINE, met).unwrap_or_else(|error| panic!("{error}"));
    };
    wait(&mut site.appliance, ["down", "down"], "nobody listens there");
    let node = site.lab.node("agent2").unwrap_or_else(|error| panic!("{error}"));
    let socket = node.run(|| UdpSocket::bind("0.0.0.0:9001").expect("the port is free")).expect("a thread");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
    // What the agent answers: nothing, something else, and what it has to.
    for (answer, states, said) in [
        (None, ["down", "down"], "no answer in time"),
        (Some(&b"ill"[..]), ["down", "down"], "begins as it has to"),
        (Some(b"well enough"), ["down", "up"], "answered in"),
        (Some(b"ill"), ["down", "down"], "begins as it has to"),
    ] {
        let (done, socket) = (AtomicBool::new(false), &socket);
        std::thread::scope(|scope| {
            let _stop = weir_tests::StopOnDrop(&done);
            scope.spawn(|| {
                let mut buffer = [0; 64];
                while !done.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                    assert_eq!(&buffer[..length], [0x0a, 0x3f], "what the configuration says");
                    if let Some(answer) = answer {
                        // The check may be over by now.
                        let _ = socket.send_to(answer, from);
                    }
                }
            });
            wait(&mut site.appliance, states, said);
        });
    }
}

#[test]
fn agents_on_other_machines_get_whole_packets_in_outer_headers() {
    wired!("agents_on_other_machines_get_whole_packets_in_outer_headers");
    let mut site = Site::new();
    let node = site.lab.node("agent1").unwrap_or_else(|error| panic!("{error}"));
    let sockets = || {
        use rustix::net::{AddressFamily, SocketType, ipproto, socket, sockopt};
        // IP in IP comes as the kernel got it, the outer header checked: a raw socket shows only sound packets.
        let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::IPIP)).expect("a raw socket");
        sockopt::set_socket_timeout(&raw, sockopt::Timeout::Recv, Some(DEADLINE)).expect("a deadline");
        let geneve = UdpSocket::bind("10.9.1.1:6081").expect("a socket");
        geneve.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        (raw, geneve)
    };
    let (raw, geneve) = node.run(sockets).unwrap_or_else(|error| panic!("{error}"));
    let (ipip_frame, _) = path(20_000, 7_001).udp(b"in IP");
    let (geneve_frame, _) = path(20_000, 7_002).udp(b"in Geneve");
    site.put(&ipip_frame);
    site.put(&geneve_frame);
    let mut buffer = [0; 2048];
    let (length, _) = rustix::net::recv(&raw, &mut buffer, rustix::net::RecvFlags::empty()).expect("a packet");
    let outer = &buffer[..20];
    assert_eq!((outer[9], &outer[12..20]), (4, [10, 9, 1, 2, 10, 9, 1, 1].as_slice()));
    assert_eq!(ones_sum(outer, 0), 0xffff, "the outer checksum is right");
    inside(&buffer[20..length], &ipip_frame);
    let (length, from) = geneve.recv_from(&mut buffer).expect("a datagram");
    assert_eq!(from.ip(), Ipv4Addr::new(10, 9, 1, 2));
    assert!(from.port() >= 0xc000, "the port is of the flow");
    assert_eq!(buffer[..8], [0, 0, 8, 0, 0, 0, 0, 0], "Geneve with IPv4 inside");
    inside(&buffer[8..length], &geneve_frame);
}

/// The packet is the one of the frame with one hop less.
fn inside(packet: &[u8], frame: &[u8]) {
    let mut sent = frame[14..].to_vec();
    assert_eq!(packet[8], sent[8] - 1);
    assert_eq!(ones_sum(&packet[..20], 0), 0xffff, "the checksum went along");
    sent[8..12].copy_from_slice(&packet[8..12]);
    assert_eq!(packet, sent);
}
