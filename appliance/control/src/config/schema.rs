//! The JSON Schema of the file: its shape as the reader takes it, and what is known of single values.

use serde_json::{Map, Value, json};

use super::shape::{self, Shape};
use super::*;
use crate::taker::FeatureName;

/// Keys that an item cannot be without.
const REQUIRED: [(&str, &[&str]); 8] = [
    ("resources.features.*.accelerator", &["name", "share"]),
    ("interfaces[]", &["name"]),
    ("rules[]", &["match", "action"]),
    ("flags[]", &["share"]),
    ("flags[].variants[]", &["name"]),
    ("flags[].schedule[]", &["at", "share"]),
    ("agents[]", &["id", "address", "mac", "interface"]),
    ("services[]", &["name", "address", "protocol"]),
];

/// Any power of two from one to the other.
fn power(least: u32, most: u32) -> Value {
    let sizes = std::iter::successors(Some(least), |size| Some(size * 2)).take_while(|size| *size <= most);
    json!({"enum": sizes.collect::<Vec<u32>>()})
}

fn words(all: Vec<&'static str>) -> Value {
    json!({"enum": all})
}

fn whole(least: u32, most: u32) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

fn bounded(range: &std::ops::RangeInclusive<u32>) -> Value {
    whole(*range.start(), *range.end())
}

fn of(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

fn share() -> Value {
    of("^[0-9]{1,3}(\\.[0-9]{1,2})?%$")
}

/// What is known of a value beyond its shape. Who adds a key may add a line; without one the key takes any scalar.
fn known() -> Vec<(&'static str, Value)> {
    let mut known = known_of_traffic();
    known.extend(known_of_the_box());
    known
}

/// Of what becomes of frames: interfaces, features, rules, flags, agents and services.
fn known_of_traffic() -> Vec<(&'static str, Value)> {
    let wait = || words(WaitMode::ALL.iter().map(|word| word.as_str()).collect());
    let feature = || words(FeatureName::offered().map(FeatureName::as_str).collect());
    let queues = json!({"anyOf": [{"const": "all"}, whole(1, MAX_QUEUES)]});
    vec![
        ("interfaces[].queues", queues),
        ("interfaces[].mode", words(ModeWish::ALL.iter().map(|word| word.as_str()).collect())),
        ("memory.frame_size", json!({"enum": [2048, 4096]})),
        ("memory.rx_ring", power(*RX_RING.start(), *RX_RING.end())),
        ("memory.hugepages", words(HugePages::ALL.iter().map(|word| word.as_str()).collect())),
        ("wait", wait()),
        ("resources.memory_limit", words(MemoryLimit::ALL.iter().map(|word| word.as_str()).collect())),
        ("resources.borrow", json!({"type": "boolean"})),
        ("resources.features.*.cores.critical", whole(0, FEATURE_CORES)),
        ("resources.features.*.cores.batch", whole(0, FEATURE_CORES)),
        ("resources.features.*.memory", of("^[0-9]+ ?(MiB|GiB)$")),
        ("resources.features.*.cpu_weight", whole(*CPU_WEIGHT.start(), *CPU_WEIGHT.end())),
        ("resources.features.*.class", words(PriorityClass::ALL.iter().map(|word| word.as_str()).collect())),
        (
            "resources.features.*.accelerator.name",
            words(AcceleratorName::ALL.iter().map(|word| word.as_str()).collect()),
        ),
        ("resources.features.*.accelerator.share", share()),
        ("resources.features.*.borrow", json!({"type": "boolean"})),
        ("features.*.enabled", json!({"type": "boolean"})),
        ("features.*.wait", wait()),
        ("features.*.run", words(Run::ALL.iter().map(|word| word.as_str()).collect())),
        ("features.*.program", of("^/.*[^/]$")),
        ("features.*.send_mbit", whole(*SEND_MBIT.start(), *SEND_MBIT.end())),
        ("rules[].action", words(RuleAction::ALL.iter().map(|word| word.as_str()).collect())),
        ("rules[].to[]", feature()),
        ("rules[].share", share()),
        ("rules[].durable", json!({"type": "boolean"})),
        ("flags[].to[]", feature()),
        ("flags[].share", share()),
        ("flags[].state", words(FlagState::ALL.iter().map(|word| word.as_str()).collect())),
        ("flags[].variants[].to[]", feature()),
        ("flags[].variants[].weight", whole(0, MAX_WEIGHT)),
        ("flags[].schedule[].share", share()),
        ("agents[].weight", whole(1, MAX_WEIGHT)),
        ("agents[].draining", json!({"type": "boolean"})),
        ("services[].protocol", words(ServiceProtocol::ALL.iter().map(|word| word.as_str()).collect())),
        ("services[].port", whole(1, 65_535)),
        ("services[].encapsulation", words(Encapsulation::ALL.iter().map(|word| word.as_str()).collect())),
        ("services[].health.check", words(Check::ALL.iter().map(|word| word.as_str()).collect())),
        ("services[].health.every_ms", whole(*CHECK_EVERY_MS.start(), *CHECK_EVERY_MS.end())),
        ("interfaces[].placement.busy_poll.usecs", bounded(&placement::POLL_US)),
        ("interfaces[].placement.busy_poll.budget", bounded(&placement::BUDGET)),
        ("interfaces[].placement.busy_poll.defer_hard_irqs", bounded(&placement::DEFERRED)),
        ("interfaces[].placement.busy_poll.flush_timeout_us", bounded(&placement::FLUSH_US)),
        ("agents[].id", whole(1, u32::MAX)),
        ("services[].health.port", whole(1, 65_535)),
        ("services[].health.rise", bounded(&CHECK_ROW)),
        ("services[].health.fall", bounded(&CHECK_ROW)),
    ]
}

/// Of the box itself: its log, its streams, how it watches over itself and who manages it.
fn known_of_the_box() -> Vec<(&'static str, Value)> {
    vec![
        ("log.segment_mib", whole(*SEGMENT_MIB.start(), *SEGMENT_MIB.end())),
        ("log.when_full", words(WhenFull::ALL.iter().map(|word| word.as_str()).collect())),
        ("log.folder", of("^/")),
        ("supervise.stall_seconds", whole(*STALL_SECONDS.start(), *STALL_SECONDS.end())),
        ("supervise.start_seconds", whole(*START_SECONDS.start(), *START_SECONDS.end())),
        ("supervise.restart_first_ms", whole(*RESTART_MS.start(), *RESTART_MS.end())),
        ("supervise.restart_most_ms", whole(*RESTART_MS.start(), *RESTART_MS.end())),
        ("supervise.park_deaths", whole(*PARK_DEATHS.start(), *PARK_DEATHS.end())),
        ("supervise.park_within_seconds", whole(*PARK_WITHIN_SECONDS.start(), *PARK_WITHIN_SECONDS.end())),
        ("preservation.watch", words(Watch::ALL.iter().map(|word| word.as_str()).collect())),
        ("preservation.gate", words(Gate::ALL.iter().map(|word| word.as_str()).collect())),
        ("preservation.window_seconds", whole(*PRESERVATION_SECONDS.start(), *PRESERVATION_SECONDS.end())),
        ("preservation.every_minutes", whole(*GATE_MINUTES.start(), *GATE_MINUTES.end())),
        ("preservation.most_frames_per_second", whole(*GATE_FRAMES.start(), *GATE_FRAMES.end())),
        ("preservation.throughput_loss", share()),
        ("preservation.late_more", share()),
        ("tcp.connections", bounded(&STREAM_CONNECTIONS)),
        ("tcp.buffers_mib", power(*STREAM_BUFFERS_MIB.start(), *STREAM_BUFFERS_MIB.end())),
        ("tcp.credit", bounded(&STREAM_CREDIT)),
        ("tcp.stall_seconds", bounded(&STREAM_STALL_SECONDS)),
        ("management.ports[]", whole(1, 65_535)),
        ("control.socket", of("^/.*[^/]$")),
    ]
}

impl Config {
    /// The JSON Schema (draft 2020-12) of the file. It accepts at least every file that [`Config::parse`] accepts; what
    /// values mean together only the parser judges.
    #[must_use]
    pub fn schema() -> Value {
        let mut schema = node(&shape::of_file(), "", &known());
        if let Value::Object(map) = &mut schema {
            map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
            map.insert("title".into(), json!("weir.yaml"));
        }
        schema
    }
}

fn node(shape: &Shape, path: &str, known: &[(&str, Value)]) -> Value {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match shape {
        Shape::Scalar => {
            let found = known.iter().find(|(known, _)| *known == path);
            found.map_or_else(|| json!({"type": ["string", "number", "boolean"]}), |(_, value)| value.clone())
        }
        Shape::List(item) => json!({"type": ["array", "null"], "items": node(item, &format!("{path}[]"), known)}),
        Shape::Map(value) => {
            json!({"type": ["object", "null"], "additionalProperties": node(value, &below("*"), known)})
        }
        Shape::Object(keys) => {
            let properties: Map<String, Value> =
                keys.iter().map(|(key, shape)| ((*key).to_owned(), node(shape, &below(key), known))).collect();
            let mut object =
                json!({"type": ["object", "null"], "additionalProperties": false, "properties": properties});
            if let Some((_, keys)) = REQUIRED.iter().find(|(item, _)| *item == path) {
                object["required"] = json!(keys);
            }
            object
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(shape: &Shape, path: &str) -> bool {
        let Some((shape, rest)) = (match (shape, path) {
            (_, "") => return true,
            (Shape::List(item), path) => path.strip_prefix("[]").map(|rest| (&**item, rest)),
            (Shape::Map(value), path) => path.strip_prefix('*').map(|rest| (&**value, rest)),
            (Shape::Object(keys), path) => keys.iter().find_map(|(key, shape)| {
                let rest = path.strip_prefix(key)?;
                (rest.is_empty() || rest.starts_with(['.', '['])).then_some((shape, rest))
            }),
            (Shape::Scalar, _) => None,
        }) else {
            return false;
        };
        has(shape, rest.strip_prefix('.').unwrap_or(rest))
    }

    #[test]
    fn the_shape_is_the_readers_own() {
        let shape = shape::of_file();
        let Shape::Object(keys) = &shape else { panic!("{shape:?}") };
        let keys: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
        for key in [
            "interfaces",
            "memory",
            "cores",
            "resources",
            "wait",
            "features",
            "rules",
            "flags",
            "agents",
            "log",
            "control",
        ] {
            assert!(keys.contains(&key), "{key} is missing: {keys:?}");
        }
        // The parser names the keys that it takes when it meets another.
        let said = Config::parse("nonsense: 1").expect_err("no such key").problem.cure;
        assert!(keys.iter().all(|key| said.contains(key)), "{said}");
        for (path, _) in known() {
            assert!(has(&shape, path), "{path} is in the table but not in the file: {shape:?}");
        }
    }

    #[test]
    fn words_of_the_schema_are_words_of_the_parser() {
        for (path, value) in known() {
            let Some(words) = value.get("enum").and_then(Value::as_array) else { continue };
            for word in words {
                let service = |more: &str| format!("services: [{{name: s, address: 10.0.0.9, type: 1, {more}}}]");
                let rule = |more: &str| format!("rules: [{{match: any, action: pass{more}}}]");
                let file = match path {
                    "rules[].action" if matches!(word.as_str(), Some("deliver" | "mirror")) => {
                        format!("rules: [{{match: any, action: {word}, to: [streaming]}}]")
                    }
                    "rules[].action" => format!("rules: [{{match: any, action: {word}}}]"),
                    "rules[].to[]" | "flags[].to[]" => {
                        format!(
                            "features: {{{0}: {{}}}}\nflags: [{{to: [{0}], share: 1%}}]",
                            word.as_str().unwrap_or_default()
                        )
                    }
                    "flags[].state" => format!("flags: [{{to: [streaming], share: 1%, state: {word}}}]"),
                    "flags[].variants[].to[]" => {
                        let name = word.as_str().unwrap_or_default();
                        format!(
                            "features: {{{name}: {{}}}}\nflags: [{{share: 1%, variants: [{{name: v, to: [{name}]}}]}}]"
                        )
                    }
                    "interfaces[].mode" => format!("interfaces: [{{name: e, mode: {word}}}]"),
                    "services[].protocol" => service(&format!("protocol: {word}")),
                    "services[].health.check" if word.as_str() == Some("udp") => {
                        service(&format!("protocol: tcp, port: 1, health: {{check: {word}, ask: hello}}"))
                    }
                    "services[].health.check" => service(&format!("protocol: tcp, port: 1, health: {{check: {word}}}")),
                    "services[].encapsulation" if word.as_str() == Some("none") => {
                        service(&format!("protocol: tcp, encapsulation: {word}"))
                    }
                    "services[].encapsulation" => {
                        service(&format!("protocol: tcp, encapsulation: {word}, source: 10.0.0.1"))
                    }
                    "resources.features.*.class" => {
                        format!("resources: {{features: {{streaming: {{class: {word}}}}}}}")
                    }
                    "resources.features.*.accelerator.name" => {
                        let device = format!("{{name: {word}, share: 5%}}");
                        format!("resources: {{features: {{streaming: {{accelerator: {device}}}}}}}")
                    }
                    "features.*.wait" => format!("features: {{streaming: {{wait: {word}}}}}"),
                    "features.*.run" => format!("features: {{streaming: {{run: {word}}}}}"),
                    path => path.split('.').rev().fold(word.to_string(), |inner, key| format!("{{{key}: {inner}}}")),
                };
                assert!(Config::parse(&file).is_ok(), "{path}: {word}: {file}\n{:?}", Config::parse(&file));
                assert!(Config::parse(&rule("")).is_ok());
            }
        }
    }

    /// A file in which the key at `path` has this value, and no other is wrong.
    fn file_with(path: &str, value: &str) -> String {
        let item = |list: &str, rest: &str| match list {
            "interfaces" if rest == "queues" => format!("interfaces: [{{name: e, queues: {value}}}]"),
            "interfaces" => {
                let key = rest.rsplit('.').next().unwrap_or_default();
                format!("interfaces: [{{name: e, placement: {{busy_poll: {{{key}: {value}}}}}}}]")
            }
            "flags" => format!(
                "flags: [{{share: 1%, variants: [{{name: v, to: [streaming], weight: 1}}, {{name: w, weight: {value}}}]}}]"
            ),
            "agents" if rest == "id" => {
                format!("agents: [{{id: {value}, address: 10.0.0.1, mac: \"02:00:00:00:00:01\", interface: e}}]")
            }
            "agents" => format!(
                "agents: [{{id: 1, address: 10.0.0.1, mac: \"02:00:00:00:00:01\", interface: e, {rest}: {value}}}]"
            ),
            "services" => {
                let health = rest.strip_prefix("health.").map(|key| format!("port: 1, health: {{{key}: {value}}}"));
                let more = health.unwrap_or_else(|| format!("{rest}: {value}"));
                format!("services: [{{name: s, address: 10.0.0.9, protocol: tcp, type: 1, {more}}}]")
            }
            other => panic!("no file for {other}[].{rest}"),
        };
        if let Some(list) = path.strip_suffix("[]") {
            return list.rsplit('.').fold(format!("[{value}]"), |inner, key| format!("{{{key}: {inner}}}"));
        }
        match path.split_once("[].") {
            Some((list, rest)) => item(list, rest),
            None => path
                .replace('*', "streaming")
                .rsplit('.')
                .fold(value.to_owned(), |inner, key| format!("{{{key}: {inner}}}")),
        }
    }

    /// Every number of a schema with its path and its bounds.
    fn numbers(schema: &Value, path: &str, found: &mut Vec<(String, u64, u64)>) {
        if let (Some(least), Some(most)) = (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
            found.push((path.to_owned(), least, most));
        }
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            numbers(inner, &below(key), found);
        }
        for inner in schema["anyOf"].as_array().into_iter().flatten() {
            numbers(inner, path, found);
        }
        if schema["items"].is_object() {
            numbers(&schema["items"], &format!("{path}[]"), found);
        }
        if schema["additionalProperties"].is_object() {
            numbers(&schema["additionalProperties"], &below("*"), found);
        }
    }

    #[test]
    fn a_number_beyond_its_keys_bounds_is_told_both_of_them() {
        let mut found = Vec::new();
        numbers(&Config::schema(), "", &mut found);
        assert!(found.len() >= 30, "{found:?}");
        for (path, least, most) in found {
            let beyond = [least.checked_sub(1).map_or_else(|| "-1".to_owned(), |below| below.to_string())];
            let more = [most + 1, u64::from(u32::MAX) + 1, u64::MAX].map(|above| above.to_string());
            for value in beyond.iter().chain(&more).map(String::as_str).chain(["many", "1.5", "0x1"]) {
                let refused = Config::parse(&file_with(&path, value)).expect_err(&path).problem;
                let both = format!("from {least} to {most}");
                assert!(refused.cause.contains(&both), "{path}: {value}: {refused}");
                assert!(refused.value == value && !refused.cure.is_empty(), "{path}: {value}: {refused}");
            }
            for value in [least, most] {
                // What other keys make of it is another question.
                let said = Config::parse(&file_with(&path, &value.to_string())).err();
                assert!(
                    said.as_ref().is_none_or(|error| !error.problem.cause.contains("whole number")),
                    "{path}: {said:?}"
                );
                assert!(
                    said.is_none() || path.starts_with("supervise.restart") || path.ends_with(".every_ms"),
                    "{path}: {said:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_required_is_missed_by_the_parser() {
        for (item, keys) in REQUIRED {
            let file = match item.trim_end_matches("[]").split_once("[].") {
                None if item.contains('*') => item
                    .replace('*', "streaming")
                    .rsplit('.')
                    .fold("{}".to_owned(), |inner, key| format!("{{{key}: {inner}}}")),
                None => format!("{}: [{{}}]", item.trim_end_matches("[]")),
                Some((list, inner)) => format!("{list}: [{{share: 1%, {inner}: [{{}}]}}]"),
            };
            let refused = Config::parse(&file).expect_err(item);
            assert_eq!(refused.problem.value, keys[0], "{refused}");
        }
    }

    #[test]
    fn the_schema_of_the_whole_file() {
        let schema = Config::schema();
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["rules"]["items"]["required"], json!(["match", "action"]));
        assert_eq!(schema["properties"]["memory"]["properties"]["rx_ring"]["enum"][0], json!(64));
        assert_eq!(schema["properties"]["agents"]["items"]["additionalProperties"], json!(false));
    }
}
