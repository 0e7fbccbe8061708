//! Which compiler and linker can turn the classifier's source into an eBPF object on this machine.
//!
//! The target has no ready-made standard library, so the compiler must come with the source of `core`, and that source
//! must be its own: any other version fails with dozens of errors. Two routes are known to work: the distribution's
//! `rustc-web` with `rust-web-src`, and a rustup nightly with its `rust-src`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;

/// The linker's version; a later one needs a later LLVM than the distribution has.
pub(crate) const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that the linker is built with. It must be at least as new as the compiler's.
pub(crate) const LLVM_VERSION: u32 = 22;
/// Oldest compiler that builds the classifier (`rust-version` of the workspace).
const OLDEST_COMPILER: (u32, u32) = (1, 95);

/// A compiler that has its own `core` source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// A compiler outside rustup, used through `RUSTC`.
    System(PathBuf),
    /// rustup's nightly, used through `cargo +nightly`.
    Nightly,
}

impl Compiler {
    /// The first compiler that will do: the distribution's, because it needs no network at build time, then nightly.
    pub(crate) fn find() -> Option<Self> {
        let system = PathBuf::from("/usr/bin/rustc");
        if has_core_source(shell::command(&system)) && new_enough(shell::command(&system)) {
            return Some(Self::System(system));
        }
        let nightly = || {
            let mut rustc = shell::command("rustc");
            rustc.env("RUSTUP_TOOLCHAIN", "nightly");
            rustc
        };
        (has_core_source(nightly()) && new_enough(nightly())).then_some(Self::Nightly)
    }

    /// What a person calls it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::System(path) => capture_line(shell::command(path).arg("--version")),
            Self::Nightly => capture_line(shell::command("rustc").env("RUSTUP_TOOLCHAIN", "nightly").arg("--version")),
        }
    }

    /// `cargo` that compiles with this compiler.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = shell::command("cargo");
        // Build scripts and macros of the host are compiled too; what the caller set for them must not apply here.
        cargo.env_remove("RUSTC_WRAPPER").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
        match self {
            // Building `core` is an unstable feature; the distribution's release compiler allows it when told to.
            Self::System(path) => cargo.env("RUSTC", path).env("RUSTC_BOOTSTRAP", "1"),
            Self::Nightly => cargo.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("RUSTC"),
        };
        cargo
    }
}

/// Whether bpf-linker is there and can be started.
pub(crate) fn linker() -> Option<String> {
    let path = shell::find("bpf-linker")?;
    shell::capture(shell::command(path).arg("--version"))
}

/// LLVM's strip: it removes debug sections but keeps BTF.
pub(crate) fn strip() -> Option<PathBuf> {
    shell::find(&format!("llvm-strip-{LLVM_VERSION}"))
        .or_else(|| {
            Some(PathBuf::from(format!("/usr/lib/llvm-{LLVM_VERSION}/bin/llvm-strip"))).filter(|path| path.exists())
        })
        .or_else(|| shell::find("llvm-strip"))
}

/// Where the LLVM that bpf-linker is linked with lives.
pub(crate) fn llvm_prefix() -> Option<String> {
    let config = shell::find(&format!("llvm-config-{LLVM_VERSION}"))?;
    shell::capture(shell::command(config).arg("--prefix"))
}

fn has_core_source(mut rustc: Command) -> bool {
    let Some(sysroot) = shell::capture(rustc.args(["--print", "sysroot"])) else { return false };
    Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}

fn new_enough(mut rustc: Command) -> bool {
    shell::capture(rustc.arg("--version")).and_then(|line| version(&line)).is_some_and(|it| it >= OLDEST_COMPILER)
}

/// `rustc 1.96.0 (…)` → (1, 96).
fn version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split(' ').nth(1)?.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn capture_line(command: &mut Command) -> String {
    shell::capture(command).unwrap_or_else(|| "a compiler that does not start".to_owned())
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn compiler_versions_are_read() {
        assert_eq!(version("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)"), Some((1, 96)));
        assert_eq!(version("rustc 1.98.0-nightly (1 2)"), Some((1, 98)));
        assert_eq!(version("rustc"), None);
    }
}
