//! Where the files of the C library go below a prefix. The tests of `appliance/sdk/c` install with this very code.

use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// The interface's number in `libweir.so.N`; appliance/sdk/c/build.rs links with the same.
const SONAME: &str = "0";
/// The package's files that are copied with the version written into them, and their folders below the prefix.
const TEXTS: [(&str, &str); 4] = [
    ("include/weir.h", "include"),
    ("install/weir.pc", "lib/pkgconfig"),
    ("install/weir-config.cmake", "lib/cmake/weir"),
    ("install/weir-config-version.cmake", "lib/cmake/weir"),
];

/// Installs below `prefix` what was built into `built`; `package` is the folder `appliance/sdk/c`. Gives what it wrote.
pub(crate) fn install(package: &Path, built: &Path, prefix: &Path, version: &str) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let libraries = prefix.join("lib");
    fs::create_dir_all(&libraries)?;
    let shared = format!("libweir.so.{version}");
    for (from, to) in [("libweir.so", shared.as_str()), ("libweir.a", "libweir.a")] {
        let (from, to) = (built.join(from), libraries.join(to));
        // A program that has the old file mapped keeps it: the new one is another file.
        remove(&to)?;
        fs::copy(&from, &to)
            .map_err(|cause| Error::new(cause.kind(), format!("copying {}: {cause}", from.display())))?;
        written.push(to);
    }
    for link in [format!("libweir.so.{SONAME}"), "libweir.so".to_owned()] {
        let link = libraries.join(link);
        remove(&link)?;
        std::os::unix::fs::symlink(&shared, &link)?;
        written.push(link);
    }
    for (from, folder) in TEXTS {
        let from = package.join(from);
        let text = fs::read_to_string(&from)?;
        let text = text.replace("@VERSION@", version).replace("@SONAME@", SONAME);
        let text = text.replace("@INTERFACE@", &interface(version));
        let folder = prefix.join(folder);
        fs::create_dir_all(&folder)?;
        let to = folder.join(from.file_name().unwrap_or_default());
        fs::write(&to, text)?;
        written.push(to);
    }
    Ok(written)
}

/// What of a version names its interface, as a regular expression: its first number, and the second if that is 0.
fn interface(version: &str) -> String {
    let numbers = if version.starts_with("0.") { 2 } else { 1 };
    version.split('.').take(numbers).collect::<Vec<_>>().join("\\\\.")
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
