//! The classifier's object, embedded by `build.rs`.

/// The ELF object, aligned as its parser wants it.
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/classifier.bpf.o"));

/// Where the embedded object came from: `checked in`, `built from source` or `from PATH`.
pub const ORIGIN: &str = env!("WEIR_OBJECT_ORIGIN");
