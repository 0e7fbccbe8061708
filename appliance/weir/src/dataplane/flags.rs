//! Flags as people see them: what becomes of each.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use weir_appliance_control::config::Config;
use weir_appliance_control::flags::{self, Resolved, Standing};
use weir_appliance_control::message::{FlagStatus, VariantAnswer};
use weir_appliance_control::name::FlagName;
use weir_appliance_control::problem::Problem;
use weir_appliance_control::share::Share;
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::rules::{Match, Rule};
use weir_ebpf_loader::compile::first_match_linear;

use super::{Dataplane, lock};

/// Every flag with its standing.
pub(super) fn status(dataplane: &Dataplane) -> Vec<FlagStatus> {
    flags::resolve(lock(&dataplane.config).flags()).into_iter().map(one).collect()
}

fn one(resolved: Resolved<'_>) -> FlagStatus {
    let has = resolved.standing.share();
    let waits_for = match resolved.standing {
        Standing::Waits(name) => Some(name),
        Standing::Works(_) | Standing::Off => None,
    };
    FlagStatus { flag: resolved.flag.clone(), has, waits_for }
}

/// What has become of a flag, in a sentence.
pub(super) fn said(config: &Config, name: &FlagName) -> String {
    let found = flags::resolve(config.flags()).into_iter().find(|one| one.flag.name == *name);
    match found.map(|one| (one.flag.share, one.standing)) {
        Some((wanted, Standing::Works(share))) if share < wanted => {
            format!("flag {name} has {share} of the flows, all that the flags it requires have")
        }
        Some((_, Standing::Works(share))) => format!("flag {name} has {share} of the flows"),
        Some((_, Standing::Waits(required))) => format!("flag {name} waits for {required}"),
        Some((_, Standing::Off)) | None => format!("flag {name} is off"),
    }
}

/// What a kill has done.
pub(super) fn killed(config: &Config, name: &FlagName) -> String {
    let names: Vec<&str> = flags::dependents(config.flags(), name).iter().map(|flag| flag.name.as_str()).collect();
    match names.as_slice() {
        [] => format!("flag {name} is off"),
        names => format!("flag {name} is off, and these wait for it: {}", names.join(", ")),
    }
}

/// The flags that a frame belongs to, each with its variant.
pub(super) fn of(config: &Config, explanation: &Explanation) -> Vec<String> {
    let holds = |matches: Match| {
        let rule = Rule { matches, action: Action::Deliver, class: 0, share: Share::ALL.basis_points() };
        first_match_linear(&[rule], &explanation.decoded, 0).is_some()
    };
    let has =
        |one: &Resolved<'_>| explanation.bucket < one.standing.share().basis_points() && one.matches.is_some_and(holds);
    let name = |one: Resolved<'_>| match flags::variant(one.flag, explanation.bucket) {
        Some(variant) => format!("{} ({})", one.flag.name, variant.name),
        None => one.flag.name.to_string(),
    };
    flags::resolve(config.flags()).into_iter().filter(has).map(name).collect()
}

/// Which variant of a flag that programs ask `key` gets. It is evaluated outside the lock: a rule may take its bounded time.
///
/// # Errors
/// The box keeps no such flags, or the context has a targetingKey beside the key.
pub(super) fn ask(
    dataplane: &Dataplane,
    flag: &str,
    key: &str,
    mut context: Map<String, Value>,
    at: Option<u64>,
) -> Result<VariantAnswer, Problem> {
    let Some(flags) = lock(&dataplane.config).program_flags().cloned() else {
        let cause = "this box keeps no flags that programs ask";
        return Err(Problem::new(flag, cause, "give it a document: weir flag publish FILE"));
    };
    if context.insert("targetingKey".to_owned(), key.into()).is_some() {
        return Err(Problem::new("targetingKey", "the context has one beside the key", "name it once, as the key"));
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let found = flags.document().evaluate(flag, &context, at.unwrap_or_else(now));
    Ok(VariantAnswer::of(flag, key, found))
}
