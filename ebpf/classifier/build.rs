//! Tells bpf-linker which machine to write for, so that every way of building gives the same code.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("bpf") {
        // Only the compiler's own flag reaches the linker's choice of machine, which cannot be given twice.
        let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
        assert!(
            flags.contains("target-cpu=v3"),
            "built for LLVM's generic machine the classifier is a fifth longer: add `-C target-cpu=v3` to RUSTFLAGS"
        );
        // Packets are read in words wherever they lie: x86-64 and aarch64 kernels allow it, and byte-wise loads would
        // double the decoder.
        println!("cargo::rustc-link-arg=--cpu-features=+allows-misaligned-mem-access");
    }
}
