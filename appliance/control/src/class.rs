//! Classes: every set of takers that something in the configuration names gets a number.
//!
//! A class is one AF_XDP socket per queue, so its number is part of the kernel's map key. Numbers therefore never move
//! while the data plane runs: [`ClassTable::extended`] only adds.

use crate::config::{Config, MAX_CLASSES, RuleAction, RuleSpec};
use crate::flags::taker_sets;
use crate::taker::{FeatureName, Taker, TakerSet};

/// The classes in use. The class number of a set is its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassTable {
    sets: Vec<TakerSet>,
}

// Every set of features that a file can name, each with and without the sender and the log, has room. A taker set of features is
// at least one of them, hence the -1.
const _: () = {
    let mut features = 0;
    let mut at = 0;
    while at < Taker::ALL.len() {
        if Taker::ALL[at].is_feature() {
            features += 1;
        }
        at += 1;
    }
    assert!(4 * ((1 << features) - 1) <= MAX_CLASSES);
};

/// The classes of a configuration: each enabled feature alone, each with the sender (for mirrored frames), then the
/// sets that rules and flags name, by ascending bits.
pub fn classes(config: &Config) -> ClassTable {
    ClassTable::default().extended(config)
}

/// The set of takers of a rule's frames; `None` if its action gives frames to nobody.
pub fn takers(rule: &RuleSpec) -> Option<TakerSet> {
    let features: TakerSet = rule.to.iter().copied().collect();
    let set = if rule.durable { features.with(Taker::Log) } else { features };
    match rule.action {
        RuleAction::Deliver => Some(set),
        RuleAction::Mirror => Some(set.with(Taker::Sender)),
        RuleAction::Pass | RuleAction::Drop | RuleAction::Forward => None,
    }
}

impl ClassTable {
    /// This table and what the configuration needs beyond it, numbered behind the classes that are there already.
    #[must_use]
    pub fn extended(&self, config: &Config) -> Self {
        let mut table = self.clone();
        let alone = |feature: FeatureName| TakerSet::EMPTY.with(feature.taker());
        config.enabled().for_each(|feature| table.add(alone(feature)));
        config.enabled().for_each(|feature| table.add(alone(feature).with(Taker::Sender)));
        let flags = taker_sets(config.flags());
        let mut named: Vec<TakerSet> = config.rules().iter().filter_map(takers).chain(flags).collect();
        named.sort_unstable();
        named.into_iter().for_each(|set| table.add(set));
        table
    }

    fn add(&mut self, set: TakerSet) {
        if !self.sets.contains(&set) {
            self.sets.push(set);
        }
    }

    /// The number of a set's class.
    pub fn class(&self, set: TakerSet) -> Option<u8> {
        self.sets.iter().position(|known| *known == set).and_then(|place| u8::try_from(place).ok())
    }

    /// The class of a rule's frames; `None` if its action gives frames to nobody.
    pub fn of_rule(&self, rule: &RuleSpec) -> Option<u8> {
        takers(rule).and_then(|set| self.class(set))
    }

    /// Who takes the frames of a class; nobody for a number that is not in use.
    pub fn takers(&self, class: u8) -> TakerSet {
        self.sets.get(usize::from(class)).copied().unwrap_or_default()
    }

    /// How many classes there are, at most [`MAX_CLASSES`].
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Every class with its takers, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u8, TakerSet)> {
        self.sets.iter().zip(0..).map(|(set, class)| (class, *set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> ClassTable {
        classes(&Config::parse(text).expect("a good configuration"))
    }

    #[test]
    fn every_feature_has_a_class_alone_and_one_with_the_sender() {
        let table = table("");
        let sets: Vec<_> = table.iter().map(|(class, set)| (class, set.bits())).collect();
        assert_eq!(sets, [(0, 1), (1, 33)]);
    }

    #[test]
    fn numbers_never_move_when_rules_come() {
        let before = table("features: {test1: {}}\n");
        let text = "features: {test1: {}, test2: {}}\nrules:\n  \
            - {match: any, action: mirror, to: [test1, streaming]}\n  - {match: any, action: deliver, to: [streaming, test2]}\n";
        let config = Config::parse(text).expect("a good configuration");
        let after = before.extended(&config);
        assert!(before.iter().all(|(class, set)| after.takers(class) == set && after.class(set) == Some(class)));
        let both: Vec<_> =
            config.rules().iter().map(|rule| after.takers(after.of_rule(rule).expect("a class"))).collect();
        assert_eq!(
            both.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["streaming + sender + test1", "streaming + test2"]
        );
    }

    #[test]
    fn a_rule_that_gives_frames_to_nobody_has_no_class() {
        let config = Config::parse("rules: [{match: udp:9, action: drop}]").expect("a good configuration");
        assert_eq!(classes(&config).of_rule(&config.rules()[0]), None);
    }

    #[test]
    fn the_features_of_a_disabled_worker_have_no_class() {
        assert!(table("features: {streaming: {enabled: false}}").is_empty());
    }
}
