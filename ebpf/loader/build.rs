//! Puts the classifier's object where `src/object.rs` embeds it from: the one named by `WEIR_BPF_OBJECT`, or one built
//! now (feature `classifier-from-source`), or the one that is checked in. The last needs no eBPF toolchain.

use std::path::{Path, PathBuf};
use std::process::Command;

type Problem = Box<dyn std::error::Error>;

fn main() -> Result<(), Problem> {
    println!("cargo::rerun-if-env-changed=WEIR_BPF_OBJECT");
    println!("cargo::rerun-if-changed=build.rs");
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let (object, origin) = if let Some(path) = std::env::var_os("WEIR_BPF_OBJECT") {
        let path = PathBuf::from(path);
        let origin = format!("from {}", path.display());
        (path, origin)
    } else if std::env::var_os("CARGO_FEATURE_CLASSIFIER_FROM_SOURCE").is_some() {
        (from_source(&here, &out)?, "built from source".to_owned())
    } else {
        (here.join("object/classifier.bpf.o"), "checked in".to_owned())
    };
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=WEIR_OBJECT_ORIGIN={origin}");
    std::fs::copy(&object, out.join("classifier.bpf.o")).map_err(|error| {
        format!("{}: {error}; build the object as ebpf/classifier/README.md says", object.display())
    })?;
    Ok(())
}

/// Builds and strips the object with the first compiler that has its own source of `core`.
fn from_source(here: &Path, out: &Path) -> Result<PathBuf, Problem> {
    let classifier = here.join("../classifier");
    for folder in [classifier.join("src"), classifier.join("build.rs"), here.join("../abi/src")] {
        println!("cargo::rerun-if-changed={}", folder.display());
    }
    let mut cargo = Command::new("cargo");
    for variable in
        ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC"]
    {
        cargo.env_remove(variable);
    }
    if has_core_source(Command::new("/usr/bin/rustc")) {
        cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    } else if has_core_source(nightly()) {
        cargo.env("RUSTUP_TOOLCHAIN", "nightly");
    } else {
        return Err(
            "no compiler with its own source of `core`: install rustc-web and rust-web-src, or `rustup toolchain \
                    install nightly --component rust-src`; without them, leave out the feature classifier-from-source"
                .into(),
        );
    }
    let target = out.join("bpf");
    let flags = format!(
        "-C debuginfo=2 -C link-arg=--btf --remap-path-prefix={}=.",
        here.join("../..").canonicalize()?.display()
    );
    let built = cargo
        .args(["build", "--package", "weir-ebpf-classifier", "--profile", "bpf"])
        .args(["--target", "bpfel-unknown-none", "-Zbuild-std=core"])
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(&classifier)
        .status()?;
    if !built.success() {
        return Err(format!("the classifier does not build ({built}); is bpf-linker 0.13 installed?").into());
    }
    let linked = target.join("bpfel-unknown-none/bpf/classifier");
    let stripped = out.join("from-source.bpf.o");
    let strip = |program: &str| Command::new(program).arg("-g").arg("-o").arg(&stripped).arg(&linked).status();
    // An object that was not stripped loads as well; it is only larger.
    if !strip("llvm-strip-22").or_else(|_| strip("llvm-strip")).is_ok_and(|status| status.success()) {
        std::fs::copy(&linked, &stripped)?;
    }
    Ok(stripped)
}

fn nightly() -> Command {
    let mut rustc = Command::new("rustc");
    rustc.env("RUSTUP_TOOLCHAIN", "nightly");
    rustc
}

fn has_core_source(mut rustc: Command) -> bool {
    let Ok(output) = rustc.args(["--print", "sysroot"]).output() else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success() && Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir()
}
