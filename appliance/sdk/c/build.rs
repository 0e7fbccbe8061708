//! Gives libweir.so its soname, so that programs ask for the interface they were linked against.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libweir.so.0");
}
