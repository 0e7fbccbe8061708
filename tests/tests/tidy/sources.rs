//! Files: none dead, none overgrown, none with a name that says nothing; lints taken from the workspace.

use std::collections::BTreeSet;

use crate::demand_none;
use crate::manifest::Manifest;
use crate::rust;
use crate::tree::Tree;

/// A file of more lines is two files. (Functions stop at 70 lines; clippy counts those.)
const LINES_AT_MOST: usize = 800;
/// Names that become the place for homeless code.
const NAMES_THAT_SAY_NOTHING: [&str; 8] = ["core", "common", "util", "utils", "helper", "helpers", "types", "misc"];

/// Every .rs file is a target of cargo or a module of one.
fn dead(tree: &Tree) -> Vec<String> {
    let mut alive = BTreeSet::new();
    let mut open: Vec<(String, bool)> = Vec::new();
    for folder in tree.folders_with("Cargo.toml") {
        let manifest = Manifest::read(tree, folder);
        open.extend(manifest.targets.iter().map(|target| (format!("{folder}/{target}"), true)));
        open.extend(roots(tree, folder).map(|path| (path, true)));
    }
    while let Some((path, is_root)) = open.pop() {
        if !tree.has(&path) || !alive.insert(path.clone()) {
            continue;
        }
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let below = match file.strip_suffix(".rs").unwrap_or(file) {
            _ if is_root => folder.to_owned(),
            "mod" => folder.to_owned(),
            stem => format!("{folder}/{stem}"),
        };
        for (given, name) in rust::modules(tree.text(&path)) {
            match given {
                Some(given) => open.push((resolved(folder, &given), false)),
                None => {
                    open.push((format!("{below}/{name}.rs"), false));
                    open.push((format!("{below}/{name}/mod.rs"), false));
                }
            }
        }
    }
    let dead = tree.paths().filter(|path| path.ends_with(".rs") && !alive.contains(*path));
    dead.map(|path| format!("{path} belongs to no target: nothing compiles it")).collect()
}

/// The files that cargo takes for targets of a package by their place.
fn roots<'a>(tree: &'a Tree, folder: &'a str) -> impl Iterator<Item = String> + 'a {
    let inside = tree.paths().filter_map(move |path| path.strip_prefix(folder)?.strip_prefix('/'));
    let is_root = |path: &&str| {
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["build.rs"] | ["src", "lib.rs" | "main.rs"] => true,
            ["tests" | "benches" | "examples", file] | ["src", "bin", file] => file.ends_with(".rs"),
            ["tests" | "benches" | "examples", _, "main.rs"] | ["src", "bin", _, "main.rs"] => true,
            _ => false,
        }
    };
    inside.filter(is_root).map(move |path| format!("{folder}/{path}"))
}

/// `a/b` and `../c.rs` → `a/c.rs`.
fn resolved(folder: &str, given: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in given.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Lines of each Rust file, smallest first.
fn sizes(tree: &Tree) -> Vec<(usize, &str)> {
    let mut sizes: Vec<_> = tree.ending(".rs").map(|(path, text)| (text.lines().count(), path)).collect();
    sizes.sort_unstable();
    sizes
}

fn overgrown(tree: &Tree) -> Vec<String> {
    let large = sizes(tree).into_iter().filter(|(lines, _)| *lines > LINES_AT_MOST);
    large.map(|(lines, path)| format!("{path} has {lines} lines; {LINES_AT_MOST} is the end")).collect()
}

fn nameless(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let parts = path.trim_end_matches(".rs").split('/');
        for part in parts.filter(|part| NAMES_THAT_SAY_NOTHING.contains(part)) {
            findings.push(format!("{path}: `{part}` says nothing about what is in it"));
        }
        let code = rust::blank(text);
        for at in rust::words(&code, "mod") {
            let name =
                code[at + 3..].trim_start().split(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
            if name.is_some_and(|name| NAMES_THAT_SAY_NOTHING.contains(&name)) {
                findings.push(format!("{path}: a module is called `{}`", name.unwrap_or_default()));
            }
        }
    }
    for member in Manifest::members(tree) {
        for part in member.name.split('-').filter(|part| NAMES_THAT_SAY_NOTHING.contains(part)) {
            findings.push(format!("package {}: `{part}` says nothing about what is in it", member.name));
        }
    }
    findings
}

/// Names of packages follow from their folders, and the workspace's lints hold everywhere.
fn members(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for member in Manifest::members(tree) {
        let expected = if member.folder == "xtask" {
            "xtask".to_owned()
        } else {
            format!("weir-{}", member.folder.replace('/', "-"))
        };
        if member.name != expected {
            findings.push(format!("the package in {} is called {}, not {expected}", member.folder, member.name));
        }
        if !member.lints {
            findings.push(format!("{} does not take the workspace's lints", member.folder));
        }
    }
    if !tree.text("clippy.toml").contains("too-many-lines-threshold = 70") {
        findings.push("clippy.toml does not stop functions at 70 lines".to_owned());
    }
    let switched_off = concat!("allow(clippy::too_many_", "lines)");
    let long = tree.ending(".rs").filter(|(_, text)| text.contains(switched_off));
    findings.extend(long.map(|(path, _)| format!("{path} switches the limit on functions off")));
    findings
}

#[test]
fn no_file_is_dead() {
    demand_none(&dead(Tree::repository()));
}

#[test]
fn a_dead_file_is_found() {
    let tree = Tree::of(&[
        ("a/Cargo.toml", "[[bin]]\npath = \"src/x.rs\"\n"),
        ("a/src/x.rs", "mod one;"),
        ("a/src/one.rs", "mod two;\n#[path = \"../odd/place.rs\"]\nmod three;"),
        ("a/src/one/two.rs", ""),
        ("a/odd/place.rs", ""),
        ("a/tests/question/main.rs", "mod part;"),
        ("a/tests/question/part.rs", ""),
        ("a/src/two.rs", ""),
        ("a/tests/question/unused.rs", ""),
    ]);
    let findings = dead(&tree);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].starts_with("a/src/two.rs") && findings[1].starts_with("a/tests/question/unused.rs"));
}

#[test]
fn files_are_small() {
    let tree = Tree::repository();
    let sizes = sizes(tree);
    let at = |share: usize| sizes[(sizes.len() - 1) * share / 100];
    println!(
        "{} Rust files; lines: median {}, nine in ten up to {}, longest {:?}",
        sizes.len(),
        at(50).0,
        at(90).0,
        at(100)
    );
    demand_none(&overgrown(tree));
}

#[test]
fn an_overgrown_file_is_found() {
    let tree = Tree::of(&[("a.rs", &"\n".repeat(LINES_AT_MOST + 1)), ("b.rs", &"\n".repeat(LINES_AT_MOST))]);
    assert_eq!(overgrown(&tree).len(), 1);
}

#[test]
fn names_say_something() {
    demand_none(&nameless(Tree::repository()));
}

#[test]
fn an_empty_name_is_found() {
    let tree = Tree::of(&[
        ("Cargo.toml", "members = [\n\"x/common\", # x\n]\n"),
        ("x/common/Cargo.toml", "[package]\nname = \"weir-x-common\"\n"),
        ("x/src/lib.rs", "mod types { }\nuse core::fmt;\n"),
        ("x/utils/y.rs", ""),
    ]);
    assert_eq!(nameless(&tree).len(), 3, "{:?}", nameless(&tree));
}

#[test]
fn members_are_called_after_their_folders_and_take_the_lints() {
    demand_none(&members(Tree::repository()));
}

#[test]
fn a_member_of_its_own_taste_is_found() {
    let tree = Tree::of(&[
        ("Cargo.toml", "members = [\n\"x/y\", # x\n]\n"),
        ("clippy.toml", "too-many-lines-threshold = 700\n"),
        ("x/y/Cargo.toml", "[package]\nname = \"weir-y\"\n"),
    ]);
    assert_eq!(members(&tree).len(), 2, "{:?}", members(&tree));
}
