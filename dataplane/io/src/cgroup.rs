//! Control groups: what holds a worker to its cores and its memory, controller by controller.
//!
//! Each controller is looked for by itself, since hosts have some in version 2, some in version 1 and some not at all. Groups
//! are made **below the group that this process is in**, never beside it or above: whoever limits weir limits its workers.
//!
//! ```text
//! own group of the controller ─ weir-NAME ─┬─ streaming      one worker each
//!                                          ├─ twin
//!                                          └─ box            version 2 only: weir's own processes
//! ```
//!
//! Version 2 gives no controller to groups below one that holds processes itself, so there weir's own processes move into
//! `box`; where others are in the same group that is not ours to do, and the controller is not used. What is missing is said
//! with its reason; the caller falls back to affinity, policies and limits of processes.
//!
//! Every path starts at a root that tests choose.

mod find;
mod group;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use find::{Found, find, memory_limit};
pub use group::Limits;

/// A controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Who gets how much time of a core that several want.
    Cpu,
    /// Which cores.
    Cpuset,
    /// How much memory.
    Memory,
}

impl Controller {
    /// Every controller that weir uses.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cpuset, Self::Memory];

    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The kernel's version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// One tree for each controller.
    One,
    /// One tree for all.
    Two,
}

/// Weir's own processes in a tree of version 2.
const BOX: &str = "box";
/// Time that processes in a group that was left have to be gone before they are moved out of it.
const LEFT_WITHIN: Duration = Duration::from_secs(1);
/// Pause between two tries to remove a group whose last process is on its way out.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The parent of the groups of one controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which version it is of.
    pub version: Version,
    /// The folder `weir-NAME`.
    pub folder: PathBuf,
    /// The group this process was in: where processes go when a group is removed.
    own: PathBuf,
}

/// Weir's groups. They are removed by [`Groups::remove`]; whoever is killed leaves them for [`remove_left`].
#[derive(Debug, Default)]
pub struct Groups {
    places: BTreeMap<Controller, Result<Place, String>>,
    ours: Vec<u32>,
}

impl Groups {
    /// Makes the parents for `wanted` controllers under the name `weir-NAME`. `ours` are weir's own processes: the ones that
    /// may be moved. What a dead predecessor left is taken over.
    pub fn open(root: &Path, name: &str, wanted: &[Controller], ours: &[u32]) -> Self {
        let mut places = BTreeMap::new();
        for controller in wanted {
            let place = find(root, *controller).and_then(|found| group::parent(&found, name, *controller, ours));
            places.insert(*controller, place);
        }
        Self { places, ours: ours.to_vec() }
    }

    /// Where the groups of a controller are, or why there are none; `None` for one that was not wanted.
    pub fn place(&self, controller: Controller) -> Option<&Result<Place, String>> {
        self.places.get(&controller)
    }

    /// The version that a controller is used in, if it is.
    pub fn version(&self, controller: Controller) -> Option<Version> {
        self.usable(controller).map(|place| place.version)
    }

    fn usable(&self, controller: Controller) -> Option<&Place> {
        self.places.get(&controller)?.as_ref().ok()
    }

    /// The folders `weir-NAME` of all trees.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = self.places.values().flatten().map(|place| place.folder.clone()).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Sets the limits of the group `feature` in every controller, making it where it is not there, and gives for each
    /// controller that refused the reason.
    pub fn set(&self, feature: &str, limits: &Limits) -> Vec<(Controller, String)> {
        self.each(|controller, place| group::set(place, controller, feature, limits))
    }

    /// Puts a process into the group `feature`, which has its limits by then. One that has ended meanwhile is no error.
    pub fn put(&self, feature: &str, pid: u32) -> Vec<(Controller, String)> {
        self.each(|_, place| group::put(place, feature, pid))
    }

    fn each(&self, act: impl Fn(Controller, &Place) -> Result<(), String>) -> Vec<(Controller, String)> {
        let usable = Controller::ALL.into_iter().filter_map(|controller| Some((controller, self.usable(controller)?)));
        usable.filter_map(|(controller, place)| Some((controller, act(controller, place).err()?))).collect()
    }

    /// Gives up a controller that refused: nothing is written there any more.
    pub fn give_up(&mut self, controller: Controller, why: String) {
        let place = self.places.insert(controller, Err(why));
        if let Some(Ok(place)) = place
            && self.places.values().flatten().all(|other| other.folder != place.folder)
        {
            group::remove(&place, &self.ours, Instant::now());
        }
    }

    /// Takes all groups away; who is still in one goes back to the group above. Tries for as long as `within`.
    pub fn remove(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut folders: Vec<&Place> = self.places.values().flatten().collect();
        folders.dedup_by(|one, other| one.folder == other.folder);
        // Every tree is tried, whatever became of the one before.
        folders.into_iter().filter(|place| !group::remove(place, &self.ours, deadline)).count() == 0
    }
}

/// Removes groups that a killed weir left, by their folders (`…/weir-NAME`); gives how many groups went. What is not the
/// folder of such a group is left alone.
pub fn remove_left(folders: &[PathBuf]) -> usize {
    let deadline = Instant::now() + LEFT_WITHIN;
    let is_ours = |folder: &&PathBuf| {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("weir-") && folder.join("cgroup.procs").exists()
    };
    let remove = |folder: &PathBuf| {
        let below = fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()).count();
        let own = folder.parent().unwrap_or(Path::new("/")).to_owned();
        let version = if own.join("cgroup.controllers").exists() { Version::Two } else { Version::One };
        let place = Place { version, folder: folder.clone(), own };
        if group::remove(&place, &[], deadline) { 1 + below } else { 0 }
    };
    folders.iter().filter(is_ours).map(remove).sum()
}
