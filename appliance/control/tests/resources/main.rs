//! Does every backend of the store answer as the model does, and what survives a kill, a full disk, a damaged file?

mod child;
mod conformance;
mod damage;
mod full;
mod kill;
mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conformance::Rig;
use weir_appliance_control::resources::{
    DurableStore, Key, Kind, ManualClock, MemoryStore, Origin, ResourceStore, Retention,
};

/// A history short enough that tests reach its end.
const SHORT: Retention = Retention { changes: 40, bytes: 4000 };

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-resources-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("state.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(kind: Kind, name: &str) -> Key {
    Key::new(kind, name).expect("a key")
}

fn origin(reason: &str) -> Origin {
    Origin::new("test (uid 0)", reason).expect("an origin")
}

fn open(path: &Path, clock: &Arc<ManualClock>) -> DurableStore {
    DurableStore::open(path, Arc::clone(clock) as _, SHORT).unwrap_or_else(|error| panic!("{error}"))
}

/// The model as a backend. It has no file, so it is never opened anew.
struct Memory {
    clock: Arc<ManualClock>,
    store: MemoryStore,
}

impl Rig for Memory {
    fn store(&self) -> &dyn ResourceStore {
        &self.store
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn reopen(&mut self) -> bool {
        false
    }
}

struct Durable {
    clock: Arc<ManualClock>,
    store: Option<DurableStore>,
    folder: Folder,
}

impl Rig for Durable {
    fn store(&self) -> &dyn ResourceStore {
        self.store.as_ref().expect("it is open")
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn reopen(&mut self) -> bool {
        self.store = None;
        self.store = Some(open(&self.folder.file(), &self.clock));
        true
    }
}

#[test]
fn the_model_conforms() {
    conformance::whole(|_| {
        let clock = Arc::new(ManualClock::default());
        Memory { store: MemoryStore::new(Arc::clone(&clock) as _, SHORT), clock }
    });
}

#[test]
fn the_durable_store_conforms() {
    conformance::whole(|test| {
        let (clock, folder) = (Arc::new(ManualClock::default()), Folder::new(test));
        Durable { store: Some(open(&folder.file(), &clock)), clock, folder }
    });
}
