//! Do flags that programs ask evaluate as flagd's own code evaluates them, whatever their rules are?
//!
//! The answers to fixed flags are in appliance/flags/tests/vectors; here the same code is asked anew about random ones.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use weir_appliance_flags::Document;
use weir_tests::{scaled, skip};

/// Where `cargo xtask setup` puts flagd's evaluation for Python.
fn oracle() -> Option<PathBuf> {
    let target = std::env::current_exe().ok()?.ancestors().nth(3)?.to_owned();
    Some(target.join("oracle/flagd/bin/python")).filter(|python| python.exists())
}

#[test]
fn random_flags_as_flagd_evaluates_them() {
    let Some(python) = oracle() else {
        skip("random_flags_as_flagd_evaluates_them", "flagd's evaluation is not installed: cargo xtask setup");
        return;
    };
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../appliance/flags/tests/vectors/generate.py");
    for seed in 0..scaled(2, 200) {
        let mut ask = Command::new(&python);
        let output = ask.arg(&script).args(["--random", &seed.to_string(), "100"]).output().expect("python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let asked = hold(&serde_json::from_slice(&output.stdout).expect("answers are JSON"), seed);
        assert!(asked > 5000, "{asked} evaluations");
    }
}

/// Holds the answers to one random document; returns how many there were.
fn hold(given: &Value, seed: u64) -> usize {
    let document = Document::parse(&given["document"].to_string()).expect("the document is good");
    let now = given["now"].as_u64().expect("a time");
    let contexts = given["contexts"].as_array().expect("a list");
    let mut asked = 0;
    for (name, row) in given["answers"].as_object().expect("an object") {
        for (context, number) in contexts.iter().zip(row.as_array().expect("a list")) {
            let found = document.evaluate(name, context.as_object().expect("an object"), now);
            let code = found.error.map(|error| error.code.as_str());
            let found = serde_json::json!([found.variant, found.value, found.reason.as_str(), code]);
            let expected = &given["outcomes"][number.as_u64().expect("a number") as usize];
            assert_eq!(found, *expected, "seed {seed}, {name}, {context}: {}", given["document"]["flags"][name]);
            asked += 1;
        }
    }
    asked
}
