//! Does the base path stand the same faults with features at work as it stands without any?

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use weir_appliance_control::config::Layer;
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{Answer, ConfigRequest, Request, Status};
use weir_appliance_lab::generate::afxdp::XdpSender;
use weir_dataplane_io::wait::PidFd;
use weir_tests::{BATCH, Background, DEADLINE, MESSAGE, Rig, kill, scaled, send, soon, wired};

/// No feature runs, and no rule asks for one.
const WITHOUT: &str = "features: {streaming: {enabled: false}}\n";
/// Three features, of which two take the same class.
const WITH: &str = "features: {streaming: {enabled: true}, test1: {enabled: true}, test2: {enabled: true}}
rules:
  - {name: telemetry, match: \"udp dport 48102\", action: deliver, to: [streaming, test1]}
  - {name: other, match: \"udp dport 48103\", action: deliver, to: [test2]}
";
/// Base messages of a second.
const RATE: f64 = 10_000.0;
/// How long a process stands still, in frames that must pass meanwhile.
const STILL_FRAMES: u64 = 3_000;

/// What became of the base path in a fault.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    fault: &'static str,
    lost: u64,
    balanced: bool,
}

struct Bench {
    rig: Rig,
    features: &'static str,
}

type Act = fn(&mut Bench);

/// What is done to the box; the first ones need no feature.
const FAULTS: [(&str, Act); 6] = [
    ("the dataplane is killed", Bench::kill_dataplane),
    ("the dataplane stands still", Bench::stop_dataplane),
    ("a configuration is refused", Bench::bad_configuration),
    ("the rules are exchanged", Bench::other_rules),
    ("rubbish comes to the control socket", Bench::rubbish),
    ("frames come faster than anybody takes them", Bench::flood),
];

/// What is done to features while the base path is watched.
const FEATURE_FAULTS: [(&str, Act); 3] = [
    ("a worker is killed", |bench| bench.each_worker(|_, pid| kill(pid))),
    ("every worker stands still", Bench::stop_workers),
    ("the dataplane and every worker are killed", |bench| {
        bench.each_worker(|_, pid| kill(pid));
        bench.kill_dataplane();
    }),
];

impl Bench {
    fn new(features: &'static str) -> Self {
        Self { rig: Rig::soon(features), features }
    }

    fn verdict(&mut self, fault: &'static str, act: Act) -> Verdict {
        let before = self.rig.counters();
        let load = Background::start(&self.rig, MESSAGE, RATE);
        self.passes(200);
        act(self);
        self.passes(200);
        let sent = load.finish();
        let after = self.rig.counters_after(&before, sent);
        let lost = sent - (after.forwarded - before.forwarded).min(sent);
        Verdict { fault, lost, balanced: after.is_balanced() }
    }

    /// Waits until so many more frames have come out at the right end, whoever is dead in the box.
    fn passes(&mut self, frames: u64) {
        let before = self.rig.sinks[1].count().expect("the sink counts").frames;
        let seen = self.rig.arrives(1, before + frames);
        assert!(seen >= before + frames, "the base path stands still");
    }

    fn all_run(&mut self) {
        let workers = if self.features == WITH { 3 } else { 0 };
        let running = move |status: &Status| {
            let runs = |name: &str| {
                let all = status.processes.iter().filter(|process| process.name.starts_with(name));
                all.filter(|process| process.state.as_str() == "running").count()
            };
            runs("dataplane") == 1 && runs("worker") == workers
        };
        self.rig.appliance.wait_until("everything runs again", DEADLINE, running).expect("it recovers");
    }

    fn each_worker(&mut self, act: impl Fn(&str, u32)) {
        let status = self.rig.appliance.status().expect("a status");
        for process in status.processes.iter().filter(|process| process.name.starts_with("worker")) {
            act(&process.name, process.pid);
        }
    }

    fn kill_dataplane(&mut self) {
        let pid = self.rig.appliance.process("dataplane").expect("a dataplane");
        kill(pid);
        let other = move |status: &Status| {
            status.processes.iter().any(|process| process.name == "dataplane" && process.pid != pid)
        };
        self.rig.appliance.wait_until("a new dataplane", DEADLINE, other).expect("a new dataplane");
    }

    fn stop_dataplane(&mut self) {
        let pid = self.rig.appliance.process("dataplane").expect("a dataplane");
        let process = PidFd::open(pid).expect("it runs");
        process.stop().expect("it stops");
        self.passes(STILL_FRAMES);
        process.resume().expect("it goes on");
    }

    fn stop_workers(&mut self) {
        self.each_worker(|_, pid| PidFd::open(pid).and_then(|process| process.stop()).expect("it stops"));
        self.batches(2_000); // more than a ring holds
        self.passes(STILL_FRAMES);
        self.each_worker(|_, pid| PidFd::open(pid).and_then(|process| process.resume()).expect("it goes on"));
    }

    /// Sends batches from the right end, where nobody else sends.
    fn batches(&mut self, count: u64) {
        let right = self.rig.lab.node("right").expect("the right end");
        let mut sender = XdpSender::new(right, "wire0").expect("its queue is free");
        send(&mut sender, &mut self.rig.traffic(BATCH, 4), count);
    }

    fn flood(&mut self) {
        self.batches(scaled(20_000, 2_000_000));
    }

    fn apply(&mut self, text: &str) -> Result<(), String> {
        let text = format!("{}{text}\ncontrol: {{socket: {}}}\n", soon(), self.rig.appliance.socket().display());
        let layers = vec![Layer { name: "test.yaml".to_owned(), text }];
        let request = ConfigRequest::Apply { layers, live_only: false, manner: Manner::default() };
        match self.rig.appliance.ask(&Request::Config(request)) {
            Ok(Answer::Changed(_)) => Ok(()),
            Ok(other) => panic!("another answer: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn bad_configuration(&mut self) {
        for bad in ["rules: [{match: udp dport 99999, action: drop}]", "rules: [{", "agents: 7"] {
            self.apply(bad).expect_err("it is refused");
        }
    }

    fn other_rules(&mut self) {
        for number in 0..scaled(10, 1_000) {
            let rule = format!("  - {{name: more, match: \"udp dport {}\", action: drop}}\n", 9_000 + number % 1_000);
            let rules = if self.features == WITH { rule } else { format!("rules:\n{rule}") };
            self.apply(&format!("{}{rules}", self.features)).expect("it is in force");
        }
        self.apply(self.features).expect("it is in force");
    }

    fn rubbish(&mut self) {
        for length in [1, 100, 70_000] {
            let mut stream = UnixStream::connect(self.rig.appliance.socket()).expect("a connection");
            stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
            let bytes: Vec<u8> = (0..length).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let _ = stream.write_all(&bytes); // the other side may hang up in the middle
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

fn verdicts(bench: &mut Bench, faults: &[(&'static str, Act)]) -> Vec<Verdict> {
    let verdicts = faults.iter().map(|(fault, act)| {
        let verdict = bench.verdict(fault, *act);
        bench.all_run();
        verdict
    });
    verdicts.collect()
}

#[test]
fn the_base_path_stands_with_features_what_it_stands_without() {
    wired!("the_base_path_stands_with_features_what_it_stands_without");
    let without = verdicts(&mut Bench::new(WITHOUT), &FAULTS);
    let mut bench = Bench::new(WITH);
    let with = verdicts(&mut bench, &FAULTS);
    assert_eq!(with, without, "features change what the base path stands");
    let worse = verdicts(&mut bench, &FEATURE_FAULTS);
    for verdict in without.iter().chain(&worse) {
        assert_eq!((verdict.lost, verdict.balanced), (0, true), "{verdict:?}");
    }
}
