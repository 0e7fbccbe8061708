//! `weir doctor --passport`: what the box is, read from its kernel, and what it does, measured within some seconds.
//!
//! A figure stands here only if it was measured by this very call. What was not measured is named with the reason.

mod rates;

use std::io::Write;
use std::path::Path;

use weir_appliance_console::answer::{Exit, Failure, Outcome};
use weir_appliance_console::doctor::DoctorArgs;
use weir_appliance_console::passport;
use weir_appliance_control::message::{CacheFacts, CardFacts, NodeFacts, NotMeasured, Passport, ProcessorFacts};
use weir_dataplane_io::accelerators::{self, Accelerator};
use weir_dataplane_io::cpu::{CorePlan, CoreWish, Topology, roles};
use weir_dataplane_io::hardware::{self, Card, PowerCounter};
use weir_dataplane_io::{nic, numa};

use crate::doctor;

/// Makes the passport, and prints it or writes it to a file.
pub(crate) fn run(args: &DoctorArgs, out: &mut dyn Write) -> Outcome {
    let plan = roles(&Topology::live(), &CoreWish::default());
    let mut made = read(Path::new("/"), &plan, &|card| match nic::xdp_features(card.index) {
        Ok(features) if features.is_empty() => "generic only".to_owned(),
        Ok(features) => features.join(", "),
        Err(error) => format!("not known: {error}"),
    });
    made.host = weir_appliance_lab::host::read();
    made.controllers = doctor::controllers();
    rates::measure(&plan, &mut made);
    let Some(file) = &args.out else { return passport::answer(&made, args.json, out) };
    let mut text = Vec::new();
    passport::answer(&made, args.json, &mut text)?;
    // Whole or not at all: whoever reads it never sees half a passport.
    let beside = file.with_extension("part");
    let written = std::fs::write(&beside, &text).and_then(|()| std::fs::rename(&beside, file));
    written.map_err(|error| Failure::Line(format!("{}: {error}; name a file that can be written", file.display())))?;
    writeln!(out, "{}: the passport, {} bytes", file.display(), text.len())?;
    Ok(Exit::Done)
}

/// What the tree at `root` says; `xdp` knows what a card can do.
fn read(root: &Path, plan: &CorePlan, xdp: &dyn Fn(&Card) -> String) -> Passport {
    let sys = root.join("sys");
    let processor = hardware::processor(root);
    let (found, power) = (accelerators::all(&sys), hardware::power(root));
    let mut not_measured = vec![
        NotMeasured { name: "network".into(), because: "it takes a peer: weir load latency, weir load stream".into() },
        NotMeasured { name: "disk".into(), because: "the passport writes nothing but itself".into() },
    ];
    let accelerator = match found.is_empty() {
        true => "none found",
        false => "no feature of this build uses one",
    };
    not_measured.push(NotMeasured { name: "accelerators".into(), because: accelerator.into() });
    let watts = if power.is_empty() { "no power counters" } else { "a few seconds of work say nothing of a day's" };
    not_measured.push(NotMeasured { name: "power".into(), because: watts.into() });
    Passport {
        weir: format!(
            "weir {} ({})",
            env!("CARGO_PKG_VERSION"),
            if cfg!(debug_assertions) { "debug" } else { "release" }
        ),
        processor: ProcessorFacts {
            model: processor.model,
            vendor: processor.vendor,
            numbers: processor
                .numbers
                .map(|(family, model, stepping)| format!("family {family}, model {model}, stepping {stepping}"))
                .unwrap_or_default(),
            cpus: processor.cpus,
            features: processor.features.into_iter().map(|(name, has)| (name.to_owned(), has)).collect(),
        },
        caches: hardware::caches(root)
            .into_iter()
            .map(|it| CacheFacts { level: it.level, kind: it.kind, bytes: it.bytes, cpus: it.cpus })
            .collect(),
        nodes: numa::nodes(&sys)
            .into_iter()
            .map(|it| NodeFacts { id: it.id, cpus: it.cpus, hugepages: it.huge_total, hugepages_free: it.huge_free })
            .collect(),
        cores: format!("critical {:?}, batch {:?}: {}", plan.critical, plan.batch, plan.why),
        cards: hardware::cards(root).into_iter().map(|card| facts(card, xdp)).collect(),
        accelerators: found.iter().map(accelerator_line).collect(),
        power: power.iter().map(power_line).collect(),
        not_measured,
        ..Passport::default()
    }
}

fn facts(card: Card, xdp: &dyn Fn(&Card) -> String) -> CardFacts {
    let xdp = xdp(&card);
    let Card { name, driver, queues, mtu, node, .. } = card;
    CardFacts { name, driver: driver.unwrap_or_default(), queues, mtu, node, xdp }
}

fn accelerator_line(it: &Accelerator) -> String {
    let driver =
        it.driver.as_deref().map_or_else(|| "no driver has it".to_owned(), |driver| format!("driver {driver}"));
    let memory = it.memory.map(|bytes| format!(", {}", weir_appliance_shares::plan::bytes(bytes))).unwrap_or_default();
    let node = it.node.map(|node| format!(", node {node}")).unwrap_or_default();
    format!("{} at {} ({}), {driver}{memory}{node}", it.kind.name(), it.address, it.id)
}

fn power_line(it: &PowerCounter) -> String {
    let readable = if it.microjoules.is_some() { "can be read" } else { "this process may not read it" };
    format!("{}: {readable}", it.name)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use weir_appliance_control::message::{Host, Rate};

    use super::*;

    /// A made-up machine as a tree of files: an Intel server with an accelerator, a display and two kinds of interfaces.
    fn tree() -> PathBuf {
        let root = std::env::temp_dir().join(format!("weir-passport-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let cpu = |number: u32| {
            format!(
                "processor\t: {number}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: INTEL(R) XEON(R) PLATINUM 8592+\n\
                 stepping\t: 2\nflags\t\t: sse4_2 avx2 avx512f avx512bw avx512_vnni amx_tile amx_int8\n\n"
            )
        };
        let cpuinfo = cpu(0) + &cpu(1);
        let cache = "sys/devices/system/cpu/cpu0/cache";
        let huge = "sys/devices/system/node/node0/hugepages/hugepages-2048kB";
        let pci = "sys/bus/pci/devices";
        for (path, text) in [
            ("proc/cpuinfo".to_owned(), cpuinfo.as_str()),
            (format!("{cache}/index0/level"), "1"),
            (format!("{cache}/index0/type"), "Data"),
            (format!("{cache}/index0/size"), "48K"),
            (format!("{cache}/index0/shared_cpu_list"), "0"),
            (format!("{cache}/index3/level"), "3"),
            (format!("{cache}/index3/type"), "Unified"),
            (format!("{cache}/index3/size"), "320M"),
            (format!("{cache}/index3/shared_cpu_list"), "0-1"),
            ("sys/devices/system/node/online".into(), "0"),
            ("sys/devices/system/node/node0/cpulist".into(), "0-1"),
            (format!("{huge}/nr_hugepages"), "64"),
            (format!("{huge}/free_hugepages"), "60"),
            ("sys/class/net/lo/mtu".into(), "65536"),
            ("sys/class/net/eth0/mtu".into(), "1500"),
            ("sys/class/net/eth0/ifindex".into(), "2"),
            ("sys/class/net/eth0/device/numa_node".into(), "0"),
            ("sys/class/net/eth0/queues/rx-0/x".into(), ""),
            ("sys/class/net/eth0/queues/rx-1/x".into(), ""),
            ("sys/class/net/eth0/queues/tx-0/x".into(), ""),
            (format!("{pci}/0000:00:02.0/class"), "0x030000"), // a display: its driver does not compute
            (format!("{pci}/0000:6a:00.0/class"), "0x120000"),
            (format!("{pci}/0000:6a:00.0/vendor"), "0x8086"),
            (format!("{pci}/0000:6a:00.0/device"), "0x643e"),
            (format!("{pci}/0000:6a:00.0/numa_node"), "-1"),
            (format!("{pci}/0000:c1:00.0/class"), "0x030200"),
            (format!("{pci}/0000:c1:00.0/vendor"), "0x1002"),
            (format!("{pci}/0000:c1:00.0/device"), "0x740f"),
            (format!("{pci}/0000:c1:00.0/mem_info_vram_total"), "68719476736"),
            ("sys/class/powercap/intel-rapl:0/name".into(), "package-0"),
            ("sys/class/powercap/intel-rapl:0/energy_uj".into(), "123456"),
            ("sys/class/powercap/intel-rapl/enabled".into(), "1"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        for (link, target) in [
            ("sys/class/net/eth0/device/driver", "../../../bus/pci/drivers/ice"),
            ("sys/bus/pci/devices/0000:00:02.0/driver", "../../../drivers/ast"),
            ("sys/bus/pci/devices/0000:c1:00.0/driver", "../../../drivers/amdgpu"),
        ] {
            std::os::unix::fs::symlink(target, root.join(link)).expect("linked");
        }
        root
    }

    #[test]
    fn the_page_of_a_recorded_machine() {
        let root = tree();
        let plan = CorePlan {
            critical: vec![1],
            batch: vec![0],
            idle: Vec::new(),
            source: weir_dataplane_io::cpu::Source::Homogeneous,
            why: "two CPUs".to_owned(),
        };
        let mut made = read(&root, &plan, &|card| format!("asked of number {}", card.index));
        std::fs::remove_dir_all(root).expect("removed");
        made.weir = "weir 0 (test)".to_owned();
        made.host = Host {
            name: "edge".into(),
            cpu: "XEON".into(),
            cores: 2,
            memory_bytes: 4 << 30,
            kernel: "6.12".into(),
            ..Host::default()
        };
        let (name, how, unit) = ("memory copy".to_owned(), "64 MiB, on CPU 1".to_owned(), "GiB/s".to_owned());
        made.rates.push(Rate { name, how, unit, n: 9, median: 10.0, min: 9.5, max: 10.25, seconds: 0.5 });
        let mut text = Vec::new();
        passport::render(&made, &mut text).expect("written");
        let text = String::from_utf8(text).expect("text");
        assert_eq!(text, include_str!("passport/golden.txt"), "\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        let again: Passport = serde_json::from_str(&serde_json::to_string(&made).expect("JSON")).expect("a passport");
        assert_eq!(again, made);
    }

    #[test]
    fn an_empty_machine_says_that_nothing_was_found() {
        let plan = roles(&Topology::live(), &CoreWish::default());
        let made = read(Path::new("/nowhere"), &plan, &|_| String::new());
        let mut text = Vec::new();
        passport::render(&made, &mut text).expect("written");
        let text = String::from_utf8(text).expect("text");
        for part in [
            "accelerators  none found",
            "power         not there",
            "cards         none found",
            "nothing was measured",
            "not measured: network",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
