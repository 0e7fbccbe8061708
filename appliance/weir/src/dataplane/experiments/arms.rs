//! The arms of an experiment as the box can tell them apart: by the classes of their flows.
//!
//! A class is a set of takers with rings of its own, and what is counted is counted by class. So two arms whose flows have
//! the same takers are one for the box, and so are an arm and a rule that gives frames to the same.

use std::collections::BTreeSet;

use weir_appliance_control::class::takers;
use weir_appliance_control::config::{Config, FlagSpec};
use weir_appliance_control::flags::{self, Resolved};
use weir_appliance_control::name::FlagName;
use weir_appliance_control::problem::Problem;
use weir_appliance_control::taker::{Taker, TakerSet};
use weir_appliance_experiment::{Arms as Wanted, Spec};
use weir_ebpf_abi::rules::Match;

use super::super::classes::KernelClasses;

/// One arm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arm {
    /// Classes of its frames; none where its flows go to no feature.
    pub classes: BTreeSet<u8>,
    /// Takers whose progress is measured, with their class.
    pub measured: BTreeSet<(&'static str, u8)>,
}

/// Both arms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arms {
    pub control: Arm,
    pub candidate: Arm,
}

/// Takers by whose flows have them.
#[derive(Default)]
struct Found {
    control: BTreeSet<TakerSet>,
    candidate: BTreeSet<TakerSet>,
    others: BTreeSet<TakerSet>,
}

/// Finds the arms of `spec` under `config`.
///
/// # Errors
/// The flag or a variant is not there, or the box cannot tell the arms apart from each other or from other flows.
pub(super) fn arms(config: &Config, classes: &KernelClasses, spec: &Spec) -> Result<Arms, Problem> {
    let name: FlagName = spec.flag.parse()?;
    config.flag(&name)?;
    let resolved = flags::resolve(config.flags());
    let Some(one) = resolved.iter().find(|one| one.flag.name == name) else { return Ok(Arms::default()) };
    known_variants(one.flag, spec)?;
    let mut found = sets(config, one, spec);
    let has_rule = |set: &TakerSet| config.rules().iter().find(|rule| takers(rule) == Some(*set));
    for set in found.control.union(&found.candidate) {
        let cause = if found.control.contains(set) && found.candidate.contains(set) {
            "flows of both arms have these takers, and the box tells arms apart by their takers".to_owned()
        } else if found.others.contains(set) {
            format!(
                "flows that are in no arm of flag {name} have these takers too, so what is counted is not of the arm alone"
            )
        } else if let Some(rule) = has_rule(set) {
            format!("rule {} gives frames to the same takers, so what is counted is not of the arm alone", rule.name)
        } else {
            continue;
        };
        return Err(Problem::new(set.to_string(), cause, "give the arms takers of their own"));
    }
    if found.control.is_empty() && found.candidate.is_empty() {
        let cause = "flows of neither arm go to a feature, so nothing can become worse for them";
        return Err(Problem::new(name.to_string(), cause, "give the flag takers"));
    }
    let features = |sets: &BTreeSet<TakerSet>| sets.iter().fold(TakerSet::EMPTY, |all, set| all.union(*set));
    let both = [features(&found.control), features(&found.candidate)];
    let common: Vec<Taker> = both[0].iter().filter(|taker| both[1].contains(*taker) && taker.is_feature()).collect();
    let arm = |sets: BTreeSet<TakerSet>| {
        let mut arm = Arm::default();
        for (set, class) in sets.into_iter().filter_map(|set| Some((set, classes.first_of(set)?))) {
            arm.classes.insert(class);
            let counts = |taker: &Taker| taker.is_feature() && (common.is_empty() || common.contains(taker));
            arm.measured.extend(set.iter().filter(counts).map(|taker| (taker.name(), class)));
        }
        arm
    };
    Ok(Arms { control: arm(std::mem::take(&mut found.control)), candidate: arm(std::mem::take(&mut found.candidate)) })
}

fn known_variants(flag: &FlagSpec, spec: &Spec) -> Result<(), Problem> {
    let Wanted::Variants { control, candidate } = &spec.arms else {
        if flag.variants.is_empty() {
            return Ok(());
        }
        let cause = format!("flag {} has variants, and its flows are in several arms", flag.name);
        return Err(Problem::new(flag.name.to_string(), cause, "name two of them with --control and --candidate"));
    };
    let names: Vec<&str> = flag.variants.iter().map(|variant| variant.name.as_str()).collect();
    for arm in [control, candidate] {
        if !names.contains(&arm.as_str()) {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let cause = format!("flag {} has no variant of this name", flag.name);
            return Err(Problem::new(arm.as_str(), cause, format!("name one of its variants: {known}")));
        }
    }
    Ok(())
}

/// Which sets of takers flows have, by the arm that they are in. Flows to nobody are in no set.
fn sets(config: &Config, one: &Resolved<'_>, spec: &Spec) -> Found {
    let share = one.standing.share().basis_points();
    let of_flag = |matches: &Match| one.matches.is_some_and(|own| own.both(matches) == Some(*matches));
    let mut found = Found::default();
    for table in flags::tables(config.flags(), &config.management().ports) {
        let is_of_flag = of_flag(&table.matches);
        for (bucket, set) in (0..).zip(&table.takers).filter(|(_, set)| !set.is_empty()) {
            let place = if is_of_flag { arm_of(spec, one.flag, bucket < share, bucket) } else { None };
            let sets = match place {
                Some(true) => &mut found.candidate,
                Some(false) => &mut found.control,
                None => &mut found.others,
            };
            if !sets.contains(set) {
                sets.insert(*set);
            }
        }
    }
    found
}

/// Whether a flow that matches the flag is the candidate's (true), the control's (false), or in no arm.
fn arm_of(spec: &Spec, flag: &FlagSpec, has_flag: bool, bucket: u16) -> Option<bool> {
    match &spec.arms {
        Wanted::OffOn => Some(has_flag),
        Wanted::Variants { control, candidate } if has_flag => {
            let variant = flags::variant(flag, bucket)?.name.as_str();
            if variant == candidate { Some(true) } else { (variant == control).then_some(false) }
        }
        Wanted::Variants { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_appliance_control::class::classes;

    const FEATURES: &str = "features: {streaming: {}, test1: {}, test2: {}}\n";

    fn find(text: &str, arms_of: Wanted) -> Result<Arms, String> {
        let config = Config::parse(&format!("{FEATURES}{text}")).expect("a good file");
        let kernel = KernelClasses::of(&classes(&config), 1).expect("few classes");
        arms(&config, &kernel, &Spec::new("try", "f", arms_of)).map_err(|problem| problem.to_string())
    }

    fn variants() -> Wanted {
        Wanted::Variants { control: "old".into(), candidate: "new".into() }
    }

    #[test]
    fn arms_are_told_apart_by_their_takers() {
        let text = "flags: [{name: f, share: 5%, variants: [{name: old, to: [test1]}, {name: new, to: [test2]}]}]";
        let found = find(text, variants()).unwrap();
        assert_eq!((found.control.classes.len(), found.candidate.classes.len()), (1, 1));
        assert!(found.control.measured.iter().all(|(name, _)| *name == "test1"));
        assert!(found.candidate.measured.iter().all(|(name, _)| *name == "test2"));
        // What both have in common is what is compared.
        let text =
            "flags: [{name: f, share: 5%, variants: [{name: old, to: [test1]}, {name: new, to: [test1, test2]}]}]";
        let found = find(text, variants()).unwrap();
        assert!(
            found.candidate.measured.iter().all(|(name, _)| *name == "test1") && !found.candidate.measured.is_empty()
        );
        // Off and on, beside a flag that has all flows.
        let text = "flags: [{name: all, to: [test1], share: 100%}, {name: f, to: [test2], share: 5%}]";
        let found = find(text, Wanted::OffOn).unwrap();
        assert!(found.control.measured.iter().all(|(name, _)| *name == "test1"));
        assert_eq!(found.candidate.measured.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["test1"]);
        // Off is nobody's.
        let found = find("flags: [{name: f, to: [test2], share: 5%}]", Wanted::OffOn).unwrap();
        assert!(found.control.classes.is_empty() && !found.candidate.classes.is_empty());
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let two = "{name: f, share: 5%, variants: [{name: old, to: [test1]}, {name: new, to: [test2]}]}";
        let cases = [
            (
                "flags: [{name: f, share: 5%, variants: [{name: old, to: [test1]}, {name: new, to: [test1]}]}]"
                    .to_owned(),
                "flows of both arms",
            ),
            (
                format!("flags: [{two}]\nrules: [{{name: r, match: udp dport 9, action: deliver, to: [test2]}}]"),
                "rule r gives frames",
            ),
            (format!("flags: [{two}, {{name: g, to: [test1], share: 50%}}]"), "flows that are in no arm"),
            ("flags: [{name: f, to: [test1], share: 5%}]".to_owned(), "no variant of this name"),
            ("flags: [{name: g, to: [test1], share: 5%}]".to_owned(), "no flag has this name"),
        ];
        for (text, cause) in cases {
            let refused = find(&text, variants()).unwrap_err();
            assert!(refused.contains(cause), "{text}: {refused}");
        }
        let refused = find(&format!("flags: [{two}]"), Wanted::OffOn).unwrap_err();
        assert!(refused.contains("--control"), "{refused}");
    }
}
