//! `cargo xtask doctor`: what this machine has of the toolchain, then what the appliance says about the host.

use std::process::ExitCode;

use anyhow::Result;

use crate::toolchain::{self, Compiler};
use crate::{shell, steps::say};

/// Prints one line per tool: found or not, and what for.
pub(crate) fn run() -> Result<ExitCode> {
    let version = |program: &str, argument: &str| {
        shell::find(program).and_then(|path| shell::capture(shell::command(path).arg(argument)))
    };
    let rows = [
        ("rustc", version("rustc", "--version"), "builds everything that runs on the host"),
        (
            "eBPF compiler",
            Compiler::find().map(|it| it.describe()),
            "builds the classifier; else the checked-in object",
        ),
        ("bpf-linker", toolchain::linker(), "links the classifier"),
        ("llvm-strip", toolchain::strip().map(|path| path.display().to_string()), "strips the classifier"),
        ("ip", version("ip", "-V"), "the lab's namespaces: demo, tests, load tools"),
        ("tshark", version("tshark", "--version"), "second opinion on headers in tests"),
        ("just", version("just", "--version"), "lists every other command"),
        ("sudo", version("sudo", "--version"), "only where you are not root"),
    ];
    for (name, found, what_for) in rows {
        let found = found.unwrap_or_else(|| "missing".to_owned());
        println!("{name:<14} {:<44} {what_for}", found.lines().next().unwrap_or_default());
    }
    println!("{:<14} {}", "root", if shell::is_root() { "yes" } else { "no: demo and some tests ask for it" });
    let built = ["release", "debug"].map(|profile| shell::target().join(profile).join("weir"));
    match built.iter().find(|path| path.exists()) {
        Some(weir) => {
            println!();
            shell::run(shell::command(weir).arg("doctor"))?;
        }
        None => {
            say(
                "`weir` is not built yet: `cargo build --release --bin weir`, then this command asks it about the host",
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
