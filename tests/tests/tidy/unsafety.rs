//! `unsafe` stands in its rooms only, and each use argues for itself.

use crate::demand_none;
use crate::rust;
use crate::tree::Tree;

/// The rooms that may use `unsafe`; every other package is denied it by the workspace's lints.
const ROOMS: [&str; 4] = ["dataplane/io/", "dataplane/ring/", "ebpf/classifier/", "appliance/sdk/c/"];
/// How far above its block a note may stand.
const NOTE_WITHIN_LINES: usize = 14;
/// A note shorter than this cannot name a fact.
const SHORTEST_NOTE: usize = 20;
/// `as above` may lean on a full note that stands so near.
const ABOVE_WITHIN_LINES: usize = 25;

fn check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let allowed = ROOMS.iter().any(|room| path.starts_with(room));
        let code = rust::blank(text);
        let permitted = code.contains("allow(unsafe_code)") || code.contains("expect(unsafe_code)");
        if permitted && !allowed {
            findings.push(format!("{path} allows itself unsafe code outside its rooms"));
        }
        for at in rust::words(&code, "unsafe") {
            let line = rust::line_of(&code, at);
            if !allowed {
                findings.push(format!("{path}:{}: unsafe outside its rooms", line + 1));
            } else if let Some(wrong) = argued(text, &code[at + 6..], line) {
                findings.push(format!("{path}:{}: {wrong}", line + 1));
            }
        }
    }
    findings
}

/// What is wrong with one use of `unsafe`, given the code behind the word and its line.
fn argued(text: &str, behind: &str, line: usize) -> Option<String> {
    let behind = behind.trim_start();
    let lines: Vec<&str> = text.lines().collect();
    let above = || lines[..line].iter().rev().take_while(|line| !line.trim().is_empty()).take(NOTE_WITHIN_LINES);
    if behind.starts_with('{') || behind.starts_with("impl") {
        let note =
            above().chain([&lines[line]]).find_map(|line| line.split_once("SAFETY:")).map(|(_, note)| note.trim());
        return match note {
            None => Some("no `// SAFETY:` note right above".to_owned()),
            Some(note) if note.starts_with("as above") && leans(&lines[..line]) => None,
            Some(note) if note.len() < SHORTEST_NOTE => {
                Some(format!("the note `{note}` names no fact, keeper and worst case"))
            }
            Some(_) => None,
        };
    }
    let is_type = behind.starts_with("fn(") || behind.starts_with("fn (") || behind.starts_with('(');
    let declares = ["fn", "trait", "extern"].iter().any(|word| behind.starts_with(word)) && !is_type;
    let documented = declares
        && lines[..line]
            .iter()
            .rev()
            .take(40)
            .take_while(|line| !line.trim().is_empty())
            .any(|line| line.contains("# Safety") || line.contains("SAFETY:"));
    (declares && !documented).then(|| "no `# Safety` section for the caller".to_owned())
}

/// Whether a full note stands near the end of these lines.
fn leans(lines: &[&str]) -> bool {
    let notes = lines.iter().rev().take(ABOVE_WITHIN_LINES).filter_map(|line| line.split_once("SAFETY:"));
    notes.into_iter().any(|(_, note)| note.trim().len() >= SHORTEST_NOTE)
}

#[test]
fn unsafe_stays_in_its_rooms_and_argues() {
    demand_none(&check(Tree::repository()));
}

#[test]
fn an_unsafe_block_elsewhere_or_without_a_note_is_found() {
    let good = "// SAFETY: the offset was checked against the length two lines above by this function.\nunsafe { f() }\n\n\
                /// Text.\n///\n/// # Safety\n/// Words.\npub unsafe fn g(h: unsafe fn(u8)) {}\n// unsafe\n";
    let tree = Tree::of(&[
        ("dataplane/ring/src/lib.rs", good),
        (
            "dataplane/io/src/lib.rs",
            "// SAFETY: it is fine.\nunsafe { f() }\n\nunsafe impl Send for X {}\n\npub unsafe fn g() {}\n",
        ),
        ("features/worker/src/lib.rs", "#![allow(unsafe_code)]\nfn f() { unsafe { g() } }\n"),
    ]);
    let findings = check(&tree);
    assert_eq!(findings.len(), 5, "{findings:?}");
    assert!(!findings.iter().any(|finding| finding.contains("ring")), "{findings:?}");
}
