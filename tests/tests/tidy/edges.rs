//! Which room may use which, and which crate has only one door.

use crate::demand_none;
use crate::manifest::Manifest;
use crate::tree::Tree;

/// Room, and the rooms it may name in its manifest, tests included: what is not written here is refused.
const ROOMS: [(&str, &[&str]); 17] = [
    ("ebpf/abi", &[]),
    ("ebpf/classifier", &["ebpf/abi"]),
    ("ebpf/loader", &["ebpf/abi"]),
    ("dataplane/ring", &[]),
    ("dataplane/io", &["dataplane/ring"]),
    ("dataplane/pool", &["ebpf/abi", "dataplane/ring", "dataplane/io"]),
    ("dataplane/source", &["ebpf/abi", "dataplane/ring", "dataplane/io"]),
    ("dataplane/log", &["ebpf/abi", "dataplane/ring", "dataplane/io"]),
    ("features/worker", &["ebpf/abi", "dataplane/ring", "dataplane/io"]),
    ("features/streaming", &["ebpf/abi", "dataplane/ring", "features/worker"]),
    ("appliance/flags", &[]),
    ("appliance/shares", &[]),
    ("appliance/control", &["ebpf/abi", "appliance/flags"]),
    // The lab starts an appliance as a user does and asks it over its control socket.
    (
        "appliance/lab",
        &["ebpf/abi", "ebpf/loader", "dataplane/ring", "dataplane/io", "dataplane/source", "appliance/control"],
    ),
    ("appliance/console", &["ebpf/abi", "appliance/flags", "appliance/control"]),
    // What other programs link: it brings along nothing of the box but its words, and memory that can be shared.
    ("appliance/sdk/rust", &["ebpf/abi", "dataplane/ring", "dataplane/io"]),
    ("appliance/sdk/c", &["ebpf/abi", "dataplane/ring", "dataplane/io", "appliance/sdk/rust"]),
];

/// Members that may use every room: the binary wires them, and tests and benchmarks stand outside. `xtask` uses none.
const FREE: [&str; 3] = ["appliance/weir", "tests", "benches"];

/// Crates that open a dangerous room or carry a taste that must not spread, and the members that may use them.
const DOORS: [(&str, &[&str]); 23] = [
    ("aya", &["ebpf/loader"]),
    ("aya-ebpf", &["ebpf/classifier"]),
    ("libc", &["dataplane/io"]),
    ("seccompiler", &["dataplane/io"]),
    ("landlock", &["dataplane/io"]),
    ("core_affinity", &["dataplane/io"]),
    ("io-uring", &["dataplane/io"]),
    ("rustix", &["ebpf/loader", "dataplane/io", "appliance/lab", "tests", "benches"]),
    ("ratatui", &["appliance/console"]),
    ("crossterm", &["appliance/console"]),
    ("clap", &["appliance/console", "appliance/weir"]),
    ("tracing-subscriber", &["appliance/weir"]),
    ("serde-saphyr", &["appliance/control"]),
    ("redb", &["appliance/control"]),
    ("semver", &["appliance/flags"]),
    ("anyhow", &["appliance/lab", "appliance/console", "appliance/weir", "tests", "benches", "xtask"]),
    ("tokio", &[]),
    ("async-std", &[]),
    ("smol", &[]),
    ("nix", &[]),
    ("mio", &[]),
    ("lazy_static", &[]),
    ("hugepage-rs", &[]),
];

/// Members that may use these crates alone.
const NOTHING_ELSE: [(&str, &[&str]); 2] = [("ebpf/abi", &["zerocopy", "proptest"]), ("xtask", &["anyhow"])];

/// A feature does no input or output, so that it replays from a capture.
const NOT_IN_A_FEATURE: [&str; 6] =
    ["std::net", "std::fs", "std::process", "std::thread", "std::os", "SystemTime::now"];

fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for member in Manifest::members(tree) {
        let folder = member.folder.as_str();
        for name in &member.dependencies {
            if let Some(room) = name.strip_prefix("weir-") {
                let room = room.replace('-', "/");
                if !room_may_use(folder, &room) {
                    findings.push(format!("{folder} uses {room}: no such edge is allowed"));
                }
                continue;
            }
            if DOORS.iter().any(|(door, users)| door == name && !users.contains(&folder)) {
                findings.push(format!("{folder} uses {name}, which is not its business"));
            }
            if NOTHING_ELSE.iter().any(|(room, crates)| *room == folder && !crates.contains(&name.as_str())) {
                findings.push(format!("{folder} uses {name}, but should come with almost nothing"));
            }
        }
    }
    findings
}

fn room_may_use(folder: &str, used: &str) -> bool {
    FREE.contains(&folder) || ROOMS.iter().any(|(room, rooms)| *room == folder && rooms.contains(&used))
}

/// A member that the tables do not know has no edges at all; it must be entered before it is built on.
fn unknown(tree: &Tree) -> Vec<String> {
    let known =
        |folder: &str| FREE.contains(&folder) || folder == "xtask" || ROOMS.iter().any(|(room, _)| *room == folder);
    let members = Manifest::members(tree);
    let strangers = members.iter().map(|member| &member.folder).filter(|folder| !known(folder));
    strangers.map(|folder| format!("{folder} has no line in the table of rooms")).collect()
}

fn features(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let sources = tree.ending(".rs").filter(|(path, _)| path.starts_with("features/") && path.contains("/src/"));
    for (path, text) in sources.filter(|(path, _)| !path.starts_with("features/worker/")) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let found = NOT_IN_A_FEATURE.iter().filter(|word| code.contains(*word));
        findings.extend(found.map(|word| format!("{path}: `{word}` in a feature; it must replay from a capture")));
    }
    findings
}

#[test]
fn rooms_use_only_what_they_may() {
    let tree = Tree::repository();
    demand_none(&check(tree));
    demand_none(&unknown(tree));
    demand_none(&features(tree));
}

#[test]
fn a_forbidden_edge_is_found() {
    let tree = Tree::of(&[
        (
            "Cargo.toml",
            "members = [\n\"features/streaming\", # x\n\"appliance/console\", # x\n\"ebpf/abi\", # x\n\"other\", # x\n]\n",
        ),
        ("features/streaming/Cargo.toml", "[dependencies]\nweir-dataplane-io.workspace = true\nlibc = \"1\"\n"),
        ("features/streaming/src/lib.rs", "use std::fs::File;\n#[cfg(test)]\nuse std::net::TcpStream;\n"),
        ("appliance/console/Cargo.toml", "[dev-dependencies]\nweir-dataplane-pool = { path = \"..\" }\n"),
        ("ebpf/abi/Cargo.toml", "[dependencies]\nserde = \"1\"\n"),
    ]);
    let findings = check(&tree);
    assert_eq!(findings.len(), 4, "{findings:?}");
    assert_eq!(unknown(&tree), ["other has no line in the table of rooms"]);
    assert_eq!(features(&tree).len(), 1);
}

#[test]
fn the_table_lists_its_rooms_in_their_order_and_points_backwards() {
    // An edge to a later room would close a circle with the order of the journey, the console's excepted: it has none.
    for (at, (room, used)) in ROOMS.iter().enumerate() {
        for name in *used {
            assert!(ROOMS[..at].iter().any(|(earlier, _)| earlier == name), "{room} uses {name}, which comes later");
        }
    }
}
