//! A disk that fails when told to: a file system on a loop device over a file, from which the end is cut off (the device
//! says EIO there) and given back.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use super::Folder;

const BYTES: u64 = 8 << 20;
const BLOCK: u64 = 4096;

/// Two tests must not be given the same free loop device.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The disk, gone with the value.
pub(crate) struct Disk {
    folder: Folder,
    device: String,
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let failed = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(output) } else { Err(failed()) }
}

impl Disk {
    /// A disk, or why there can be none here.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = Folder::quick();
        let file = folder.path().join("device");
        let opened = std::fs::File::create(&file).unwrap();
        opened.set_len(BYTES).unwrap();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal,^resize_inode"])
            .arg(&file))?;
        let turn = ONE_AT_A_TIME.lock().unwrap();
        let attached = run(Command::new("losetup").args(["--find", "--show"]).arg(&file))?;
        drop(turn);
        let device = String::from_utf8_lossy(&attached.stdout).trim().to_owned();
        let disk = Self { folder, device };
        std::fs::create_dir_all(disk.path()).unwrap();
        run(Command::new("mount").arg(&disk.device).arg(disk.path()))?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// Cuts the device behind the block in which byte `byte` of `file` lies.
    pub(crate) fn cut_behind(&self, file: &Path, byte: u64) {
        let told = run(Command::new("filefrag").args(["-b4096", "-v"]).arg(file)).unwrap();
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let numbers = |line: &str| -> Vec<u64> {
            line.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
        };
        // Extent, first and last block in the file, first and last on the device.
        let block = byte / BLOCK;
        let extents = text.lines().map(numbers).filter(|numbers| numbers.len() >= 6);
        let holding = extents.into_iter().find(|extent| (extent[1]..=extent[2]).contains(&block));
        let extent = holding.unwrap_or_else(|| panic!("no extent holds block {block}: {text}"));
        self.resize((extent[3] + block - extent[1] + 1) * BLOCK);
    }

    /// Gives back what was cut.
    pub(crate) fn heal(&self) {
        self.resize(BYTES);
    }

    fn resize(&self, bytes: u64) {
        let file = std::fs::File::options().write(true).open(self.folder.path().join("device")).unwrap();
        file.set_len(bytes).unwrap();
        run(Command::new("losetup").arg("--set-capacity").arg(&self.device)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the kernel may hold a ring's file for a moment after its writer has gone.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
    }
}
