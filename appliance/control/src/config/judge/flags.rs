//! What belongs together in a flag.

use std::collections::BTreeSet;

use super::super::*;
use super::{Judge, Refused, refuse};
use crate::flags;
use crate::name::FlagName;
use crate::problem::Problem;

impl Judge {
    pub(in super::super) fn flag(&mut self, spec: &FlagSpec) -> Result<(), Refused> {
        if self.flags.len() == MAX_FLAGS {
            return refuse("name", &spec.name, format!("there are more than {MAX_FLAGS} flags"), "remove some");
        }
        match (spec.to.is_empty(), spec.variants.is_empty()) {
            (true, true) => {
                let cure =
                    "name a feature with `to` (--to), or variants; `weir flag list` shows the flags that are there";
                return refuse("to", &spec.name, "this flag has nobody who takes the frames", cure);
            }
            (false, false) => {
                let cause = "a flag with variants says there who takes the frames";
                return refuse("to", &spec.name, cause, "move the features of `to` into the variants");
            }
            _ => self.takers(&spec.to)?,
        }
        self.variants(spec)?;
        let steps = spec.schedule.windows(2).find(|pair| pair[0].at >= pair[1].at);
        if let Some(pair) = steps {
            let cause = "steps of a schedule follow each other in time";
            return refuse("schedule", pair[1].at, cause, format!("name a time after {}", pair[0].at));
        }
        if spec.schedule.len() > MAX_FLAG_STEPS {
            let cause = format!("a schedule has at most {MAX_FLAG_STEPS} steps");
            return refuse("schedule", spec.schedule.len(), cause, "remove some");
        }
        let mut required = BTreeSet::new();
        if let Some(twice) = spec.requires.iter().find(|name| !required.insert(*name)) {
            return refuse("requires", twice, "this flag stands twice", "name it once");
        }
        if !self.flags.insert(spec.name.clone()) {
            return refuse("name", &spec.name, "another flag has this name", "choose a name that no other flag has");
        }
        Ok(())
    }

    fn variants(&self, spec: &FlagSpec) -> Result<(), Refused> {
        if spec.variants.is_empty() {
            return Ok(());
        }
        if spec.variants.len() > MAX_VARIANTS {
            let cause = format!("a flag has at most {MAX_VARIANTS} variants");
            return refuse("variants", spec.variants.len(), cause, "remove some");
        }
        let mut names = BTreeSet::new();
        for variant in &spec.variants {
            self.takers(&variant.to).map_err(|refused| Refused { key: "variants", ..refused })?;
            if !names.insert(&variant.name) {
                return refuse("variants", &variant.name, "two variants have this name", "name each once");
            }
            if variant.weight > MAX_WEIGHT {
                let cause = format!("a variant's weight is a number from 0 to {MAX_WEIGHT}");
                return refuse("variants", variant.weight, cause, "choose smaller weights in the same proportion");
            }
        }
        if spec.variants.iter().all(|variant| variant.weight == 0) {
            return refuse("variants", 0, "no variant has a weight", "give one of them a weight above 0");
        }
        if spec.variants.iter().all(|variant| variant.to.is_empty()) {
            return refuse("variants", &spec.name, "no variant has somebody who takes the frames", "name a feature");
        }
        Ok(())
    }

    /// Whether the classifier's table has room for the rules that flags take beside those of the file.
    pub(in super::super) fn room_for_flags(&self, flags: &[FlagSpec]) -> Result<(), (FlagName, &'static str, Problem)> {
        let (rules, taken) = (self.rules.len(), flags::rules_taken(flags));
        match flags.last() {
            Some(flag) if rules + taken > MAX_RULES => {
                let cause =
                    format!("flags take {taken} rules, and with {rules} of the file there are more than {MAX_RULES}");
                Err((flag.name.clone(), "name", Problem::new(flag.name.to_string(), cause, "remove some rules")))
            }
            _ => Ok(()),
        }
    }
}
