# Every command of this repository. The two that matter most need no `just`: `cargo xtask demo` and `cargo xtask test`.

# list the recipes
default:
    @{{ just_executable() }} --list --unsorted

# the appliance in a lab on this machine: namespaces, veth pairs, traffic, live view
demo *ARGS:
    cargo xtask demo {{ARGS}}

# everything that must hold before a change is good
test *ARGS:
    cargo xtask test {{ARGS}}

# the same with the long forms of the tests
test-long *ARGS:
    cargo xtask test --long {{ARGS}}

# one benchmark beside the field's own tools; without a name, the list
bench *NAME:
    @cargo xtask bench {{NAME}}

# format the source
fmt:
    cargo fmt --all

# lints, every warning an error
clippy:
    cargo clippy --workspace --exclude weir-ebpf-classifier --all-targets -- --deny warnings

# build the checked-in eBPF object from source (`--check` only compares)
classifier *ARGS:
    cargo xtask classifier {{ARGS}}

# build libweir and install it with its header: `just sdk --prefix DIR`
sdk *ARGS:
    cargo xtask sdk {{ARGS}}

# draw docs/images/top.svg from the running demo
screenshot *ARGS:
    cargo xtask screenshot {{ARGS}}

# API documentation of every room
docs:
    cargo doc --workspace --exclude weir-ebpf-classifier --no-deps

# licences, sources and who may use which crate (needs cargo-deny)
deny:
    cargo deny check

# feed random bytes to a parser for some seconds (needs nightly and cargo-fuzz); without a name, the list
fuzz TARGET="" SECONDS="60":
    {{ if TARGET == "" { "cargo +nightly fuzz list" } else { "cargo +nightly fuzz run " + TARGET + " -- -max_total_time=" + SECONDS } }}

# the rings under Miri: undefined behaviour and weak memory (needs nightly with miri)
miri:
    MIRIFLAGS="-Zmiri-disable-isolation" cargo +nightly miri test --package weir-dataplane-ring --target-dir target/miri

# the rings under every interleaving of two threads
loom:
    RUSTFLAGS="--cfg loom" cargo test --package weir-dataplane-ring --test loom --release --target-dir target/loom
