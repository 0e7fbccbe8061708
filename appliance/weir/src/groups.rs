//! Which control groups a weir has made: a file beside the control socket, so that a killed weir's are found again, also by
//! a `weir down` that runs in another group.

use std::path::{Path, PathBuf};

use weir_dataplane_io::cgroup::{self, Groups};

/// Writes down the groups; what a predecessor left and this weir does not use goes.
pub(crate) fn note(file: &Path, groups: &Groups) {
    let now = groups.folders();
    let left: Vec<PathBuf> = read(file).into_iter().filter(|folder| !now.contains(folder)).collect();
    cgroup::remove_left(&left);
    let text: String = now.iter().map(|folder| format!("{}\n", folder.display())).collect();
    let written = if now.is_empty() { std::fs::remove_file(file) } else { std::fs::write(file, text) };
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("{}: {error}; control groups that a killed weir leaves are not found again", file.display());
    }
}

/// Removes the groups that are written down; gives how many went.
pub(crate) fn give_back(file: &Path) -> usize {
    let removed = cgroup::remove_left(&read(file));
    let _ = std::fs::remove_file(file);
    removed
}

fn read(file: &Path) -> Vec<PathBuf> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(PathBuf::from).collect()
}
