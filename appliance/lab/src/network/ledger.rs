//! What a lab made, kept on disk so that somebody else can remove it if the lab's process is killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::command::ip;
use super::tag::{PREFIX, Tag};
use crate::error::LabError;

/// Where ledgers and the labs' own files are.
const ROOT: &str = "/run/weir-lab";
const NAMESPACES: &str = "/run/netns";
const PINS: &str = "/sys/fs/bpf/weir";
const HUGEPAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
/// File in a lab's folder with the number of hugepages it reserved.
const RESERVED: &str = "hugepages";

/// What a sweep removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// Folders of pins.
    pub pins: Vec<PathBuf>,
    /// Folders of files.
    pub folders: Vec<PathBuf>,
    /// Hugepages given back.
    pub hugepages: u64,
}

impl Swept {
    /// Whether anything was left.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// A lab's folder and what stands in it.
#[derive(Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    pub(super) fn open(tag: &Tag) -> Result<Self, LabError> {
        let folder = Path::new(ROOT).join(tag.to_string());
        let what = || format!("making {}", folder.display());
        fs::create_dir_all(&folder).map_err(|source| LabError::system(what(), source, "run as root"))?;
        Ok(Self { folder })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes that `more` hugepages were reserved.
    pub(super) fn hugepages(&self, more: u64) -> Result<(), LabError> {
        let file = self.folder.join(RESERVED);
        let total = read_number(&file).unwrap_or(0) + more;
        let what = || format!("writing {}", file.display());
        fs::write(&file, total.to_string()).map_err(|source| LabError::system(what(), source, "free space in /run"))
    }

    /// Removes what the lab made beside namespaces.
    pub(super) fn settle(&self, tag: &Tag) {
        release_hugepages(&self.folder);
        remove_pins(&tag.pin_root());
        let _ = fs::remove_dir_all(&self.folder);
        let _ = fs::remove_dir(ROOT); // succeeds with the last lab only
    }
}

/// Removes what dead labs left.
pub(super) fn sweep() -> Result<Swept, LabError> {
    let mut swept = Swept::default();
    for name in dead(Path::new(NAMESPACES))? {
        remove_namespace(&name);
        swept.namespaces.push(name);
    }
    for name in dead(Path::new(PINS))? {
        let path = Path::new(PINS).join(name);
        remove_pins(&path);
        swept.pins.push(path);
    }
    for name in dead(Path::new(ROOT))? {
        let path = Path::new(ROOT).join(name);
        swept.hugepages += release_hugepages(&path);
        let _ = fs::remove_dir_all(&path);
        swept.folders.push(path);
    }
    let _ = fs::remove_dir(ROOT); // succeeds when no lab is left
    Ok(swept)
}

/// Entries of `folder` that belong to labs whose process is gone.
fn dead(folder: &Path) -> Result<Vec<String>, LabError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(LabError::system(format!("reading {}", folder.display()), source, "run as root")),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let ours = names.filter(|name| name.starts_with(PREFIX));
    Ok(ours.filter(|name| Tag::parse(name).is_some_and(|tag| !tag.is_alive())).collect())
}

/// Kills what still runs in a lab's namespace and removes it. A namespace lives as long as a process is in it, whatever
/// its name does, and only its end frees the interfaces.
pub(super) fn remove_namespace(name: &str) {
    let listed = ip(&["netns", "pids", name]).unwrap_or_default();
    for pid in listed.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok()) {
        if pid != std::process::id() {
            // The process may have ended by itself since it was listed.
            let _ = weir_dataplane_io::wait::PidFd::open(pid).and_then(|process| process.kill());
        }
    }
    // Interfaces first: removal of a namespace is asynchronous, and an XDP program would hold on until then.
    let links = ip(&["-n", name, "-o", "link", "show", "type", "veth"]).unwrap_or_default();
    for line in links.lines() {
        let interface = line.split_ascii_whitespace().nth(1).unwrap_or_default();
        let interface = interface.split(['@', ':']).next().unwrap_or_default();
        let _ = ip(&["-n", name, "link", "del", "dev", interface]);
    }
    let _ = ip(&["netns", "del", name]);
}

/// Removes a folder of the BPF file system, in which files can be unlinked but not be read.
fn remove_pins(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_pins(&entry.path());
        } else {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// Gives back the hugepages that the lab of `folder` reserved; returns how many.
fn release_hugepages(folder: &Path) -> u64 {
    let Some(reserved) = read_number(&folder.join(RESERVED)) else { return 0 };
    let total = read_number(Path::new(HUGEPAGES)).unwrap_or(0);
    // The kernel frees those not in use and keeps the others until their users end.
    let _ = fs::write(HUGEPAGES, total.saturating_sub(reserved).to_string());
    let _ = fs::remove_file(folder.join(RESERVED));
    reserved
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
