//! Running other programs, and the words given to this one.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Flags given on the command line, checked against those the command knows.
pub(crate) struct Flags {
    given: Vec<String>,
    /// What stood behind `--`, to be handed on.
    pub(crate) rest: Vec<String>,
}

impl Flags {
    /// Splits `words` at `--` and refuses a word that is not in `known`.
    pub(crate) fn parse(words: &[String], known: &[&str]) -> Result<Self> {
        let (mine, rest) = match words.iter().position(|word| word == "--") {
            Some(at) => (&words[..at], words[at + 1..].to_vec()),
            None => (words, Vec::new()),
        };
        if let Some(word) = mine.iter().find(|word| !known.contains(&word.as_str())) {
            bail!("`{word}` is not known here: this command takes {}", known.join(", "));
        }
        Ok(Self { given: mine.to_vec(), rest })
    }

    /// Whether the flag was given.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.given.iter().any(|word| word == flag)
    }
}

/// The repository's root folder: this package is a folder in it.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, else `target`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Whether an unattended build runs this: it installs without asking and treats a skipped test as a failure.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Whether this process is root (the owner of `/proc/self` is the effective user).
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Where cargo keeps crates and installed programs.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    let given = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    given.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

/// The full path of a program, also in the places that a plain user's `PATH` lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo_bin = cargo_home().map(|home| home.join("bin"));
    std::env::split_paths(&path)
        .chain(cargo_bin)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| std::fs::metadata(file).is_ok_and(|entry| entry.is_file() && entry.mode() & 0o111 != 0))
}

/// A command that runs in the repository's root. `cargo run` points the dynamic linker at its own toolchain's
/// libraries; another compiler started from here must not load those.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env_remove("LD_LIBRARY_PATH");
    command
}

/// `cargo` with these arguments.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut cargo = command("cargo");
    cargo.args(arguments);
    cargo
}

/// The same command as root: as it is, or behind `sudo`.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    if is_root() {
        return Ok(command(program));
    }
    let Some(sudo) = find("sudo") else {
        bail!("`{program}` must run as root here and there is no sudo: run this command as root");
    };
    let mut command = command(sudo);
    command.arg(program);
    Ok(command)
}

/// Shows the command, runs it with this process's terminal, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    crate::steps::say(&format!("$ {}", text(command)));
    let status = command.status().with_context(|| format!("cannot start `{}`", text(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", text(command));
    }
    Ok(())
}

/// What the command prints, when it starts and succeeds.
pub(crate) fn capture(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as one would type it.
pub(crate) fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_split_at_the_double_dash_and_refuse_the_unknown() {
        let flags = Flags::parse(&words("--yes -- tidy --nocapture"), &["--yes", "--long"]).unwrap();
        assert!(flags.has("--yes") && !flags.has("--long"));
        assert_eq!(flags.rest, words("tidy --nocapture"));
        assert!(Flags::parse(&words("--yse"), &["--yes"]).is_err());
    }

    #[test]
    fn a_command_reads_as_it_is_typed() {
        assert_eq!(text(&cargo(["fmt", "--all"])), "cargo fmt --all");
    }

    #[test]
    fn only_programs_are_found() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
