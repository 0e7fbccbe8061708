//! Overlays, where values come from, and what the store makes of a configuration.

use super::super::*;
use super::good::WHOLE;

fn read(layers: &[(&str, &str)]) -> Result<Layered, LayerError> {
    let layer = |(name, text): &(&str, &str)| Layer { name: (*name).to_owned(), text: (*text).to_owned() };
    Layered::read(&layers.iter().map(layer).collect::<Vec<_>>())
}

const BASE: &str = "\
wait: poll
memory: {rx_ring: 1024, hugepages: prefer}
interfaces:
  - {name: eth0, queues: 2}
rules:
  - {name: a, match: udp dport 9, action: drop, share: 5%}
  - name: b
    match: \"udp:5004\" # quoted
    action: deliver
    to: [streaming]
agents:
  - {id: 7, address: 10.0.0.1, mac: \"02:00:00:00:00:07\", interface: eth0}
";

#[test]
fn a_later_layer_decides_and_every_value_knows_its_place() {
    let prod = "memory: {rx_ring: 4096}\nrules:\n- {name: a, share: 50%}\n- {name: c, match: any, action: pass}\n";
    let site = "wait: ~\nagents: [{id: 7, weight: 3}]\nfeatures: {streaming: {wait: spin}}\n";
    let layered = read(&[("base.yaml", BASE), ("prod.yaml", prod), ("site.yaml", site)]).expect("good");
    let config = layered.config();
    let names: Vec<&str> = config.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"], "new items stand behind the others");
    assert_eq!(config.rules()[0].share.to_string(), "50%");
    assert_eq!((config.memory().rx_ring, config.agents()[0].weight), (4096, 3));
    assert_eq!(config.interfaces()[0].queues, Queues::First(2));
    for (path, origin) in [
        ("memory.rx_ring", "prod.yaml:1:19"),
        ("memory.hugepages", "base.yaml:2:36"),
        ("memory.frame_size", "default"),
        ("wait", "default"),
        ("rules[a].share", "prod.yaml:3:20"),
        ("rules[a].match", "base.yaml:6:22"),
        ("rules[b].match", "base.yaml:8:12"),
        ("rules[b].to", "base.yaml:10:9"),
        ("agents[7].weight", "site.yaml:2:26"),
        ("features.streaming.wait", "site.yaml:3:30"),
        ("interfaces[eth0].queues", "base.yaml:4:26"),
    ] {
        assert_eq!(layered.origin(path), origin, "{path}");
    }
    let paths: Vec<String> = config.values().into_iter().map(|(path, _)| path).collect();
    assert!(paths.contains(&"rules[a].share".to_owned()), "{paths:?}");
}

#[test]
fn an_error_names_the_file_that_it_is_in() {
    for (overlay, start) in [
        ("memory: {rx_ring: 3000}", "prod.yaml:1:19: 3000: a ring's length"),
        ("wait: poll\nrulez: []", "prod.yaml:2:1: rulez: no such key"),
        ("rules: [{name: d, match: any}]", "prod.yaml:1:16: action: this key is missing"),
        ("rules:\n- {name: a, share: 101%}", "prod.yaml:2:20: 101%: this is more"),
        ("rules: [", "prod.yaml:1:"),
        ("features: {streaming: {enabled: false}}", "base.yaml:10:"),
        ("memory: 7", "prod.yaml:1:9: 7: this is the wrong kind of value"),
    ] {
        let refused = read(&[("base.yaml", BASE), ("prod.yaml", overlay)]).expect_err(overlay).to_string();
        assert!(refused.starts_with(start) && !refused.contains('\n'), "{overlay}\n  want {start}\n  have {refused}");
    }
    let refused = read(&[("base.yaml", "wait: never")]).expect_err("refused").to_string();
    assert!(refused.starts_with("base.yaml:1:7: never: "), "{refused}");
}

#[test]
fn one_layer_is_the_file_and_none_is_the_defaults() {
    let layered = read(&[("weir.yaml", WHOLE)]).expect("good");
    assert_eq!(layered.config(), &Config::parse(WHOLE).expect("good"));
    assert_eq!(read(&[]).expect("good").config(), &Config::default());
    assert_eq!(read(&[("weir.yaml", ""), ("dev.yaml", "# nothing yet\n")]).expect("good").config(), &Config::default());
    // An overlay that says nothing changes nothing.
    assert_eq!(read(&[("weir.yaml", WHOLE), ("dev.yaml", "")]).expect("good").config(), layered.config());
}

#[test]
fn the_mark_is_of_the_words_and_not_of_comments() {
    let mark = |text: &str| read(&[("weir.yaml", text)]).expect(text).mark().to_owned();
    assert_eq!(mark("wait: poll # sleep\n"), mark("# a file\nwait:   poll\n"));
    assert_ne!(mark("wait: poll"), mark("wait: spin"));
    assert_ne!(mark(""), mark("wait: poll"), "a default that is written is a word");
    let rules = |first: &str, second: &str| {
        mark(&format!(
            "rules: [{{name: {first}, match: any, action: pass}}, {{name: {second}, match: any, action: pass}}]"
        ))
    };
    assert_ne!(rules("a", "b"), rules("b", "a"), "order counts");
}

#[test]
fn differences_are_named_by_their_path() {
    let before = Config::parse(BASE).expect("good");
    assert_eq!(before.differences(&before), []);
    let after = BASE.replace("share: 5%", "share: 6%").replace("rx_ring: 1024", "rx_ring: 2048");
    let found = before.differences(&Config::parse(&after).expect("good"));
    let found: Vec<(&str, Option<&str>, Option<&str>, bool)> =
        found.iter().map(|one| (one.path.as_str(), one.before.as_deref(), one.after.as_deref(), one.live)).collect();
    let ring = ("memory.rx_ring", Some("1024"), Some("2048"), false);
    assert_eq!(found, [ring, ("rules[a].share", Some("5%"), Some("6%"), true)]);
    let swapped = Config { rules: before.rules.iter().rev().cloned().collect(), ..before.clone() };
    let found = before.differences(&swapped);
    assert_eq!((found.len(), found[0].before.as_deref()), (1, Some("a, b")), "{found:?}");
}

#[test]
fn of_a_feature_its_cap_alone_changes_live() {
    let with = |spec: &str| Config::parse(&format!("features: {{streaming: {spec}}}")).expect(spec);
    let (before, after) = (with("{wait: poll, send_mbit: 5}"), with("{wait: spin, send_mbit: 7}"));
    let found = before.differences(&after);
    let found: Vec<(&str, bool)> = found.iter().map(|one| (one.path.as_str(), one.live)).collect();
    assert_eq!(found, [("features.streaming.send_mbit", true), ("features.streaming.wait", false)]);
    assert_eq!(before.with_live_part_of(&after), with("{wait: poll, send_mbit: 7}"));
    let stopped = with("{wait: poll, send_mbit: 5, run: stopped}");
    let found: Vec<_> = before.differences(&stopped).iter().map(|found| (found.path.clone(), found.live)).collect();
    assert_eq!(found, [("features.streaming.run".to_owned(), true)]);
    assert_eq!(before.with_live_part_of(&stopped), stopped);
    assert_eq!(before.with_live_part_of(&with("{}")), with("{wait: poll}"), "a cap that goes is a change as well");
    assert!(before.differences(&with("{wait: poll}")).iter().all(|one| one.live));
}

#[test]
fn resources_are_the_configuration_and_back() {
    use crate::resources::{Entry, Revision};
    let entries = |config: &Config| -> Vec<Entry> {
        let revision = Revision(1);
        let entry = |(key, value)| Entry { key, value, created: revision, modified: revision, version: 1, lease: None };
        config.to_resources().expect("they fit").into_iter().map(entry).collect()
    };
    for text in [WHOLE, BASE, ""] {
        let config = Config::parse(text).expect("good");
        assert_eq!(Config::from_resources(&entries(&config)), Ok(Some(config)));
    }
    assert_eq!(Config::from_resources(&[]), Ok(None));
    let mut broken = entries(&Config::parse(BASE).expect("good"));
    broken[0].value = b"{}".to_vec();
    let refused = Config::from_resources(&broken).expect_err("no rule").to_string();
    assert!(refused.starts_with("rules/a: it cannot be read"), "{refused}");
}
