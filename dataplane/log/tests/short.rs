//! What if the kernel writes a part of a group only? The group is not durable, is written again at its place, and nothing
//! behind it is lost.
//!
//! A limit on the size of files makes the kernel do that, in the middle of a group. The limit is a process's, so this test
//! starts itself again, with the signal ignored that comes with it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "the limited writer is a process of its own")]

mod folder;

use std::path::Path;
use std::process::Command;

use folder::{Folder, frame, rest, stamp};
use weir_dataplane_log::{LogError, LogReader, LogSpec, LogWriter, verify};

const GROUP: u64 = 8 << 10;
/// The header block, two groups, and half of the third.
const LIMIT: u64 = 4096 + 2 * GROUP + 4096;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, folder, way] = arguments.as_slice()
        && word == "limited"
    {
        return limited(Path::new(folder), way == "ring");
    }
    for (way, said) in [("ring", "only 4096 of 8192 bytes"), ("plain", "File too large")] {
        let folder = Folder::on_disk();
        let own = std::env::current_exe().unwrap();
        let mut child = Command::new("sh");
        child.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(own).arg("limited").arg(folder.path()).arg(way);
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(said) || (way == "ring" && text.contains("one after the other")), "{text}");
    }
    println!("a group of which only a half was written was written again, by io_uring and by pwrite");
}

/// Lets files of this process grow to `limit` bytes.
fn limit(limit: &str) {
    let (own, limit) = (std::process::id().to_string(), format!("--fsize={limit}:"));
    let status = Command::new("prlimit").arg("--pid").arg(own).arg(limit).status().expect("prlimit of util-linux");
    assert!(status.success());
}

fn limited(folder: &Path, io_uring: bool) {
    let spec = LogSpec { segment_bytes: 64 << 10, group_bytes: GROUP as usize, io_uring, ..LogSpec::new(folder) };
    let (mut writer, recovery) = LogWriter::open(spec).unwrap();
    println!("{recovery}");
    limit(&LIMIT.to_string());
    let length = GROUP as usize - 64 - 32;
    let put = |writer: &mut LogWriter, number: u64| -> Result<(), LogError> {
        assert_eq!(writer.append(&stamp(number), &[&frame(number, length)])?, number);
        writer.submit()?;
        writer.wait().map(drop)
    };
    put(&mut writer, 0).unwrap();
    put(&mut writer, 1).unwrap();
    let error = put(&mut writer, 2).unwrap_err();
    println!("{error}");
    assert!(matches!(error, LogError::Failed { .. }));
    assert!(writer.retry().and_then(|_| writer.wait()).is_err(), "the limit still holds");
    assert_eq!((writer.durable(), rest(&mut LogReader::open(folder).unwrap()).len()), (2, 2));
    limit("unlimited");
    writer.retry().unwrap();
    assert_eq!(writer.wait().unwrap(), 3);
    (3..20).for_each(|number| put(&mut writer, number).unwrap());
    writer.close().unwrap();
    let records = rest(&mut LogReader::open(folder).unwrap());
    let whole =
        |(number, stamped, bytes): &folder::Owned| *stamped == stamp(*number) && *bytes == frame(*number, length);
    assert!(records.len() == 20 && records.iter().all(whole));
    assert!(verify(folder).unwrap().is_sound());
}
