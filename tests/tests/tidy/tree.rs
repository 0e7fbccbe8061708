//! The files that belong to the repository: tracked, or new and not ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Files by their path from the repository's root, with `/` between folders.
pub(crate) struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// The repository itself, read once.
    pub(crate) fn repository() -> &'static Self {
        static TREE: OnceLock<Tree> = OnceLock::new();
        TREE.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let paths = listed(&root).unwrap_or_else(|| walked(&root));
            // A file may be listed and gone: it was deleted and the deletion is not committed yet.
            let read = |path: String| std::fs::read(root.join(&path)).ok().map(|bytes| (path, bytes));
            let files: BTreeMap<_, _> = paths.into_iter().filter_map(read).collect();
            assert!(
                files.contains_key("Cargo.toml"),
                "no Cargo.toml among {} files of {}",
                files.len(),
                root.display()
            );
            Self { files }
        })
    }

    /// A made-up tree.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect() }
    }

    /// All paths in order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether there is a file of this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether there is a file in this folder or below.
    pub(crate) fn has_folder(&self, folder: &str) -> bool {
        let folder = format!("{}/", folder.trim_end_matches('/'));
        self.paths().any(|path| path.starts_with(&folder))
    }

    /// The file's bytes, empty if there is none.
    pub(crate) fn bytes(&self, path: &str) -> &[u8] {
        self.files.get(path).map_or(&[], Vec::as_slice)
    }

    /// The file as text, empty if there is none or it is not text.
    pub(crate) fn text(&self, path: &str) -> &str {
        std::str::from_utf8(self.bytes(path)).unwrap_or_default()
    }

    /// Paths and texts of all files whose name ends so.
    pub(crate) fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.paths().filter(move |path| path.ends_with(end)).map(|path| (path, self.text(path)))
    }

    /// Folders that hold a file of this name, the root among them as an empty string.
    pub(crate) fn folders_with(&self, name: &str) -> BTreeSet<&str> {
        let folders = self.paths().filter_map(|path| path.strip_suffix(name));
        folders.filter(|path| path.is_empty() || path.ends_with('/')).map(|path| path.trim_end_matches('/')).collect()
    }
}

/// What git tracks or would add; `None` where there is no git or no repository.
fn listed(root: &Path) -> Option<Vec<String>> {
    // Tests may run as another user than the one who cloned: git would refuse without this.
    let arguments = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let paths = output.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Some(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
}

/// Everything but what .gitignore names by its place: for a source archive.
fn walked(root: &Path) -> Vec<String> {
    let ignored = std::fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).chain([".git"]).collect();
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if ignored.contains(&path.as_str()) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn git_and_a_walk_see_the_same_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let Some(listed) = listed(&root) else { return };
    let sources = |paths: Vec<String>| -> BTreeSet<String> {
        paths.into_iter().filter(|path| path.ends_with("Cargo.toml") && root.join(path).exists()).collect()
    };
    assert_eq!(sources(listed), sources(walked(&root)));
}
