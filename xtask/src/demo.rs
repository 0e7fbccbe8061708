//! `cargo xtask demo`: from a fresh clone to the running appliance.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::setup::{self, Purpose};
use crate::shell;
use crate::steps::say;

/// Builds `weir` and becomes `weir demo`, so that signals and the terminal are its own.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (mine, theirs): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|word| *word == "--yes");
    setup::prepare(Purpose::Demo, !mine.is_empty())?;
    let weir = build()?;
    let mut demo = if shell::is_root() {
        shell::command(&weir)
    } else {
        say("the demo makes network namespaces and loads an eBPF program, which takes root: it runs through sudo");
        shell::as_root(&weir.to_string_lossy())?
    };
    demo.arg("demo").args(theirs);
    say(&format!("$ {}", shell::text(&demo)));
    Err(demo.exec()).with_context(|| format!("cannot start {}", weir.display()))
}

/// The release binary, built if it is not up to date.
pub(crate) fn build() -> Result<std::path::PathBuf> {
    let weir = shell::target().join("release/weir");
    if !weir.exists() {
        say("building weir in release mode: the first time this takes some minutes");
    }
    shell::run(&mut shell::cargo(["build", "--release", "--package", "weir-appliance-weir", "--bin", "weir"]))?;
    Ok(weir)
}
