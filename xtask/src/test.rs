//! `cargo xtask test`: everything that must hold before a change is good, in one command.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::classifier;
use crate::outcome::Outcome;
use crate::setup::{self, Purpose};
use crate::shell::{self, Flags};
use crate::steps::{Ending, Steps, say};

/// The classifier is built for another target, by another compiler: only its own step touches it.
const NOT_FOR_THE_HOST: [&str; 3] = ["--workspace", "--exclude", "weir-ebpf-classifier"];

/// Runs every step, prints the table, and ends with `N passed, N failed`.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    let mut steps = Steps::default();
    let mut outcome = Outcome::default();
    steps.run("setup", "what this machine lacks", || {
        setup::prepare(Purpose::Test, flags.has("--yes"))?;
        Ok(Ending::Held)
    });
    steps.run("format", "one way to lay out the source", || {
        shell::run(&mut shell::cargo(["fmt", "--all", "--check"]))?;
        Ok(Ending::Held)
    });
    steps.run("lints", "clippy, every warning is an error", || {
        let mut clippy = build_settings(shell::cargo(["clippy"]));
        shell::run(clippy.args(NOT_FOR_THE_HOST).args(["--all-targets", "--", "--deny", "warnings"]))?;
        Ok(Ending::Held)
    });
    steps.run("classifier", "the checked-in eBPF object is what its source gives", classifier::check);
    steps.run("build", "the binary that tests start as a user does", || {
        let mut build = build_settings(shell::cargo(["build", "--package", "weir-appliance-weir", "--bin", "weir"]));
        shell::run(&mut build)?;
        Ok(Ending::Held)
    });
    steps.run("tests", "all packages", || count(all_packages(flags), "test.log", &mut outcome));
    steps.run("loom", "the rings' loads and stores under every interleaving", || {
        count(interleavings(), "loom.log", &mut outcome)
    });
    Ok(close(&steps, &outcome))
}

/// The table, the skips and the last line.
fn close(steps: &Steps, outcome: &Outcome) -> ExitCode {
    let mut skips = steps.skips();
    skips.extend(outcome.skips.iter().cloned());
    println!("\n{}", steps.table());
    if !skips.is_empty() {
        println!("skipped, {} in all:", skips.len());
        for skip in &skips {
            println!("  {skip}");
        }
    }
    if outcome.ignored > 0 {
        println!("{} tests are marked as ignored", outcome.ignored);
    }
    let unseen = shell::in_ci() && (!skips.is_empty() || outcome.ignored > 0);
    if unseen {
        println!("in CI a test that does not run is a failure");
    }
    println!("{}", outcome.last_line());
    if steps.held() && !unseen { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// `cargo test` over everything that runs on the host.
fn all_packages(flags: &Flags) -> Command {
    let mut cargo = build_settings(shell::cargo(["test"]));
    cargo.args(NOT_FOR_THE_HOST).arg("--no-fail-fast").arg("--");
    // Only with this does the harness repeat what passed tests print, their skips among it.
    cargo.arg("--show-output").args(&flags.rest);
    if flags.has("--long") {
        cargo.env("WEIR_TEST_LONG", "1");
    }
    run_as_root(&mut cargo);
    cargo
}

/// The ring's index arithmetic on a permutation checker's atomics: another build of a few crates, in a folder of its own.
fn interleavings() -> Command {
    let mut cargo = build_settings(shell::cargo(["test", "--package", "weir-dataplane-ring", "--test", "loom"]));
    cargo.args(["--release", "--target-dir"]).arg(shell::target().join("loom")).env("RUSTFLAGS", "--cfg loom");
    cargo
}

/// Runs tests, shows what a person needs of their output, keeps all of it in a file and adds the results up.
fn count(mut cargo: Command, log: &str, outcome: &mut Outcome) -> Result<Ending> {
    say(&format!("$ {}", shell::text(&cargo)));
    let log = shell::target().join(log);
    let mut file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut run = Outcome::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            writeln!(file, "{line}")?;
            if run.take(&line) {
                println!("{line}");
            }
        }
    }
    run.end(child.wait()?.success());
    say(&format!("everything the tests printed is in {}", log.display()));
    let ending = if run.held() { Ending::Held } else { Ending::Failed(run.last_line()) };
    outcome.add(run);
    Ok(ending)
}

/// Tests of the whole path make namespaces and load programs. Where this user may become root without a password, the
/// test binaries run as root and the compiler does not; else those tests skip and say so.
fn run_as_root(cargo: &mut Command) {
    if shell::is_root() {
        return;
    }
    if shell::capture(shell::command("sudo").args(["--non-interactive", "true"])).is_none() {
        say(
            "not root, and sudo wants a password: tests that need root will skip (`sudo --validate` before this helps)",
        );
        return;
    }
    say("not root: test binaries run through sudo, because they make namespaces and load eBPF programs");
    let host = shell::capture(shell::command("rustc").args(["--print", "host-tuple"])).unwrap_or_default();
    let variable = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace(['-', '.'], "_"));
    cargo.env(variable, "sudo --non-interactive --preserve-env");
}

/// An unattended build starts from nothing and never builds again: bookkeeping for the next build is wasted there. It takes
/// Cargo.lock as it is, so that a lock file that is not up to date is found.
fn build_settings(mut cargo: Command) -> Command {
    if shell::in_ci() {
        cargo.env("CARGO_INCREMENTAL", "0").arg("--locked");
    }
    cargo
}
