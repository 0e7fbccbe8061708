//! Flag documents of any text: each is refused in one line, or every flag in it answers, and its normal form is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use weir_appliance_flags::Document;

fuzz_target!(|given: (&str, &str)| {
    let (text, context) = given;
    let context: Map<String, Value> = serde_json::from_str(context).unwrap_or_default();
    match Document::parse(text) {
        Ok(document) => {
            let normal = document.to_json();
            assert_eq!(Document::parse(&normal).expect("what we write we read").to_json(), normal);
            for (name, _) in document.flags() {
                let found = document.evaluate(name, &context, 1);
                assert_eq!(found.variant.is_none(), found.value.is_null());
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
