//! docs/spec.md: every requirement is there, in order, with a state that a command shows.

use crate::demand_none;
use crate::manifest::Manifest;
use crate::tree::Tree;

/// Letters of the groups in their order and the number of requirements in each.
const GROUPS: [(char, usize); 21] = [
    ('B', 12),
    ('M', 7),
    ('R', 10),
    ('F', 8),
    ('C', 4),
    ('S', 20),
    ('N', 10),
    ('T', 12),
    ('U', 6),
    ('E', 7),
    ('L', 8),
    ('G', 8),
    ('V', 2),
    ('K', 3),
    ('X', 8),
    ('O', 4),
    ('Q', 8),
    ('Y', 11),
    ('D', 3),
    ('I', 7),
    ('Z', 4),
];

/// What no peer has: numbered rows of their own.
const PROMISES: usize = 16;

const STATES: [&str; 3] = ["works", "partly", "not yet"];

fn check(tree: &Tree) -> Vec<String> {
    let rows: Vec<Vec<&str>> = tree.text("docs/spec.md").lines().filter_map(cells).collect();
    let is_requirement = |row: &&Vec<&str>| row[0].len() == 4 && row[0].as_bytes()[1] == b'-';
    let found: Vec<&str> = rows.iter().filter(is_requirement).map(|row| row[0]).collect();
    let ids: Vec<String> = GROUPS
        .iter()
        .flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}-{number:02}")))
        .collect();
    let mut findings = Vec::new();
    for id in ids.iter().filter(|id| !found.contains(&id.as_str())) {
        findings.push(format!("docs/spec.md has no row {id}"));
    }
    if found.len() != ids.len() || found.iter().zip(&ids).any(|(one, two)| one != two) {
        findings.push("docs/spec.md does not have its rows once each and in order".to_owned());
    }
    let promises = rows.iter().filter(|row| row[0].trim_end_matches(" ★").parse::<usize>().is_ok());
    if promises.clone().count() != PROMISES {
        findings.push(format!("docs/spec.md does not have the {PROMISES} promises"));
    }
    for row in rows.iter().filter(is_requirement).chain(promises) {
        findings.extend(row_findings(tree, row));
    }
    findings
}

/// Cells of a table's row, if the line is one. A bar inside backticks does not end a cell.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let mut cells = Vec::new();
    let (mut start, mut in_code) = (0, false);
    for (at, letter) in inner.char_indices() {
        match letter {
            '`' => in_code = !in_code,
            '|' if !in_code => {
                cells.push(inner[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    cells.push(inner[start..].trim());
    Some(cells)
}

fn row_findings(tree: &Tree, row: &[&str]) -> Vec<String> {
    let [id, _, state, command] = row else {
        return vec![format!("docs/spec.md, row {}: {} cells instead of 4", row[0], row.len())];
    };
    let mut findings = Vec::new();
    if !STATES.contains(state) {
        findings.push(format!("docs/spec.md, row {id}: `{state}` is none of {STATES:?}"));
    }
    if *state != "not yet" && !command.contains('`') {
        findings.push(format!("docs/spec.md, row {id} is said to be `{state}`, but no command shows it"));
    }
    let quoted = command.split('`').skip(1).step_by(2);
    findings.extend(
        quoted.filter_map(|command| unknown(tree, command)).map(|wrong| format!("docs/spec.md, row {id}: {wrong}")),
    );
    findings
}

/// What a command names that does not exist: a package, a test target, a recipe.
fn unknown(tree: &Tree, command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let behind = |flags: [&str; 2]| words.windows(2).find(|pair| flags.contains(&pair[0])).map(|pair| pair[1]);
    match words.as_slice() {
        ["cargo", "test" | "bench" | "run", ..] => {
            let package = behind(["-p", "--package"])?;
            let members = Manifest::members(tree);
            let Some(member) = members.iter().find(|member| member.name == package) else {
                return Some(format!("`{package}` is no package"));
            };
            let target = behind(["--test", "--test"])?;
            let places =
                [format!("{}/tests/{target}.rs", member.folder), format!("{}/tests/{target}/main.rs", member.folder)];
            (!places.iter().any(|place| tree.has(place))).then(|| format!("{package} has no test target `{target}`"))
        }
        ["just", recipe, ..] => {
            let known = tree.text("justfile").lines().any(|line| {
                line.strip_prefix(recipe).is_some_and(|rest| rest.starts_with([':', ' ']) && line.contains(':'))
            });
            (!known).then(|| format!("`just {recipe}` is no recipe"))
        }
        _ => None,
    }
}

#[test]
fn every_requirement_has_its_row() {
    demand_none(&check(Tree::repository()));
}

#[test]
fn a_claim_without_a_command_is_found() {
    let text = "| B-01 | x | works | |\n| B-02 | x | soon | `x` |\n| B-03 | x | works | `cargo test -p weir-nothing` |\n\
                | B-04 | x | partly | `just nothing` |\n| B-05 | a | b | works | `x` |\n| B-06 | x | works | `weir top | cat` |\n";
    let tree = Tree::of(&[("docs/spec.md", text), ("justfile", "test *ARGS:\n")]);
    let findings = check(&tree);
    let of = |id: &str| {
        findings.iter().filter(|finding| finding.contains(&format!("row {id}")) && !finding.contains("no row")).count()
    };
    assert_eq!(["B-01", "B-02", "B-03", "B-04", "B-05", "B-06"].map(of), [1, 1, 1, 1, 1, 0], "{findings:?}");
    assert!(findings.contains(&"docs/spec.md has no row Z-04".to_owned()));
}
