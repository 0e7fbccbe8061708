//! The configuration's file: read, and replaced in one step so that a crash leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, MAX_FILE_BYTES};

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("{}: cannot be read: {cause}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is refused.
    #[error("{}:{cause}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        cause: ConfigError,
    },
    /// It cannot be replaced; the old one stands as it was.
    #[error("{}: cannot be written: {cause}; check that its directory can be written and has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// Reads the configuration.
///
/// # Errors
/// The file cannot be read, or is refused.
pub fn load(path: &Path) -> Result<Config, ConfigFileError> {
    let read = |cause| ConfigFileError::Read { path: path.to_owned(), cause };
    let mut text = String::new();
    // One byte more than the limit is enough for the parser to refuse the file as too long.
    let limit = MAX_FILE_BYTES as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)).map_err(read)?;
    Config::parse(&text).map_err(|cause| ConfigFileError::Refused { path: path.to_owned(), cause })
}

/// Replaces the file. What stood there before is kept beside it with `.last-good` behind its name, comments and all;
/// the new text replaces it by one rename, after it is on the disk.
///
/// # Errors
/// The file cannot be replaced; it is then what it was.
pub fn save(path: &Path, config: &Config) -> Result<(), ConfigFileError> {
    replace(path, config.to_yaml().as_bytes()).map_err(|cause| ConfigFileError::Write { path: path.to_owned(), cause })
}

/// Where the file that stood before the last change is kept.
pub fn last_good(path: &Path) -> PathBuf {
    beside(path, ".last-good")
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    if let Ok(before) = fs::metadata(path) {
        file.set_permissions(before.permissions())?;
    }
    file.write_all(text)?;
    // The rename may reach the disk before the text otherwise, and a power cut would leave an empty file.
    file.sync_all()?;
    match fs::copy(path, beside(path, ".last-good.new")) {
        Ok(_) => fs::rename(beside(path, ".last-good.new"), last_good(path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::rename(&new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("weir-config-file-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    #[test]
    fn a_change_keeps_what_stood_before() {
        let directory = directory("change");
        let path = directory.join("weir.yaml");
        let first = "# by hand\ninterfaces: [{name: eth0}]\n";
        fs::write(&path, first).expect("written");
        let config = load(&path).expect("a good file");
        let rule = "rules: [{match: udp:5004, action: deliver, to: [streaming]}]";
        let rule = Config::parse(rule).expect("a good rule").rules()[0].clone();
        let changed = config.add_rule(rule, None).expect("a good change");
        save(&path, &changed).expect("saved");
        assert_eq!(load(&path).expect("read back"), changed);
        assert_eq!(fs::read_to_string(last_good(&path)).expect("kept"), first);
        let files = fs::read_dir(&directory).expect("listed").count();
        assert_eq!(files, 2, "nothing else is left behind");
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn errors_name_the_file_and_the_cure() {
        let directory = directory("errors");
        let path = directory.join("weir.yaml");
        let missing = load(&path).expect_err("no file").to_string();
        assert!(missing.contains("weir.yaml: cannot be read") && missing.contains("; check"), "{missing}");
        fs::write(&path, "wait: never\n").expect("written");
        let refused = load(&path).expect_err("refused").to_string();
        assert!(
            refused.ends_with("weir.yaml:1:7: never: this is not a way to wait; write one of: poll, spin"),
            "{refused}"
        );
        let nowhere = save(&directory.join("no/weir.yaml"), &Config::default()).expect_err("no directory").to_string();
        assert!(nowhere.contains("cannot be written"), "{nowhere}");
        fs::remove_dir_all(directory).expect("removed");
    }
}
