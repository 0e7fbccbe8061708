//! Recorded trees of sysfs and procfs, written out for a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use weir_dataplane_io::cpu::parse_list;

/// Writes a tree of `tests/topologies` into a folder of its own and gives the folder that its paths are in.
pub(crate) fn tree(name: &str) -> PathBuf {
    static TREES: AtomicU32 = AtomicU32::new(0);
    let number = TREES.fetch_add(1, Ordering::Relaxed);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}", std::process::id()));
    // This file is a module of tests of other packages as well.
    let repository =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("clippy.toml").exists());
    let file = repository.unwrap().join(format!("dataplane/io/tests/topologies/{name}.txt"));
    let text = fs::read_to_string(file).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((path, target)) = line.split_once(" -> ") {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, path).unwrap();
            continue;
        }
        // PCI addresses have colons too, but no space behind them.
        let (path, content) = line.split_once(": ").or_else(|| line.split_once(':')).unwrap();
        for path in expand(path) {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{}\n", content.trim().replace("\\n", "\n"))).unwrap();
        }
    }
    root
}

/// `a{0-2}b` and `a{0,2}b` to a path for each number.
fn expand(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (list, after) = rest.split_once('}').unwrap();
    parse_list(list).into_iter().map(|number| format!("{before}{number}{after}")).collect()
}
