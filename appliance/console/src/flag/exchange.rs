//! `weir flag export` and `weir flag import`: flags on packets in flagd's schema.
//!
//! A flag on packets is a flag with `fractional` targeting over its share, and metadata that says what flagd's schema has
//! no word for. flagd buckets a key where the classifier buckets a flow, so the document says the share and not which.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use weir_appliance_control::config::{FlagSpec, FlagState};
use weir_appliance_control::message::{Answer, Request};
use weir_appliance_control::name::FlagName;
use weir_appliance_control::problem::Problem;
use weir_appliance_control::share::Share;
use weir_appliance_flags::{Flag, State};

use super::eval;
use super::set::{step, variant};
use crate::answer::{Ask, Exit, Outcome, unexpected};
use crate::config::MannerArgs;

/// The variant of flows that a flag does not have.
const OFF: &str = "off";
/// The variant of the others, where the flag has no variants of its own.
const ON: &str = "on";

/// Where flags come from.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// The document: JSON in flagd's schema, as weir flag export prints it.
    pub file: PathBuf,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl ImportArgs {
    /// Takes over all flags on packets of the document in one change; those of the box that it does not name stay.
    ///
    /// # Errors
    /// The file cannot be read or is refused, nobody answers, or the change is refused.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        let document = eval::document(&self.file)?;
        let flags: Vec<FlagSpec> =
            document.flags().filter_map(|(name, flag)| read(name, flag).transpose()).collect::<Result<_, _>>()?;
        let left = document.flags().count() - flags.len();
        if flags.is_empty() {
            let cause = "no flag in it is for packets: none has `weir.to` or `weir.variants` in its metadata";
            return Err(
                Problem::new(self.file.display().to_string(), cause, "see the form with weir flag export").into()
            );
        }
        if left > 0 && !self.ask.json {
            writeln!(out, "{left} flags of the document are for programs and stay there: weir flag eval")?;
        }
        self.ask.change(&self.manner.around(Request::FlagPut { flags }), out)
    }
}

/// Prints all flags on packets as a document.
///
/// # Errors
/// Nobody answers, or the output cannot be written.
pub(super) fn export(ask: &Ask, out: &mut dyn Write) -> Outcome {
    let flags = match ask.call(&Request::FlagList)? {
        Answer::Flags(flags) => flags,
        other => return Err(unexpected(&ask.socket, &other).into()),
    };
    let document = document(flags.iter().map(|status| &status.flag));
    writeln!(out, "{document:#}")?;
    Ok(Exit::Done)
}

fn document<'a>(flags: impl Iterator<Item = &'a FlagSpec>) -> Value {
    let flags: Map<String, Value> = flags.map(|flag| (flag.name.to_string(), written(flag))).collect();
    json!({"flags": flags})
}

fn written(flag: &FlagSpec) -> Value {
    let list = |names: &[&str]| names.join(",");
    let mut metadata = Map::new();
    let mut note = |key: &str, value: String| metadata.insert(format!("weir.{key}"), value.into());
    let to = |to: &[weir_appliance_control::taker::FeatureName]| {
        list(&to.iter().map(|name| name.as_str()).collect::<Vec<_>>())
    };
    if !flag.to.is_empty() {
        note("to", to(&flag.to));
    }
    if !flag.variants.is_empty() {
        let variant = |variant: &weir_appliance_control::config::VariantSpec| match variant.to.as_slice() {
            [] => format!("{}={}", variant.name, variant.weight),
            features => format!("{}={}:{}", variant.name, variant.weight, to(features)),
        };
        note("variants", flag.variants.iter().map(variant).collect::<Vec<_>>().join(" "));
    }
    if !flag.matches.is_any() {
        note("match", flag.matches.to_string());
    }
    if !flag.requires.is_empty() {
        note("requires", list(&flag.requires.iter().map(FlagName::as_str).collect::<Vec<_>>()));
    }
    if !flag.schedule.is_empty() {
        let steps = flag.schedule.iter().map(|step| format!("{}={}", step.at, step.share));
        note("schedule", steps.collect::<Vec<_>>().join(" "));
    }
    let has = u32::from(flag.share.basis_points());
    let rest = u32::from(Share::ALL.basis_points()) - has;
    let (arms, all): (Vec<(&str, u32)>, u32) = match flag.variants.as_slice() {
        [] => (vec![(ON, 1)], 1),
        variants => (
            variants.iter().map(|variant| (variant.name.as_str(), variant.weight)).collect(),
            variants.iter().map(|variant| variant.weight).sum(),
        ),
    };
    let buckets = arms.iter().map(|(name, weight)| json!([name, has * weight])).chain([json!([OFF, rest * all])]);
    let names = arms.iter().map(|(name, _)| *name).chain([OFF]);
    let variants: Map<String, Value> = names.map(|name| (name.to_owned(), name.into())).collect();
    json!({
        "state": if flag.state == FlagState::On { "ENABLED" } else { "DISABLED" },
        "variants": variants,
        "defaultVariant": OFF,
        "targeting": {"fractional": buckets.collect::<Vec<_>>()},
        "metadata": metadata,
    })
}

/// The flag on packets that a flag of a document is; `None` for one that programs ask.
fn read(name: &str, flag: &Flag) -> Result<Option<FlagSpec>, Problem> {
    let metadata = |key: &str| flag.metadata().get(&format!("weir.{key}"));
    if metadata("to").is_none() && metadata("variants").is_none() {
        return Ok(None);
    }
    let text = |key: &str| match metadata(key) {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => {
            let cause = format!("flag {name}: weir.{key} is no text");
            Err(Problem::new(other.to_string(), cause, "see the form with weir flag export"))
        }
    };
    let matches = text("match")?;
    Ok(Some(FlagSpec {
        name: name.parse()?,
        state: if flag.state() == State::Enabled { FlagState::On } else { FlagState::Off },
        to: each(text("to")?, ',', str::parse)?,
        share: share(name, flag)?,
        matches: if matches.is_empty() { Default::default() } else { matches.parse()? },
        requires: each(text("requires")?, ',', str::parse)?,
        variants: each(text("variants")?, ' ', variant)?,
        schedule: each(text("schedule")?, ' ', step)?,
    }))
}

fn each<T>(text: &str, between: char, read: impl Fn(&str) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
    text.split(between).filter(|part| !part.is_empty()).map(read).collect()
}

/// The share that the fractional targeting gives to other variants than `off`.
fn share(name: &str, flag: &Flag) -> Result<Share, Problem> {
    let refuse = |cause: &str| {
        let value = flag.targeting().map_or_else(|| "targeting".to_owned(), ToString::to_string);
        let cure = "write {\"fractional\": [[\"on\", 500], [\"off\", 9500]]}, as weir flag export does";
        Problem::new(value, format!("flag {name}: {cause}"), cure)
    };
    let buckets = flag.targeting().and_then(|targeting| targeting.get("fractional")?.as_array());
    let buckets = buckets.ok_or_else(|| refuse("the targeting of a flag on packets is one `fractional`"))?;
    let (mut has, mut all) = (0_u64, 0_u64);
    for bucket in buckets {
        let (Some(variant), Some(weight)) =
            (bucket.get(0).and_then(Value::as_str), bucket.get(1).and_then(Value::as_u64))
        else {
            return Err(refuse("its buckets are pairs of a variant and a whole weight"));
        };
        all = all.saturating_add(weight);
        has = has.saturating_add(if variant == OFF { 0 } else { weight });
    }
    let points = has.saturating_mul(Share::ALL.basis_points().into());
    let whole = all > 0 && points.is_multiple_of(all);
    let share = u16::try_from(points / all.max(1)).ok().filter(|_| whole).and_then(Share::from_basis_points);
    share.ok_or_else(|| refuse("its share is no whole number of basis points"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_appliance_control::config::Config;
    use weir_appliance_flags::Document;

    #[test]
    fn what_is_exported_is_imported_again() {
        let text = "features: {test1: {}}\nflags:\n  \
            - {name: a, to: [streaming, test1], share: 12.5%, match: udp dport 7, state: off}\n  \
            - {name: b, share: 0%, requires: [a], variants: [{name: control, weight: 3}, {name: new, to: [test1]}], \
               schedule: [{at: 2026-12-01T06:00:00Z, share: 1%}, {at: 2026-12-02T06:00:00Z, share: 100%}]}\n  \
            - {name: c, share: 100%, to: [test1], requires: [a, b]}\n";
        let config = Config::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let text = document(config.flags().iter()).to_string();
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let read: Vec<FlagSpec> = document
            .flags()
            .map(|(name, flag)| read(name, flag).unwrap_or_else(|problem| panic!("{problem}")).expect("for packets"))
            .collect();
        assert_eq!(read, config.flags());
    }

    #[test]
    fn what_is_not_for_packets_is_left_and_what_is_wrong_is_named() {
        let parse = |flag: &str| Document::parse(&format!("{{\"flags\": {{\"f\": {flag}}}}}")).expect(flag);
        let one = |flag: &str| {
            let document = parse(flag);
            read("f", document.flag("f").expect("it is there")).map(|flag| flag.is_some())
        };
        let with = |targeting: &str, metadata: &str| {
            format!(
                "{{\"state\": \"ENABLED\", \"variants\": {{\"on\": \"on\", \"off\": \"off\"}}, \"defaultVariant\": \"off\", {targeting} \"metadata\": {metadata}}}"
            )
        };
        assert_eq!(one(&with("", "{}")), Ok(false));
        let to = "{\"weir.to\": \"streaming\"}";
        for (targeting, metadata, cause) in [
            ("", to, "one `fractional`"),
            ("\"targeting\": {\"fractional\": [[\"on\", 1], [\"off\", 2]]},", to, "whole number of basis points"),
            ("\"targeting\": {\"fractional\": [[\"on\", 1], [\"off\", 1]]},", "{\"weir.to\": \"twin\"}", "this build"),
            ("\"targeting\": {\"fractional\": [[\"on\", 1], [\"off\", 1]]},", "{\"weir.to\": 7}", "weir.to is no text"),
        ] {
            let problem = one(&with(targeting, metadata)).expect_err(targeting);
            assert!(problem.cause.contains(cause), "{problem}");
        }
        assert_eq!(one(&with("\"targeting\": {\"fractional\": [[\"on\", 1], [\"off\", 3]]},", to)), Ok(true));
    }
}
