//! Changes of what is in force: asked over the control socket, judged and kept by the keeper, put into the classifier in
//! one step.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use weir_appliance_control::config::{Config, Layer, Layered};
use weir_appliance_control::keeper::{FromFile, Keeper, Manner, PendingChange, Started, Target};
use weir_appliance_control::management;
use weir_appliance_control::message::{Answer, Changed, ConfigRequest, ConfigValue, HistoryRow};
use weir_appliance_control::name::FlagName;
use weir_appliance_control::problem::Problem;
use weir_appliance_control::resources::{Change, Clock, DurableStore, Retention, Revision, SystemClock};
use weir_appliance_control::taker::TakerSet;
use weir_dataplane_pool::pool::Request;

use super::control::{install, internal};
use super::steering::{Steering, steering};
use super::{Dataplane, features, flags, lock};
use crate::place::Place;
use crate::seed::Seed;

/// Rows of history that one answer holds at most.
const HISTORY_ROWS: usize = 1000;

/// Opens the store and settles what is in force, before anything is attached. A dataplane that starts again does not
/// look at the file: what was in force when the last one died is in force.
///
/// # Errors
/// The store cannot be used, or the file is refused.
pub(super) fn open(place: &Place, seed: &Seed, restarts: u32) -> Result<Keeper> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let store = DurableStore::open(&place.state, Arc::clone(&clock), Retention::default())
        .map_err(|error| anyhow!("{error}"))?;
    let file = if restarts == 0 { Some(seed.config()?) } else { None };
    let (keeper, started, reverted) =
        Keeper::start(Arc::new(store), clock, file.as_ref()).map_err(|problem| anyhow!("{problem}"))?;
    if let Some(change) = reverted {
        tracing::warn!(
            "revision {} by {} was not confirmed and is taken back: revision {} is in force",
            change.revision,
            change.author,
            change.back_to
        );
    }
    let revision = keeper.revision().map_err(|problem| anyhow!("{problem}"))?;
    match started {
        Started::Imported => tracing::info!("the configuration is revision {revision} of {}", place.state.display()),
        Started::Kept => tracing::info!("revision {revision} of {} is in force", place.state.display()),
        Started::Overruled(values) => tracing::warn!(
            "the configuration file was changed: it overrules {values} values of the store, and is revision {revision}; see weir config history"
        ),
    }
    for (rule, cut) in management::cut_by(keeper.config()) {
        tracing::warn!("rule {} ({} {}) could keep {cut}", rule.name, rule.action, rule.matches);
    }
    Ok(keeper)
}

/// The classifier and what the other threads read, as the keeper's target.
pub(super) struct InForce<'a> {
    dataplane: &'a Dataplane,
    prepared: Option<(Config, Steering, TakerSet)>,
}

impl<'a> InForce<'a> {
    pub(super) fn of(dataplane: &'a Dataplane) -> Self {
        Self { dataplane, prepared: None }
    }

    /// Gives the classifier and the streams what they steer by, and the pool what may be sent; those of `off` get no frames.
    fn put(&self, config: &Config, steering: &Steering, off: TakerSet) -> Result<()> {
        let dataplane = self.dataplane;
        features::open(dataplane, off)?;
        install(&mut lock(&dataplane.classifier), steering, &dataplane.classes, &dataplane.ports)?;
        dataplane.streams.as_ref().map_or(Ok(()), |streams| streams.steer(steering))?;
        let (agents, caps) = (steering.agents.clone(), dataplane.sends.caps(config));
        dataplane.ask(Request::Sending { agents, caps });
        dataplane.shares.put(config)?;
        Ok(())
    }
}

impl Target for InForce<'_> {
    fn prepare(&mut self, next: &Config) -> Result<(), Problem> {
        self.dataplane.shares.judge(next)?;
        self.dataplane.features.await_started(&lock(&self.dataplane.config), next);
        let off = self.dataplane.features.off(next);
        self.prepared = Some((next.clone(), steering_of(self.dataplane, next, off)?, off));
        Ok(())
    }

    fn install(&mut self) -> Result<(), Problem> {
        let Some((next, steering_next, off)) = self.prepared.take() else { return Ok(()) };
        let mut config = lock(&self.dataplane.config);
        if let Err(error) = self.put(&next, &steering_next, off) {
            // One of the two may have it already: both get back what they had.
            let off = put_again(self.dataplane, &config).map_err(internal)?;
            features::close(self.dataplane, off);
            return Err(internal(error));
        }
        *config = next;
        // In this order: the supervisor knows why a worker ends before it does.
        features::tell(self.dataplane, &config);
        features::close(self.dataplane, off);
        self.dataplane.health.look_again();
        self.dataplane.gate.installed();
        Ok(())
    }
}

fn steering_of(dataplane: &Dataplane, config: &Config, off: TakerSet) -> Result<Steering, Problem> {
    steering(config, off, &dataplane.classes, &dataplane.ports, &dataplane.health)
}

/// Puts in force what is in force, for those who are given frames now; who are not.
///
/// # Errors
/// The kernel refuses.
pub(super) fn put_again(dataplane: &Dataplane, config: &Config) -> Result<TakerSet> {
    let off = dataplane.features.off(config);
    let steering = steering_of(dataplane, config, off).map_err(|problem| anyhow!("{problem}"))?;
    InForce::of(dataplane).put(config, &steering, off)?;
    Ok(off)
}

/// Makes one change of the configuration in force. Changes follow each other: the keeper is locked meanwhile.
pub(super) fn change(
    dataplane: &Dataplane,
    author: &str,
    manner: &Manner,
    make: impl FnOnce(&Config) -> Result<(Config, String), Problem>,
) -> Result<Changed, Problem> {
    let mut keeper = lock(&dataplane.keeper);
    let (next, text) = make(keeper.config())?;
    put(&mut keeper, dataplane, next, author, manner, None, text)
}

fn put(
    keeper: &mut Keeper,
    dataplane: &Dataplane,
    next: Config,
    author: &str,
    manner: &Manner,
    mark: Option<&str>,
    text: String,
) -> Result<Changed, Problem> {
    let revision = keeper.change(next, author, manner, mark, &mut InForce::of(dataplane))?;
    // Who forces a change knows what it does.
    revision.filter(|_| manner.force).into_iter().for_each(|revision| dataplane.gate.excuse(revision));
    let text = if revision.is_some() { text } else { "nothing differs from what is in force".to_owned() };
    let confirm_within_s = revision.and(manner.confirm_within_s);
    Ok(Changed { text, saved: confirm_within_s.is_none(), revision, confirm_within_s })
}

/// Turns a flag off before anything else.
pub(super) fn kill(dataplane: &Dataplane, author: &str, name: &FlagName, reason: &str) -> Result<Changed, Problem> {
    let mut keeper = lock(&dataplane.keeper);
    let make = |config: &Config| config.kill_flag(name);
    let revision = keeper.change_at_once(author, reason, make, &mut InForce::of(dataplane))?;
    // A kill is there to stay, whatever the figures say.
    revision.into_iter().for_each(|revision| dataplane.gate.excuse(revision));
    let text = flags::killed(keeper.config(), name);
    tracing::warn!("{text}: killed by {author}{}{reason}", if reason.is_empty() { "" } else { ": " });
    Ok(Changed { text, saved: true, revision, confirm_within_s: None })
}

/// Makes a change that waits for nothing, as a kill does; `None` where nothing differs.
pub(super) fn at_once(
    dataplane: &Dataplane,
    author: &str,
    reason: &str,
    make: impl Fn(&Config) -> Result<Config, Problem>,
) -> Result<Option<Revision>, Problem> {
    lock(&dataplane.keeper).change_at_once(author, reason, make, &mut InForce::of(dataplane))
}

/// Takes back what nobody confirmed in time, and makes the steps of schedules whose time has come. Called by the main
/// thread, several times a second.
pub(super) fn tick(dataplane: &Dataplane) {
    let mut keeper = lock(&dataplane.keeper);
    // While a change waits the steps wait too: they would be taken back with it and not be made again.
    let due = if keeper.pending().is_none() { keeper.config().scheduled(unix_seconds()) } else { None };
    if let Some((next, said)) = due {
        let manner = Manner { reason: said.clone(), ..Manner::default() };
        match put(&mut keeper, dataplane, next, "schedule", &manner, None, said) {
            Ok(changed) => tracing::info!("{}", changed.text),
            // It is tried again at the next tick.
            Err(problem) => return complain(dataplane, problem),
        }
    }
    match keeper.tick(&mut InForce::of(dataplane)) {
        Ok(None) => *lock(&dataplane.last_tick) = None,
        Ok(Some((taken, now))) => {
            tracing::warn!("revision {taken} was not confirmed in time and is taken back as revision {now}");
        }
        Err(problem) => complain(dataplane, problem),
    }
}

/// The newest change of the configuration; experiments write their windows into the same store.
///
/// # Errors
/// The store cannot be read.
pub(super) fn newest(keeper: &Keeper) -> Result<Option<Change>, Problem> {
    Ok(keeper.history(1)?.into_iter().next().and_then(|changes| changes.into_iter().next()))
}

/// The changes of the configuration after revision `known`, oldest first: the newest `most` of them, with their authors.
///
/// # Errors
/// The store cannot be read.
pub(super) fn since(keeper: &Keeper, known: Option<Revision>, most: usize) -> Result<Vec<(Revision, String)>, Problem> {
    let rows = keeper.history(most)?;
    let found = rows.iter().filter_map(|changes| changes.first());
    let newer = found.filter(|change| known.is_none_or(|known| change.revision > known));
    let mut all: Vec<_> = newer.map(|change| (change.revision, change.origin.author().to_owned())).collect();
    all.reverse();
    Ok(all)
}

/// Takes a change back if it is still the last one, to what was in force before it: one that waits for its confirmation as
/// `weir revert` does, any other as `weir config rollback`. The revision that is in force then.
///
/// # Errors
/// Another change was made since, or as any change.
pub(super) fn take_back(
    dataplane: &Dataplane,
    revision: Revision,
    back_to: Revision,
    author: &str,
    reason: &str,
) -> Result<Revision, Problem> {
    let mut keeper = lock(&dataplane.keeper);
    let last = newest(&keeper)?.map(|change| change.revision);
    if last != Some(revision) {
        let cause = "something else was changed since, so this is not taken back";
        return Err(Problem::new(format!("revision {revision}"), cause, "see weir config history"));
    }
    if keeper.pending().is_some_and(|pending| pending.revision == revision) {
        return keeper.revert(author, reason, &mut InForce::of(dataplane)).map(|(_, now)| now);
    }
    let next = keeper.at(back_to)?;
    // What was in force until a moment ago cannot cut the way to the box.
    let manner = Manner { reason: reason.to_owned(), force: true, ..Manner::default() };
    let changed = put(&mut keeper, dataplane, next, author, &manner, None, String::new())?;
    changed
        .revision
        .ok_or_else(|| Problem::new(format!("revision {revision}"), "nothing differs", "see weir config diff"))
}

/// The same failure again and again is one line.
fn complain(dataplane: &Dataplane, problem: Problem) {
    if lock(&dataplane.last_tick).replace(problem.clone()).as_ref() != Some(&problem) {
        tracing::error!("{problem}");
    }
}

/// The wall clock, as schedules name it.
fn unix_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The newest revision, 0 while the store cannot be read, and the change that waits.
pub(super) fn state(dataplane: &Dataplane) -> (u64, Option<PendingChange>) {
    let keeper = lock(&dataplane.keeper);
    (keeper.revision().map_or(0, |revision| revision.0), keeper.pending())
}

/// Answers what concerns the configuration as a whole.
pub(super) fn answer(dataplane: &Dataplane, author: &str, request: ConfigRequest) -> Result<Answer, Problem> {
    match request {
        ConfigRequest::Show => show(dataplane).map(Answer::Values),
        ConfigRequest::Diff { layers } => {
            let next = read(dataplane, &layers)?;
            Ok(Answer::Differences(lock(&dataplane.config).differences(&next.config)))
        }
        ConfigRequest::Apply { layers, live_only, manner } => {
            let FromFile { config: next, mark } = read(dataplane, &layers)?;
            let mut keeper = lock(&dataplane.keeper);
            let next = if live_only { keeper.config().with_live_part_of(&next) } else { next };
            // What of the file is not in force must count as changed at the next start.
            let mark = Some(mark.as_str()).filter(|_| !live_only && dataplane.seed.is_of(&layers));
            let values = keeper.config().differences(&next).len();
            let text = format!("{values} values changed");
            put(&mut keeper, dataplane, next, author, &manner, mark, text).map(Answer::Changed)
        }
        ConfigRequest::Rollback { revision, live_only, manner } => {
            let mut keeper = lock(&dataplane.keeper);
            let newest = newest(&keeper)?.map_or_else(|| keeper.revision(), |change| Ok(change.revision))?;
            let back = revision.unwrap_or(Revision(newest.0.saturating_sub(1)));
            let next = keeper.at(back)?;
            let next = if live_only { keeper.config().with_live_part_of(&next) } else { next };
            let mut manner = manner;
            if manner.reason.is_empty() {
                manner.reason = format!("rollback to revision {back}");
            }
            let text = format!("what was in force at revision {back} is in force again");
            put(&mut keeper, dataplane, next, author, &manner, None, text).map(Answer::Changed)
        }
        ConfigRequest::History { limit } => {
            let found = lock(&dataplane.keeper).history((limit as usize).min(HISTORY_ROWS))?;
            Ok(Answer::History(found.iter().filter_map(|changes| row(changes)).collect()))
        }
        ConfigRequest::Confirm { reason } => {
            let kept = lock(&dataplane.keeper).confirm(author, &reason)?;
            let text = format!("revision {kept} is kept");
            Ok(Answer::Changed(Changed { text, saved: true, revision: Some(kept), confirm_within_s: None }))
        }
        ConfigRequest::Revert { reason } => {
            let (taken, now) = lock(&dataplane.keeper).revert(author, &reason, &mut InForce::of(dataplane))?;
            let text = format!("revision {taken} is taken back");
            Ok(Answer::Changed(Changed { text, saved: true, revision: Some(now), confirm_within_s: None }))
        }
    }
}

/// What these files say for this box; those it was started with if there are none.
fn read(dataplane: &Dataplane, layers: &[Layer]) -> Result<FromFile, Problem> {
    let layers = if layers.is_empty() { &dataplane.seed.layers } else { layers };
    let layered = Layered::read(layers).map_err(|refused| {
        let place = format!("{}:{}:{}", refused.file, refused.error.line, refused.error.column);
        let problem = refused.error.problem;
        Problem { value: format!("{place}: {}", problem.value), ..problem }
    })?;
    dataplane.seed.changed(layered)
}

/// Every value in force: from the file as long as it is what the file says, else from the change that made it so.
fn show(dataplane: &Dataplane) -> Result<Vec<ConfigValue>, Problem> {
    let keeper = lock(&dataplane.keeper);
    let file = dataplane.seed.layered().ok();
    let said: std::collections::BTreeMap<String, String> =
        dataplane.seed.config().map(|file| file.config.values().into_iter().collect()).unwrap_or_default();
    let overridden = |path: &str| {
        (path.starts_with("interfaces[") && !dataplane.seed.interfaces.is_empty())
            || (path == "control.socket" && dataplane.seed.socket.is_some())
    };
    let values = keeper.config().values().into_iter().map(|(path, value)| {
        let origin = match (&file, said.get(&path) == Some(&value)) {
            _ if overridden(&path) => "command line".to_owned(),
            (Some(file), true) => file.origin(&path),
            _ => keeper.origin(&path),
        };
        ConfigValue { path, value, origin }
    });
    Ok(values.collect())
}

fn row(changes: &[Change]) -> Option<HistoryRow> {
    let first = changes.first()?;
    let mut writes: Vec<String> = changes
        .iter()
        .map(|change| if change.after.is_some() { change.key.to_string() } else { format!("-{}", change.key) })
        .collect();
    writes.sort();
    Some(HistoryRow {
        revision: first.revision,
        time_ms: first.time_ms,
        author: first.origin.author().to_owned(),
        reason: first.origin.reason().to_owned(),
        writes,
    })
}

/// Who is at the other end of a connection, as changes name their author.
pub(super) fn author(connection: impl std::os::fd::AsFd) -> String {
    match weir_dataplane_io::fds::peer_of(connection) {
        Ok(peer) => crate::host::user(peer.uid)
            .map_or_else(|| format!("uid {}", peer.uid), |name| format!("{name} (uid {})", peer.uid)),
        Err(_) => "unknown".to_owned(),
    }
}
