//! Is the repository in order? The rules of the house, each with a test that the rule can be broken.
//!
//! A rule is a function from a tree of files to findings, one sentence each. The repository's own tree must have none; a
//! small made-up tree that breaks the rule must have some.

mod documents;
mod edges;
mod foreign;
mod manifest;
mod order;
mod rust;
mod sources;
mod spec;
mod tree;
mod unsafety;

/// Fails with one line per finding.
fn demand_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}
