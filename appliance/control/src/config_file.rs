//! The configuration's file. It is read and never written: what is in force lives in the store.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, Layer, MAX_FILE_BYTES};
use crate::problem::Problem;

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
}

/// Reads the configuration.
///
/// # Errors
/// The file cannot be read, or is refused.
pub fn load(path: &Path) -> Result<Config, ConfigFileError> {
    let text = text(path)?;
    Config::parse(&text).map_err(|cause| ConfigFileError::Refused { path: path.to_owned(), cause })
}

/// Reads a file as a layer of a configuration, under its absolute name.
///
/// # Errors
/// The file cannot be read.
pub fn layer(path: &Path) -> Result<Layer, ConfigFileError> {
    let text = text(path)?;
    let name = fs::canonicalize(path).map_err(|cause| ConfigFileError::Read { path: path.to_owned(), cause })?;
    Ok(Layer { name: name.to_string_lossy().into_owned(), text })
}

/// What stands in the file.
fn text(path: &Path) -> Result<String, ConfigFileError> {
    let mut bytes = Vec::new();
    // One byte more than the limit is enough for the parser to refuse the file as too long.
    let limit = MAX_FILE_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|cause| ConfigFileError::Read { path: path.to_owned(), cause })?;
    if bytes.len() > MAX_FILE_BYTES {
        return Ok(String::from_utf8_lossy(&bytes).into_owned()); // the limit may have cut a character
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..sound]);
        let line = before.rsplit('\n').next().unwrap_or_default();
        let value = format!("byte 0x{:02x}", error.as_bytes()[sound]);
        let problem =
            Problem::new(value, "this is not UTF-8", "save the file as UTF-8, for example with `iconv -t UTF-8`");
        let (line, column) = (before.matches('\n').count() as u64 + 1, line.chars().count() as u64 + 1);
        ConfigFileError::Refused { path: path.to_owned(), cause: ConfigError { line, column, problem } }
    })
}

/// The overlay of this name beside a file: `weir.yaml` and `prod` give `prod.yaml` in the same folder. Something with a
/// slash or a dot is a path already.
#[must_use]
pub fn overlay(file: &Path, name: &str) -> PathBuf {
    if name.contains(['/', '.']) { PathBuf::from(name) } else { file.with_file_name(format!("{name}.yaml")) }
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
    fn what_is_not_utf_8_is_said_where_it_stands() {
        let path = directory("bytes").join("weir.yaml");
        fs::write(&path, b"wait: poll\ncores: {critical: \"\xc3\xa9\xe9\"}\n").expect("written");
        for said in [load(&path).expect_err("refused").to_string(), layer(&path).expect_err("refused").to_string()] {
            assert!(said.contains("weir.yaml:2:21: byte 0xe9: this is not UTF-8; save the file as UTF-8"), "{said}");
        }
        // A character that the limit cuts is no fault of the file's letters.
        fs::write(&path, "é".repeat(MAX_FILE_BYTES)).expect("written");
        let said = load(&path).expect_err("refused").to_string();
        assert!(said.contains("more than 4194304 bytes"), "{said}");
        fs::remove_dir_all(path.parent().expect("a folder")).expect("removed");
    }

    #[test]
    fn a_layer_has_the_absolute_name_and_an_overlay_stands_beside_its_file() {
        let directory = directory("layer");
        let path = directory.join("weir.yaml");
        fs::write(&path, "wait: spin\n").expect("written");
        let layer = layer(&path).expect("read");
        assert!(layer.name.ends_with("weir.yaml") && layer.name.starts_with('/'), "{}", layer.name);
        assert_eq!(layer.text, "wait: spin\n");
        assert_eq!(overlay(&path, "prod"), directory.join("prod.yaml"));
        assert_eq!(overlay(&path, "./x.yaml"), Path::new("./x.yaml"));
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
        fs::remove_dir_all(directory).expect("removed");
    }
}
