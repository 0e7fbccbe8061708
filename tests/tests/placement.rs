//! Are cards told what the configuration says, and are they as they were after any end?

use std::process::{Command, Output};

use weir_appliance_control::message::{PlacementStatus, Status};
use weir_appliance_lab::appliance::Appliance;

use weir_appliance_lab::{Lab, LabError, LabSpec, Node};
use weir_dataplane_io::net;
use weir_dataplane_io::nic::{Napi, Setting, View, What, ethtool, instances};
use weir_dataplane_io::wait::PidFd;
use weir_tests::{DEADLINE, RULES, Rig, program, wired};

/// eth0 is told everything that veth can do, and RSS, which it cannot.
const PLACED: &str = "\
interfaces:
  - name: eth0
    placement:
      channels: 4
      rss: spread
      irqs: auto
      threaded_napi: on
      napi_cores: \"0\"
      busy_poll: {usecs: 20, budget: 32, defer_hard_irqs: 3, flush_timeout_us: 150}
  - {name: eth1}
memory: {rx_ring: 256}
";

/// What the card of eth0 in the box has: queues, threaded, deferred interrupts, flush timeout.
type Card = [String; 4];

/// Runs in the box and gives what `ask` finds.
fn in_box<T: Send>(rig: &Rig, ask: impl FnOnce() -> T + Send) -> T {
    rig.lab.node("box").expect("the box").run(ask).expect("a thread in the box")
}

fn card(node: &Node) -> Card {
    let ask = || {
        let (view, index) = (View::live(), net::interface_index("eth0").expect("eth0"));
        let read = |what| Setting { interface: "eth0".into(), index, what }.read(&view).expect("a value");
        [What::Queues, What::Threaded, What::DeferHardIrqs, What::FlushTimeout].map(read)
    };
    node.run(ask).expect("a thread in the box")
}

fn card_of(rig: &Rig) -> Card {
    card(rig.lab.node("box").expect("the box"))
}

fn texts(values: [&str; 4]) -> Card {
    values.map(str::to_owned)
}

/// A box whose eth0 has two of its four queues before weir starts. Both ends have, as XDP on veth wants of a peer.
fn rig() -> Rig {
    start(PLACED).unwrap_or_else(|error| panic!("{error}"))
}

fn start(config: &str) -> Result<Rig, LabError> {
    Rig::with_prepared_links(&format!("{config}{RULES}"), 1500, 4, two_queues)
}

fn two_queues(lab: &Lab) -> Result<(), LabError> {
    for (node, name) in [("left", "wire0"), ("box", "eth0")] {
        lab.node(node)?.run(|| {
            let mut two = ethtool::channels(name).expect("channels");
            (two.receive, two.transmit) = (2, 2);
            ethtool::set_channels(name, &two).expect("two queues");
        })?;
    }
    Ok(())
}

fn told<'a>(status: &'a Status, setting: &str) -> &'a PlacementStatus {
    let port = &status.interfaces[0];
    port.placement.iter().find(|set| set.setting == setting).unwrap_or_else(|| panic!("{setting} in {port:?}"))
}

fn down(rig: &Rig) -> Output {
    let mut command = Command::new(program("weir"));
    command.args(["down", "--socket"]).arg(rig.appliance.socket());
    in_box(rig, move || command.output().expect("weir down"))
}

const BEFORE: [&str; 4] = ["2", "0", "0", "0"];
const DURING: [&str; 4] = ["4", "1", "3", "150000"];

#[test]
fn a_card_is_told_and_is_as_it_was_after_the_end() {
    wired!("a_card_is_told_and_is_as_it_was_after_the_end");
    let mut rig = rig();
    let status = rig.appliance.status().expect("a status");
    assert_eq!(card_of(&rig), texts(DURING));
    assert_eq!(status.interfaces[0].queues, 4, "the queues that were set are the ones in use");
    assert_eq!(told(&status, "queues").before.as_deref(), Some("2"));
    assert_eq!(told(&status, "busy_poll").refused, None);
    for (setting, word) in [("rss", "RSS table of eth0"), ("irqs", "virtual interface")] {
        let why = told(&status, setting).refused.clone().expect("veth has none");
        assert!(why.contains(word) && why.contains("keep") && !why.contains('\n'), "{why}");
        assert!(rig.appliance.log_tail().contains(&why), "it is said where it happens: {}", rig.appliance.log_tail());
    }
    assert!(status.interfaces[1].placement.is_empty(), "eth1 is told nothing");
    let threads: Vec<Napi> = in_box(&rig, || instances(net::interface_index("eth0").expect("eth0")).expect("NAPI"));
    assert_eq!(threads.iter().filter(|napi| napi.thread.is_some()).count(), 4);
    for napi in &threads {
        assert_eq!(told(&status, &format!("napi:{}", napi.id)).refused, None);
        let allowed = std::fs::read_to_string(format!("/proc/{}/status", napi.thread.expect("a thread")));
        let allowed = allowed.expect("the thread is seen");
        let list = allowed.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        assert_eq!(list.map(str::trim), Some("0"), "its thread is on the core that was named");
    }
    assert!(rig.appliance.stop());
    assert_eq!(card_of(&rig), texts(BEFORE));
}

#[test]
fn a_killed_dataplane_is_followed_by_one_that_knows_what_was_before() {
    wired!("a_killed_dataplane_is_followed_by_one_that_knows_what_was_before");
    let mut rig = rig();
    let first = rig.appliance.process("dataplane").expect("a dataplane");
    PidFd::open(first).and_then(|process| process.kill()).expect("it runs");
    let again = |status: &Status| {
        status.processes.iter().any(|process| process.name == "dataplane" && process.pid != first && process.pid != 0)
    };
    let status = rig.appliance.wait_until("a new dataplane", DEADLINE, again).expect("a new dataplane");
    assert_eq!(told(&status, "queues").before.as_deref(), Some("2"), "not the 4 that the dead one had set");
    assert_eq!(card_of(&rig), texts(DURING));
    assert!(rig.appliance.stop());
    assert_eq!(card_of(&rig), texts(BEFORE));
}

#[test]
fn what_a_killed_weir_left_goes_back_with_down_or_with_the_next_start() {
    wired!("what_a_killed_weir_left_goes_back_with_down_or_with_the_next_start");
    let mut rig = rig();
    rig.appliance.kill();
    assert_eq!(card_of(&rig), texts(DURING), "nobody was left to put it back");
    // The dataplane dies with its supervisor, but not in the same moment.
    let end = std::time::Instant::now() + DEADLINE;
    let mut said = down(&rig);
    while !said.status.success() && std::time::Instant::now() < end {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
        said = down(&rig);
    }
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains("card settings put back"), "{text} {}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(card_of(&rig), texts(BEFORE));
    assert!(!rig.appliance.socket().with_file_name("cards").exists());
}

#[test]
fn a_start_with_another_configuration_puts_back_what_it_does_not_want() {
    wired!("a_start_with_another_configuration_puts_back_what_it_does_not_want");
    let mut rig = rig();
    rig.appliance.kill();
    let config = format!("{}{RULES}", PLACED.replace("      threaded_napi: on\n      napi_cores: \"0\"\n", ""));
    let node = rig.lab.node("box").expect("the box");
    let next = Appliance::start(&rig.lab, node, &program("weir"), &config);
    rig.appliance = next.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(card_of(&rig), texts(["4", "0", "3", "150000"]), "threads are not wanted any more");
    assert!(rig.appliance.stop());
    assert_eq!(card_of(&rig), texts(BEFORE));
}

#[test]
fn what_is_required_and_refused_stops_the_start_and_leaves_the_card_alone() {
    wired!("what_is_required_and_refused_stops_the_start_and_leaves_the_card_alone");
    let mut spec = LabSpec::line();
    spec.links.iter_mut().for_each(|link| link.queues = 4);
    let lab = Lab::create(&spec).unwrap_or_else(|error| panic!("{error}"));
    two_queues(&lab).unwrap_or_else(|error| panic!("{error}"));
    let node = lab.node("box").expect("the box");
    let required = PLACED.replace("      channels: 4\n", "      channels: 4\n      strength: require\n");
    // Queues are set before the card refuses RSS; without RSS in the configuration it is the interrupts that it refuses, and
    // threads and timers are set by then.
    for (config, refused) in [(required.clone(), "RSS table"), (required.replace("rss: spread", "rss: keep"), "irqs")] {
        let started = Appliance::start(&lab, node, &program("weir"), &format!("{config}{RULES}"));
        let error = started.expect_err("this is required of a veth").to_string();
        assert!(error.contains(refused) && error.contains("placement.strength: prefer"), "{error}");
        assert_eq!(card(node), texts(BEFORE), "{refused}");
    }
}
