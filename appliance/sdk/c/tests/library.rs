//! Is the installed library what pkg-config, CMake and the dynamic linker expect, and no more than its header?
#![allow(clippy::unwrap_used)]

mod program;
#[path = "../../rust/tests/receiver/mod.rs"]
mod receiver;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use program::{command, compile, pkg_config, prefix, scratch, succeed};
use receiver::{Manners, Receiver};

fn said(command: &mut Command) -> String {
    String::from_utf8(succeed(command).stdout).unwrap()
}

/// Names of the functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/weir.h")).unwrap();
    let code: String = header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect();
    let starts = ["int ", "int64_t ", "const char* "];
    let functions = code.lines().filter(|line| starts.iter().any(|start| line.starts_with(start)));
    functions.filter_map(|line| line.split('(').next()?.split_whitespace().last().map(str::to_owned)).collect()
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let library = prefix().join("lib/libweir.so");
    let listed = said(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(&library));
    let exported: BTreeSet<String> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert_eq!(exported, declared());
    for name in
        ["create_shared_buffer", "stream_ingest_batch", "stream_get_backpressure_status", "stream_configure_rate_limit"]
    {
        assert!(exported.contains(name), "{name}");
    }
    let dynamic = said(Command::new("readelf").args(["-d", "-W"]).arg(&library));
    assert!(dynamic.contains("Library soname: [libweir.so.0]"), "{dynamic}");
    let links: Vec<PathBuf> = ["libweir.so", "libweir.so.0"]
        .iter()
        .map(|link| fs::read_link(prefix().join("lib").join(link)).unwrap())
        .collect();
    assert_eq!(links, vec![PathBuf::from(concat!("libweir.so.", env!("CARGO_PKG_VERSION"))); 2]);
}

#[test]
fn pkg_config_names_version_and_flags() {
    assert_eq!(pkg_config(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let flags = pkg_config(&["--cflags", "--libs"]);
    assert_eq!(flags.len(), 3, "{flags:?}");
    let folder = |flag: &str, start: &str| Path::new(flag.strip_prefix(start).unwrap()).canonicalize().unwrap();
    let prefix = prefix().canonicalize().unwrap();
    assert_eq!(folder(&flags[0], "-I"), prefix.join("include"));
    assert_eq!((folder(&flags[1], "-L"), flags[2].as_str()), (prefix.join("lib"), "-lweir"));
}

#[test]
fn cmake_finds_the_package_and_builds_against_both_libraries() {
    let folder = scratch().join("cmake");
    fs::create_dir_all(&folder).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let lists = format!(
        "cmake_minimum_required(VERSION 3.16)\nproject(user C)\n\
         find_package(weir 9 CONFIG QUIET)\nif(weir_FOUND)\n  message(FATAL_ERROR \"version 9 was found\")\nendif()\n\
         find_package(weir {version} CONFIG REQUIRED)\n\
         foreach(kind weir static)\n  add_executable(with_${{kind}} program.c)\n\
         \x20 target_link_libraries(with_${{kind}} PRIVATE weir::${{kind}})\nendforeach()\n"
    );
    fs::write(folder.join("CMakeLists.txt"), lists).unwrap();
    let program = "#include <stdio.h>\n#include <weir.h>\nint main(void) { return puts(weir_version()) < 0; }\n";
    fs::write(folder.join("program.c"), program).unwrap();
    let build = folder.join("build");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(&folder).arg("-B").arg(&build).arg(format!("-Dweir_ROOT={}", prefix().display()));
    succeed(&mut configure);
    succeed(Command::new("cmake").arg("--build").arg(&build));
    for kind in ["weir", "static"] {
        let mut run = Command::new(build.join(format!("with_{kind}")));
        assert_eq!(said(&mut run).trim(), version, "{kind}");
    }
}

#[test]
fn the_readmes_example_compiles_and_runs() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let code: Vec<&str> = readme.split("```c\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(code.len(), 1, "one whole program");
    fs::create_dir_all(scratch()).unwrap();
    let source = scratch().join("example.c");
    fs::write(&source, code[0]).unwrap();
    let receiver = Receiver::start("example", Manners::default());
    let program = compile("cc", &source, "example", &["-std=c11", "-pedantic"]);
    let output = said(&mut command(&program, &receiver.endpoint(), 51));
    let known = receiver.wait(51, |known| known.acknowledged == 1);
    assert!(output.contains("acknowledged"), "{output}");
    assert!(known.messages[0].bytes.windows(4).any(|bytes| bytes == b"21.5"), "the event's payload");
}
