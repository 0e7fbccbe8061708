//! What was changed on cards, so that it can be put back.
//!
//! A text file, one change a line, appended before the change is made. It is not synced to a disk: what ends the kernel
//! ends the settings too. A file of another boot is therefore thrown away.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::error::{IoError, Result};
use crate::nic::setting::{Setting, What};
use crate::nic::view::View;

/// First word of the file, with the version of its form.
const MAGIC: &str = "weir-nic-1";
/// In place of a value: whatever the driver makes of it.
const ANY: &str = "*";
/// Changes that are believed of one file: 64 interfaces with 64 queues, and a few of their own.
const MOST_ENTRIES: usize = 64 * 160;
/// How long putting back a number of queues is retried: the kernel gives up the sockets of an ended process some time later
/// (up to half a second was seen), and refuses the number until then.
const QUEUES_WITHIN: Duration = Duration::from_secs(2);
const QUEUES_PAUSE: Duration = Duration::from_millis(20);

/// One setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    setting: Setting,
    /// Its value before the first change.
    before: String,
    /// Values that were written since; what is none of them is somebody else's, unless [`ANY`] is among them.
    written: Vec<String>,
}

/// Which changes to put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those of NAPI instances: while the program is attached, since without one a virtual interface has none.
    OfNapi,
    /// All.
    Any,
}

/// Why a setting was not put back, as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What and why.
    pub line: String,
    /// It stays in the ledger and can be tried again.
    pub pending: bool,
}

/// The changes, in the order in which they were made.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    head: String,
    entries: Vec<Entry>,
}

impl Ledger {
    /// The ledger at `path`, with what an earlier process left there; it need not exist.
    ///
    /// # Errors
    /// The file cannot be read, is none of ours, or is of another network namespace.
    pub fn open(path: &Path) -> Result<Self> {
        let (boot, namespace) = (boot(), namespace());
        let mut ledger =
            Self { path: path.to_owned(), head: format!("{MAGIC}\t{boot}\t{namespace}"), entries: Vec::new() };
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ledger),
            Err(error) => return Err(ledger.fail(error, "check who owns it")),
            Ok(text) => text,
        };
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        match head[..] {
            // Killed before the head was whole: nothing was changed yet.
            [] | [""] => return Ok(ledger),
            [MAGIC, then, _] if then != boot => {
                let _ = fs::remove_file(path); // the settings ended with that kernel
                return Ok(ledger);
            }
            [MAGIC, _, of] if of == namespace => {}
            [MAGIC, _, _] => {
                let cause = "it belongs to another network namespace";
                return Err(ledger.wrong(cause, "run `weir down` in that one, or remove the file"));
            }
            _ => return Err(ledger.wrong("it is no list of card settings", "remove it")),
        }
        for line in lines.take(MOST_ENTRIES) {
            // The last line may be torn by a kill; its change was not made then.
            if let Some((setting, before, after)) = parse(line) {
                ledger.note(setting, before, after);
            }
        }
        if !text.ends_with('\n') {
            ledger.rewrite()?; // else the next line would be written behind the torn one
        }
        Ok(ledger)
    }

    /// Whether nothing is to be put back.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The settings that were changed, in that order, each with its former value.
    pub fn changed(&self) -> impl Iterator<Item = (&Setting, &str)> {
        self.entries.iter().map(|entry| (&entry.setting, entry.before.as_str()))
    }

    /// Gives `setting` the value `value` and remembers what it was; gives the former value. Nothing is written where it has
    /// that value already.
    ///
    /// # Errors
    /// The device refuses it, or the file cannot be written: then the setting stays as it is.
    pub fn set(&mut self, view: &View, setting: &Setting, value: &str) -> Result<String> {
        let now = setting.read(view)?;
        let first = self.entries.iter().find(|entry| entry.setting == *setting).map(|entry| entry.before.clone());
        let before = first.clone().unwrap_or_else(|| now.clone());
        if setting.what.same(&now, value) {
            return Ok(before);
        }
        self.append(setting, &before, value)?;
        self.note(setting.clone(), before.clone(), value.to_owned());
        if let Err(error) = setting.write(view, value) {
            if first.is_none() {
                self.entries.retain(|entry| entry.setting != *setting);
                self.rewrite()?;
            }
            return Err(error);
        }
        Ok(before)
    }

    /// Remembers `setting` because the driver will change it along with another one, as many give interrupts other CPUs when
    /// the number of queues changes. It goes back whatever it is then.
    ///
    /// # Errors
    /// The device does not have it, or the file cannot be written.
    pub fn remember(&mut self, view: &View, setting: &Setting) -> Result<()> {
        if self.entries.iter().any(|entry| entry.setting == *setting) {
            return Ok(()); // it is known what it was
        }
        let now = setting.read(view)?;
        self.append(setting, &now, ANY)?;
        self.note(setting.clone(), now, ANY.to_owned());
        Ok(())
    }

    /// Puts back the changes of this kind, last first. What is done is struck out; so is what somebody else has changed
    /// since, and what belonged to an interface that is gone.
    pub fn undo(&mut self, view: &View, kind: Kind) -> Vec<Refusal> {
        self.undo_where(view, |setting| kind == Kind::Any || setting.what.is_of_napi())
    }

    /// The same for the changes that `wanted` picks.
    pub fn undo_where(&mut self, view: &View, wanted: impl Fn(&Setting) -> bool) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut left = Vec::new();
        let had = self.entries.len();
        for entry in std::mem::take(&mut self.entries).into_iter().rev() {
            if !wanted(&entry.setting) {
                left.push(entry);
            } else if let Err(refusal) = put_back(view, &entry) {
                if refusal.pending {
                    left.push(entry);
                }
                refusals.push(refusal);
            }
        }
        left.reverse();
        self.entries = left;
        if had != self.entries.len()
            && let Err(error) = self.rewrite()
        {
            refusals.push(Refusal { line: error.to_string(), pending: false });
        }
        refusals
    }

    fn note(&mut self, setting: Setting, before: String, after: String) {
        match self.entries.iter_mut().find(|entry| entry.setting == setting) {
            Some(entry) => entry.written.push(after),
            None => self.entries.push(Entry { setting, before, written: vec![after] }),
        }
    }

    fn append(&self, setting: &Setting, before: &str, after: &str) -> Result<()> {
        let mut text = if self.entries.is_empty() { format!("{}\n", self.head) } else { String::new() };
        line(&mut text, setting, before, after);
        let mut options = OpenOptions::new();
        // An empty ledger's file is not there, or is of another boot or torn: it starts anew.
        options.create(true).write(true).append(!self.entries.is_empty()).truncate(self.entries.is_empty());
        let written = options.open(&self.path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| self.fail(error, "check the folder; without this file no setting is changed"))
    }

    fn rewrite(&self) -> Result<()> {
        if self.entries.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(self.fail(error, "remove it")),
                _ => Ok(()),
            };
        }
        let mut text = format!("{}\n", self.head);
        for entry in &self.entries {
            entry.written.iter().for_each(|after| line(&mut text, &entry.setting, &entry.before, after));
        }
        let fresh = self.path.with_extension("new");
        let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.path));
        written.map_err(|error| self.fail(error, "check the folder"))
    }

    fn fail(&self, cause: std::io::Error, cure: &'static str) -> IoError {
        IoError::new(format!("the card settings in {}", self.path.display()), cause, cure)
    }

    fn wrong(&self, cause: &str, cure: &'static str) -> IoError {
        IoError::invalid(format!("the card settings in {}", self.path.display()), cause, cure)
    }
}

fn put_back(view: &View, entry: &Entry) -> std::result::Result<(), Refusal> {
    let Entry { setting, before, written } = entry;
    if !setting.is_present(view) {
        return Ok(()); // its settings went with it
    }
    let now = match setting.read(view) {
        Ok(now) => now,
        // A vector or a thread that is gone has nothing to put back.
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::SRCH)) => return Ok(()),
        Err(error) => return Err(Refusal { line: error.to_string(), pending: true }),
    };
    if setting.what.same(&now, before) {
        return Ok(());
    }
    if !written.iter().any(|ours| ours == ANY || setting.what.same(&now, ours)) {
        let line =
            format!("{setting}: it is {now} by somebody else now, and is left so; it was {before} before this weir");
        return Err(Refusal { line, pending: false });
    }
    let end = Instant::now() + QUEUES_WITHIN;
    loop {
        match setting.write(view, before) {
            Ok(()) => return Ok(()),
            Err(error) => {
                let busy = matches!(error.errno(), Some(Errno::BUSY | Errno::INVAL)) && setting.what == What::Queues;
                if !busy || Instant::now() > end {
                    return Err(Refusal { line: error.to_string(), pending: true });
                }
            }
        }
        std::thread::sleep(QUEUES_PAUSE);
    }
}

fn line(out: &mut String, setting: &Setting, before: &str, after: &str) {
    // Writing to a String cannot fail. Names of interfaces have no white space (dev_valid_name), values no tabs.
    let _ = writeln!(out, "{}\t{}\t{}\t{before}\t{after}\t.", setting.index, setting.interface, setting.what);
}

/// A whole line, known by the point at its end.
fn parse(line: &str) -> Option<(Setting, String, String)> {
    let [index, interface, what, before, after, "."] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
    let setting = Setting { interface: interface.to_owned(), index: index.parse().ok()?, what: What::parse(what)? };
    Some((setting, before.to_owned(), after.to_owned()))
}

/// What tells this boot from others; empty without /proc.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// What tells the calling thread's network namespace from others.
fn namespace() -> String {
    fs::metadata("/proc/thread-self/ns/net").map(|namespace| namespace.ino().to_string()).unwrap_or_default()
}
