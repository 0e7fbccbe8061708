//! Building the classifier's object from source and comparing it with the one that is checked in.
//!
//! The object is checked in so that everything but the classifier itself builds without an eBPF toolchain; CI builds it
//! again and compares what the kernel would run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::shell::{self, Flags};
use crate::steps::{self, Ending, say};
use crate::toolchain::{self, Compiler};
use crate::{elf, steps::short};

const PACKAGE: &str = "weir-ebpf-classifier";
const TARGET: &str = "bpfel-unknown-none";
/// The checked-in object, which the loader embeds.
const CHECKED_IN: &str = "ebpf/loader/object/classifier.bpf.o";
/// Which compiler and linker made it: another compiler gives other instructions for the same source.
const MADE_BY: &str = "ebpf/loader/object/made-by.txt";

/// `cargo xtask classifier [--check]`.
pub(crate) fn run(flags: &Flags) -> Result<ExitCode> {
    if flags.has("--check") {
        return match check()? {
            Ending::Held => Ok(ExitCode::SUCCESS),
            Ending::Failed(reason) | Ending::Skipped(reason) => {
                say(&reason);
                Ok(ExitCode::from(1))
            }
        };
    }
    let built = build()?;
    let home = shell::root().join(CHECKED_IN);
    if let Some(folder) = home.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::copy(&built, &home).with_context(|| format!("cannot write {}", home.display()))?;
    std::fs::write(shell::root().join(MADE_BY), tools()).with_context(|| format!("cannot write {MADE_BY}"))?;
    let size = std::fs::metadata(&home)?.len();
    say(&format!("{CHECKED_IN} is built from this source: {size} bytes"));
    Ok(ExitCode::SUCCESS)
}

/// Compares the checked-in object with one built now.
pub(crate) fn check() -> Result<Ending> {
    if let Some(reason) = cannot_build() {
        return Ok(Ending::Skipped(reason));
    }
    let built = build()?;
    let built = elf::code(&std::fs::read(&built)?).with_context(|| format!("in {}", built.display()))?;
    let home = shell::root().join(CHECKED_IN);
    let file = std::fs::read(&home)
        .with_context(|| format!("cannot read {CHECKED_IN}; `cargo xtask classifier` makes it from source"))?;
    let checked_in = elf::code(&file).with_context(|| format!("in {CHECKED_IN}"))?;
    let differences = elf::differences(&built, &checked_in);
    if differences.is_empty() {
        let bytes: usize = built.values().map(|code| code.bytes.len()).sum();
        say(&format!("the same {bytes} bytes in {} code sections", built.len()));
        return Ok(Ending::Held);
    }
    for difference in &differences {
        say(difference);
    }
    let (made_by, tools) = (std::fs::read_to_string(shell::root().join(MADE_BY)).unwrap_or_default(), tools());
    if !made_by.is_empty() && made_by != tools {
        let line = |text: &str| text.trim().replace('\n', ", ");
        return Ok(Ending::Skipped(format!(
            "the checked-in object was made by {}, here is {}, and two compilers' code cannot be compared; `cargo xtask setup` \
             installs the distribution's, `cargo xtask classifier` makes the object with what is here",
            line(&made_by),
            line(&tools)
        )));
    }
    Ok(Ending::Failed(
        "the checked-in object is not what its source gives: run `cargo xtask classifier`, test, and commit it".into(),
    ))
}

/// The compiler and the linker, a line each.
fn tools() -> String {
    let compiler = Compiler::find().map(|compiler| compiler.describe()).unwrap_or_default();
    format!("{compiler}\n{}\n", toolchain::linker().unwrap_or_default())
}

/// Why this machine cannot build the object, if it cannot.
fn cannot_build() -> Option<String> {
    let cure = "`cargo xtask setup` installs it";
    if Compiler::find().is_none() {
        return Some(format!("no compiler with its own source of core; {cure}"));
    }
    if toolchain::linker().is_none() {
        return Some(format!("no bpf-linker; {cure}"));
    }
    toolchain::strip().is_none().then(|| format!("no llvm-strip; {cure}"))
}

/// Builds and strips the object; where it lies then.
fn build() -> Result<PathBuf> {
    if let Some(reason) = cannot_build() {
        bail!("{reason}");
    }
    let (Some(compiler), Some(strip)) = (Compiler::find(), toolchain::strip()) else {
        bail!("the eBPF toolchain vanished while it was looked at");
    };
    say(&format!("compiler: {}", compiler.describe()));
    let started = std::time::Instant::now();
    let target = shell::target().join("bpf");
    let mut cargo = compiler.cargo();
    cargo.args(["build", "--package", PACKAGE, "--profile", "bpf", "--target", TARGET, "-Zbuild-std=core"]);
    cargo
        .env("RUSTFLAGS", format!("-C debuginfo=2 -C target-cpu=v3 -C link-arg=--btf {}", remapped()))
        .env("CARGO_TARGET_DIR", &target);
    shell::run(&mut cargo)?;
    let linked = target.join(TARGET).join("bpf/classifier");
    let stripped = target.join("classifier.bpf.o");
    shell::run(shell::command(strip).arg("-g").arg("-o").arg(&stripped).arg(&linked))?;
    steps::say(&format!("built from source in {}", short(started.elapsed())));
    Ok(stripped)
}

/// BTF carries source paths. They are named from the repository, the crates and the compiler's source, so that no
/// machine's folders are checked in.
fn remapped() -> String {
    let mut folders = vec![(shell::root(), "."), (PathBuf::from("/usr/lib/rustlib/src/rust"), "rust")];
    folders.extend(shell::cargo_home().map(|home| (home, "cargo")));
    let flags = folders.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    flags.collect::<Vec<_>>().join(" ")
}
