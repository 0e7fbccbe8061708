//! Programs in C and C++ as a user makes them: against an installed library, found by pkg-config.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)] // each test uses its part

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

#[path = "../../../../../xtask/src/install.rs"]
mod install;

/// Flags of every compilation: a warning is an error.
const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Werror", "-g", "-O1"];
/// Both sanitizers; what they find ends the program.
pub const SANITIZED: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// The folder `appliance/sdk/c`, from whichever package's tests.
pub fn package() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").exists()).unwrap();
    root.join("appliance/sdk/c")
}

/// A folder for this test program's files.
pub fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("sdk-", env!("CARGO_CRATE_NAME")))
}

/// The prefix below which the library of this build is installed.
pub fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        // Cargo puts the library beside the test programs; a copy one folder up may be of an earlier build.
        let built = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        assert!(built.join("libweir.so").exists(), "libweir.so is not in {}", built.display());
        let prefix = scratch().join("prefix");
        install::install(&package(), &built, &prefix, env!("CARGO_PKG_VERSION")).unwrap();
        prefix
    })
}

/// What pkg-config says for the installed library.
pub fn pkg_config(words: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")).args(words).arg("weir");
    let output = succeed(&mut command);
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Compiles `source` with the flags of pkg-config and `more`; gives the program.
pub fn compile(compiler: &str, source: &Path, name: &str, more: &[&str]) -> PathBuf {
    let program = scratch().join(name);
    fs::create_dir_all(scratch()).unwrap();
    let mut command = Command::new(compiler);
    command.args(STRICT).args(more).arg(source).arg("-o").arg(&program);
    command.args(pkg_config(&["--cflags", "--libs"])).arg("-pthread");
    succeed(&mut command);
    program
}

/// A source of `tests/c`.
pub fn source(name: &str) -> PathBuf {
    package().join("tests/c").join(name)
}

/// A run of `program` against the box (or receiver) at `endpoint`, under `source`.
pub fn command(program: &Path, endpoint: &str, source: u32) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", prefix().join("lib"));
    command.env("WEIR_INGEST", endpoint).env("WEIR_SOURCE", source.to_string());
    command
}

/// Runs to success, with everything it said if it does not come to that.
pub fn succeed(command: &mut Command) -> Output {
    let name = command.get_program().to_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask setup` installs what the tests need", name.display());
    });
    assert!(
        output.status.success(),
        "{} {:?}: {}\n{}{}",
        name.display(),
        command.get_args().collect::<Vec<&OsStr>>(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
