//! Is a worker held to what its feature has, and is nothing left of it after any end?

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{Answer, ConfigRequest, Enforcer, FeatureShare, Request, ResourcesReport};
use weir_appliance_lab::appliance::Appliance;
use weir_appliance_lab::{Lab, LabSpec};
use weir_dataplane_io::cgroup::{Controller, find};
use weir_dataplane_io::wait::PidFd;
use weir_tests::{BATCH, BOX, DEADLINE, RULES, Rig, program, send, wired};

fn report(rig: &Rig) -> ResourcesReport {
    match rig.appliance.ask(&Request::Resources).unwrap_or_else(|error| panic!("{error}")) {
        Answer::Resources(report) => *report,
        other => panic!("{other:?}"),
    }
}

fn share<'a>(report: &'a ResourcesReport, name: &str) -> &'a FeatureShare {
    report.features.iter().find(|share| share.name == name).unwrap_or_else(|| panic!("{name} in {report:?}"))
}

fn held(share: &FeatureShare, what: &str) -> Enforcer {
    share.lines.iter().find(|line| line.what == what).unwrap_or_else(|| panic!("{what} of {share:?}")).by
}

/// The groups that weir has made, by controller.
fn groups(report: &ResourcesReport) -> Vec<(String, PathBuf)> {
    let made = report.controllers.iter();
    made.filter_map(|it| Some((it.controller.clone(), PathBuf::from(it.group.clone()?)))).collect()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

/// The CPUs that a process may run on.
fn allowed(pid: u32) -> String {
    let status = text(Path::new(&format!("/proc/{pid}/status")));
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.map(|list| list.trim().to_owned()).unwrap_or_default()
}

fn limit_of_data(pid: u32) -> u64 {
    let limits = text(Path::new(&format!("/proc/{pid}/limits")));
    let line = limits.lines().find(|line| line.starts_with("Max data size")).expect("a line of data");
    line.split_whitespace().nth(3).and_then(|word| word.parse().ok()).expect("a number")
}

/// Waits until `so` holds of the plan in force.
fn until(rig: &Rig, what: &str, so: impl Fn(&ResourcesReport) -> bool) -> ResourcesReport {
    let end = Instant::now() + DEADLINE;
    loop {
        let now = report(rig);
        if so(&now) {
            return now;
        }
        assert!(Instant::now() < end, "{what}: {now:#?}");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_worker_is_in_its_group_and_the_groups_go_with_weir() {
    wired!("a_worker_is_in_its_group_and_the_groups_go_with_weir");
    let mut rig = Rig::new(&format!(
        "{RULES}resources: {{features: {{streaming: {{memory: 256MiB, cpu_weight: 200, class: critical}}}}}}\n"
    ));
    let before = report(&rig);
    let streaming = share(&before, "streaming").clone();
    let pid = rig.appliance.process("worker streaming").expect("a worker");
    assert_eq!(streaming.pid, Some(pid));
    assert_eq!((streaming.memory_bytes, held(&streaming, "memory")), (256 << 20, Enforcer::Rlimit));
    assert_eq!(limit_of_data(pid), 256 << 20);
    let pinned = streaming.pinned.expect("a core");
    assert_eq!(allowed(pid), pinned.to_string());
    let made = groups(&before);
    for controller in [Controller::Cpu, Controller::Cpuset] {
        // Where this host lets weir make groups it makes them, below the one that this test is in.
        let Ok(found) = find(Path::new("/"), controller) else {
            println!("weir-skip: no control group of {controller} here");
            continue;
        };
        let folder = &made.iter().find(|(name, _)| name == controller.name()).expect("a group").1;
        assert_eq!(folder.parent(), Some(found.own.as_path()), "below the group that weir was started in");
        let group = folder.join("streaming");
        assert!(text(&group.join("cgroup.procs")).lines().any(|line| line == pid.to_string()), "{}", group.display());
        match controller {
            Controller::Cpu if group.join("cpu.shares").exists() => {
                assert_eq!(text(&group.join("cpu.shares")), "2048");
            }
            Controller::Cpu => assert_eq!(text(&group.join("cpu.weight")), "200"),
            _ => assert!(text(&group.join("cpuset.cpus")).contains(&pinned.to_string())),
        }
    }
    assert!(
        before.isolation.starts_with("not isolated") && before.isolation.contains("caches"),
        "{}",
        before.isolation
    );
    assert!(!made.iter().any(|(name, _)| name == "memory"), "no memory group unless it is asked for: {made:?}");
    // One that is killed is followed by one that is held as well.
    PidFd::open(pid).and_then(|process| process.kill()).expect("it runs");
    let again = until(&rig, "a new worker", |now| share(now, "streaming").pid.is_some_and(|now| now != pid));
    let next = share(&again, "streaming").pid.expect("a worker");
    assert_eq!(limit_of_data(next), 256 << 20);
    assert!(made.iter().all(|(_, folder)| text(&folder.join("streaming/cgroup.procs")).contains(&next.to_string())));
    let status = rig.appliance.status().expect("a status");
    assert!(status.resources.is_some_and(|now| !now.features.is_empty()));
    assert!(rig.appliance.stop());
    for (_, folder) in &made {
        assert!(!folder.exists(), "{} is left behind", folder.display());
    }
}

/// Nanoseconds that a process has run, as the scheduler counts them.
fn ran(pid: u32) -> u64 {
    let text = text(Path::new(&format!("/proc/{pid}/schedstat")));
    text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

/// What two processes have run while both together ran for half a second.
fn race(one: u32, other: u32) -> (u64, u64) {
    let (first, second) = (ran(one), ran(other));
    let end = Instant::now() + DEADLINE;
    loop {
        let (one, other) = (ran(one) - first, ran(other) - second);
        if one + other > 500_000_000 {
            return (one, other);
        }
        assert!(Instant::now() < end, "they ran {one} and {other} ns");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_critical_worker_has_the_core_before_a_batch_one() {
    wired!("a_critical_worker_has_the_core_before_a_batch_one");
    // Both spin on one core, so each takes what it gets.
    const FEATURES: &str = "features: {streaming: {wait: spin}, test1: {wait: spin}}\n";
    let rig = Rig::new(&format!("{RULES}cores: {{batch: \"0\"}}\n{FEATURES}"));
    let before = report(&rig);
    let [streaming, test1] = ["streaming", "test1"].map(|name| share(&before, name).pid.expect("it runs"));
    assert_eq!(share(&before, "streaming").pinned, share(&before, "test1").pinned, "one core for both");
    let (first, second) = race(streaming, test1);
    assert!(first < 4 * second && second < 4 * first, "both critical: {first} and {second} ns");
    let file = std::fs::read_to_string(rig.appliance.config()).expect("the configuration");
    let text = file.replace(FEATURES, &format!("{FEATURES}resources: {{features: {{test1: {{class: batch}}}}}}\n"));
    let layers = vec![weir_appliance_control::config::Layer { name: "weir.yaml".into(), text }];
    let apply = ConfigRequest::Apply { layers, live_only: false, manner: Manner::default() };
    rig.appliance.ask(&Request::Config(apply)).unwrap_or_else(|error| panic!("{error}"));
    let after = report(&rig);
    assert_eq!((share(&after, "test1").class.as_str(), share(&after, "test1").pid), ("batch", Some(test1)));
    let (first, second) = race(streaming, test1);
    assert!(
        first > 4 * second,
        "one of them batch: {first} and {second} ns, held by {:?}",
        held(share(&after, "test1"), "class")
    );
}

fn down(rig: &Rig) -> Output {
    let mut command = Command::new(program("weir"));
    command.args(["down", "--socket"]).arg(rig.appliance.socket());
    command.output().expect("weir down")
}

#[test]
fn what_a_killed_weir_left_goes_with_down() {
    wired!("what_a_killed_weir_left_goes_with_down");
    let mut rig = Rig::new(RULES);
    let made = groups(&report(&rig));
    rig.appliance.kill();
    // The dataplane dies with its supervisor, but not in the same moment.
    let end = Instant::now() + DEADLINE;
    let mut said = down(&rig);
    while !said.status.success() && Instant::now() < end {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
        said = down(&rig);
    }
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(made.is_empty() || !text.contains(" 0 control groups"), "{text}");
    for (_, folder) in &made {
        assert!(!folder.exists(), "{} is left behind: {text}", folder.display());
    }
}

#[test]
fn asks_beyond_the_machine_stop_a_start_with_nothing_half_done_and_a_change_with_nothing_changed() {
    wired!("asks_beyond_the_machine_stop_a_start_with_nothing_half_done_and_a_change_with_nothing_changed");
    let over = |critical: u32| {
        format!(
            "features: {{streaming: {{}}, test1: {{}}}}\nresources: {{features: {{streaming: {{cores: {{critical: {critical}}}}}, \
             test1: {{cores: {{critical: 400}}}}}}}}\n"
        )
    };
    let lab = Lab::create(&LabSpec::line()).unwrap_or_else(|error| panic!("{error}"));
    let node = lab.node("box").expect("the box");
    let started = Appliance::start(&lab, node, &program("weir"), &format!("{BOX}{RULES}{}", over(500)));
    let error = started.expect_err("no machine has 900 cores").to_string();
    assert!(error.contains("500 + 400 = 900 critical cores") && error.contains("lower `critical` of"), "{error}");
    assert!(error.contains("nothing was left behind"), "{error}");
    assert!(!lab.folder().join("groups").exists(), "no group was made");
    let pins = Path::new("/sys/fs/bpf/weir").join(lab.folder().file_name().expect("a name"));
    assert!(!pins.exists(), "no classifier was loaded");
    drop(lab);

    let rig = Rig::new(&format!("{RULES}features: {{streaming: {{}}, test1: {{}}}}\n"));
    let before = report(&rig);
    let apply = |more: &str| {
        let file = std::fs::read_to_string(rig.appliance.config()).expect("the configuration");
        let file = file.replace("features: {streaming: {}, test1: {}}\n", more);
        let layers = vec![weir_appliance_control::config::Layer { name: "weir.yaml".into(), text: file }];
        let (live_only, manner) = (false, Manner::default());
        rig.appliance.ask(&Request::Config(ConfigRequest::Apply { layers, live_only, manner }))
    };
    let refused = apply(&over(500)).expect_err("too much").to_string();
    assert!(refused.contains("500 + 400 = 900 critical cores"), "{refused}");
    assert_eq!(report(&rig).features, before.features);
    let pid = share(&before, "test1").pid.expect("it runs");
    let more = "features: {streaming: {}, test1: {}}\nresources: {features: {test1: {memory: 64MiB, class: batch}}}\n";
    apply(more).unwrap_or_else(|error| panic!("{error}"));
    let after = report(&rig);
    let test1 = share(&after, "test1");
    assert_eq!(
        (test1.memory_bytes, test1.class.as_str(), test1.pid),
        (64 << 20, "batch", Some(pid)),
        "it changes live"
    );
    // Another user's process, as a worker is by then, can be limited with CAP_SYS_RESOURCE only; else the line says so.
    let line = test1.lines.iter().find(|line| line.what == "memory").expect("a line");
    assert!(limit_of_data(pid) == 64 << 20 || line.why.ends_with("until it starts again"), "{line:?}");
    PidFd::open(pid).and_then(|process| process.kill()).expect("it runs");
    let again = until(&rig, "a new worker", |now| share(now, "test1").pid.is_some_and(|now| now != pid));
    let pid = share(&again, "test1").pid.expect("it runs");
    assert_eq!(limit_of_data(pid), 64 << 20);
    if let Some((_, folder)) = groups(&after).iter().find(|(name, _)| name == "cpu") {
        assert_eq!(text(&folder.join("test1/cpu.idle")), "1");
        assert_eq!(text(&folder.join("streaming/cpu.idle")), "0");
    }
}

#[test]
fn an_idle_core_is_lent_while_a_feature_is_in_need_and_goes_back() {
    wired!("an_idle_core_is_lent_while_a_feature_is_in_need_and_goes_back");
    if weir_dataplane_io::cpu::allowed_cpus().len() < 2 {
        return println!("weir-skip: one CPU has nothing to lend");
    }
    // Both features on batch cores of their own; the data plane's thread beside one of them, since there are two CPUs.
    let mut rig = Rig::new(
        "rules:\n  - {name: telemetry, match: \"udp dport 48102\", action: deliver, to: [streaming]}\n\
         cores: {critical: \"1\", batch: \"0,1\"}\nfeatures: {streaming: {}, test1: {}}\n\
         resources: {features: {streaming: {cores: {batch: 1}}, test1: {cores: {batch: 1}}}}\n",
    );
    let start = report(&rig);
    let (own, other) =
        (share(&start, "streaming").pinned.expect("a core"), share(&start, "test1").pinned.expect("one"));
    assert_ne!(own, other);
    let pid = share(&start, "streaming").pid.expect("it runs");
    // A worker that rests after each batch cannot keep up: frames wait on its ring.
    let slow =
        Request::ChaosSlow { feature: "streaming".parse().expect("a feature"), delay_us: 1_000_000, seconds: 3600 };
    rig.appliance.ask(&slow).unwrap_or_else(|error| panic!("{error}"));
    let (mut sender, mut traffic) = (rig.sender(), rig.traffic(BATCH, 1));
    let end = Instant::now() + DEADLINE;
    let lent = loop {
        send(&mut sender, &mut traffic, 256);
        let now = report(&rig);
        if !now.leases.is_empty() {
            break now;
        }
        assert!(Instant::now() < end, "no core was lent: {now:#?}");
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    };
    let lease = &lent.leases[0];
    assert_eq!((lease.cpu, lease.from.as_deref(), lease.to.as_str()), (other, Some("test1"), "streaming"));
    assert_eq!(share(&lent, "streaming").borrowed, [other]);
    assert_eq!(allowed(pid), format!("{}-{}", own.min(other), own.max(other)), "it may run on both");
    if let Some((_, folder)) = groups(&lent).iter().find(|(name, _)| name == "cpuset") {
        assert_eq!(text(&folder.join("streaming/cpuset.cpus")), format!("{}-{}", own.min(other), own.max(other)));
    }
    let quick = Request::ChaosSlow { feature: "streaming".parse().expect("a feature"), delay_us: 0, seconds: 1 };
    rig.appliance.ask(&quick).unwrap_or_else(|error| panic!("{error}"));
    let back = until(&rig, "the core goes back", |now| now.leases.is_empty());
    let events: Vec<_> = back.trace.iter().map(|event| (event.lease.cpu, event.back.is_some())).collect();
    assert_eq!(events[..2], [(other, false), (other, true)], "the trace of the step: {events:?}");
    let placed = until(&rig, "it is on its own core", |_| allowed(pid) == own.to_string());
    assert!(share(&placed, "streaming").borrowed.is_empty());
    assert!(rig.appliance.stop());
}
