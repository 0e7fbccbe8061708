//! The one who changes what is in force: judged as a whole, written to the store, put in force, and taken back when
//! nobody confirms it.
//!
//! ```text
//!  next ──► judge ──► prepare ──► store (durable) ──► put in force ──► acknowledged
//!             │          │             │                   │
//!             └──────────┴─ refused: nothing has changed   └─ fails: the store is put back as well
//! ```

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, KINDS, StoredError};
use crate::management;
use crate::name::FlagName;
use crate::problem::Problem;
use crate::resources::{
    Change, Clock, Entry, Key, Kind, Origin, ResourceStore, Revision, StoreError, Transaction, difference,
};
use crate::taker::FeatureName;

/// How long a change may wait for its confirmation.
pub const CONFIRM_WITHIN: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// Setting that says which change waits for its confirmation.
const PENDING: &str = "pending";
/// Setting that remembers what the file said when it was last taken over.
const SEED: &str = "seed";

/// Where a configuration is put in force. Both steps see the whole of it.
pub trait Target {
    /// Makes ready what `next` needs; nothing of it is in force yet.
    ///
    /// # Errors
    /// It cannot be put in force while the box runs.
    fn prepare(&mut self, next: &Config) -> Result<(), Problem>;

    /// Puts in force what was prepared, in one step.
    ///
    /// # Errors
    /// What was in force still is.
    fn install(&mut self) -> Result<(), Problem>;
}

/// How a change is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manner {
    /// Why, in the author's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Seconds after which it is taken back unless it is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
    /// Make it even if it could cut the way to the box.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Manner {
    fn confirm_within(&self) -> Result<Option<Duration>, Problem> {
        let Some(seconds) = self.confirm_within_s else { return Ok(None) };
        let time = Duration::from_secs(seconds);
        if CONFIRM_WITHIN.contains(&time) {
            return Ok(Some(time));
        }
        let cause =
            format!("a change waits {:?} to {:?} for its confirmation", CONFIRM_WITHIN.start(), CONFIRM_WITHIN.end());
        Err(Problem::new(format!("{seconds} s"), cause, "name a time between these, for example 60s"))
    }
}

/// A change that waits for its confirmation, as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    /// The revision to go back to.
    back_to: Revision,
    /// How long it waits.
    window_ms: u64,
    /// When it was made, for people.
    since_ms: u64,
}

/// A change that waits for its confirmation, as people see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingChange {
    /// The change.
    pub revision: Revision,
    /// What is in force again if nobody confirms it.
    pub back_to: Revision,
    /// Seconds left.
    pub left_s: u64,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// What was done at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// The store was empty: the file is its first revision.
    Imported,
    /// The file says what it said before: the store is in force.
    Kept,
    /// The file says something else: it is in force, and so many values of the store were overruled.
    Overruled(usize),
}

/// Holds the store and what is in force.
pub struct Keeper {
    store: Arc<dyn ResourceStore>,
    clock: Arc<dyn Clock>,
    config: Config,
    pending: Option<(PendingChange, Duration)>,
}

fn store_problem(error: StoreError) -> Problem {
    match error {
        StoreError::Invalid(problem) => problem,
        error => in_parts(&error),
    }
}

/// The three parts of an error that says them in one line.
fn in_parts(error: &dyn std::fmt::Display) -> Problem {
    let text = error.to_string();
    let (value, rest) = text.split_once(": ").unwrap_or(("store", &text));
    let (cause, cure) = rest.rsplit_once("; ").unwrap_or((rest, "see weir's log"));
    Problem::new(value, cause, cure)
}

fn stored_problem(error: StoredError) -> Problem {
    match error {
        StoredError::Judged(problem) => problem,
        StoredError::Store(error) => store_problem(error),
        error => in_parts(&error),
    }
}

fn setting(name: &str) -> Result<Key, Problem> {
    Key::new(Kind::Settings, name).map_err(store_problem)
}

fn pending_value(pending: &Pending) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(pending).map_err(|error| Problem::new("settings/pending", error.to_string(), "report this"))
}

fn origin(author: &str, reason: &str) -> Result<Origin, Problem> {
    Origin::new(author, reason).map_err(store_problem)
}

/// A configuration that a file gives, and a mark of what stands in the file: another mark, another file.
#[derive(Clone, Debug, PartialEq)]
pub struct FromFile {
    /// What it says.
    pub config: Config,
    /// The mark; of the file's own words, so that a later version with other defaults does not take it for a new file.
    pub mark: String,
}

/// Everything that makes up the configuration, and a change that waits.
type Present = (Vec<Entry>, Option<(Entry, Pending)>);

impl Keeper {
    /// Opens what is to be in force: a change that nobody confirmed is taken back first, then the file is compared with
    /// what it said last. `seed` is the file's configuration; `None` leaves the store in force whatever the file says.
    ///
    /// # Errors
    /// The store cannot be read or written, it does not hold a configuration of this version, or it is empty and there is
    /// no seed.
    pub fn start(
        store: Arc<dyn ResourceStore>,
        clock: Arc<dyn Clock>,
        seed: Option<&FromFile>,
    ) -> Result<(Self, Started, Option<PendingChange>), Problem> {
        let mut keeper = Self { store, clock, config: Config::default(), pending: None };
        let (present, pending) = keeper.present()?;
        let reverted = pending.map(|(entry, pending)| keeper.take_back_at_start(&entry, &pending)).transpose()?;
        let (present, _) = if reverted.is_some() { keeper.present()? } else { (present, None) };
        let stored = Config::from_resources(&present).map_err(stored_problem);
        let started = match (stored, seed) {
            (Ok(Some(stored)), None) => {
                keeper.config = stored;
                Started::Kept
            }
            (Ok(Some(stored)), Some(seed)) if keeper.seed()?.as_ref() == Some(&seed.mark) => {
                keeper.config = stored;
                Started::Kept
            }
            (Ok(None), None) => {
                return Err(Problem::new("store", "it is empty and no file was given", "start with a configuration"));
            }
            (Ok(None), Some(seed)) => {
                keeper.import(&present, seed, "the first start")?;
                Started::Imported
            }
            (Ok(Some(stored)), Some(seed)) => {
                let overruled = stored.differences(&seed.config).len();
                keeper.import(&present, seed, "the file says something else than when it was last read")?;
                Started::Overruled(overruled)
            }
            (Err(problem), _) => return Err(problem),
        };
        Ok((keeper, started, reverted))
    }

    /// Everything that makes up the configuration, and a change that waits.
    fn present(&self) -> Result<Present, Problem> {
        let mut entries = Vec::new();
        for kind in KINDS {
            entries.extend(self.store.list(kind).map_err(store_problem)?.1);
        }
        let waits = entries.iter().position(|entry| entry.key.kind() == Kind::Settings && entry.key.name() == PENDING);
        let pending = waits.map(|at| entries.swap_remove(at)).map(|entry| {
            let read = serde_json::from_slice(&entry.value);
            let cause = |error| Problem::new("settings/pending", format!("it cannot be read: {error}"), "report this");
            read.map(|pending| (entry, pending)).map_err(cause)
        });
        entries.retain(|entry| Config::is_made_of(&entry.key));
        Ok((entries, pending.transpose()?))
    }

    fn seed(&self) -> Result<Option<String>, Problem> {
        let entry = self.store.get(&setting(SEED)?).map_err(store_problem)?;
        Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
    }

    fn import(&mut self, present: &[Entry], seed: &FromFile, reason: &str) -> Result<(), Problem> {
        let wanted = seed.config.to_resources().map_err(store_problem)?;
        let transaction =
            difference(present, &wanted, origin("weir up", reason)?).put(setting(SEED)?, seed.mark.as_str());
        self.store.commit(&transaction).map_err(store_problem)?;
        self.config = seed.config.clone();
        Ok(())
    }

    fn take_back_at_start(&self, entry: &Entry, pending: &Pending) -> Result<PendingChange, Problem> {
        let taken = self.describe(entry, pending);
        let reason = format!("revision {} was not confirmed before weir ended", taken.revision);
        let (present, _) = self.present()?;
        let back = self.store.at(pending.back_to).map_err(store_problem)?;
        let wanted: Vec<(Key, Vec<u8>)> = back
            .into_iter()
            .filter(|entry| Config::is_made_of(&entry.key))
            .map(|entry| (entry.key, entry.value))
            .collect();
        let transaction = difference(&present, &wanted, origin("weir", &reason)?).delete(setting(PENDING)?);
        self.store.commit(&transaction).map_err(store_problem)?;
        Ok(taken)
    }

    fn describe(&self, entry: &Entry, pending: &Pending) -> PendingChange {
        let made = self.store.history(Some(&entry.key), None, 1).ok().and_then(|mut found| found.pop());
        let made = made.map(|change| change.origin);
        PendingChange {
            revision: entry.modified,
            back_to: pending.back_to,
            left_s: pending.window_ms / 1000,
            author: made.as_ref().map(|origin| origin.author().to_owned()).unwrap_or_default(),
            reason: made.map(|origin| origin.reason().to_owned()).unwrap_or_default(),
        }
    }

    /// What is in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ResourceStore> {
        &self.store
    }

    /// The change that waits for its confirmation.
    #[must_use]
    pub fn pending(&self) -> Option<PendingChange> {
        let (pending, end) = self.pending.as_ref()?;
        let left = end.saturating_sub(self.clock.monotonic());
        Some(PendingChange { left_s: left.as_secs_f64().ceil() as u64, ..pending.clone() })
    }

    /// The newest change.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn revision(&self) -> Result<Revision, Problem> {
        self.store.revision().map_err(store_problem)
    }

    /// Makes `next` what is in force. `mark` is the mark of the file that weir was started with, if `next` is what that
    /// says now: the next start will not take it for another. The revision of the change, or `None` if `next` is in force already.
    ///
    /// # Errors
    /// Another change waits for its confirmation, something cannot change while the box runs, the way to the box could be
    /// cut, or the store cannot be written. What was in force still is.
    pub fn change(
        &mut self,
        next: Config,
        author: &str,
        manner: &Manner,
        mark: Option<&str>,
        target: &mut dyn Target,
    ) -> Result<Option<Revision>, Problem> {
        if let Some(pending) = self.pending() {
            let cause = format!("it waits {} s more for its confirmation", pending.left_s);
            let value = format!("revision {}", pending.revision);
            return Err(Problem::new(value, cause, "keep it with weir confirm, or take it back with weir revert"));
        }
        let within = manner.confirm_within()?;
        management::judge(&self.config, &next, manner.force, within)?;
        live_only(&self.config, &next)?;
        target.prepare(&next)?;
        let (present, _) = self.present()?;
        let wanted = next.to_resources().map_err(store_problem)?;
        let mut transaction = difference(&present, &wanted, origin(author, &manner.reason)?);
        if transaction.writes.is_empty() {
            return Ok(None);
        }
        let before = self.revision()?;
        let since_ms = self.clock.wall_ms();
        if let Some(within) = within {
            let pending = Pending { back_to: before, window_ms: within.as_millis() as u64, since_ms };
            transaction = transaction.put(setting(PENDING)?, pending_value(&pending)?);
        }
        if let Some(mark) = mark {
            transaction = transaction.put(setting(SEED)?, mark);
        }
        let revision = self.store.commit(&transaction).map_err(store_problem)?;
        if let Err(problem) = target.install() {
            self.undo(before, &present, within.is_some())?;
            return Err(problem);
        }
        self.config = next;
        if let Some(within) = within {
            let (author, reason) = (author.to_owned(), manner.reason.clone());
            let pending = PendingChange { revision, back_to: before, left_s: within.as_secs(), author, reason };
            self.store.pin(Some(before));
            self.pending = Some((pending, self.clock.monotonic() + within));
        }
        Ok(Some(revision))
    }

    /// Makes a change that must not wait: it is in force before it is written, and it is made even while another change
    /// waits for its confirmation. If that one is taken back, this one stays: what is gone back to gets it as well.
    ///
    /// # Errors
    /// It cannot be put in force, and nothing has changed; or it is in force but cannot be written, and the next start
    /// does not know of it.
    pub fn change_at_once(
        &mut self,
        author: &str,
        reason: &str,
        make: impl Fn(&Config) -> Result<Config, Problem>,
        target: &mut dyn Target,
    ) -> Result<Option<Revision>, Problem> {
        let next = make(&self.config)?;
        if next == self.config {
            return Ok(None);
        }
        target.prepare(&next)?;
        target.install()?;
        self.config = next;
        let written = self.write_at_once(author, reason, make);
        written.map(Some).map_err(|problem| Problem {
            cause: format!("{}; the change is in force all the same, but a start would not know of it", problem.cause),
            ..problem
        })
    }

    /// Writes what is in force. Where a change waits, what it goes back to is written first, with this change in it: dies
    /// the box in between, that is what it starts with, and the change that waited is taken back.
    fn write_at_once(
        &mut self,
        author: &str,
        reason: &str,
        make: impl Fn(&Config) -> Result<Config, Problem>,
    ) -> Result<Revision, Problem> {
        let Some((pending, _)) = self.pending.clone() else { return self.write(author, reason, &self.config, None) };
        let former = self.at(pending.back_to)?;
        // Where the former state does not know the thing there is nothing to change in it.
        let former = make(&former).unwrap_or(former);
        let back_to = self.write(author, reason, &former, Some(None))?;
        let since_ms = self.clock.wall_ms();
        let window_ms = pending.left_s.saturating_mul(1000);
        let waiting = Pending { back_to, window_ms, since_ms };
        let revision = self.write(&pending.author, &pending.reason, &self.config, Some(Some(&waiting)))?;
        self.store.pin(Some(back_to));
        if let Some((waits, _)) = &mut self.pending {
            (waits.revision, waits.back_to) = (revision, back_to);
        }
        Ok(revision)
    }

    /// Writes a whole configuration, and with `pending` what is known of a change that waits.
    fn write(
        &self,
        author: &str,
        reason: &str,
        config: &Config,
        pending: Option<Option<&Pending>>,
    ) -> Result<Revision, Problem> {
        let (present, _) = self.present()?;
        let wanted = config.to_resources().map_err(store_problem)?;
        let mut transaction = difference(&present, &wanted, origin(author, reason)?);
        match pending {
            None => {}
            Some(None) => transaction = transaction.delete(setting(PENDING)?),
            Some(Some(pending)) => transaction = transaction.put(setting(PENDING)?, pending_value(pending)?),
        }
        self.store.commit(&transaction).map_err(store_problem)
    }

    /// Puts the store back after a change that could not be put in force.
    fn undo(&self, before: Revision, was: &[Entry], pending: bool) -> Result<(), Problem> {
        let wanted: Vec<(Key, Vec<u8>)> = was.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
        let (present, _) = self.present()?;
        let reason = format!("back to revision {before}: it could not be put in force");
        let mut transaction = difference(&present, &wanted, origin("weir", &reason)?);
        if pending {
            transaction = transaction.delete(setting(PENDING)?);
        }
        self.store.commit(&transaction).map(drop).map_err(store_problem)
    }

    /// Keeps the change that waits.
    ///
    /// # Errors
    /// None waits, or the store cannot be written: it goes on waiting then.
    pub fn confirm(&mut self, author: &str, reason: &str) -> Result<Revision, Problem> {
        let (pending, end) = self.pending.as_ref().ok_or_else(nothing_waits)?;
        if *end <= self.clock.monotonic() {
            let cause = "its time is over, it is being taken back";
            return Err(Problem::new(format!("revision {}", pending.revision), cause, "make it again"));
        }
        let confirmed = pending.revision;
        let transaction = Transaction::new(origin(author, reason)?).delete(setting(PENDING)?);
        self.store.commit(&transaction).map_err(store_problem)?;
        self.settled();
        Ok(confirmed)
    }

    /// Takes the change back that waits; the revision that was taken back and the one that is in force now.
    ///
    /// # Errors
    /// None waits, or the former state cannot be put in force or written: it goes on waiting then.
    pub fn revert(
        &mut self,
        author: &str,
        reason: &str,
        target: &mut dyn Target,
    ) -> Result<(Revision, Revision), Problem> {
        let (pending, _) = self.pending.clone().ok_or_else(nothing_waits)?;
        let former = self.at(pending.back_to)?;
        target.prepare(&former)?;
        // The former state is in force first: when the disk is full the way to the box must come back all the same. The
        // mark of the pending change stays until the store has it too, so that a start takes it back as well.
        target.install()?;
        self.config = former;
        let (present, _) = self.present()?;
        let wanted = self.config.to_resources().map_err(store_problem)?;
        let transaction = difference(&present, &wanted, origin(author, reason)?).delete(setting(PENDING)?);
        let revision = self.store.commit(&transaction).map_err(store_problem)?;
        self.settled();
        Ok((pending.revision, revision))
    }

    fn settled(&mut self) {
        self.pending = None;
        self.store.pin(None);
    }

    /// Takes back a change whose time is over, and ends leases whose time is over. To be called often.
    ///
    /// # Errors
    /// The store cannot be written: it is tried again at the next call.
    pub fn tick(&mut self, target: &mut dyn Target) -> Result<Option<(Revision, Revision)>, Problem> {
        let now = self.clock.monotonic();
        if self.pending.as_ref().is_some_and(|(_, end)| *end <= now) {
            return self.revert("weir", "nobody confirmed it in time", target).map(Some);
        }
        self.store.expire().map(|_| None).map_err(store_problem)
    }

    /// The configuration as it was at a revision.
    ///
    /// # Errors
    /// It is not known any more, or does not read.
    pub fn at(&self, revision: Revision) -> Result<Config, Problem> {
        let entries = self.store.at(revision).map_err(store_problem)?;
        Config::from_resources(&entries).map_err(stored_problem)?.ok_or_else(|| {
            Problem::new(format!("revision {revision}"), "there was no configuration yet", "name a later one")
        })
    }

    /// The change that made of a feature's worker what it is; `None` if none ever did.
    #[must_use]
    pub fn run_change(&self, feature: FeatureName) -> Option<Change> {
        let key = Key::new(Kind::Settings, Config::run_resource(feature)).ok()?;
        self.store.history(Some(&key), None, 1).ok()?.pop()
    }

    /// Who changed a flag last, and why.
    #[must_use]
    pub fn changed_last(&self, flag: &FlagName) -> Option<Origin> {
        let key = Key::new(Kind::Flags, flag.as_str()).ok()?;
        self.store.history(Some(&key), None, 1).ok()?.pop().map(|change| change.origin)
    }

    /// Where the value at a path comes from: the change that wrote the resource it is in.
    #[must_use]
    pub fn origin(&self, path: &str) -> String {
        let run = path.strip_prefix("features.").and_then(|path| path.strip_suffix(".run"));
        if let Some(change) = run.and_then(|name| name.parse().ok()).and_then(|name| self.run_change(name)) {
            return format!("revision {} ({})", change.revision, change.origin.author());
        }
        let item = path.split_once('[').and_then(|(list, rest)| Some((list, rest.split_once(']')?.0)));
        let key = match item {
            Some(("rules", name)) => Key::new(Kind::Rules, name),
            Some(("agents", id)) => Key::new(Kind::Agents, id),
            Some(("flags", name)) => Key::new(Kind::Flags, name),
            Some(("services", _)) => Key::new(Kind::Settings, Config::SERVICES_RESOURCE),
            _ => Key::new(Kind::Settings, Config::REST_RESOURCE),
        };
        let made = key.ok().and_then(|key| self.store.history(Some(&key), None, 1).ok()?.pop());
        made.map_or_else(
            || "unknown".to_owned(),
            |change| format!("revision {} ({})", change.revision, change.origin.author()),
        )
    }

    /// The newest changes of the configuration, newest first, of at most so many revisions. The windows of experiments are
    /// changes of the store, but of nothing that is in force.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn history(&self, limit: usize) -> Result<Vec<Vec<Change>>, Problem> {
        const PAGE: usize = 1000;
        let mut found: Vec<Vec<Change>> = Vec::new();
        let mut before = None;
        while found.len() <= limit {
            let page = self.store.history(None, before, PAGE).map_err(store_problem)?;
            let is_last = page.len() < PAGE;
            let mut changes: Vec<Vec<Change>> =
                page.chunk_by(|one, other| one.revision == other.revision).map(<[Change]>::to_vec).collect();
            // The last of a full page may go on behind it; it is read again with the next, unless it fills one alone.
            if !is_last && changes.len() > 1 {
                changes.pop();
            }
            before = changes.last().and_then(|changes| changes.first()).map(|change| change.revision);
            changes.retain(|changes| changes.iter().any(|change| change.key.kind() != Kind::Experiments));
            found.append(&mut changes);
            if is_last {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

fn nothing_waits() -> Problem {
    Problem::new("confirmation", "no change waits for one", "see the changes with: weir config history")
}

/// Refuses a change of what cannot change while the box runs, before any of it is made.
///
/// # Errors
/// There is such a change; all of them are named.
pub fn live_only(now: &Config, next: &Config) -> Result<(), Problem> {
    let fixed: Vec<String> = now
        .differences(next)
        .into_iter()
        .filter(|difference| !difference.live)
        .map(|difference| difference.path)
        .collect();
    if fixed.is_empty() {
        return Ok(());
    }
    let cause = "this cannot change while weir runs, so nothing was changed";
    let cure = "restart weir with this file, or apply the rest alone with --live-only";
    Err(Problem::new(fixed.join(", "), cause, cure))
}
