//! Where one running weir keeps its sockets and pins: everything derives from the control socket's path.

use std::path::{Path, PathBuf};

/// The paths of one running weir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The store of what is in force.
    pub state: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// Where workers attach.
    pub attach: PathBuf,
    /// Where maps and links are pinned.
    pub pins: PathBuf,
    /// What card settings were before they were changed.
    pub cards: PathBuf,
    /// Which control groups were made.
    pub groups: PathBuf,
}

/// The bpf file system, as systemd and every distribution mount it.
pub(crate) const BPF_FS: &str = "/sys/fs/bpf";

impl Place {
    /// The paths that belong to the control socket `control`. Two sockets in different folders make two instances.
    #[must_use]
    pub(crate) fn of(state: &Path, control: &Path) -> Self {
        let folder = control.parent().unwrap_or(Path::new("/run/weir"));
        let instance = folder.file_name().map_or_else(|| "weir".into(), |name| name.to_string_lossy().into_owned());
        // Object names in the bpf file system may not contain dots.
        let instance: String =
            instance.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        Self {
            state: state.to_owned(),
            control: control.to_owned(),
            attach: folder.join("attach.sock"),
            cards: folder.join("cards"),
            groups: folder.join("groups"),
            pins: Path::new(BPF_FS).join("weir").join(instance),
        }
    }

    /// The instance's name: that of the folder of its pins.
    #[must_use]
    pub(crate) fn instance(&self) -> String {
        self.pins.file_name().map_or_else(|| "weir".into(), |name| name.to_string_lossy().into_owned())
    }

    /// The folder of the sockets.
    #[must_use]
    pub(crate) fn folder(&self) -> &Path {
        self.control.parent().unwrap_or(Path::new("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_are_two_instances() {
        let one = Place::of(Path::new("/var/lib/weir/state.redb"), Path::new("/run/weir/control.sock"));
        let two = Place::of(Path::new("/var/lib/weir/state.redb"), Path::new("/run/weir.lab/control.sock"));
        assert_eq!(one.pins, Path::new("/sys/fs/bpf/weir/weir"));
        assert_eq!(two.pins, Path::new("/sys/fs/bpf/weir/weir_lab"));
        assert_eq!(one.attach, Path::new("/run/weir/attach.sock"));
    }
}
