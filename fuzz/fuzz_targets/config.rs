//! Configurations of any text: each is refused with a place, or survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_appliance_control::config::Config;

fuzz_target!(|text: &str| {
    if let Ok(config) = Config::parse(text) {
        let again = Config::parse(&config.to_yaml()).expect("what we write we read");
        assert_eq!(again, config);
    }
});
