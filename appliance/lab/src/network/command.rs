//! Commands of iproute2.

use std::process::{Command, Stdio};

use crate::error::LabError;

/// Runs `ip` with `words`; gives what it printed.
pub(super) fn ip(words: &[&str]) -> Result<String, LabError> {
    let command = format!("ip {}", words.join(" "));
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output().map_err(|source| {
        LabError::system(format!("running `{command}`"), source, "install iproute2 (apt-get install iproute2)")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(LabError::Command { command, said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
