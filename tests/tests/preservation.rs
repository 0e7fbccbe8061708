//! Does the box see what a change or a feature does to its base path, take back what hurts, and leave alone what does not?

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_appliance_control::config::{RuleAction, Run};
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{
    Answer, Changed, Compared, ConfigRequest, FeatureStanding, HistoryRow, NewRule, PreservationRun,
    PreservationStatus, ProcessState, Request,
};
use weir_appliance_control::share::Share;
use weir_appliance_experiment::base::{Figure, Ruling, SLICES, judge};
use weir_appliance_lab::LabError;
use weir_appliance_lab::generate::Sender;
use weir_dataplane_io::clock::monotonic_ns;
use weir_tests::{BATCH, MESSAGE, Rig, kill, program, wired};

/// Longest wait for a comparison's end.
const LONG: Duration = Duration::from_secs(120);
/// How late messages are on purpose, in nanoseconds.
const LATE_NS: u64 = 5_000_000;
/// Messages in a millisecond: 250 in a slice of 50 ms.
const BURST: usize = 5;
/// What equals differ by on a machine that others use meanwhile is no business of these tests.
const LIMITS: &str = "window_seconds: 5, throughput_loss: 40%, late_more: 50%";

/// Times are compared here, so only one of these tests uses the machine at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Base messages from the left end, which leave it so long after their stamp: what a queue in front of the box does.
struct Base {
    stop: Arc<AtomicBool>,
    late_ns: Arc<AtomicU64>,
    /// Messages and batches that left.
    thread: Option<std::thread::JoinHandle<[u64; 2]>>,
}

impl Base {
    /// With as many batches a second for a feature as there are milliseconds, if `fed`.
    fn start(rig: &Rig, fed: bool) -> Self {
        let (stop, late_ns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (mut sender, mut traffic, mut batches) = (rig.sender(), rig.traffic(MESSAGE, 2), rig.traffic(BATCH, 4));
        let (flag, late) = (Arc::clone(&stop), Arc::clone(&late_ns));
        let thread = std::thread::spawn(move || {
            let mut sent = [0, 0];
            while !flag.load(Ordering::Relaxed) {
                let stamp = || monotonic_ns() - late.load(Ordering::Relaxed);
                let stamps: Vec<u64> = (0..BURST).map(|_| stamp()).collect();
                sent[0] += sender.send(&mut traffic, &stamps).expect("the generator goes on") as u64;
                if fed {
                    sent[1] += sender.send(&mut batches, &[monotonic_ns()]).expect("the generator goes on") as u64;
                }
                sender.flush().expect("the generator goes on");
                std::thread::park_timeout(Duration::from_millis(1));
            }
            sent
        });
        Self { stop, late_ns, thread: Some(thread) }
    }

    fn late(&self, ns: u64) {
        self.late_ns.store(ns, Ordering::Relaxed);
    }

    fn finish(mut self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it was started").join().expect("it ends")
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn show(rig: &Rig) -> Result<PreservationStatus, LabError> {
    match rig.appliance.ask(&Request::PreservationShow { raw: true })? {
        Answer::Preservation(status) => Ok(*status),
        other => panic!("another answer: {other:?}"),
    }
}

/// How the base path is watched, once it is so.
fn until(rig: &Rig, what: &str, mut is_so: impl FnMut(&PreservationStatus) -> bool) -> PreservationStatus {
    let end = Instant::now() + LONG;
    loop {
        // A dataplane that starts again does not answer for a moment.
        let shown = show(rig);
        if let Ok(shown) = &shown
            && is_so(shown)
        {
            return shown.clone();
        }
        let short = shown.as_ref().map(|shown| (&shown.now, shown.reference, shown.runs.len()));
        assert!(Instant::now() < end, "{what}: {short:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Comparison number `number`, once it is over.
fn run(rig: &Rig, number: u64) -> PreservationRun {
    let shown = until(rig, "a comparison is over", |shown| shown.runs.first().is_some_and(|run| run.number >= number));
    let run = shown.runs.into_iter().find(|run| run.number == number).expect("it is kept");
    // What was kept says the same again.
    if !run.judged.findings.is_empty() {
        assert_eq!(judge(&run.limits, run.trial.as_ref().expect("raw slices")), run.judged);
    }
    run
}

fn changed(answer: Result<Answer, LabError>) -> Changed {
    match answer {
        Ok(Answer::Changed(changed)) => changed,
        other => panic!("no change: {other:?}"),
    }
}

fn add_rule(rig: &Rig, name: &str) -> Changed {
    changed(rig.appliance.ask(&in_manner(Manner::default(), name)))
}

/// The request for a rule of this name, made in this manner.
fn in_manner(manner: Manner, name: &str) -> Request {
    let matches = "udp dport 4000".parse().expect("a match");
    let name = Some(name.parse().expect("a name"));
    let rule = NewRule { name, matches, action: RuleAction::Drop, to: Vec::new(), share: Share::ALL, durable: false };
    Request::Change { manner, request: Box::new(Request::SteerAdd { rule, place: None }) }
}

fn rules(rig: &Rig) -> Vec<String> {
    match rig.appliance.ask(&Request::SteerList) {
        Ok(Answer::Rules(rules)) => rules.into_iter().map(|rule| rule.rule.name.to_string()).collect(),
        other => panic!("no rules: {other:?}"),
    }
}

fn history(rig: &Rig) -> Vec<HistoryRow> {
    match rig.appliance.ask(&Request::Config(ConfigRequest::History { limit: 50 })) {
        Ok(Answer::History(rows)) => rows,
        other => panic!("no history: {other:?}"),
    }
}

fn feature(rig: &Rig) -> Option<FeatureStanding> {
    match rig.appliance.ask(&Request::FeatureList) {
        Ok(Answer::Features(features)) => features.into_iter().find(|found| found.name.as_str() == "test1"),
        _ => None,
    }
}

fn state(rig: &Rig) -> Option<ProcessState> {
    feature(rig).map(|found| found.state)
}

/// The commands say it too: four comparisons, of which one was taken back.
fn people_see_it(rig: &Rig) {
    let weir = |words: &[&str]| {
        let mut command = Command::new(program("weir"));
        let output = command.args(words).arg("--socket").arg(rig.appliance.socket()).output().expect("weir runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, page) = weir(&["preservation", "show"]);
    assert!(code == Some(1) && page.contains("taken back as revision") && page.contains("late_p99"), "{page}");
    assert!(!page.contains('…'), "in a pipe nothing is cut: {page}");
    let (code, again) = weir(&["preservation", "replay"]);
    assert!(code == Some(0) && again.contains("4 comparisons judged again"), "{again}");
    let (_, status) = weir(&["status", "--json"]);
    assert!(status.contains("\"preservation\"") && !status.contains("\"trial\""), "status has no raw slices");
}

#[test]
fn a_change_that_makes_messages_late_is_taken_back_and_others_stay() {
    wired!("a_change_that_makes_messages_late_is_taken_back_and_others_stay");
    let _alone = alone();
    let config = format!("features: {{streaming: {{enabled: false}}}}\npreservation: {{watch: roll-back, {LIMITS}}}\n");
    let mut rig = Rig::new(&config);
    let before = rig.counters();

    // Without base traffic there is no data and nothing is done.
    until(&rig, "slices", |shown| shown.reference as usize == SLICES);
    add_rule(&rig, "silent");
    let silent = run(&rig, 1);
    assert_eq!((silent.judged.ruling, silent.done.as_str()), (Ruling::NoData, ""), "{}", silent.judged.reason);

    // A clean change stays.
    let base = Base::start(&rig, false);
    let has_messages = |shown: &PreservationStatus| shown.reference as usize == SLICES;
    until(&rig, "slices", has_messages);
    let mut left = 0;
    until(&rig, "slices with messages", |_| {
        left = rig.counters().forwarded;
        left > 30_000
    });
    let clean = add_rule(&rig, "clean").revision.expect("it differs");
    let found = run(&rig, 2);
    assert!(matches!(found.judged.ruling, Ruling::Kept | Ruling::Open), "{:?}", found.judged);
    assert_eq!((found.done.as_str(), rules(&rig)), ("", vec!["silent".to_owned(), "clean".to_owned()]));
    assert!(
        matches!(&found.compared, Compared::Change { revision, author } if *revision == clean && author.starts_with("root"))
    );

    // Two in a row with which messages come late are taken back, the last one first, each within its window.
    let first = add_rule(&rig, "first").revision.expect("it differs");
    let bad = add_rule(&rig, "bad").revision.expect("it differs");
    base.late(LATE_NS);
    let found = run(&rig, 3);
    let earlier = run(&rig, 4);
    base.late(0);
    assert!(earlier.compared.to_string().starts_with(&format!("revision {first} by root")), "{}", earlier.compared);
    assert_eq!(earlier.judged.ruling, Ruling::Worse, "{:?}", earlier.judged);
    assert_eq!(found.judged.ruling, Ruling::Worse, "{:?}", found.judged);
    assert!(found.trial.as_ref().expect("raw slices").subject.len() <= SLICES, "within one window");
    assert!(found.judged.reason.starts_with("late_p99 ") && found.done.starts_with("taken back as"), "{found:?}");
    assert_eq!(rules(&rig), ["silent", "clean"]);
    let rows = history(&rig);
    assert_eq!((rows[0].author.as_str(), rows[1].author.as_str()), ("preservation", "preservation"));
    assert!(rows[0].writes.iter().any(|write| write == "-rules/first"), "{rows:?}");
    let (why, said) = (&rows[1].reason, format!("revision {bad} made the base path worse: late_p99 "));
    assert!(why.starts_with(&said) && why.contains("noise floor"), "{why}");
    assert!(rows[1].writes.iter().any(|write| write == "-rules/bad"), "{rows:?}");

    people_see_it(&rig);

    // What is forced stays whatever it does, and opens no window.
    let until_slices = |what: &str| until(&rig, what, |shown| shown.reference as usize == SLICES);
    let forced = Manner { force: true, ..Manner::default() };
    base.late(LATE_NS);
    changed(rig.appliance.ask(&in_manner(forced, "forced")));
    until(&rig, "it is noticed", |shown| (shown.reference as usize) < SLICES);
    until_slices("slices of what was forced");
    base.late(0);
    assert_eq!((show(&rig).expect("it answers").runs.len(), rules(&rig).len()), (4, 3));

    // What waits for its confirmation is taken back as by `weir revert`.
    base.late(10 * LATE_NS);
    let waits = Manner { confirm_within_s: Some(600), ..Manner::default() };
    let waiting = changed(rig.appliance.ask(&in_manner(waits, "waits"))).revision.expect("it differs");
    let found = run(&rig, 5);
    assert!(found.judged.ruling == Ruling::Worse && found.done.starts_with("taken back as"), "{:?}", found.judged);
    assert!(found.compared.to_string().starts_with(&format!("revision {waiting} ")), "{}", found.compared);
    let status = rig.appliance.status().expect("it answers");
    assert_eq!((status.pending, rules(&rig)[2].as_str(), rules(&rig).len()), (None, "forced", 3));
    base.late(0);

    // Everything that was sent has come.
    let [sent, _] = base.finish();
    assert!(rig.arrives(1, sent) >= sent);
    let after = rig.counters_after(&before, sent);
    assert_eq!(after.forwarded - before.forwarded, sent, "{after:?}");
}

const FEATURE: &str = "\
features: {streaming: {enabled: false}, test1: {enabled: true}}
rules:
  - {name: batches, match: \"udp dport 48102\", action: deliver, to: [test1]}
";

#[test]
fn a_feature_is_parked_for_moments_and_for_good_if_it_hurts() {
    wired!("a_feature_is_parked_for_moments_and_for_good_if_it_hurts");
    let _alone = alone();
    let mut rig = Rig::new(&format!("{FEATURE}preservation: {{gate: park, {LIMITS}}}\n"));
    rig.appliance.wait_ready().expect("the worker is there");
    let (before, rows) = (rig.counters(), history(&rig).len());
    let base = Base::start(&rig, true);
    let ask = || rig.appliance.ask(&Request::PreservationRun { feature: None }).expect("it runs");

    // It is parked twice, measured, and at work again; what is in force has not changed.
    ask();
    let mut states = Vec::new();
    let shown = until(&rig, "the gate has run", |shown| {
        states.extend(state(&rig).filter(|now| states.last() != Some(now)));
        !shown.runs.is_empty()
    });
    let first = shown.runs.first().expect("it ran");
    assert!(matches!(first.judged.ruling, Ruling::Kept | Ruling::Open), "{:?}", first.judged);
    assert_eq!(first.compared, Compared::Feature { name: "test1".parse().expect("a name") });
    assert!(first.judged.findings.iter().all(|found| found.floor.is_some() && found.bound.is_some()), "{first:?}");
    let parked = states.iter().filter(|state| **state == ProcessState::Parked).count();
    assert_eq!((parked, state(&rig), history(&rig).len()), (2, Some(ProcessState::Running), rows), "{states:?}");

    // A dataplane that dies in such a moment leaves nobody parked.
    ask();
    until(&rig, "it is parked", |_| state(&rig) == Some(ProcessState::Parked));
    kill(rig.appliance.process("dataplane").expect("a process"));
    let shown = until(&rig, "a new dataplane", |_| true);
    assert_eq!(shown.runs[0], *first, "what was found is kept");
    let end = Instant::now() + LONG;
    while state(&rig) != Some(ProcessState::Running) {
        assert!(Instant::now() < end, "{:?}", feature(&rig));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!((feature(&rig).expect("it is there").run, history(&rig).len()), (Run::Started, rows));

    // With it at work messages are late: it is parked for good, with the reason.
    rig.appliance.ask(&Request::PreservationRun { feature: None }).expect("it runs");
    let shown = until(&rig, "the gate has run", |shown| {
        base.late(if state(&rig) == Some(ProcessState::Parked) { 0 } else { LATE_NS });
        shown.runs.first().is_some_and(|run| run.number > 1)
    });
    let last = shown.runs.first().expect("it ran");
    assert_eq!((last.judged.ruling, last.judged.findings.len()), (Ruling::Worse, Figure::ALL.len()), "{last:?}");
    let found = feature(&rig).expect("it is there");
    assert_eq!((found.run, found.author.as_deref()), (Run::Parked, Some("preservation")));
    let why = &history(&rig)[0].reason;
    assert!(why.starts_with("it makes the base path worse: late_p99 "), "{why}");

    let [sent, fed] = base.finish();
    let after = rig.counters_after(&before, sent + fed);
    assert_eq!(after.forwarded - before.forwarded, sent, "{after:?}");
    assert!(after.is_balanced(), "{after:?}");
}
