//! Cargo.toml, the README and line one of every room tell the same order: the one in which a frame meets them.

use crate::demand_none;
use crate::manifest;
use crate::tree::Tree;

/// The number in line one of each room. The vocabulary and the classifier are both the first.
const NUMBERS: [(&str, &str); 18] = [
    ("ebpf/abi", "1"),
    ("ebpf/classifier", "1"),
    ("ebpf/loader", "2"),
    ("dataplane/ring", "3"),
    ("dataplane/io", "4"),
    ("dataplane/pool", "5"),
    ("dataplane/source", "6"),
    ("dataplane/log", "6b"),
    ("features/worker", "7"),
    ("features/streaming", "8"),
    ("appliance/flags", "9a"),
    ("appliance/shares", "9b"),
    ("appliance/control", "9"),
    ("appliance/lab", "10"),
    ("appliance/console", "11"),
    ("appliance/sdk/rust", "11b"),
    ("appliance/sdk/c", "11c"),
    ("appliance/weir", "12"),
];

fn members(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let members = manifest::members(tree);
    for folder in &members {
        if !tree.has(&format!("{folder}/Cargo.toml")) {
            findings.push(format!("member {folder} has no folder"));
        }
    }
    let excluded = manifest::excluded(tree);
    for folder in tree.folders_with("Cargo.toml") {
        let known = members.iter().chain(&excluded).any(|member| member == folder);
        if !folder.is_empty() && !known {
            findings.push(format!("{folder} has a Cargo.toml but is no member and not excluded"));
        }
    }
    let bare = manifest::members_without_comment(tree);
    findings.extend(bare.iter().map(|line| format!("Cargo.toml: member {line} has no comment")));
    let rooms: Vec<&str> = NUMBERS.iter().map(|(folder, _)| *folder).collect();
    let order: Vec<&str> = members.iter().map(String::as_str).filter(|folder| rooms.contains(folder)).collect();
    if order != rooms {
        findings.push(format!("Cargo.toml has the rooms in the order {order:?}, expected {rooms:?}"));
    }
    findings
}

/// The README's table links every member's folder, in the order of Cargo.toml, and no other folder of code.
fn readme(tree: &Tree) -> Vec<String> {
    let rows = tree.text("README.md").lines().filter_map(|line| line.strip_prefix("| [")?.split_once("]("));
    let table: Vec<&str> = rows.filter_map(|(_, rest)| rest.split(')').next()).collect();
    let members = manifest::members(tree);
    let mut findings = Vec::new();
    if table != members {
        findings.push(format!("README.md lists the rooms as {table:?}, Cargo.toml as {members:?}"));
    }
    let diagram = tree.text("README.md").split("```").find(|part| part.contains("wire ─►")).unwrap_or_default();
    let places = ["ebpf/classifier", "features/worker", "dataplane/pool"].map(|room| diagram.find(room));
    match places {
        [Some(classifier), Some(worker), Some(pool)] if classifier < worker && worker < pool => {}
        _ => {
            findings
                .push(format!("README.md's diagram does not lead from the wire to the worker and back: {places:?}"));
        }
    }
    for word in
        diagram.split([' ', ':', '\n']).filter(|word| word.starts_with("ebpf/") || word.starts_with("dataplane/"))
    {
        if !tree.has_folder(word) {
            findings.push(format!("README.md's diagram names {word}, which does not exist"));
        }
    }
    findings
}

/// `//! Room N: what it is. Frames come from X and leave to Y.`
fn first_lines(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (folder, number) in NUMBERS {
        let roots = ["lib.rs", "main.rs"].map(|file| format!("{folder}/src/{file}"));
        let Some(path) = roots.iter().find(|path| tree.has(path)) else {
            findings.push(format!("{folder} has neither lib.rs nor main.rs"));
            continue;
        };
        let line = tree.text(path).lines().next().unwrap_or_default();
        let numbered = line.starts_with(&format!("//! Room {number}: "));
        if !numbered || !line.contains("Frames come from ") || !line.contains(" leave ") {
            findings.push(format!(
                "{path}, line 1: expected `//! Room {number}: … Frames come from … and leave …`, found `{line}`"
            ));
        }
    }
    findings
}

#[test]
fn cargo_toml_and_the_tree_agree() {
    demand_none(&members(Tree::repository()));
}

#[test]
fn the_readme_tells_the_same_order() {
    demand_none(&readme(Tree::repository()));
}

#[test]
fn line_one_of_every_room_says_which_it_is() {
    demand_none(&first_lines(Tree::repository()));
}

#[test]
fn another_order_is_found() {
    let tree = Tree::of(&[
        ("Cargo.toml", "members = [\n\"ebpf/loader\", # x\n\"ebpf/abi\",\n\"ghost\", # x\n]\nexclude = [\"fuzz\"]\n"),
        ("README.md", "```\nwire ─► features/worker ebpf/nowhere\n```\n| [abi](ebpf/abi) | x |\n"),
        ("ebpf/abi/Cargo.toml", ""),
        ("ebpf/abi/src/lib.rs", "//! Room 2: abi. Frames come from a and leave to b.\n"),
        ("ebpf/loader/Cargo.toml", ""),
        ("ebpf/loader/src/lib.rs", "//! Room 2: loader. Frames come from a and leave to b.\n"),
        ("stray/Cargo.toml", ""),
        ("fuzz/Cargo.toml", ""),
    ]);
    assert_eq!(members(&tree).len(), 4, "{:?}", members(&tree));
    assert_eq!(readme(&tree).len(), 3, "{:?}", readme(&tree));
    let lines = first_lines(&tree);
    assert!(lines.iter().any(|line| line.starts_with("ebpf/abi/src/lib.rs")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("ebpf/loader")), "{lines:?}");
}
