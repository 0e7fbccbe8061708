//! Is every controller found where it is, is what is written what the kernel takes, and does critical work come first?
//!
//! Groups of `cpu` and `cpuset` are made on the machine itself. What is written for memory, and all of version 2, is looked at
//! in made-up trees: a group of memory below the one that a test runs in would count the test's own memory elsewhere.
#![allow(unsafe_code, clippy::unwrap_used)] // a test may stop where it stands, and asks the kernel itself

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use weir_dataplane_io::cgroup::{Controller, Groups, Limits, Version, find, memory_limit, remove_left};
use weir_dataplane_io::cpu;
use weir_dataplane_io::memory::limit_data;

const DEADLINE: Duration = Duration::from_secs(30);

/// A tree of files, removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        static TREES: AtomicU32 = AtomicU32::new(0);
        let name = format!("cgroup-{}-{}", std::process::id(), TREES.fetch_add(1, Ordering::Relaxed));
        let tree = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        for (path, text) in files {
            tree.write(path, text);
        }
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MOUNTS_1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 /outer /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const MOUNTS_2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

/// A host with version 1, on which this process is in nested groups.
fn one() -> Tree {
    Tree::new(&[
        ("proc/self/mountinfo", MOUNTS_1),
        ("proc/self/cgroup", "4:memory:/outer/job\n3:cpuset:/jobs\n2:cpu,cpuacct:/\n0::/\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cgroup.procs", ""),
        ("sys/fs/cgroup/cpuset/jobs/cpuset.cpus", "0-3\n"),
        ("sys/fs/cgroup/cpuset/jobs/cpuset.mems", "0\n"),
        ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "8589934592\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n"),
    ])
}

/// A host with version 2, on which weir was started in a service's group.
fn two(procs: &str) -> Tree {
    let own = "sys/fs/cgroup/system.slice/weir.service";
    let tree = Tree::new(&[
        ("proc/self/mountinfo", MOUNTS_2),
        ("proc/self/cgroup", "0::/system.slice/weir.service\n"),
        (&format!("{own}/cgroup.controllers"), "cpuset cpu io memory pids\n"),
        (&format!("{own}/cgroup.type"), "domain\n"),
        (&format!("{own}/cgroup.subtree_control"), "\n"),
        (&format!("{own}/cgroup.procs"), procs),
        (&format!("{own}/memory.max"), "max\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "4294967296\n"),
    ]);
    // The kernel makes these files with the group.
    for file in ["weir-x/cgroup.subtree_control", "weir-x/box/cgroup.procs"] {
        tree.write(&format!("{own}/{file}"), "");
    }
    tree
}

fn limits() -> Limits {
    Limits { cpus: vec![2, 3, 5], weight: 200, idle: false, memory: Some(512 << 20) }
}

#[test]
fn version_1_is_written_below_the_own_group_of_each_controller() {
    let tree = one();
    let own = |controller| find(&tree.0, controller).map(|found| (found.version, found.own));
    let at = |path: &str| tree.0.join("sys/fs/cgroup").join(path);
    assert_eq!(own(Controller::Cpu), Ok((Version::One, at("cpu,cpuacct"))));
    assert_eq!(own(Controller::Cpuset), Ok((Version::One, at("cpuset/jobs"))));
    assert_eq!(own(Controller::Memory), Ok((Version::One, at("memory/job"))), "the mount shows what is below /outer");
    assert_eq!(memory_limit(&tree.0), Some(8 << 30));

    let groups = Groups::open(&tree.0, "x", &Controller::ALL, &[]);
    assert_eq!(groups.set("streaming", &limits()), []);
    assert_eq!(groups.put("streaming", 4711), []);
    assert_eq!(tree.read("sys/fs/cgroup/cpu,cpuacct/weir-x/streaming/cpu.shares"), "2048");
    let cpuset = "sys/fs/cgroup/cpuset/jobs/weir-x";
    assert_eq!(
        (tree.read(&format!("{cpuset}/cpuset.cpus")), tree.read(&format!("{cpuset}/cpuset.mems"))),
        ("0-3".into(), "0".into())
    );
    assert_eq!(tree.read(&format!("{cpuset}/streaming/cpuset.cpus")), "2-3,5");
    let memory = "sys/fs/cgroup/memory/job/weir-x/streaming";
    assert_eq!(tree.read(&format!("{memory}/memory.limit_in_bytes")), "536870912");
    for group in ["cpu,cpuacct/weir-x", "cpuset/jobs/weir-x", "memory/job/weir-x"] {
        assert_eq!(tree.read(&format!("sys/fs/cgroup/{group}/streaming/cgroup.procs")), "4711");
    }
    assert_eq!(groups.set("streaming", &Limits { memory: None, ..limits() }), []);
    assert_eq!(tree.read(&format!("{memory}/memory.limit_in_bytes")), "-1");
}

#[test]
fn an_idle_group_gets_its_weight_before_it_is_idle_and_none_while_it_is() {
    let tree = one();
    let groups = Groups::open(&tree.0, "x", &[Controller::Cpu], &[]);
    let group = "sys/fs/cgroup/cpu,cpuacct/weir-x/nas";
    tree.write(&format!("{group}/cpu.idle"), "0");
    let idle = Limits { weight: 50, idle: true, ..limits() };
    assert_eq!(groups.set("nas", &idle), []);
    assert_eq!(
        (tree.read(&format!("{group}/cpu.shares")), tree.read(&format!("{group}/cpu.idle"))),
        ("512".into(), "1".into())
    );
    // The kernel would refuse it.
    assert_eq!(groups.set("nas", &Limits { weight: 70, ..idle.clone() }), []);
    assert_eq!(tree.read(&format!("{group}/cpu.shares")), "512");
    assert_eq!(groups.set("nas", &Limits { idle: false, ..idle.clone() }), []);
    assert_eq!(
        (tree.read(&format!("{group}/cpu.shares")), tree.read(&format!("{group}/cpu.idle"))),
        ("512".into(), "0".into())
    );
    assert_eq!(groups.set("old", &idle), []);
    assert_eq!(tree.read("sys/fs/cgroup/cpu,cpuacct/weir-x/old/cpu.shares"), "2", "a kernel without cpu.idle");
}

#[test]
fn version_2_takes_weirs_own_processes_out_of_the_way() {
    let (own, ours) = ("sys/fs/cgroup/system.slice/weir.service", [100, 101]);
    let tree = two("100\n101\n");
    assert_eq!(memory_limit(&tree.0), Some(4 << 30), "the limit of the slice");
    let groups = Groups::open(&tree.0, "x", &Controller::ALL, &ours);
    for controller in Controller::ALL {
        assert_eq!(groups.version(controller), Some(Version::Two), "{:?}", groups.place(controller));
    }
    assert_eq!(
        tree.read(&format!("{own}/weir-x/box/cgroup.procs")),
        "101",
        "each was written there, one after the other"
    );
    for folder in [own.to_owned(), format!("{own}/weir-x")] {
        assert_eq!(tree.read(&format!("{folder}/cgroup.subtree_control")), "+memory", "a controller at a time");
    }
    assert_eq!((groups.set("twin", &limits()), groups.put("twin", 7)), (vec![], vec![]));
    let read = |file: &str| tree.read(&format!("{own}/weir-x/twin/{file}"));
    assert_eq!(
        [read("cpu.weight"), read("cpuset.cpus"), read("memory.max"), read("cgroup.procs")],
        ["200", "2-3,5", "536870912", "7"]
    );
    // A dataplane that starts again is in the box, and its own group is still the service's.
    tree.write("proc/self/cgroup", "0::/system.slice/weir.service/weir-x/box\n");
    assert_eq!(find(&tree.0, Controller::Cpu).unwrap().own, tree.0.join(own));
}

#[test]
fn what_cannot_be_used_says_why() {
    let tree = two("100\n999\n");
    let groups = Groups::open(&tree.0, "x", &[Controller::Cpu], &[100, 101]);
    let why = groups.place(Controller::Cpu).unwrap().clone().unwrap_err();
    assert!(why.contains("process 999") && why.contains("Delegate=yes"), "{why}");
    assert_eq!(groups.set("twin", &limits()), [], "nothing is written where there is no group");

    let tree = one();
    tree.write("proc/self/mountinfo", "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    let why = find(&tree.0, Controller::Cpu).unwrap_err();
    assert!(why.contains("they have: hugetlb") && why.contains("version 1 is not mounted"), "{why}");
    tree.write("proc/self/mountinfo", "1 1 0:1 / / rw - ext4 x rw\n");
    assert!(find(&tree.0, Controller::Memory).unwrap_err().contains("no control group of memory is mounted"));
    assert_eq!(memory_limit(&tree.0), None);
    tree.write("proc/self/mountinfo", MOUNTS_1);
    tree.write("proc/self/cgroup", "4:memory:/elsewhere\n3:cpuset:/../host\n");
    let why = |controller| find(&tree.0, controller).unwrap_err();
    assert!(why(Controller::Memory).contains("shows nothing"), "{}", why(Controller::Memory));
    assert!(why(Controller::Cpuset).contains("outside"), "{}", why(Controller::Cpuset));
    assert!(why(Controller::Cpu).contains("in no group"), "{}", why(Controller::Cpu));
    assert!(find(Path::new("/nowhere"), Controller::Cpu).unwrap_err().contains("mountinfo"));
    assert_eq!(
        remove_left(&[tree.0.join("sys"), PathBuf::from("/"), tree.0.join("weir-x")]),
        0,
        "none of these is ours"
    );
}

/// A process that only burns a core.
struct Burner(Child);

impl Burner {
    fn on(cpu: u32) -> Self {
        let burner = Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap());
        cpu::pin_process(burner.0.id(), &[cpu]).unwrap();
        burner
    }

    /// Nanoseconds that it has run.
    fn ran(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.0.id())).unwrap();
        text.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What two burners of the same core have run while both together ran for half a second.
fn race(one: &Burner, other: &Burner) -> (u64, u64) {
    let (first, second) = (one.ran(), other.ran());
    let end = Instant::now() + DEADLINE;
    loop {
        let (one, other) = (one.ran() - first, other.ran() - second);
        if one + other > 500_000_000 {
            return (one, other);
        }
        assert!(Instant::now() < end, "they ran {one} and {other} ns");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn critical_work_comes_before_batch_work_on_the_same_core() {
    let name = format!("test-{}", std::process::id());
    let groups = Groups::open(Path::new("/"), &name, &[Controller::Cpu, Controller::Cpuset], &[]);
    let cpu = *cpu::allowed_cpus().last().unwrap();
    let (critical, batch) = (Burner::on(cpu), Burner::on(cpu));
    for controller in [Controller::Cpu, Controller::Cpuset] {
        if let Some(Err(why)) = groups.place(controller) {
            println!("weir-skip: critical_work_comes_before_batch_work_on_the_same_core: {why}");
        }
    }
    if groups.version(Controller::Cpu).is_some() {
        let of = |weight, idle| Limits { cpus: vec![cpu], weight, idle, memory: None };
        for (group, limits, burner) in [("critical", of(100, false), &critical), ("batch", of(100, true), &batch)] {
            assert_eq!((groups.set(group, &limits), groups.put(group, burner.0.id())), (vec![], vec![]));
        }
        let (first, second) = race(&critical, &batch);
        assert!(first > 4 * second, "idle: critical ran {first} ns, batch {second}");
        groups.set("batch", &of(25, false));
        let (first, second) = race(&critical, &batch);
        assert!(first > second, "a quarter of the weight: critical ran {first} ns, batch {second}");
        // Groups with processes in them go too; the processes go back to where they were.
        assert!(groups.remove(Duration::from_millis(50)));
        assert_eq!(groups.folders().iter().filter(|folder| folder.exists()).count(), 0);
        assert!(critical.0.id() > 0 && critical.ran() > 0, "it lives on");
    }
    // Where there is no group the scheduler's own policy does it.
    cpu::idle_process(batch.0.id(), true).unwrap();
    let (first, second) = race(&critical, &batch);
    assert!(first > 4 * second, "idle policy: critical ran {first} ns, batch {second}");
    cpu::idle_process(batch.0.id(), false).unwrap();
    let (first, second) = race(&critical, &batch);
    assert!(first < 4 * second, "no policy: critical ran {first} ns, batch {second}");
}

/// Policy of a process's first thread, and the length of its turns in nanoseconds.
fn policy_and_turn(pid: u32) -> (i32, u64) {
    // SAFETY: integers all, for which zero is a value.
    let mut known: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes at most `size` bytes to `known`, which lives here.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, pid, &raw mut known, size, 0) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    (known.sched_policy as i32, known.sched_runtime)
}

#[test]
fn turns_of_ordinary_work_are_as_long_as_they_are_asked_for() {
    let burner = Burner::on(*cpu::allowed_cpus().last().unwrap());
    let pid = burner.0.id();
    let (policy, own) = policy_and_turn(pid);
    cpu::turns_of_process(pid, Duration::from_micros(500)).unwrap();
    let short = policy_and_turn(pid);
    // A kernel before 6.12 takes the wish and does nothing with it; what it shows then is no turn at all.
    assert!(short == (policy, 500_000) || own == 0, "{short:?}, of its own {own} ns");
    cpu::turns_of_process(pid, Duration::ZERO).unwrap();
    assert_eq!(policy_and_turn(pid), (policy, own), "the kernel's own again");
    cpu::idle_process(pid, true).unwrap();
    let idle = policy_and_turn(pid);
    cpu::turns_of_process(pid, Duration::from_micros(500)).unwrap();
    assert_eq!((policy_and_turn(pid), idle.0), (idle, libc::SCHED_IDLE), "another policy is somebody's wish");
    let error = cpu::turns_of_process(u32::MAX, Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("giving process 4294967295 turns"), "{error}");
}

#[test]
fn groups_that_were_left_are_found_by_their_folders() {
    let name = format!("test-left-{}", std::process::id());
    let groups = Groups::open(Path::new("/"), &name, &[Controller::Cpu, Controller::Cpuset], &[]);
    groups.set("streaming", &Limits { weight: 100, ..Limits::default() });
    assert_eq!(groups.put("streaming", i32::MAX as u32), [], "a process that has ended says nothing of a controller");
    let folders = groups.folders();
    drop(groups);
    assert!(folders.iter().all(|folder| folder.join("streaming").exists()), "nobody has removed them");
    assert_eq!(remove_left(&folders), 2 * folders.len());
    assert!(folders.iter().all(|folder| !folder.exists()));
}

#[test]
fn a_process_has_the_limit_that_it_is_given() {
    let burner = Burner::on(*cpu::allowed_cpus().last().unwrap());
    limit_data(burner.0.id(), 16 << 20).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", burner.0.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("16777216"), "{line}");
    let error = limit_data(u32::MAX, 1 << 20).unwrap_err().to_string();
    assert!(error.contains("CAP_SYS_RESOURCE"), "{error}");
}
