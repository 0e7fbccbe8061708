//! `cargo xtask sdk`: builds libweir and installs it with its header and what pkg-config and CMake ask for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::install;
use crate::shell;
use crate::steps::say;

const PACKAGE: &str = "weir-appliance-sdk-c";

/// What was asked for.
struct Wish {
    prefix: PathBuf,
    debug: bool,
}

/// Builds and installs.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let wish = parse(words)?;
    let (profile, folder) = if wish.debug { ("dev", "debug") } else { ("release", "release") };
    shell::run(&mut shell::cargo(["build", "--package", PACKAGE, "--profile", profile]))?;
    let (package, built) = (shell::root().join("appliance/sdk/c"), shell::target().join(folder));
    let written = install::install(&package, &built, &wish.prefix, env!("CARGO_PKG_VERSION"))
        .with_context(|| format!("cannot install below {}", wish.prefix.display()))?;
    for path in written {
        say(&path.display().to_string());
    }
    let config = wish.prefix.join("lib/pkgconfig");
    say(&format!("cc program.c $(PKG_CONFIG_PATH={} pkg-config --cflags --libs weir)", config.display()));
    Ok(ExitCode::SUCCESS)
}

fn parse(words: &[String]) -> Result<Wish> {
    let (mut prefix, mut debug) = (None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--prefix" => prefix = words.next().map(|folder| Path::new(folder).to_path_buf()),
            "--debug" => debug = true,
            other => bail!("`{other}` is not known here: this command takes --prefix DIR and --debug"),
        }
    }
    let prefix = prefix.context("no folder to install into: give --prefix DIR, e.g. --prefix /usr/local")?;
    Ok(Wish { prefix: std::path::absolute(prefix)?, debug })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_needed_and_nothing_else_is_taken() {
        let parse = |text: &str| parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let wish = parse("--prefix /opt/weir --debug").unwrap();
        assert_eq!((wish.prefix.as_path(), wish.debug), (Path::new("/opt/weir"), true));
        assert!(parse("").is_err() && parse("--prefix").is_err() && parse("--prefix x --release").is_err());
    }
}
