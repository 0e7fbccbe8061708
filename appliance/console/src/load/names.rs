//! The load tools under names of their own: a link to the binary with such a name is that tool.

use std::ffi::OsString;
use std::path::Path;

/// Names by which scripts outside call the tools, and the tool of each.
const NAMES: [(&str, &str); 4] = [
    ("stream_load_test", "stream"),
    ("stream_latency_test", "latency"),
    ("stream_backpressure_test", "backpressure"),
    ("burst_load_test", "burst"),
];

/// The words of a command line, with `load TOOL` put in behind the program's name where that name is a tool's.
pub fn expanded(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let called = words.first().and_then(|program| Path::new(program).file_name()).and_then(|name| name.to_str());
    let tool = NAMES.iter().find(|(name, _)| called == Some(name)).map(|(_, tool)| *tool);
    // Tools take nothing but flags. Any other word is a command: a copy of the binary starts its own workers with those.
    let flags_only = words.get(1).is_none_or(|word| word.as_encoded_bytes().starts_with(b"-"));
    if let Some(tool) = tool.filter(|_| flags_only) {
        words.splice(1..1, ["load".into(), tool.into()]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        expanded(line.split(' ').map(OsString::from)).into_iter().filter_map(|word| word.into_string().ok()).collect()
    }

    #[test]
    fn a_tools_name_stands_for_its_command() {
        for (name, tool) in NAMES {
            assert_eq!(words(&format!("/opt/{name} --json")), [&format!("/opt/{name}"), "load", tool, "--json"]);
            assert_eq!(words(name), [name, "load", tool]);
            assert_eq!(words(&format!("{name} worker x")).len(), 3);
        }
        assert_eq!(words("weir status"), ["weir", "status"]);
        assert_eq!(words("weir --svg stream_load_test").len(), 3);
        assert!(expanded([]).is_empty());
    }
}
