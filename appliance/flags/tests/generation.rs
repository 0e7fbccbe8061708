//! Does every flag evaluate as flagd's own code for Python evaluates it? The answers are in vectors/flagd-v3.json, which
//! vectors/generate.py wrote.

use serde_json::{Map, Value};
use weir_appliance_flags::{Document, Evaluation, Kind};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/flagd-v3.json")).expect("the vectors are JSON")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

/// Variant, value, reason and error code, as the vectors have them.
fn outcome(evaluation: &Evaluation) -> Value {
    let code = evaluation.error.as_ref().map(|error| error.code.as_str());
    serde_json::json!([evaluation.variant, evaluation.value, evaluation.reason.as_str(), code])
}

/// Holds a document's answers, and returns how many there were.
fn hold(vectors: &Value, differing: &mut Vec<String>) -> usize {
    let document = Document::parse(&vectors["document"].to_string()).expect("the document is good");
    let now = vectors["now"].as_u64().expect("a time");
    let mut asked = 0;
    for (name, row) in object(&vectors["answers"]) {
        for (context, number) in list(&vectors["contexts"]).iter().zip(list(row)) {
            let number = number.as_u64().expect("a number");
            let found = outcome(&document.evaluate(name, object(context), now));
            let expected = &vectors["outcomes"][number as usize];
            if found != *expected {
                differing.push(format!("{name}, {context}: expected {expected}, found {found}"));
            }
            asked += 1;
        }
    }
    asked
}

#[test]
fn every_flag_in_every_context() {
    let vectors = vectors();
    let mut differing = Vec::new();
    let asked = hold(&vectors, &mut differing);
    assert!(object(&vectors["document"]["flags"]).len() >= 30 && asked >= 2000, "{asked} evaluations");
    assert!(differing.is_empty(), "{} of {asked} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn a_thousand_keys_fall_into_the_same_buckets() {
    let vectors = vectors();
    let document = Document::parse(&vectors["document"].to_string()).expect("the document is good");
    for (name, letters) in object(&vectors["keyed"]) {
        let letters = letters.as_str().expect("letters");
        assert_eq!(letters.len(), 1000);
        for (at, letter) in letters.chars().enumerate() {
            let context = serde_json::json!({ "targetingKey": format!("user-{at}") });
            let found = document.evaluate(name, object(&context), 0);
            assert_eq!(found.variant, Some(letter.to_string()), "{name}, user-{at}");
        }
    }
}

#[test]
fn who_asks_for_another_type_is_told() {
    let vectors = vectors();
    let document = Document::parse(&vectors["document"].to_string()).expect("the document is good");
    for row in list(&vectors["typed"]) {
        let kind = match row[1].as_str() {
            Some("boolean") => Kind::Boolean,
            Some("string") => Kind::String,
            Some("number") => Kind::Number,
            _ => Kind::Object,
        };
        let found = document.evaluate_as(kind, row[0].as_str().expect("a name"), &Map::new(), 0);
        assert_eq!(row[2], outcome(&found)[3], "{row}");
    }
}
