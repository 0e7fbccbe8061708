//! Is a bad document refused with the flag, the value, the cause and the cure, and a good one written as it was read?

use serde_json::{Value, json};
use weir_appliance_flags::{DEPTH, DOCUMENT_BYTES, Document, ErrorCode, FLAGS, Flag, Reason, State};

fn one(flag: &Value) -> String {
    json!({ "flags": { "f": flag } }).to_string()
}

fn with_rule(rule: &Value) -> String {
    one(&json!({ "state": "ENABLED", "variants": { "a": 1 }, "defaultVariant": "a", "targeting": rule }))
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(true), |inner, _| json!({ "!": inner }))
}

#[test]
fn bad_documents() {
    let flag = |change: Value| {
        let mut flag = json!({ "state": "ENABLED", "variants": { "a": true, "b": false }, "defaultVariant": "a" });
        for (key, value) in change.as_object().expect("changes") {
            flag[key] = value.clone();
        }
        one(&flag)
    };
    for (text, expected) in [
        ("[]".to_owned(), "[]: the document is not an object; write {\"flags\": {…}}"),
        ("{}".to_owned(), "flags: the document has none; write"),
        ("{\"flags\": []}".to_owned(), "[]: flags is not an object; write an object by name"),
        ("{\"flags\": {}, \"flag\": {}}".to_owned(), "flag: there is no such key; write one of: flags,"),
        (
            "{\"flags\": {}, \"metadata\": {\"a\": []}}".to_owned(),
            "[]: metadata a is neither boolean, number nor text;",
        ),
        (
            "{\"flags\": {\"\": {}}}".to_owned(),
            "flag \"\": \"\": a flag's name has 1 to 256 bytes; choose another name",
        ),
        (one(&json!(1)), "flag f: 1: the flag is not an object;"),
        (one(&json!({"variants": {"a": 1}})), "flag f: state: it is missing; write \"ENABLED\" or \"DISABLED\""),
        (flag(json!({"state": "ON"})), "flag f: \"ON\": this is not a state; write \"ENABLED\" or \"DISABLED\""),
        (one(&json!({"state": "ENABLED"})), "flag f: variants: it is missing;"),
        (flag(json!({"variants": {}})), "flag f: variants: there is none; write at least one variant"),
        (
            flag(json!({"variants": {"a": 1, "b": "x"}})),
            "flag f: \"x\": this is a string, an earlier variant is a number;",
        ),
        (flag(json!({"variants": {"a": [1]}})), "flag f: [1]: the value of variant a is neither boolean,"),
        (
            flag(json!({"variants": {"a": 9_007_199_254_740_992_u64}})),
            "flag f: 9007199254740992: numbers end at 2^53 - 1;",
        ),
        (flag(json!({"defaultVariant": "c"})), "flag f: \"c\": defaultVariant is none of the variants; name one of"),
        (flag(json!({"defaultVariant": ""})), "flag f: \"\": defaultVariant is none"),
        (flag(json!({"targetting": {}})), "flag f: targetting: there is no such key; write one of: state,"),
        (flag(json!({"targeting": "a"})), "flag f: \"a\": targeting is a rule;"),
        (flag(json!({"metadata": {"a": null}})), "flag f: null: metadata a is neither"),
    ] {
        let error = Document::parse(&text).expect_err(&text).to_string();
        assert!(error.starts_with(expected) && !error.contains('\n'), "{text}\n  want {expected}\n  have {error}");
    }
    let many: Value =
        (0..=FLAGS).map(|at| (at.to_string(), json!({"state": "DISABLED", "variants": {"a": 1}}))).collect();
    let error = Document::parse(&json!({ "flags": many }).to_string()).expect_err("too many").to_string();
    assert!(error.starts_with("4097 flags: a document has at most 4096 flags;"), "{error}");
}

#[test]
fn bad_rules() {
    for (rule, expected) in [
        (json!({"iff": [true, "a"]}), "flag f: iff: there is no such operator;"),
        (json!({"log": "a"}), "flag f: log: there is no such operator;"),
        (json!({"if": [true]}), "flag f: if: it has 1 arguments, and takes 2 or more;"),
        (json!({"==": [1]}), "flag f: ==: it has 1 arguments, and takes 2;"),
        (json!({"<": [1, 2, 3, 4]}), "flag f: <: it has 4 arguments, and takes 2 to 3;"),
        (json!({"if": [{"a": 1, "b": 2}, "a"]}), "flag f: {a, b}: a rule has one operator, this has 2;"),
        (json!({"if": [{}, "a"]}), "flag f: {}: a rule has one operator, this has 0;"),
        (json!({"$ref": "gone"}), "flag f: gone: no evaluator has this name;"),
        (json!({"$ref": 1}), "flag f: 1: a $ref is a text;"),
        (json!({"sem_ver": ["1.0.0", "=>", "1.0.0"]}), "flag f: \"=>\": sem_ver has no such operator; write one of"),
        (json!({"sem_ver": [{"var": "v"}, "=", "1.x"]}), "flag f: \"1.x\": this is not a version;"),
        (json!({"fractional": []}), "flag f: fractional: it has 0 arguments"),
        (json!({"fractional": [{"var": "x"}]}), "flag f: fractional: it has no shares;"),
        (json!({"fractional": [["a", 1.5]]}), "flag f: 1.5: this is not a weight; write a whole number from 0"),
        (json!({"fractional": [["a", -1]]}), "flag f: -1: this is not a weight;"),
        (json!({"fractional": [["a", "1"]]}), "flag f: \"1\": this is not a weight;"),
        (json!({"fractional": [["a", 1, 2]]}), "flag f: a list of 3: this is not a share; write [\"variant\", weight]"),
        (json!({"fractional": [{"var": "x"}, "a"]}), "flag f: \"a\": this is not a share;"),
        (json!({"fractional": [["a", 2_147_483_647], ["a", 1]]}), "flag f: 2147483648: the weights together are more"),
    ] {
        let error = Document::parse(&with_rule(&rule)).expect_err(&rule.to_string()).to_string();
        assert!(error.starts_with(expected) && !error.contains('\n'), "{rule}\n  want {expected}\n  have {error}");
    }
}

#[test]
fn evaluators_end() {
    let with = |evaluators: Value| {
        let flag = json!({ "state": "ENABLED", "variants": { "true": 1 }, "targeting": { "$ref": "e0" } });
        json!({ "$evaluators": evaluators, "flags": { "f": flag } }).to_string()
    };
    let chain = |length: usize| -> Value {
        let link =
            |at| if at + 1 == length { json!({ "!": false }) } else { json!({ "$ref": format!("e{}", at + 1) }) };
        (0..length).map(|at| (format!("e{at}"), link(at))).collect()
    };
    let error = Document::parse(&with(json!({"e0": {"!": {"$ref": "e1"}}, "e1": {"$ref": "e0"}}))).expect_err("circle");
    assert!(error.to_string().starts_with("e0: this evaluator refers to itself"), "{error}");
    let error = Document::parse(&with(json!({"e0": {"and": []}}))).expect_err("arguments").to_string();
    assert!(error.contains("(in $evaluators, e0)"), "{error}");
    // References without a level of their own may be many; nested ones count together.
    assert_eq!(ask(&with(chain(4)), &json!({})).variant.as_deref(), Some("true"));
    let deep = json!({"e0": nested(DEPTH / 2), "e1": {"!": {"$ref": "e0"}}});
    let text = with(deep.clone());
    assert!(Document::parse(&text).is_ok());
    // Twice as many at each of forty levels: shared, not copied, and stopped by the steps of an evaluation.
    let doubling: Value = (0..40)
        .map(|at| {
            let next = json!({ "$ref": format!("e{}", at + 1) });
            (format!("e{at}"), if at == 39 { json!({ "!": true }) } else { json!({ "or": [next, next] }) })
        })
        .collect();
    let found = ask(&with(doubling), &json!({}));
    assert_eq!(found.error.expect("an error").code, ErrorCode::ParseError);
    let too_deep: Value = (0..4)
        .map(|at| {
            let inner = if at == 3 { json!(true) } else { json!({ "$ref": format!("e{}", at + 1) }) };
            (format!("e{at}"), (0..DEPTH / 3).fold(inner, |inner, _| json!({ "!": inner })))
        })
        .collect();
    let error = Document::parse(&with(too_deep)).expect_err("too deep").to_string();
    assert!(error.contains("deeper than 64 levels"), "{error}");
}

/// What flag `f` of a document gives.
fn ask(text: &str, context: &Value) -> weir_appliance_flags::Evaluation {
    let document = Document::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    document.evaluate("f", context.as_object().expect("an object"), 7)
}

#[test]
fn an_evaluation_ends_within_its_bounds() {
    let reduced = |step: Value| json!({ "reduce": [{ "var": "list" }, step, "x"] });
    let accumulator = json!({ "var": "accumulator" });
    let many = json!({ "list": vec![1; 1000] });
    let each = json!({ "map": [{ "var": "list" }, { "in": [{ "var": "" }, { "merge": [vec![2; 200]] }] }] });
    for (rule, part) in [
        (reduced(json!({ "cat": [accumulator, accumulator] })), "bytes of text"),
        (reduced(json!([accumulator])), "deeper than 64"),
        (reduced(json!({ "merge": [accumulator, accumulator] })), "steps"),
        (json!({ "cat": [(0..40).fold(json!(["x"]), |inner, _| json!([inner]))] }), ""),
        (each, "steps"),
    ] {
        let found = ask(&with_rule(&rule), &many);
        let error = found.error.unwrap_or_else(|| panic!("{rule}: {:?}", found.variant));
        assert!(error.message.contains(part) && !error.message.contains('\n'), "{rule}: {error:?}");
    }
    let shared = reduced(json!([accumulator, accumulator]));
    let found = ask(&with_rule(&json!({ "cat": [shared] })), &json!({ "list": vec![1; 60] }));
    assert_eq!(found.error.expect("too much").code, ErrorCode::ParseError);
}

#[test]
fn a_context_is_bounded() {
    let rule = with_rule(&json!({ "var": "x" }));
    let mut deep = json!(1);
    for _ in 0..DEPTH {
        deep = json!([deep]);
    }
    for context in [json!({ "x": deep }), json!({ "x": vec![0; 70_000] }), json!({ "x": "y".repeat(2 << 20) })] {
        let found = ask(&rule, &context);
        assert_eq!((found.reason, found.error.expect("an error").code), (Reason::Error, ErrorCode::InvalidContext));
    }
}

#[test]
fn the_normal_form_is_read_again() {
    let text = r#"{"metadata": {"version": "3"}, "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": {"z": {"state": "DISABLED", "variants": {"b": 1e5, "a": 0.1}, "targeting": {}},
                  "a": {"state": "ENABLED", "variants": {"x": "1"}, "defaultVariant": "x",
                        "metadata": {"owner": "ops"}, "targeting": {"if": [{"var": "y"}, "x"]}}}}"#;
    let document = Document::parse(text).expect("a good document");
    let normal = document.to_json();
    assert_eq!(Document::parse(&normal).expect("the normal form"), document);
    assert!(
        normal.contains(r#""z":{"defaultVariant":null,"state":"DISABLED","variants":{"a":0.1,"b":100000.0}}"#),
        "{normal}"
    );
    let names: Vec<&str> = document.flags().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "z"]);
    assert_eq!(document.flag("z").map(Flag::state), Some(State::Disabled));
    assert_eq!(document.metadata()["version"], "3");
}

#[test]
fn a_document_whose_normal_form_is_too_long_is_refused() {
    let numbers = vec!["1e5"; DOCUMENT_BYTES / 5].join(",");
    let text = format!(r#"{{"flags":{{"f":{{"state":"ENABLED","variants":{{"a":{{"k":[{numbers}]}}}}}}}}}}"#);
    let error = Document::parse(&text).expect_err("too long").to_string();
    assert!(error.contains("in its normal form"), "{error}");
}
