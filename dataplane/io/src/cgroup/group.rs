//! One tree of groups: making, limiting and removing.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use super::{BOX, Controller, Found, LOOK_EVERY, Place, Version};
use crate::cpu::{format_list, parse_list};

/// What a group may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Its CPUs; empty for those of the group above.
    pub cpus: Vec<u32>,
    /// Its weight among those that want the same core, 1 to 10,000; 100 is what a process without a group has.
    pub weight: u32,
    /// It runs only when nobody else wants its core.
    pub idle: bool,
    /// Bytes of memory; `None` for no limit.
    pub memory: Option<u64>,
}

/// `cpu.shares` of a group that stands as one process does (sched-design: NICE_0_LOAD), for weight 100.
const SHARES_OF_100: u64 = 1024;
/// What the kernel takes as `cpu.shares` (MIN_SHARES, MAX_SHARES in kernel/sched).
const SHARES: (u64, u64) = (2, 262_144);

pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error} (writing {text})", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

fn make(folder: &Path) -> Result<(), String> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("{}: no group can be made: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Makes the parent of weir's groups below this process's own group.
pub(super) fn parent(found: &Found, name: &str, controller: Controller, ours: &[u32]) -> Result<Place, String> {
    let folder = found.own.join(format!("weir-{name}"));
    make(&folder)?;
    let place = Place { version: found.version, folder, own: found.own.clone() };
    let ready = match found.version {
        Version::One if controller == Controller::Cpuset => inherit(&place.folder, &place.own),
        Version::One => Ok(()),
        Version::Two => hand_down(&place, controller, ours),
    };
    ready.map(|()| place.clone()).inspect_err(|_| {
        // A tree that another controller uses already has groups in it, and stays.
        let _ = fs::remove_dir(&place.folder);
    })
}

/// A new cpuset of version 1 has neither CPUs nor nodes, and takes no process before it has both.
fn inherit(group: &Path, above: &Path) -> Result<(), String> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        write(&group.join(file), &read(&above.join(file))?)?;
    }
    Ok(())
}

/// Has the own group, and `weir-NAME`, give a controller to those below. That takes that the own group holds no process.
fn hand_down(place: &Place, controller: Controller, ours: &[u32]) -> Result<(), String> {
    let (plus, switch) = (format!("+{controller}"), "cgroup.subtree_control");
    let has = |folder: &Path| {
        read(&folder.join(switch)).is_ok_and(|list| list.split(' ').any(|one| one == controller.name()))
    };
    // Only the root of the whole tree has no type, and only it may hold processes beside groups with controllers.
    if !has(&place.own) && place.own.join("cgroup.type").exists() {
        let inside = read(&place.own.join("cgroup.procs"))?;
        let inside: Vec<u32> = inside.lines().filter_map(|line| line.parse().ok()).collect();
        if let Some(other) = inside.iter().find(|pid| !ours.contains(pid)) {
            return Err(format!(
                "{} holds process {other} beside weir's own, and version 2 then gives {controller} to no group below; \
                 start weir in a group of its own (systemd: Delegate=yes)",
                place.own.display()
            ));
        }
        let own_box = place.folder.join(BOX);
        make(&own_box)?;
        inside.iter().try_for_each(|pid| write(&own_box.join("cgroup.procs"), &pid.to_string()))?;
    }
    for folder in [&place.own, &place.folder] {
        if !has(folder) {
            write(&folder.join(switch), &plus)?;
        }
    }
    Ok(())
}

/// Puts a process into the group of a feature.
pub(super) fn put(place: &Place, feature: &str, pid: u32) -> Result<(), String> {
    let file = place.folder.join(feature).join("cgroup.procs");
    match fs::write(&file, pid.to_string()) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            Err(format!("{}: {error} (moving process {pid})", file.display()))
        }
        _ => Ok(()),
    }
}

/// Makes the group of a feature, if it is not there, and sets its limits.
pub(super) fn set(place: &Place, controller: Controller, feature: &str, limits: &Limits) -> Result<(), String> {
    let group = place.folder.join(feature);
    make(&group)?;
    match controller {
        Controller::Cpu => set_cpu(&group, place.version, limits),
        Controller::Cpuset => {
            if place.version == Version::One && read(&group.join("cpuset.mems")).is_ok_and(|mems| mems.is_empty()) {
                inherit(&group, &place.folder)?;
            }
            let cpus = if limits.cpus.is_empty() && place.version == Version::One {
                read(&place.folder.join("cpuset.cpus"))?
            } else {
                format_list(&limits.cpus)
            };
            // The same list again would be work for the kernel and nothing for anybody.
            let now = read(&group.join("cpuset.cpus")).unwrap_or_default();
            let same = now == cpus || (!now.is_empty() && parse_list(&now) == parse_list(&cpus));
            if same { Ok(()) } else { write(&group.join("cpuset.cpus"), &cpus) }
        }
        Controller::Memory => match (place.version, limits.memory) {
            (Version::One, Some(bytes)) => write(&group.join("memory.limit_in_bytes"), &bytes.to_string()),
            (Version::One, None) => write(&group.join("memory.limit_in_bytes"), "-1"),
            (Version::Two, Some(bytes)) => write(&group.join("memory.max"), &bytes.to_string()),
            (Version::Two, None) => write(&group.join("memory.max"), "max"),
        },
    }
}

fn set_cpu(group: &Path, version: Version, limits: &Limits) -> Result<(), String> {
    let (file, weight) = match version {
        Version::One => {
            let shares = u64::from(limits.weight) * SHARES_OF_100 / 100;
            ("cpu.shares", shares.clamp(SHARES.0, SHARES.1))
        }
        Version::Two => ("cpu.weight", u64::from(limits.weight.clamp(1, 10_000))),
    };
    let idle = group.join("cpu.idle");
    let is_idle = read(&idle).is_ok_and(|text| text == "1");
    // The kernel refuses a weight for a group that is idle.
    if is_idle && !limits.idle {
        write(&idle, "0")?;
    }
    if !(is_idle && limits.idle) {
        write(&group.join(file), &weight.to_string())?;
    }
    if limits.idle && !is_idle {
        // Linux 5.15; before it the least weight does nearly the same.
        if idle.exists() { write(&idle, "1") } else { write(&group.join(file), &least(version).to_string()) }
    } else {
        Ok(())
    }
}

fn least(version: Version) -> u64 {
    match version {
        Version::One => SHARES.0,
        Version::Two => 1,
    }
}

/// Removes `weir-NAME` and what is below it. True when it is gone.
pub(super) fn remove(place: &Place, ours: &[u32], deadline: Instant) -> bool {
    if !place.folder.exists() {
        return true;
    }
    let below = || {
        let entries = fs::read_dir(&place.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    for group in below().iter().filter(|group| !group.ends_with(BOX)) {
        empty(group, &place.own, deadline);
    }
    let own_box = place.folder.join(BOX);
    if own_box.exists() {
        // Processes can go back only where no controller is given to groups below.
        for folder in [&place.folder, &place.own] {
            let on = read(&folder.join("cgroup.subtree_control")).unwrap_or_default();
            let off: Vec<String> = on.split_whitespace().map(|one| format!("-{one}")).collect();
            let _ = write(&folder.join("cgroup.subtree_control"), &off.join(" "));
        }
        for pid in ours {
            let _ = write(&place.own.join("cgroup.procs"), &pid.to_string());
        }
        empty(&own_box, &place.own, deadline);
    }
    gone(&place.folder)
}

/// Removes a group; who is in it goes to `above`. A process on its way out keeps a group for a moment.
fn empty(group: &Path, above: &Path, deadline: Instant) {
    while !gone(group) && Instant::now() < deadline {
        std::thread::sleep(LOOK_EVERY);
    }
    if group.exists() {
        for pid in read(&group.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = write(&above.join("cgroup.procs"), pid);
        }
        gone(group);
    }
}

fn gone(group: &Path) -> bool {
    fs::remove_dir(group).is_ok() || !group.exists()
}
