//! What a fresh Debian or Ubuntu lacks for `demo` and `test`, and installing it after asking once.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::shell::{self, Flags};
use crate::steps::say;
use crate::toolchain::{self, Compiler, LINKER_VERSION, LLVM_VERSION};

/// flagd's evaluation of the generation that appliance/flags has. The vectors there are of this very version.
const FLAGD_PACKAGE: &str = "openfeature-flagd-core==2.0.0";

/// For which of the two commands this machine is being prepared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Only what a running appliance needs: the checked-in eBPF object saves the eBPF toolchain.
    Demo,
    /// What the tests need, the eBPF toolchain included: they compare that object with its source.
    Test,
}

/// One thing this machine may lack.
#[derive(Debug)]
struct Need {
    name: &'static str,
    what_for: &'static str,
    cure: Cure,
}

#[derive(Debug)]
enum Cure {
    /// Packages of the distribution.
    Apt(&'static [&'static str]),
    /// Components of the Rust toolchain in use.
    Components(&'static [&'static str]),
    /// A compiler with the source of `core`: the distribution's, else rustup's nightly.
    CoreSource,
    /// bpf-linker, built against LLVM's development package.
    Linker,
    /// A Python environment in the target folder with flagd's own evaluation.
    FlagdForPython,
}

/// `cargo xtask setup`.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    prepare(Purpose::Test, flags.has("--yes"))?;
    let just = if shell::find("just").is_some() { "is here" } else { "is not here: `cargo install just` brings it" };
    say(&format!("`just` lists every other command and is a matter of taste; it {just}"));
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing for `purpose`. Asks once, unless told not to or in CI.
pub(crate) fn prepare(purpose: Purpose, yes: bool) -> Result<()> {
    let missing = missing(purpose);
    if missing.is_empty() {
        say("everything that is needed is here");
        return Ok(());
    }
    say("missing on this machine:");
    for need in &missing {
        println!("            {:<34} {}", need.name, need.what_for);
    }
    if !yes && !shell::in_ci() {
        confirm()?;
    }
    let packages: Vec<&str> = missing.iter().flat_map(Need::packages).copied().collect();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    for need in &missing {
        need.install_rest()?;
    }
    match self::missing(purpose).as_slice() {
        [] => say("installed; everything that is needed is here"),
        left => {
            // Not an error: what needs it says so and skips.
            let names: Vec<&str> = left.iter().map(|need| need.name).collect();
            say(&format!("still missing after the installation: {}", names.join(", ")));
        }
    }
    Ok(())
}

/// What this machine lacks for `purpose`.
fn missing(purpose: Purpose) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |here: bool, name, what_for, cure| {
        if !here {
            needs.push(Need { name, what_for, cure });
        }
    };
    need(
        shell::find("ip").is_some(),
        "iproute2",
        "network namespaces and veth pairs of the lab",
        Cure::Apt(&["iproute2"]),
    );
    if purpose == Purpose::Demo {
        return needs;
    }
    let component = |name: &str| shell::capture(&mut shell::cargo([name, "--version"])).is_some();
    need(component("fmt"), "rustfmt", "checks the formatting", Cure::Components(&["rustfmt"]));
    need(component("clippy"), "clippy", "checks the lints", Cure::Components(&["clippy"]));
    need(
        Compiler::find().is_some(),
        "rustc with its source of core",
        "compiles the classifier for the kernel",
        Cure::CoreSource,
    );
    need(
        toolchain::strip().is_some(),
        "llvm-22",
        "strips the classifier's object, keeping its BTF",
        Cure::Apt(&["llvm-22"]),
    );
    need(toolchain::linker().is_some(), "bpf-linker", "links the classifier's object", Cure::Linker);
    need(
        shell::find("tshark").is_some(),
        "tshark",
        "second opinion on decoded headers in tests",
        Cure::Apt(&["tshark"]),
    );
    let compilers = ["cc", "c++", "nm", "readelf"].iter().all(|tool| shell::find(tool).is_some());
    need(
        compilers,
        "C and C++ compilers",
        "compile programs against the C library, with both sanitizers",
        Cure::Apt(&["build-essential"]),
    );
    need(
        shell::find("pkg-config").is_some(),
        "pkg-config",
        "finds the C library as its users do",
        Cure::Apt(&["pkg-config"]),
    );
    need(
        imports(&flagd_python(), "openfeature.contrib.tools.flagd.core"),
        "flagd's evaluation for Python",
        "second opinion on flags in tests",
        Cure::FlagdForPython,
    );
    need(shell::find("cmake").is_some(), "cmake", "the same for users of CMake", Cure::Apt(&["cmake"]));
    needs
}

impl Need {
    /// Packages that this need would take from the distribution.
    fn packages(&self) -> &'static [&'static str] {
        match self.cure {
            Cure::Apt(packages) => packages,
            Cure::CoreSource => &["rustc-web", "rust-web-src"],
            Cure::Linker => &["llvm-22-dev"],
            Cure::FlagdForPython if imports(Path::new("python3"), "ensurepip, venv") => &[],
            Cure::FlagdForPython => &["python3-venv"],
            Cure::Components(_) => &[],
        }
    }

    /// Everything that does not come from the distribution.
    fn install_rest(&self) -> Result<()> {
        match self.cure {
            Cure::Apt(_) => Ok(()),
            Cure::Components(names) => {
                let mut rustup = rustup("component");
                shell::run(rustup.arg("add").args(names)).context("or install it with the Rust toolchain you use")
            }
            Cure::CoreSource if Compiler::find().is_some() => Ok(()),
            Cure::CoreSource => {
                say("the distribution has no such compiler: taking rustup's nightly with its source");
                let mut rustup = rustup("toolchain");
                rustup.args(["install", "nightly", "--profile", "minimal", "--component", "rust-src"]);
                if let Err(error) = shell::run(&mut rustup) {
                    say(&format!("{error:#}; the checked-in object is used instead"));
                }
                Ok(())
            }
            Cure::Linker => install_linker(),
            Cure::FlagdForPython => {
                if let Err(error) = install_flagd() {
                    say(&format!("{error:#}; random flags are not compared, the recorded ones are"));
                }
                Ok(())
            }
        }
    }
}

fn rustup(word: &str) -> std::process::Command {
    let mut rustup = shell::command("rustup");
    rustup.arg(word);
    rustup
}

fn install_linker() -> Result<()> {
    let Some(prefix) = toolchain::llvm_prefix() else {
        say("the distribution has no llvm-22-dev to build bpf-linker with; its makers' own way is");
        say("    cargo install cargo-binstall && cargo binstall bpf-linker");
        return Ok(());
    };
    say("building bpf-linker, one to three minutes");
    let feature = format!("llvm-{LLVM_VERSION}");
    let mut install = shell::cargo(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"]);
    install.args(["--no-default-features", "--features", &feature]).env("LLVM_PREFIX", prefix);
    shell::run(&mut install)
}

/// The Python that has flagd's evaluation, where tests look for it.
fn flagd_python() -> PathBuf {
    shell::target().join("oracle/flagd/bin/python")
}

/// Whether this Python starts and has these modules.
fn imports(python: &Path, modules: &str) -> bool {
    shell::capture(shell::command(python).args(["-c", &format!("import {modules}")])).is_some()
}

fn install_flagd() -> Result<()> {
    let folder = shell::target().join("oracle/flagd");
    shell::run(shell::command("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let mut pip = shell::command(flagd_python());
    shell::run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", FLAGD_PACKAGE]))
}

/// Installs those of `packages` that the distribution has.
fn install_packages(packages: &[&str]) -> Result<()> {
    if shell::find("apt-get").is_none() {
        bail!("this is no Debian or Ubuntu: install {} (or what your distribution calls it)", packages.join(", "));
    }
    shell::run(shell::as_root("apt-get")?.args(["update", "--quiet"]))?;
    let (known, unknown): (Vec<&str>, Vec<&str>) = packages.iter().partition(|package| candidate(package));
    if !unknown.is_empty() {
        say(&format!("not in this distribution: {}", unknown.join(", ")));
    }
    if known.is_empty() {
        return Ok(());
    }
    // `env` because sudo keeps no variables, and a package that asks questions would wait for ever.
    let mut install = shell::as_root("env")?;
    install.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet"]);
    shell::run(install.arg("--no-install-recommends").args(&known))
}

/// Whether the distribution offers a package.
fn candidate(package: &str) -> bool {
    let policy = shell::capture(shell::command("apt-cache").env("LC_ALL", "C").args(["policy", package]));
    policy.is_some_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
}

fn confirm() -> Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody to ask whether this may be installed: run `cargo xtask setup --yes`");
    }
    print!("            Install this now? [Y/n] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "" | "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was installed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_needs_no_ebpf_toolchain() {
        for need in missing(Purpose::Demo) {
            assert!(matches!(need.cure, Cure::Apt(["iproute2"])), "{need:?}");
        }
    }

    #[test]
    fn a_package_that_does_not_exist_is_no_candidate() {
        assert!(!candidate("weir-no-such-package"));
    }
}
