//! The README's two commands, `cargo xtask demo` and `cargo xtask test`, and the few that `just` calls behind them.
//!
//! It depends on `anyhow` alone, so that a fresh clone has its first line of output after seconds.

#![allow(clippy::print_stdout, clippy::print_stderr)] // this program speaks to people

mod bench;
mod classifier;
mod demo;
mod doctor;
mod elf;
mod install;
mod outcome;
mod screenshot;
mod sdk;
mod setup;
mod shell;
mod steps;
mod terminal;
mod test;
mod toolchain;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [ARGS]               build the release binary and run `weir demo ARGS`
  test [--long] [--yes]     format, lints, classifier against its source, all tests; `-- FILTER` narrows the tests
  setup [--yes]             install what demo and test need (Debian, Ubuntu), after asking once
  doctor                    what this machine has of the toolchain, then `weir doctor`
  classifier [--check]      build the checked-in eBPF object from source, or only compare it
  bench [NAME]              run one benchmark in release mode; without a name, list them
  sdk --prefix DIR [--debug]
                            build libweir and install it with weir.h and the files of pkg-config and CMake
  screenshot [--after SECONDS] [--out FILE] [-- ARGS]
                            run `weir ARGS` (default: demo) in a terminal and draw what it shows as SVG
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.split_first() {
        Some((command, rest)) => dispatch(command, rest),
        None => Err(anyhow::anyhow!("no command given\n\n{USAGE}")),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::from(2)
    })
}

/// Exit codes are those of `weir`: 0 done, 1 not so, 2 error.
fn dispatch(command: &str, rest: &[String]) -> anyhow::Result<ExitCode> {
    match command {
        "demo" => demo::run(rest),
        "test" => test::run(&shell::Flags::parse(rest, &["--long", "--yes"])?),
        "setup" => setup::run(&shell::Flags::parse(rest, &["--yes"])?),
        "doctor" => doctor::run(),
        "classifier" => classifier::run(&shell::Flags::parse(rest, &["--check"])?),
        "bench" => bench::run(rest),
        "sdk" => sdk::run(rest),
        "screenshot" => screenshot::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(anyhow::anyhow!("`{other}` is not a command of xtask\n\n{USAGE}")),
    }
}
