//! What is known of a program before it is given anything: is it weir, does it take this box's words, files and memory?

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weir_dataplane_io::wait::PidFd;
use weir_ebpf_abi::layout::LAYOUT_VERSION;

use super::child::ending;

/// What supervisor, dataplane and their successors hand each other: the ledger's memory, the words between them, the store.
/// Raise it with every change that a program of before would not understand.
const LAYOUT: u32 = 1;
/// Time a program has to say something of itself.
const CHECK_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of what it says that are read.
const SAID: u64 = 16 * 1024;
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a program says of itself: `weir up … --check` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Version of the package.
    pub version: String,
    /// Version of what it takes over and hands over.
    pub layout: u32,
    /// Version of the pinned maps, which go on with the traffic.
    pub pins: u32,
}

impl Program {
    /// This one.
    pub(crate) fn own() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), layout: LAYOUT, pins: LAYOUT_VERSION }
    }
}

/// Whether the program in `file` may be started with all that this box may: nobody else can have put something in its place.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the file.
pub(super) fn trusted(file: &Path) -> Result<(), String> {
    let data = std::fs::metadata(file).map_err(|error| error.to_string())?;
    if !data.is_file() {
        return Err("this is not a file".to_owned());
    }
    if data.mode() & 0o111 == 0 {
        return Err("this is not executable; chmod +x it".to_owned());
    }
    let own = std::fs::metadata("/proc/self").map_err(|error| error.to_string())?.uid();
    if ![0, own].contains(&data.uid()) || data.mode() & 0o022 != 0 {
        return Err(format!(
            "others than user {own} can change this file (owner {}, mode {:o}), and it would run with all that this box may; \
             chown and chmod go-w it",
            data.uid(),
            data.mode() & 0o7777
        ));
    }
    Ok(())
}

/// Asks the program in `file` what it is, and whether it would run with these words of the command line. It starts nothing.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the file.
pub(super) fn check(file: &Path, words: &[std::ffi::OsString]) -> Result<Program, String> {
    trusted(file)?;
    // Only weir is asked anything more: any other program could take the words of `up` for its own.
    let said = ask(file, Command::new(file).arg("--version"))?;
    if !said.out.starts_with("weir ") {
        return Err(format!("this is not weir: asked for its version it {}", said.shown()));
    }
    let said = ask(file, Command::new(file).args(words).arg("--check"))?;
    if !said.status.success() {
        return Err(format!("it does not run with this box's command line and configuration: {}", said.shown()));
    }
    let found: Program = serde_json::from_str(said.out.trim())
        .map_err(|_| format!("it does not say what it takes over, so it is older than this; it {}", said.shown()))?;
    let own = Program::own();
    if found.layout < own.layout || found.pins < own.pins {
        let Program { version, layout, pins } = found;
        return Err(format!(
            "weir {version} has layout {layout}.{pins}, older than what runs ({}.{}): it would not understand what is there; \
             stop weir and start that one",
            own.layout, own.pins
        ));
    }
    Ok(found)
}

/// What a program said and how it ended.
struct Said {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Said {
    /// In a few words, its last line of complaint if it has one.
    fn shown(&self) -> String {
        let last = |text: &str| text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
        let line = last(&self.err).or_else(|| last(&self.out));
        let line = line.map(|line| format!(": {}", line.chars().take(300).collect::<String>())).unwrap_or_default();
        format!("{}{line}", ending(self.status))
    }
}

/// Runs it, for a while at most.
fn ask(file: &Path, command: &mut Command) -> Result<Said, String> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let (out, err) = (child.stdout.take().map(hear), child.stderr.take().map(hear));
    let deadline = Instant::now() + CHECK_WITHIN;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            Ok(None) => {
                let _ = PidFd::open(child.id()).and_then(|process| process.kill()); // it may just have ended
                let _ = child.wait();
                return Err(format!("asked what it is, it said nothing within {} s", CHECK_WITHIN.as_secs()));
            }
            Err(error) => return Err(format!("{}: nobody knows how it ended: {error}", file.display())),
        }
    };
    // Somebody that it has started may still hold the other end.
    let said = |from: Option<Receiver<String>>| from.and_then(|from| from.recv_timeout(LOOK_EVERY * 50).ok());
    Ok(Said { status, out: said(out).unwrap_or_default(), err: said(err).unwrap_or_default() })
}

fn hear(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.take(SAID).read_to_end(&mut bytes); // what came until then is what it said
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    heard
}
