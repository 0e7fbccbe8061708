//! Tells bpf-linker which machine to write for, so that every way of building gives the same code.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("bpf") {
        // The machine is LLVM's "generic", which is v3 (32-bit registers and jumps, kernel 5.1). Packets are read in
        // words wherever they lie: x86-64 and aarch64 kernels allow it, and byte-wise loads would double the decoder.
        println!("cargo::rustc-link-arg=--cpu-features=+alu32,+allows-misaligned-mem-access");
    }
}
