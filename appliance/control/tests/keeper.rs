//! Changes, confirmations, starts and failures of the keeper, with clocks and a target that the test moves.

use std::sync::Arc;
use std::time::Duration;

use weir_appliance_control::config::{Config, FlagSpec, FlagState, Run};
use weir_appliance_control::keeper::{FromFile, Keeper, Manner, Started, Target};
use weir_appliance_control::problem::Problem;
use weir_appliance_control::resources::{
    Clock, Key, Kind, ManualClock, MemoryStore, ResourceStore, Retention, Revision,
};
use weir_appliance_control::taker::FeatureName;

/// What is in force outside the store, and whether it takes what it is given.
#[derive(Default)]
struct Box {
    rules: Vec<String>,
    prepared: Vec<String>,
    refuses: bool,
    fails: bool,
}

impl Target for Box {
    fn prepare(&mut self, next: &Config) -> Result<(), Problem> {
        if self.refuses {
            return Err(Problem::new("rules", "no ring is bound", "restart"));
        }
        self.prepared = names(next);
        Ok(())
    }

    fn install(&mut self) -> Result<(), Problem> {
        if self.fails {
            return Err(Problem::new("weir", "the kernel refuses a map", "see the log"));
        }
        self.rules = std::mem::take(&mut self.prepared);
        Ok(())
    }
}

fn names(config: &Config) -> Vec<String> {
    config.rules().iter().map(|rule| rule.name.to_string()).collect()
}

fn with_rules(names: &[&str]) -> Config {
    let rules: String =
        names.iter().map(|name| format!("- {{name: {name}, match: udp dport 9, action: drop}}\n")).collect();
    let agent = "agents: [{id: 7, address: 10.0.0.1, mac: \"02:00:00:00:00:01\", interface: e}]";
    Config::parse(&format!("{agent}\nflags: [{{to: [streaming], share: 5%}}]\nrules:\n{rules}"))
        .expect("a configuration")
}

fn file(names: &[&str]) -> FromFile {
    FromFile { config: with_rules(names), mark: format!("{names:?}") }
}

/// A store that outlives its keepers, as a file does.
struct Rig {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    target: Box,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let retention = Retention { changes: 20, bytes: 100_000 };
        Self { store: Arc::new(MemoryStore::new(Arc::clone(&clock) as _, retention)), clock, target: Box::default() }
    }

    fn start(&self, file: Option<&FromFile>) -> (Keeper, Started, Option<Revision>) {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let (keeper, started, taken) = Keeper::start(Arc::clone(&self.store) as _, clock, file).expect("it starts");
        (keeper, started, taken.map(|change| change.revision))
    }

    fn change(&mut self, keeper: &mut Keeper, names: &[&str], manner: &Manner) -> Result<Option<Revision>, Problem> {
        keeper.change(with_rules(names), "root (uid 0)", manner, None, &mut self.target)
    }
}

fn within(seconds: u64) -> Manner {
    Manner { confirm_within_s: Some(seconds), ..Manner::default() }
}

const NOW: Manner = Manner { reason: String::new(), confirm_within_s: None, force: false };

#[test]
fn the_file_is_the_seed_and_what_was_changed_since_stays_until_the_file_changes() {
    let mut rig = Rig::new();
    let first = file(&["a", "b"]);
    let (mut keeper, started, _) = rig.start(Some(&first));
    assert_eq!((started, keeper.config()), (Started::Imported, &first.config));
    rig.change(&mut keeper, &["b", "c", "a"], &NOW).expect("made").expect("it differs");
    assert_eq!(rig.change(&mut keeper, &["b", "c", "a"], &NOW), Ok(None), "nothing differs");
    let in_force = keeper.config().clone();
    drop(keeper);
    let (keeper, started, _) = rig.start(Some(&first));
    assert_eq!((started, keeper.config()), (Started::Kept, &in_force), "whole and in order");
    let (keeper, started, _) = rig.start(None);
    assert_eq!((started, keeper.config()), (Started::Kept, &in_force), "a dataplane that starts again asks no file");
    let second = file(&["x"]);
    let (mut keeper, started, _) = rig.start(Some(&second));
    assert!(matches!(started, Started::Overruled(_)) && keeper.config() == &second.config, "{started:?}");
    // The file of the start, edited and applied while weir runs, is no other file at the next start.
    let third = file(&["y"]);
    keeper.change(third.config.clone(), "root", &NOW, Some(&third.mark), &mut rig.target).expect("made");
    rig.change(&mut keeper, &["z"], &NOW).expect("made");
    let (keeper, started, _) = rig.start(Some(&third));
    assert_eq!((started, names(keeper.config())), (Started::Kept, vec!["z".to_owned()]));
    assert_eq!(keeper.at(Revision(1)).expect("known"), first.config, "every state can be read back");
}

#[test]
fn an_empty_store_without_a_file_is_refused() {
    let rig = Rig::new();
    let clock: Arc<dyn Clock> = Arc::clone(&rig.clock) as _;
    assert!(Keeper::start(Arc::clone(&rig.store) as _, clock, None).is_err());
}

#[test]
fn a_change_waits_for_its_confirmation_by_the_clock_that_nobody_sets() {
    let mut rig = Rig::new();
    let (mut keeper, _, _) = rig.start(Some(&file(&["a"])));
    let revision = rig.change(&mut keeper, &["b"], &within(60)).expect("made").expect("it differs");
    assert_eq!(rig.target.rules, ["b"]);
    // The wall clock jumps both ways: neither confirms nor ends it.
    for wall in [4_000_000_000_000, 0] {
        rig.clock.set_wall_ms(wall);
        assert_eq!(keeper.tick(&mut rig.target), Ok(None));
        assert_eq!(keeper.pending().expect("it waits").left_s, 60);
    }
    let refused = rig.change(&mut keeper, &["c"], &NOW).expect_err("one at a time");
    assert_eq!((refused.value.as_str(), refused.cure.contains("weir confirm")), ("revision 2", true));
    rig.clock.advance(Duration::from_secs(59));
    assert_eq!(keeper.tick(&mut rig.target), Ok(None));
    assert_eq!(keeper.pending().expect("it waits").left_s, 1);
    rig.clock.advance(Duration::from_secs(1));
    assert!(keeper.confirm("root", "too late").is_err());
    assert_eq!(keeper.tick(&mut rig.target), Ok(Some((revision, Revision(3)))));
    assert_eq!(
        (rig.target.rules.as_slice(), names(keeper.config())),
        (["a".to_owned()].as_slice(), vec!["a".to_owned()])
    );
    assert_eq!(keeper.pending(), None);
    // Confirmed, it stays, whatever time passes.
    let revision = rig.change(&mut keeper, &["c"], &within(60)).expect("made").expect("it differs");
    assert_eq!(keeper.confirm("root", "good"), Ok(revision));
    rig.clock.advance(Duration::from_secs(3600));
    assert_eq!(keeper.tick(&mut rig.target), Ok(None));
    assert_eq!(rig.target.rules, ["c"]);
    assert!(keeper.confirm("root", "again").is_err() && keeper.revert("root", "", &mut rig.target).is_err());
    for wrong in [0, 3601, u64::MAX] {
        assert!(rig.change(&mut keeper, &["d"], &within(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn an_unconfirmed_change_is_taken_back_by_every_start() {
    for file_changed in [false, true] {
        let mut rig = Rig::new();
        let (mut keeper, _, _) = rig.start(Some(&file(&["a"])));
        let revision = rig.change(&mut keeper, &["b"], &within(600)).expect("made").expect("it differs");
        drop(keeper);
        // After a reboot the clocks may say anything.
        rig.clock.set_wall_ms(5);
        let wanted: &[&str] = if file_changed { &["new"] } else { &["a"] };
        let (keeper, _, taken) = rig.start(Some(&file(wanted)));
        assert_eq!((taken, names(keeper.config())), (Some(revision), vec![wanted[0].to_owned()]));
        assert_eq!(keeper.pending(), None);
        let key = Key::new(Kind::Settings, "pending").expect("a key");
        assert_eq!(rig.store.get(&key), Ok(None));
        let (_, _, taken) = rig.start(None);
        assert_eq!(taken, None, "once");
    }
}

#[test]
fn a_long_wait_does_not_lose_what_to_go_back_to() {
    let mut rig = Rig::new();
    let (mut keeper, _, _) = rig.start(Some(&file(&["a"])));
    rig.change(&mut keeper, &["b"], &within(600)).expect("made");
    // Others write the store meanwhile, more than its history keeps.
    let origin = weir_appliance_control::resources::Origin::new("somebody", "").expect("an origin");
    for count in 0..60 {
        let token = Key::new(Kind::Tokens, "t").expect("a key");
        let change = weir_appliance_control::resources::Transaction::new(origin.clone()).put(token, count.to_string());
        rig.store.commit(&change).expect("made");
    }
    keeper.revert("root", "", &mut rig.target).expect("the former state is known");
    assert_eq!(rig.target.rules, ["a"]);
}

#[test]
fn what_is_refused_or_fails_changes_nothing() {
    let mut rig = Rig::new();
    let (mut keeper, _, _) = rig.start(Some(&file(&["a"])));
    rig.change(&mut keeper, &["b"], &NOW).expect("made");
    let before = keeper.config().clone();
    rig.target.refuses = true;
    assert!(rig.change(&mut keeper, &["c"], &NOW).is_err());
    assert_eq!(keeper.revision(), Ok(Revision(2)), "it did not come to the store");
    rig.target = Box { fails: true, rules: vec!["b".into()], ..Box::default() };
    assert!(rig.change(&mut keeper, &["c"], &within(60)).expect_err("fails").cause.contains("the kernel"));
    assert_eq!((keeper.config(), keeper.pending()), (&before, None));
    let (again, _, taken) = rig.start(None);
    assert_eq!((again.config(), taken), (&before, None), "the store is put back as well");
    rig.target.fails = false;
    let spin = Config::parse("wait: spin").expect("good");
    let refused = keeper.change(spin, "root", &NOW, None, &mut rig.target).expect_err("not live");
    assert!(refused.value.contains("wait") && refused.cure.contains("--live-only"), "{refused}");
    let two_lines = Manner { reason: "two\nlines".into(), ..NOW };
    assert!(rig.change(&mut keeper, &["d"], &two_lines).is_err());
    assert_eq!(rig.target.rules, ["b"]);
}

#[test]
fn the_history_has_a_row_for_each_revision() {
    let mut rig = Rig::new();
    let (mut keeper, _, _) = rig.start(Some(&file(&["a", "b", "c"])));
    for names in [&["a"][..], &["a", "d", "e"], &[]] {
        rig.change(&mut keeper, names, &NOW).expect("made");
    }
    let rows = keeper.history(3).expect("a history");
    let seen: Vec<(u64, usize)> = rows.iter().map(|row| (row[0].revision.0, row.len())).collect();
    // Three rules and their order go; two come, with their order; two go, with their order.
    assert_eq!(seen, [(4, 4), (3, 3), (2, 3)]);
    assert_eq!(keeper.origin("rules[a].share"), "revision 4 (root (uid 0))");
}

/// Whether the one flag is on: in force, and in what a start would find.
fn flag_is_on(rig: &Rig, keeper: &Keeper) -> (bool, bool) {
    let on = |config: &Config| config.flags()[0].state == FlagState::On;
    (on(keeper.config()), on(rig.start(None).0.config()))
}

#[test]
fn a_kill_does_not_wait_and_is_not_taken_back() {
    let mut rig = Rig::new();
    let (mut keeper, _, _) = rig.start(Some(&file(&["a"])));
    let flag = "flag-1".parse().expect("a name");
    let kill = |config: &Config| config.kill_flag(&flag);
    rig.change(&mut keeper, &["a", "b"], &within(30)).expect("made").expect("a revision");
    let waiting = keeper.pending().expect("it waits");
    keeper.change_at_once("anna", "it hurts", kill, &mut rig.target).expect("made").expect("a revision");
    assert_eq!(rig.target.rules, ["a", "b"], "what waits is in force still");
    let waits = keeper.pending().expect("it still waits");
    assert_eq!((&waits.author, &waits.reason), (&waiting.author, &waiting.reason));
    assert!(waits.back_to > waiting.revision && waits.left_s <= waiting.left_s);

    keeper.revert("anna", "no", &mut rig.target).expect("taken back");
    assert_eq!(rig.target.rules, ["a"]);
    assert_eq!(flag_is_on(&rig, &keeper), (false, false));
    assert_eq!(keeper.change_at_once("anna", "again", kill, &mut rig.target), Ok(None), "it is off already");
    let missing = "nobody".parse().expect("a name");
    keeper.change_at_once("anna", "", |config| config.kill_flag(&missing), &mut rig.target).expect_err("no such flag");
}

#[test]
fn who_stopped_a_feature_and_why_is_known_over_restarts() {
    let mut rig = Rig::new();
    let (mut keeper, _, _) = rig.start(Some(&file(&["a"])));
    let feature = FeatureName::STREAMING;
    assert_eq!(keeper.run_change(feature), None, "nobody ever did");
    let make = |config: &Config| config.set_run(feature, Run::Parked);
    rig.change(&mut keeper, &["a", "b"], &within(30)).expect("made").expect("a revision");
    let revision = keeper.change_at_once("supervisor", "died 5 times", make, &mut rig.target).expect("made");
    keeper.revert("anna", "no", &mut rig.target).expect("taken back");
    let (again, ..) = rig.start(None);
    assert_eq!(again.config().run(feature), Run::Parked, "it was not taken back with the change that waited");
    let change = again.run_change(feature).expect("somebody did");
    assert_eq!((change.origin.author(), change.origin.reason()), ("supervisor", "died 5 times"));
    assert!(revision.is_some_and(|revision| change.revision <= revision));
    assert!(again.origin("features.streaming.run").ends_with("(supervisor)"));
    let (mut again, ..) = rig.start(None);
    let make = |config: &Config| config.set_run(feature, Run::Started);
    again.change_at_once("anna", "mended", make, &mut rig.target).expect("made").expect("a revision");
    let change = again.run_change(feature).expect("somebody did");
    assert_eq!((change.origin.author(), rig.start(None).0.config().run(feature)), ("anna", Run::Started));
}

#[test]
fn a_start_after_a_kill_takes_back_what_waited_and_leaves_the_flag_off() {
    let mut rig = Rig::new();
    let (mut keeper, _, _) = rig.start(Some(&file(&["a"])));
    let flag = "flag-1".parse().expect("a name");
    rig.change(&mut keeper, &["a", "b"], &within(30)).expect("made").expect("a revision");
    keeper.change_at_once("anna", "", |config| config.kill_flag(&flag), &mut rig.target).expect("made");
    drop(keeper);
    let (keeper, _, reverted) = rig.start(None);
    assert!(reverted.is_some());
    assert_eq!(names(keeper.config()), ["a"]);
    assert_eq!(keeper.config().flags()[0].state, FlagState::Off);
}

#[test]
fn a_step_of_a_schedule_is_made_once() {
    let text = "flags: [{name: f, to: [streaming], share: 5%, schedule: [\
                {at: 2026-01-01T00:00:00Z, share: 25%}, {at: 2026-01-02T00:00:00Z, share: 50%}]}]";
    let config = Config::parse(text).expect("a configuration");
    let day = |day: i64| 1_767_225_600 + (day - 1) * 86_400;
    let share = |config: &Config| config.flags()[0].share.to_string();
    assert!(config.scheduled(day(1) - 1).is_none());
    let (first, said) = config.scheduled(day(1)).expect("its time has come");
    assert_eq!((share(&first), first.flags()[0].schedule.len()), ("25%".into(), 1));
    assert_eq!(said, "flag f has 25% as planned for 2026-01-01T00:00:00Z");
    assert!(first.scheduled(day(1) - 3600).is_none(), "a clock that is set back makes no step again");
    let (both, _) = config.scheduled(day(9)).expect("two at once");
    assert_eq!((share(&both), both.flags()[0].schedule.len()), ("50%".into(), 0));

    let longest = "n".repeat(38);
    let many: String = (10..74)
        .map(|number| {
            format!("- {{name: {longest}{number}, to: [streaming], share: 5%, schedule: [{{at: 2026-01-01T00:00:00Z, share: 12.25%}}]}}\n")
        })
        .collect();
    let mut rig = Rig::new();
    let config = Config::parse(&format!("flags:\n{many}")).expect("64 flags");
    let (mut keeper, _, _) = rig.start(Some(&FromFile { config, mark: "64".into() }));
    let (next, reason) = keeper.config().scheduled(day(1)).expect("all at once");
    assert!(reason.ends_with("; and 61 flags more"), "{reason}");
    let manner = Manner { reason, ..Manner::default() };
    keeper.change(next, "schedule", &manner, None, &mut rig.target).expect("the reason is not too long");
}

#[test]
fn flags_are_turned_on_in_their_order() {
    let text = "flags:\n  - {name: a, to: [streaming], share: 5%, state: off}\n  \
                - {name: b, to: [streaming], share: 5%, state: off, requires: [a]}";
    let config = Config::parse(text).expect("a configuration");
    let on = |config: &Config, name: &str| {
        let flag = config.flag(&name.parse().expect("a name")).expect("it is there").clone();
        config.set_flag(FlagSpec { state: FlagState::On, ..flag })
    };
    let refused = on(&config, "b").expect_err("a is off");
    assert_eq!((refused.value.as_str(), refused.cure.as_str()), ("b", "turn that on first: weir flag set a --on"));
    let both = on(&on(&config, "a").expect("it requires nothing"), "b").expect("a is on");
    let killed = both.kill_flag(&"a".parse().expect("a name")).expect("it is there");
    let less = killed.flag(&"b".parse().expect("a name")).expect("it is there").clone();
    let less = FlagSpec { share: "1%".parse().expect("a share"), ..less };
    killed.set_flag(less).expect("less of it needs no order");
    let removed = both.remove_flag(&"a".parse().expect("a name")).expect_err("b requires it");
    assert!(removed.cause.contains("flag b requires"), "{removed}");
}
