//! What does not belong into a repository: one machine's folders and hosts, built files, unknown sources of crates.

use crate::demand_none;
use crate::tree::Tree;

/// The one built file: the eBPF object, so that a machine without the eBPF toolchain can run it. CI compares it with its
/// source.
const OBJECT: &str = "ebpf/loader/object/classifier.bpf.o";
/// Recorded traffic and pictures are data, not built files.
const DATA: [&str; 3] = [".pcap", ".pcapng", ".png"];
const LARGEST_FILE: usize = 400 * 1024;
/// The only place that crates come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Folders and hosts of somebody's machine. Put together here, so that this file does not contain them.
const TRACES: [&str; 9] = [
    concat!("/wor", "k/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tm", "p/w/"),
    concat!("/Us", "ers/"),
    concat!(".cargo/", "registry"),
    concat!("art", "ifactory"),
    concat!("extra-", "index-url"),
    concat!("replace-", "with ="),
];

fn traces(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for path in tree.paths() {
        // Bytes, not text: a built object carries paths too.
        let text = String::from_utf8_lossy(tree.bytes(path));
        for trace in TRACES {
            if let Some(at) = text.find(trace) {
                let line = text[..at].matches('\n').count() + 1;
                findings.push(format!("{path}:{line}: `{trace}` belongs to one machine"));
            }
        }
    }
    let sources = tree.text("Cargo.lock").lines().filter_map(|line| line.strip_prefix("source = "));
    let foreign = sources.filter(|source| source.trim_matches('"') != REGISTRY);
    findings.extend(foreign.map(|source| format!("Cargo.lock: a crate comes from {source}")));
    findings
}

fn built(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for path in tree.paths().filter(|path| *path != OBJECT) {
        let bytes = tree.bytes(path);
        let data = DATA.iter().any(|end| path.ends_with(end));
        let compiled = [".o", ".so", ".a", ".elf", ".bin", ".rlib"].iter().any(|end| path.ends_with(end));
        if compiled || (!data && bytes.contains(&0)) {
            findings.push(format!("{path} is a built file; only {OBJECT} may be one"));
        }
        if bytes.len() > LARGEST_FILE {
            findings.push(format!("{path} has {} bytes; {LARGEST_FILE} is the end", bytes.len()));
        }
    }
    findings
}

#[test]
fn no_machine_shows_through() {
    demand_none(&traces(Tree::repository()));
}

#[test]
fn one_built_file_and_no_other() {
    demand_none(&built(Tree::repository()));
}

#[test]
fn a_machines_path_and_a_built_file_are_found() {
    let tree = Tree::of(&[
        ("README.md", concat!("see /ho", "me/somebody/weir")),
        ("Cargo.lock", "source = \"registry+https://example.org/index\"\n"),
        ("ebpf/loader/object/classifier.bpf.o", "\0"),
        ("ebpf/loader/object/other.o", ""),
        ("tool", "\0ELF"),
        ("tests/data/udp.pcap", "\0"),
    ]);
    assert_eq!(traces(&tree).len(), 2, "{:?}", traces(&tree));
    assert_eq!(built(&tree).len(), 2, "{:?}", built(&tree));
}
