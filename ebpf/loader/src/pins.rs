//! Where maps and links are pinned, so that forwarding goes on while user space is down.
//!
//! `ROOT/v1/MAP` for maps, `ROOT/INTERFACE:native` or `ROOT/INTERFACE:generic` for links.

use std::path::{Path, PathBuf};

use weir_ebpf_abi::layout::{self, LAYOUT_VERSION};

use crate::attach::AttachMode;
use crate::error::LoadError;

/// Maps that outlive the process.
pub(crate) const PINNED: [&str; 12] = [
    layout::MAP_CONTROL,
    layout::MAP_RULES,
    layout::MAP_AGENTS,
    layout::MAP_FLOWS,
    layout::MAP_COUNTERS,
    layout::MAP_RULE_COUNTS,
    layout::MAP_SOCKETS,
    layout::MAP_EGRESS,
    layout::MAP_SERVICE_INDEX,
    layout::MAP_SERVICES,
    layout::MAP_CONNECTIONS,
    layout::MAP_SERVICE_COUNTS,
];

/// Folder of the maps.
pub(crate) fn maps(root: &Path) -> PathBuf {
    root.join(format!("v{LAYOUT_VERSION}"))
}

/// Place of an interface's link.
pub(crate) fn link(root: &Path, interface: &str, mode: AttachMode) -> PathBuf {
    // A name in the BPF file system has no dot, and an interface has no colon.
    root.join(format!("{}:{}", interface.replace('.', "::"), mode.name()))
}

/// Makes the folders.
pub(crate) fn make(root: &Path) -> Result<(), LoadError> {
    let folder = maps(root);
    std::fs::create_dir_all(&folder).map_err(|error| LoadError::Pin { path: folder, cause: error.to_string() })
}

/// Removes every pin under `root`, and `root` itself: links that are not held elsewhere detach. Returns how many
/// pins there were; a `root` that does not exist has none.
///
/// # Errors
/// [`LoadError::Pin`] names what could not be removed.
pub fn remove_pins(root: &Path) -> Result<usize, LoadError> {
    let failed = |path: &Path, error: std::io::Error| LoadError::Pin { path: path.into(), cause: error.to_string() };
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed(root, error)),
    };
    let mut removed = 0;
    for entry in entries {
        let path = entry.map_err(|error| failed(root, error))?.path();
        if path.is_dir() {
            removed += remove_pins(&path)?;
        } else {
            std::fs::remove_file(&path).map_err(|error| failed(&path, error))?;
            removed += 1;
        }
    }
    std::fs::remove_dir(root).map_err(|error| failed(root, error))?;
    Ok(removed)
}
