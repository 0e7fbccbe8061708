//! The process that writes and is killed: this test program again, told by its environment what to do.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use weir_appliance_control::resources::{DurableStore, Kind, ResourceStore, Retention, SystemClock, Transaction};

use crate::{key, origin};

/// The store that the child writes.
const STORE: &str = "WEIR_RESOURCES_CHILD";
/// Resources that each of the child's changes writes.
pub(crate) const TOGETHER: u64 = 4;
/// History that the child keeps.
pub(crate) const KEEPS: Retention = Retention { changes: 2000, bytes: 1 << 20 };

/// The command that runs the child on this store; `prefix` runs it, if it is not empty.
pub(crate) fn command(prefix: &[&str], store: &Path) -> Command {
    let program = std::env::current_exe().expect("a test has a path");
    let mut words: Vec<std::ffi::OsString> = prefix.iter().map(Into::into).collect();
    words.push(program.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", "child::writes_until_it_is_killed", "--nocapture"]);
    command.env(STORE, store).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Change number `count` of the child writes this value to each of its resources.
pub(crate) fn value(count: u64) -> String {
    format!("{count} {}", "x".repeat((count % 97) as usize))
}

#[test]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = DurableStore::open(Path::new(&path), Arc::new(SystemClock::default()), KEEPS);
    let store = match store {
        Ok(store) => store,
        Err(error) => {
            report(&format!("refused {error}"));
            return;
        }
    };
    let mut next = store.revision().expect("a revision").0 + 1;
    loop {
        let mut change = Transaction::new(origin(&next.to_string()));
        for place in 0..TOGETHER {
            change = change.put(key(Kind::Rules, &format!("{}", (next + place) % 50)), value(next));
        }
        match store.commit(&change) {
            Ok(revision) => {
                report(&format!("done {revision}"));
                next = revision.0 + 1;
            }
            Err(error) => report(&format!("refused {error}")),
        }
    }
}

fn report(line: &str) {
    // Who listens has gone: so does the child.
    if writeln!(std::io::stdout(), "{line}").and_then(|()| std::io::stdout().flush()).is_err() {
        std::process::abort();
    }
}
