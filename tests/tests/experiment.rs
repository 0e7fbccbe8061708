//! Does an experiment on a flag prove what it promotes, take back what hurts at once, and hold where nothing is measured?

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_appliance_control::experiments::Ending;
use weir_appliance_control::message::{
    Answer, Changed, ConfigRequest, ExperimentReplay, ExperimentShown, ExperimentStatus, FlagChange, FlagStatus,
    Request,
};
use weir_appliance_control::name::{ExperimentName, FlagName};
use weir_appliance_control::share::Share;
use weir_appliance_experiment::{Arms, Guardrail, Metric, SLICES, Spec, Stage, Verdict};
use weir_appliance_lab::LabError;
use weir_dataplane_io::wait::PidFd;
use weir_tests::{Background, MESSAGE, Rig, program, scaled, wired};

/// One flag whose arms are two versions of one feature.
const VERSIONS: &str = "\
features: {streaming: {}, streaming-candidate: {}}
flags:
  - {name: canary, share: 0%, variants: [{name: old, to: [streaming]}, {name: new, to: [streaming-candidate]}]}
";
/// One flag whose arms are two features of the same kind, and one whose arms share a feature, so that nothing differs for it.
const TWO: &str = "\
features: {streaming: {enabled: false}, test1: {enabled: true}, test2: {enabled: true}}
flags:
  - {name: canary, share: 0%, variants: [{name: old, to: [test1]}, {name: new, to: [test2]}]}
";
const ALIKE: &str = "\
features: {streaming: {enabled: false}, test1: {enabled: true}, test2: {enabled: true}}
flags:
  - {name: canary, share: 0%, variants: [{name: old, to: [test1]}, {name: new, to: [test1, test2]}]}
";
/// Frames a second: at a share of 40 % some 400 for each arm in a slice.
const RATE: f64 = 10_000.0;
/// Longest wait for an experiment's end.
const LONG: Duration = Duration::from_secs(600);

/// Latencies are compared here, so only one of these tests uses the machine at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name() -> ExperimentName {
    "try".parse().expect("a name")
}

fn flag() -> FlagName {
    "canary".parse().expect("a name")
}

fn spec(metrics: &[Metric]) -> Spec {
    let arms = Arms::Variants { control: "old".into(), candidate: "new".into() };
    let mut spec = Spec::new("try", "canary", arms);
    spec.guardrails = metrics.iter().map(|metric| Guardrail::of(*metric)).collect();
    (spec.window_ms, spec.steps) = (8_000, vec![4_000, 7_000, 10_000]);
    spec
}

fn changed(answer: Result<Answer, LabError>) -> Result<Changed, String> {
    match answer {
        Ok(Answer::Changed(changed)) => Ok(changed),
        Ok(other) => panic!("another answer: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn create(rig: &Rig, spec: Spec) -> Result<Changed, String> {
    changed(rig.appliance.ask(&Request::ExperimentCreate { spec: Box::new(spec), reason: "a try".to_owned() }))
}

fn show(rig: &Rig) -> Result<ExperimentShown, LabError> {
    match rig.appliance.ask(&Request::ExperimentShow { name: name() })? {
        Answer::Experiment(shown) => Ok(*shown),
        other => panic!("another answer: {other:?}"),
    }
}

/// The experiment, once it is so.
fn until(rig: &Rig, what: &str, is_so: impl Fn(&ExperimentStatus) -> bool) -> ExperimentShown {
    let end = Instant::now() + LONG;
    loop {
        // A dataplane that starts again does not answer for a moment.
        let shown = show(rig);
        if let Ok(shown) = &shown
            && is_so(&shown.experiment)
        {
            return shown.clone();
        }
        assert!(Instant::now() < end, "{what}: {shown:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn is_over(status: &ExperimentStatus) -> bool {
    status.outcome.is_some()
}

fn ending(shown: &ExperimentShown) -> (Ending, &str) {
    let outcome = shown.experiment.outcome.as_ref().expect("it is over");
    (outcome.ending, &outcome.reason)
}

fn flag_now(rig: &Rig) -> FlagStatus {
    match rig.appliance.ask(&Request::FlagList) {
        Ok(Answer::Flags(flags)) => flags.into_iter().find(|status| status.flag.name == flag()).expect("the flag"),
        other => panic!("no flags: {other:?}"),
    }
}

fn share(text: &str) -> Share {
    text.parse().expect("a share")
}

fn replayed(rig: &Rig) -> ExperimentReplay {
    match rig.appliance.ask(&Request::ExperimentReplay { name: name() }) {
        Ok(Answer::Replayed(replay)) => replay,
        other => panic!("no replay: {other:?}"),
    }
}

/// A replay gives every decision as it is stored, and that of the last window.
fn replays(rig: &Rig, shown: &ExperimentShown) {
    let replay = replayed(rig);
    assert!(replay.same && replay.windows as usize == shown.windows.len(), "{replay:?}");
    let stored: Vec<_> = shown.windows.iter().map(|window| window.decision.clone()).collect();
    assert_eq!(replay.decisions, stored);
}

fn slow(rig: &Rig, feature: &str, delay_us: u64) {
    let feature = feature.parse().expect("a feature");
    rig.appliance.ask(&Request::ChaosSlow { feature, delay_us, seconds: 600 }).expect("a slow feature");
}

/// Slices measured so far, all windows together.
fn slices(status: &ExperimentStatus) -> u32 {
    status.windows * SLICES as u32 + status.slices
}

#[test]
fn a_feature_that_gets_slower_by_5_ms_is_rolled_back_within_a_window() {
    wired!("a_feature_that_gets_slower_by_5_ms_is_rolled_back_within_a_window");
    let _alone = alone();
    let rig = Rig::new(VERSIONS);
    let _load = Background::of(&rig, MESSAGE, 256, RATE);
    let said = create(&rig, spec(&[Metric::Lost, Metric::LatencyP50, Metric::LatencyP99])).expect("it begins");
    assert!(said.text.contains("40% of the flows, its noise floor is measured"), "{said:?}");
    assert_eq!(flag_now(&rig).has, share("40%"));
    let first = until(&rig, "the noise floor", |status| is_over(status) || status.stage != Stage::Noise);
    assert!(!is_over(&first.experiment), "{first:?}");
    let floors = &first.windows[0].decision.evidence;
    assert!(floors.iter().all(|found| found.floor.is_some()), "the noise floor is published first: {floors:?}");
    slow(&rig, "streaming-candidate", 5_000);
    let before = slices(&show(&rig).expect("it runs").experiment);
    let shown = until(&rig, "the end", is_over);
    let (how, why) = ending(&shown);
    assert_eq!(how, Ending::RolledBack, "{shown:?}");
    assert!(why.starts_with("latency_p"), "{why}");
    let last = shown.windows.last().expect("a window");
    // The last window ended when it was decided; its slices are those before.
    let used = (last.number - 1) * SLICES as u32 + last.decision.evidence[1].slices;
    assert!(used <= before + SLICES as u32, "{used} slices, slow since {before}");
    let flag = flag_now(&rig);
    assert_eq!((flag.flag.share, flag.has), (Share::NONE, Share::NONE), "the flag is what it was before");
    let Ok(Answer::History(rows)) = rig.appliance.ask(&Request::Config(ConfigRequest::History { limit: 2 })) else {
        panic!("no history")
    };
    assert!(rows[0].author == "experiment try" && rows[0].reason.starts_with("latency_p"), "{rows:?}");
    assert_eq!(rows[0].writes, ["flags/canary"], "windows are no changes of the configuration");
    replays(&rig, &shown);
}

#[test]
fn clean_candidates_climb_all_steps_without_an_alarm() {
    wired!("clean_candidates_climb_all_steps_without_an_alarm");
    let _alone = alone();
    let rig = Rig::new(ALIKE);
    let _load = Background::of(&rig, MESSAGE, 256, RATE);
    for run in 1..=scaled(1, 40) {
        let mut spec = spec(&[Metric::Throughput, Metric::Lost, Metric::LatencyP99]);
        // The two rings of one worker differ a little for good: one is read after the other.
        spec.guardrails[2].tolerance_ppm = 200_000;
        create(&rig, spec).expect("it begins");
        let shown = until(&rig, "the end", is_over);
        assert_eq!(ending(&shown).0, Ending::Promoted, "{shown:?}");
        println!("clean run {run}: promoted after {} windows, {} bytes", shown.windows.len(), shown.experiment.bytes);
        let promoted = shown.windows.iter().filter(|window| window.decision.verdict == Verdict::Promote).count();
        assert_eq!(promoted, 3, "{shown:?}");
        assert_eq!(flag_now(&rig).has, Share::ALL);
        replays(&rig, &shown);
        let back = FlagChange { share: Some(Share::NONE), ..FlagChange::default() };
        changed(rig.appliance.ask(&Request::FlagSet { name: flag(), change: back }))
            .expect("the flag is anybody's again");
        changed(rig.appliance.ask(&Request::ExperimentRemove { name: name() })).expect("it is over");
        assert!(show(&rig).is_err());
    }
}

#[test]
fn no_traffic_holds() {
    wired!("no_traffic_holds");
    let rig = Rig::new(TWO);
    let spec = Spec { patience: 2, ..spec(&[Metric::Lost, Metric::LatencyP99]) };
    create(&rig, spec).expect("it begins");
    let running = || rig.appliance.status().expect("a status").experiments;
    let [experiment] = running().try_into().expect("the status names it");
    assert_eq!((experiment.spec.flag.as_str(), experiment.stage), (flag().as_str(), Stage::Noise), "{experiment:?}");
    let shown = until(&rig, "the end", is_over);
    let (how, why) = ending(&shown);
    assert_eq!(how, Ending::Held, "{shown:?}");
    assert!(why.contains("no data") && why.contains("2 windows in a row"), "{why}");
    assert!(running().is_empty(), "one that is over is in the list of experiments alone");
    assert!(shown.windows.iter().all(|window| window.decision.verdict == Verdict::Hold && window.decision.no_data));
    assert_eq!(flag_now(&rig).has, share("40%"), "it stays as it is");
    replays(&rig, &shown);
}

#[test]
fn a_metric_that_stops_arriving_holds() {
    wired!("a_metric_that_stops_arriving_holds");
    let _alone = alone();
    let rig = Rig::new(TWO);
    let _load = Background::of(&rig, MESSAGE, 256, RATE);
    let spec = Spec { patience: 1, ..spec(&[Metric::LatencyP99]) };
    create(&rig, spec).expect("it begins");
    until(&rig, "the noise floor", |status| status.stage != Stage::Noise);
    // One batch a second is too few frames to say anything of a percentile.
    slow(&rig, "test2", 1_000_000);
    let shown = until(&rig, "the end", is_over);
    let (how, why) = ending(&shown);
    assert_eq!(how, Ending::Held, "{shown:?}");
    assert!(why.contains("no data: latency_p99 came in"), "{why}");
    assert!(shown.windows.iter().all(|window| window.decision.verdict != Verdict::RollBack), "{shown:?}");
    replays(&rig, &shown);
}

#[test]
fn a_killed_dataplane_goes_on_with_the_windows_it_had() {
    wired!("a_killed_dataplane_goes_on_with_the_windows_it_had");
    let _alone = alone();
    let mut rig = Rig::new(TWO);
    let _load = Background::of(&rig, MESSAGE, 256, RATE);
    // It climbs a step with each window, and is in the middle when the dataplane dies.
    let spec = spec(&[Metric::Lost]);
    create(&rig, spec).expect("it begins");
    let before =
        until(&rig, "a window of a step", |status| is_over(status) || status.windows == 2 && status.slices > 3);
    assert!(!is_over(&before.experiment), "{before:?}");
    let first = replayed(&rig);
    let dataplane = rig.appliance.process("dataplane").expect("a process");
    PidFd::open(dataplane).and_then(|process| process.kill()).expect("it is killed");
    let after = until(&rig, "it goes on", |status| status.windows > 2);
    rig.appliance.wait_ready().expect("workers are back");
    assert_eq!(after.windows[..2], before.windows[..2], "what was decided stays decided");
    let again = replayed(&rig);
    assert!(again.same && first.same && again.decisions[..2] == first.decisions[..2], "{again:?}");
    let shown = until(&rig, "the end", is_over);
    assert!(matches!(ending(&shown).0, Ending::Held | Ending::Promoted), "{shown:?}");
    replays(&rig, &shown);
}

#[test]
fn what_cannot_be_is_refused_and_a_hand_on_the_flag_ends_it() {
    wired!("what_cannot_be_is_refused_and_a_hand_on_the_flag_ends_it");
    let rig = Rig::new(TWO);
    let weir = |words: &[&str]| {
        let mut command = Command::new(program("weir"));
        let output = command.arg("experiment").args(words).arg("--socket").arg(rig.appliance.socket()).output();
        let output = output.expect("weir runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let arms = ["--control", "old", "--candidate", "new"];
    let refused: [(&[&str], &str); 6] = [
        (&["--flag", "canary", "--metric", "speed"], "throughput, lost, latency_p50, latency_p99"),
        (&["--flag", "nobody"], "no flag has this name"),
        (&["--flag", "canary"], "name two of them with --control and --candidate"),
        (&["--flag", "canary", "--control", "old", "--candidate", "other"], "name one of its variants: old, new"),
        (&["--flag", "canary", "--control", "old", "--candidate", "old"], "the same variant"),
        (&["--flag", "canary", "--control", "old", "--candidate", "new", "--window", "1s"], "a window is 8000"),
    ];
    for (words, cause) in refused {
        let (code, text) = weir(&[&["create"], words].concat());
        assert!(code == Some(2) && text.contains(cause), "{words:?}: {code:?} {text}");
    }
    assert_eq!(flag_now(&rig).flag.share, Share::NONE, "nothing has changed");

    let begin = [&["create", "try", "--flag", "canary", "--window", "10s", "--reason", "a try"], &arms[..]].concat();
    let (code, text) = weir(&begin);
    assert!(code == Some(0) && text.contains("flag canary has 5% of the flows"), "{text}");
    let (_, text) = weir(&[&["create", "more", "--flag", "canary"], &arms[..]].concat());
    assert!(text.contains("experiment try runs on this flag"), "{text}");
    let (_, text) = weir(&["remove", "try"]);
    assert!(text.contains("stop it first"), "{text}");
    until(&rig, "a slice", |status| status.slices > 0);
    let (code, text) = weir(&["show", "try"]);
    assert!(code == Some(0) && text.contains("variant new beside variant old") && text.contains("no data"), "{text}");
    assert!(!text.contains('…'), "in a pipe nothing is cut: {text}");

    let more = FlagChange { share: Some(share("50%")), ..FlagChange::default() };
    changed(rig.appliance.ask(&Request::FlagSet { name: flag(), change: more })).expect("it is anybody's flag");
    let shown = until(&rig, "it sees that", is_over);
    let (how, why) = ending(&shown);
    assert!(how == Ending::Stopped && why.starts_with("the flag was changed by root"), "{why}");
    assert_eq!(flag_now(&rig).has, share("50%"), "and leaves it");
    let (_, text) = weir(&["remove", "try"]);
    assert!(text.contains("forgotten"), "{text}");

    let back = FlagChange { share: Some(Share::NONE), ..FlagChange::default() };
    changed(rig.appliance.ask(&Request::FlagSet { name: flag(), change: back })).expect("a share");
    assert_eq!(weir(&begin).0, Some(0));
    let (_, text) = weir(&["stop", "try", "--roll-back", "--reason", "enough"]);
    assert!(text.contains("flag canary is what it was before"), "{text}");
    assert_eq!(flag_now(&rig).flag.share, Share::NONE);
    let (code, text) = weir(&["list", "--json"]);
    assert!(code == Some(0) && text.contains("enough") && text.contains("\"stopped\""), "{text}");
}
