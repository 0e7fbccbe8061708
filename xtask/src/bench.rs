//! `cargo xtask bench NAME`: one benchmark of the `benches` package, in release mode.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::steps::say;

const PACKAGE: &str = "weir-benches";

/// Runs the named benchmark with the remaining words, or lists the names.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let names = names()?;
    let Some((name, rest)) = words.split_first() else {
        for name in names {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    if !names.contains(name) {
        bail!("no benchmark is called `{name}`; there are: {}", Vec::from_iter(names).join(", "));
    }
    // Those that measure the appliance start its binary, which `cargo bench` does not build by itself.
    shell::run(&mut shell::cargo([
        "build",
        "--release",
        "--quiet",
        "--package",
        "weir-appliance-weir",
        "--bin",
        "weir",
    ]))?;
    let mut cargo = shell::cargo(["bench", "--package", PACKAGE, "--bench", name, "--"]);
    say(&format!("$ {}", shell::text(cargo.args(rest))));
    let status = cargo.status().context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A benchmark is a file or a folder with a `main.rs` in `benches/benches`.
fn names() -> Result<BTreeSet<String>> {
    let folder = shell::root().join("benches/benches");
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(BTreeSet::new()) };
    let mut names = BTreeSet::new();
    for entry in entries {
        let path = entry?.path();
        let single = path.extension().is_some_and(|extension| extension == "rs");
        if single || path.join("main.rs").exists() {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    Ok(names)
}
