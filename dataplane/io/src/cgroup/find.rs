//! Where a controller is mounted, and which group of it this process is in.

use std::fs;
use std::path::{Path, PathBuf};

use super::{BOX, Controller, Version};

/// A controller that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which version of control groups it is in.
    pub version: Version,
    /// The folder of the group that this process is in, or was in before it moved into a `box` of its own.
    pub own: PathBuf,
}

impl Found {
    /// Whether this process may make groups there.
    pub fn may_make_groups(&self) -> bool {
        rustix::fs::access(&self.own, rustix::fs::Access::WRITE_OK).is_ok()
    }
}

/// Looks for a controller: version 1 by its mount's options, version 2 by the list in this process's own group.
///
/// # Errors
/// Why it cannot be used, as a clause.
pub fn find(root: &Path, controller: Controller) -> Result<Found, String> {
    let read = |path: &str| fs::read_to_string(root.join(path)).map_err(|error| format!("/{path}: {error}"));
    let (mounts, groups) = (read("proc/self/mountinfo")?, read("proc/self/cgroup")?);
    let name = controller.name();
    let one = mounts
        .lines()
        .filter_map(mount)
        .find(|mount| mount.kind == "cgroup" && mount.options.split(',').any(|option| option == name));
    if let Some(mount) = one {
        let path = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|one| one == name).then_some(path)
        });
        let path = path.ok_or_else(|| format!("this process is in no group of {name}"))?;
        return Ok(Found { version: Version::One, own: seen(root, &mount, path)? });
    }
    let two = mounts.lines().filter_map(mount).find(|mount| mount.kind == "cgroup2");
    let two = two.ok_or_else(|| format!("no control group of {name} is mounted"))?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or_else(|| "this process is in no group of version 2".to_owned())?;
    let own = vacated(seen(root, &two, path)?);
    let there = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    if there.split_whitespace().any(|one| one == name) {
        return Ok(Found { version: Version::Two, own });
    }
    let there = if there.trim().is_empty() { "none" } else { there.trim() };
    Err(format!("control groups of version 2 have no {name} here (they have: {there}), and version 1 is not mounted"))
}

/// A group whose processes moved into its `weir-NAME/box` is still the one that weir was started in.
fn vacated(own: PathBuf) -> PathBuf {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match (own.parent(), own.parent().and_then(Path::parent)) {
        (Some(parent), Some(above)) if name(&own) == BOX && name(parent).starts_with("weir-") => above.to_owned(),
        _ => own,
    }
}

struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

/// One line of mountinfo: `36 35 98:0 ROOT POINT OPTIONS … - KIND SOURCE SUPER-OPTIONS` (proc_pid_mountinfo(5)).
fn mount(line: &str) -> Option<Mount<'_>> {
    let (before, behind) = line.split_once(" - ")?;
    let (mut before, mut behind) = (before.split(' ').skip(3), behind.split(' '));
    let (root, point) = (before.next()?, before.next()?);
    let kind = behind.next()?;
    Some(Mount { root, point, kind, options: behind.nth(1)? })
}

/// The folder of the group `path`, as this mount shows it.
fn seen(root: &Path, mount: &Mount<'_>, path: &str) -> Result<PathBuf, String> {
    let below = match mount.root {
        "/" => path,
        shown => path.strip_prefix(shown).ok_or_else(|| {
            format!("this process is in group {path}, of which {} shows nothing (it shows {shown})", mount.point)
        })?,
    };
    let below = below.trim_start_matches('/');
    if below.split('/').any(|part| part == "..") {
        return Err(format!("this process is in group {path}, outside what {} shows", mount.point));
    }
    let folder = root.join(mount.point.trim_start_matches('/'));
    let own = if below.is_empty() { folder } else { folder.join(below) };
    if own.is_dir() { Ok(own) } else { Err(format!("{}: the group of this process is not there", own.display())) }
}

/// The least limit on memory of the groups this process is in, in bytes; `None` where there is none to be seen.
pub fn memory_limit(root: &Path) -> Option<u64> {
    let found = find(root, Controller::Memory).ok()?;
    let file = match found.version {
        Version::One => "memory.limit_in_bytes",
        Version::Two => "memory.max",
    };
    // "max", or a number near 2^63 where there is no limit.
    let read = |folder: &Path| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    found
        .own
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(read)
        .min()
        .filter(|it| *it < 1 << 62)
}
