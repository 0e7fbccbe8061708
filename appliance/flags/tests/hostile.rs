//! Does any text, any context and any change of a good document end in an answer or a refusal of one line?

use proptest::prelude::*;
use serde_json::{Map, Value};
use weir_appliance_flags::{Document, Reason};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/flagd-v3.json")).expect("the vectors are JSON")
}

fn json() -> impl Strategy<Value = Value> {
    let names = "var|if|fractional|sem_ver|reduce|map|cat|merge|in|\\$ref|targetingKey|flags|[a-z]{1,3}|\\PC{0,3}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        names.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// A rule that compiles more often than not: real operators around anything.
fn rule() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 36] = [
        "var",
        "missing",
        "missing_some",
        "if",
        "?:",
        "and",
        "or",
        "!",
        "!!",
        "==",
        "!=",
        "===",
        "!==",
        "<",
        "<=",
        ">",
        ">=",
        "+",
        "-",
        "*",
        "/",
        "%",
        "min",
        "max",
        "in",
        "cat",
        "substr",
        "merge",
        "map",
        "filter",
        "reduce",
        "all",
        "some",
        "none",
        "fractional",
        "sem_ver",
    ];
    let leaf = prop_oneof![
        "a|b|targetingKey|x|x.y|accumulator|current|\\PC{0,2}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(6, 60, 3, |inner| {
        let args = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            3 => (prop::sample::select(&NAMES[..]), args.clone())
                .prop_map(|(name, args)| Value::Object(Map::from_iter([(name.to_owned(), args.into())]))),
            1 => args.prop_map(Value::from),
        ]
    })
}

/// Puts a value where a walk through the document, led by `path`, ends.
fn changed(document: &mut Value, path: &[usize], to: Value) {
    let Some((first, rest)) = path.split_first() else {
        *document = to;
        return;
    };
    let inner = match document {
        Value::Array(items) if !items.is_empty() => {
            let at = first % items.len();
            items.get_mut(at)
        }
        Value::Object(object) if !object.is_empty() => {
            let at = first % object.len();
            object.values_mut().nth(at)
        }
        _ => None,
    };
    match inner {
        Some(inner) => changed(inner, rest, to),
        None => *document = to,
    }
}

/// Asks every flag of a text, if it is a document.
fn ask(text: &str, context: &Map<String, Value>) -> Result<(), TestCaseError> {
    match Document::parse(text) {
        Err(error) => prop_assert!(!error.to_string().contains('\n'), "{error}"),
        Ok(document) => {
            let normal = document.to_json();
            prop_assert_eq!(Document::parse(&normal).map(|again| again.to_json()), Ok(normal));
            for (name, flag) in document.flags() {
                let found = document.evaluate(name, context, u64::MAX);
                prop_assert_eq!(found.error.is_some(), found.reason == Reason::Error);
                let value = found.variant.as_ref().map(|variant| &flag.variants()[variant]);
                prop_assert_eq!(value.unwrap_or(&Value::Null), &found.value);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text(text in "\\PC{0,200}") {
        ask(&text, &Map::new())?;
    }

    #[test]
    fn any_json(value in json(), context in prop::collection::hash_map("\\PC{0,4}", json(), 0..4)) {
        ask(&value.to_string(), &context.into_iter().collect())?;
    }

    #[test]
    fn any_rule(rule in rule(), x in json(), key in "\\PC{0,6}") {
        let rule = serde_json::json!({ "if": [true, rule] });
        let flag = serde_json::json!({ "state": "ENABLED", "variants": { "a": 1, "true": 2 }, "targeting": rule });
        let text = serde_json::json!({ "flags": { "f": flag } }).to_string();
        let context = serde_json::json!({ "targetingKey": key, "x": x });
        ask(&text, context.as_object().expect("an object"))?;
    }

    #[test]
    fn any_change(path in prop::collection::vec(0_usize..50, 0..9), to in prop_oneof![json(), rule()], at in 0_usize..50) {
        let vectors = vectors();
        let mut document = vectors["document"].clone();
        changed(&mut document, &path, to);
        let contexts = vectors["contexts"].as_array().expect("a list");
        ask(&document.to_string(), contexts[at % contexts.len()].as_object().expect("an object"))?;
    }

    #[test]
    fn any_cut(from in 0_usize..9000, length in 0_usize..40) {
        let mut text = vectors()["document"].to_string();
        let from = text.floor_char_boundary(from);
        let to = text.floor_char_boundary((from + length).min(text.len()));
        text.replace_range(from..to, "");
        ask(&text, &Map::new())?;
    }
}
