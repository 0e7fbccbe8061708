//! Documents: links lead somewhere, every dependency has its line.

use std::collections::BTreeSet;

use crate::demand_none;
use crate::manifest;
use crate::tree::Tree;

fn links(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in targets(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) =
                target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
            let file = if file.is_empty() { path.to_owned() } else { joined(folder, file) };
            if !tree.has(&file) && !tree.has_folder(&file) {
                findings.push(format!("{path}: `{target}` leads nowhere"));
            } else if let Some(heading) = heading.filter(|heading| !anchors(tree.text(&file)).contains(*heading)) {
                findings.push(format!("{path}: {file} has no heading `{heading}`"));
            }
        }
    }
    findings
}

/// Targets of `[text](target)` outside code.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        // What stands between backticks is code as well.
        for prose in line.split('`').step_by(2) {
            let ends = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(ends.map(|target| target.split(' ').next().unwrap_or(target)));
        }
    }
    found
}

fn joined(folder: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors that a renderer gives to headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| -> String {
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
    };
    headings.map(anchor).collect()
}

fn dependencies(tree: &Tree) -> Vec<String> {
    let known = manifest::workspace_dependencies(tree);
    let document = tree.text("docs/dependencies.md");
    let used = document.split("\n## ").next().unwrap_or_default();
    let rows: BTreeSet<&str> = used.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut findings = Vec::new();
    for name in known.iter().filter(|name| !rows.contains(name.as_str())) {
        findings.push(format!("docs/dependencies.md has no line for {name}"));
    }
    for name in rows.iter().filter(|name| !known.iter().any(|known| known == *name)) {
        findings.push(format!("docs/dependencies.md has a line for {name}, which the workspace does not name"));
    }
    findings
}

/// A decision is numbered without gaps and says context, decision, consequences and what would change it.
fn decisions(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let files = tree.ending(".md").filter(|(path, _)| path.starts_with("docs/decisions/"));
    for (at, (path, text)) in files.enumerate() {
        let number = at + 1;
        if !path.starts_with(&format!("docs/decisions/{number:04}-")) || !text.starts_with(&format!("# {number}. ")) {
            findings.push(format!("{path}: expected number {number} in its name and its title"));
        }
        for part in ["## Context", "## Decision", "## Consequences", "## What would change it"] {
            if !text.contains(part) {
                findings.push(format!("{path} has no part `{part}`"));
            }
        }
    }
    findings
}

#[test]
fn links_lead_somewhere() {
    demand_none(&links(Tree::repository()));
}

#[test]
fn a_broken_link_is_found() {
    let tree = Tree::of(&[
        (
            "README.md",
            "[a](docs/a.md) [b](docs/b.md#no) [c](docs/b.md#two-words) [`d`](gone.rs) [e](docs) `[f](x)`\n```\n[g](y)\n```\n",
        ),
        ("docs/b.md", "# Two words\n[up](../README.md) [out](https://example.org/x)\n"),
    ]);
    let findings = links(&tree);
    assert_eq!(findings.len(), 3, "{findings:?}");
}

#[test]
fn every_dependency_has_its_line() {
    demand_none(&dependencies(Tree::repository()));
}

#[test]
fn a_dependency_without_a_line_is_found() {
    let tree = Tree::of(&[
        (
            "Cargo.toml",
            "[workspace.dependencies]\nweir-x = { path = \"x\" }\nserde = \"1\"\nclap = \"4\"\n\n[workspace.lints.rust]\na = 1\n",
        ),
        ("docs/dependencies.md", "| `serde` | x | y |\n| `gone` | x | y |\n\n## Not used\n\n| `clap` | no |\n"),
    ]);
    assert_eq!(dependencies(&tree).len(), 2, "{:?}", dependencies(&tree));
}

#[test]
fn decisions_are_numbered_and_whole() {
    demand_none(&decisions(Tree::repository()));
}

#[test]
fn half_a_decision_is_found() {
    let tree = Tree::of(&[("docs/decisions/0002-x.md", "# 2. X\n\n## Context\n\n## Decision\n\n## Consequences\n")]);
    assert_eq!(decisions(&tree).len(), 2);
}
