//! Do two versions of one feature work beside each other, each in its own right, and is the one unharmed that is relied on?

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_appliance_control::config::Run;
use weir_appliance_control::message::{Answer, FeatureStanding, Request, Status};
use weir_tests::{BOX, DEADLINE, Rig, process, program, send_messages, wired};

const STREAMING: &str = "worker streaming";
const CANDIDATE: &str = "worker streaming-candidate";

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-candidate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// A copy of this test run's program.
    fn copy(&self, name: &str) -> PathBuf {
        let file = self.0.join(name);
        std::fs::copy(program("weir"), &file).expect("a program");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // the test has said what it has to say
    }
}

/// A box whose flows are halved between the two versions, the candidate running as the program in `file`.
fn halved(file: &Path) -> Rig {
    let config = BOX.replace("park_deaths: 100", "park_deaths: 3");
    let more = format!(
        "features: {{streaming: {{}}, streaming-candidate: {{program: {}}}}}\n\
         flags:\n  - {{name: canary, share: 100%, variants: [{{name: old, to: [streaming]}}, {{name: new, to: [streaming-candidate]}}]}}\n",
        file.display()
    );
    Rig::try_new(&format!("{config}{more}")).unwrap_or_else(|error| panic!("{error}"))
}

fn taken(status: &Status, name: &str) -> u64 {
    status.counters.per_taker.get(name).copied().unwrap_or(0)
}

fn standing(rig: &Rig, name: &str) -> FeatureStanding {
    let Ok(Answer::Features(features)) = rig.appliance.ask(&Request::FeatureList) else { panic!("no features") };
    features.into_iter().find(|feature| feature.name.as_str() == name).expect("it is enabled")
}

/// Messages of so many flows, ten of each.
fn send_flows(rig: &Rig, flows: u16) -> u64 {
    let mut sender = rig.sender();
    (0..flows).for_each(|flow| send_messages(&mut sender, 20_000 + flow, 1, 10));
    u64::from(flows) * 10
}

#[test]
fn each_version_has_its_flows_its_program_and_its_figures() {
    wired!("each_version_has_its_flows_its_program_and_its_figures");
    let folder = Folder::new("halves");
    let file = folder.copy("weir-next");
    let mut rig = halved(&file);
    let exe = |rig: &Rig, name| {
        let pid = rig.appliance.process(name).expect("a worker");
        std::fs::read_link(format!("/proc/{pid}/exe")).expect("it runs")
    };
    assert_eq!((exe(&rig, CANDIDATE), exe(&rig, STREAMING)), (file.clone(), program("weir")));
    let said = standing(&rig, "streaming-candidate");
    assert_eq!((said.program.as_deref(), standing(&rig, "streaming").program), (file.to_str(), None));
    let sent = send_flows(&rig, 200);
    let all = |status: &Status| taken(status, "streaming") + taken(status, "streaming-candidate") == sent;
    let status = rig.appliance.wait_until("all is taken", DEADLINE, all).unwrap_or_else(|error| panic!("{error}"));
    // 200 flows in halves: five standard deviations are 36.
    let (old, new) = (taken(&status, "streaming"), taken(&status, "streaming-candidate"));
    assert!(old.abs_diff(new) <= 2 * 360 && old.is_multiple_of(10), "{old} and {new}: a flow has one version");
    let figures = |status: &Status| {
        let window = |name: &str| {
            let feature = status.features.iter().find(|feature| feature.name.as_str() == name);
            feature.is_some_and(|feature| feature.window.is_some() && feature.events > 0)
        };
        window("streaming") && window("streaming-candidate")
    };
    rig.appliance.wait_until("windows of both", DEADLINE, figures).unwrap_or_else(|error| panic!("{error}"));
    let list = Command::new(program("weir")).args(["feature", "list", "--socket"]).arg(rig.appliance.socket()).output();
    let list = String::from_utf8_lossy(&list.expect("it runs").stdout).into_owned();
    let line = format!("streaming-candidate: runs as {}\n", file.display());
    assert!(list.contains(&line), "in a pipe nothing is cut: {list}");
}

#[test]
fn a_candidate_that_cannot_run_is_parked_and_nobody_else_notices() {
    wired!("a_candidate_that_cannot_run_is_parked_and_nobody_else_notices");
    let folder = Folder::new("broken");
    let file = folder.0.join("weir-next");
    let mut rig = halved(&file); // it is not there
    let worker = rig.appliance.process(STREAMING).expect("a worker");
    let script = |text: &str, mode: u32| {
        std::fs::write(&file, text).expect("a script");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("its mode");
    };
    let cases: [(&str, u32, &str); 4] = [
        ("", 0, "No such file"),
        ("#!/bin/sh\nexit 3\n", 0o755, "ended with code 3"),
        ("#!/bin/sh\nexit 3\n", 0o777, "others than user"),
        ("#!/bin/sh\nexit 3\n", 0o644, "not executable"),
    ];
    for (text, mode, why) in cases {
        if mode != 0 {
            script(text, mode);
            run(&rig, Run::Started);
        }
        let parked = |status: &Status| {
            let candidate = process(status, CANDIDATE);
            let reason = candidate.reason.clone().unwrap_or_default();
            candidate.state.as_str() == "parked" && reason.contains("died 3 times") && reason.contains(why)
        };
        let seen = rig.appliance.wait_until("the candidate is parked", DEADLINE, parked);
        seen.unwrap_or_else(|error| panic!("{why}: {error}"));
        // Its flows pass to the host's stack; the others are taken as ever.
        let before = rig.counters();
        let sent = send_flows(&rig, 40);
        let after = rig.counters_after(&before, sent);
        let (delivered, passed) = (after.delivered - before.delivered, after.passed - before.passed);
        assert!(delivered > 0 && delivered + passed >= sent && after.dropped_total() == 0, "{why}: {after:?}");
        assert_eq!(rig.appliance.process(STREAMING).expect("a worker"), worker, "{why}: the other went on");
    }
    std::fs::remove_file(&file).expect("removed");
    folder.copy("weir-next");
    run(&rig, Run::Started);
    let before = taken(&rig.appliance.status().expect("a status"), "streaming-candidate");
    let runs = |status: &Status| process(status, CANDIDATE).state.as_str() == "running";
    rig.appliance.wait_until("the mended one runs", DEADLINE, runs).unwrap_or_else(|error| panic!("{error}"));
    send_flows(&rig, 40);
    let takes = |status: &Status| taken(status, "streaming-candidate") > before;
    rig.appliance.wait_until("it takes", DEADLINE, takes).unwrap_or_else(|error| panic!("{error}"));
}

/// Starts or stops the candidate.
fn run(rig: &Rig, run: Run) {
    let name = "streaming-candidate".parse().expect("a feature");
    let answer = rig.appliance.ask(&Request::FeatureRun { name, run });
    assert!(matches!(answer, Ok(Answer::Changed(_))), "{answer:?}");
}
