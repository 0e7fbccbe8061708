//! The one-page state: gathered when somebody asks, from counters that are kept anyway.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use weir_appliance_control::message::{
    CoreStatus, FeatureStatus, Identity, InterfaceMode, InterfaceStatus, MemoryStatus, ProcessStatus, RingStatus,
    SourceWindow, Status, WindowStatus,
};
use weir_appliance_control::taker::FeatureName;
use weir_dataplane_io::umem::Backing;
use weir_dataplane_io::xdp::BindMode;
use weir_dataplane_io::{memory, net};
use weir_dataplane_ring::Record;
use weir_ebpf_loader::AttachMode;
use weir_features_streaming::rows::{StreamRow, SummaryRow, kind};
use zerocopy::FromBytes;

use super::setup::Port;
use super::supervised::{self, Standing};
use super::takers::Taker;
use super::{Dataplane, changes, counters, experiments, flags, lock, services};
use crate::host;
use crate::supervise::DATAPLANE;

/// Sources shown of a window.
const BUSIEST: usize = 8;

/// Everything on one page.
///
/// # Errors
/// When the kernel does not give a counter.
pub(super) fn status(dataplane: &Dataplane) -> Result<Status> {
    let takers = dataplane.takers.list();
    let processes = processes(dataplane, &takers);
    let beside = processes.iter().map(|process| process.pss_bytes).sum();
    let rings = rings(dataplane)?;
    let (revision, pending) = changes::state(dataplane);
    Ok(Status {
        weir: Identity {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            uptime_s: dataplane.started.elapsed().as_secs_f64(),
            host: weir_appliance_lab::host::read(),
            upgrade: dataplane.supervised.upgrade(),
        },
        interfaces: dataplane
            .ports
            .iter()
            .zip(&dataplane.attached)
            .enumerate()
            .map(|(index, (port, attached))| interface(dataplane, index, port, attached))
            .collect(),
        features: features(dataplane, &takers),
        evicted: dataplane.takers.evicted(),
        log: dataplane.log.status(),
        streams: dataplane.streams.as_ref().map(super::streams::Streams::status),
        resources: Some(dataplane.shares.report()),
        preservation: dataplane.gate.status(dataplane, false),
        revision,
        pending,
        flags: flags::status(dataplane),
        experiments: experiments::running(dataplane),
        services: services::status(dataplane)?,
        processes,
        rings,
        queues: super::sends::queues(dataplane),
        counters: counters::balance(dataplane)?,
        memory: memory_status(dataplane, beside),
        cores: CoreStatus {
            plan: plan(&dataplane.cores),
            source: dataplane.cores.source.name().to_owned(),
            why: dataplane.cores.why.clone(),
            idle_cpu_percent: None,
        },
    })
}

/// `critical 1, batch 0`.
fn plan(cores: &weir_dataplane_io::cpu::CorePlan) -> String {
    let list = |cores: &[u32]| cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!("critical {}, batch {}", list(&cores.critical), list(&cores.batch))
}

fn interface(
    dataplane: &Dataplane,
    index: usize,
    port: &Port,
    attached: &weir_ebpf_loader::Attached,
) -> InterfaceStatus {
    let bound = port.bound.as_ref();
    let (mode, why) = match (attached.mode, bound) {
        (AttachMode::Generic, _) => (InterfaceMode::Generic, attached.why.clone()),
        (AttachMode::Native, Some((BindMode::ZeroCopy, why))) => (InterfaceMode::ZeroCopy, why.clone()),
        (AttachMode::Native, Some((BindMode::Copy, why))) => (InterfaceMode::NativeCopy, why.clone()),
        (AttachMode::Native, None) => (InterfaceMode::NativeCopy, "no queue is in use".to_owned()),
    };
    let now = net::link(port.spec.name.as_str()).ok();
    let name = port.spec.name.to_string();
    let cards = lock(&dataplane.cards);
    let (numa_node, placement) = (cards.node(index), cards.status(index));
    InterfaceStatus {
        name,
        mode,
        why,
        queues: port.queues,
        up: Some(now.as_ref().is_some_and(|link| link.up)),
        mtu: Some(port.link.mtu),
        numa_node,
        placement,
    }
}

fn rings(dataplane: &Dataplane) -> Result<Vec<RingStatus>> {
    let status = |ring: &super::Ring| {
        let figures = ring.gauges.read();
        let lost = counters::lost(ring, dataplane.mirrors(ring.class))?;
        Ok(RingStatus {
            interface: dataplane.ports.get(ring.port).map(|port| port.spec.name.to_string()).unwrap_or_default(),
            queue: ring.queue,
            class: ring.class,
            takers: dataplane.classes.takers(ring.class).names(),
            size: dataplane.rx_ring,
            fill: (figures.produced - figures.recycled.min(figures.produced)) as u32, // at most the ring's size
            dropped: lost.by_kernel(),
        })
    };
    let mut all: Vec<RingStatus> = dataplane.rings.iter().map(status).collect::<Result<_>>()?;
    for (streams, lane) in
        dataplane.streams.iter().flat_map(|streams| streams.lanes.iter().map(move |lane| (streams, lane)))
    {
        let figures = lane.gauges.read();
        all.push(RingStatus {
            interface: "streams".to_owned(),
            queue: 0,
            class: lane.class,
            takers: dataplane.classes.takers(lane.class).names(),
            size: streams.size,
            fill: (figures.produced - figures.recycled.min(figures.produced)) as u32, // at most the lane's size
            dropped: 0,                                                               // a full lane stops the receive
        });
    }
    Ok(all)
}

/// Figures of one process, from the last call to this one.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    last: BTreeMap<u32, (Instant, u64)>,
}

impl CpuMeter {
    /// Percent of one core that process `pid` has used since the last call; since its start at the first.
    fn percent(&mut self, pid: u32) -> f64 {
        let Some(used_ns) = host::process_cpu_ns(pid) else { return 0.0 };
        let now = Instant::now();
        let (since, before) = self.last.insert(pid, (now, used_ns)).unwrap_or((now, used_ns));
        let passed = now.duration_since(since).as_nanos() as f64;
        if passed == 0.0 { 0.0 } else { used_ns.saturating_sub(before) as f64 * 100.0 / passed }
    }
}

fn processes(dataplane: &Dataplane, takers: &[Taker]) -> Vec<ProcessStatus> {
    let mut meter = lock(&dataplane.cpu);
    let mut process = |name: String, pid: u32, standing: Standing, restarts| ProcessStatus {
        name,
        pid,
        state: standing.state,
        // What cannot be read (the process has just ended) counts as nothing, and the next status has it no more.
        pss_bytes: match pid {
            0 => 0,
            _ => memory::of_process(pid).map_or(0, |of| of.pss).saturating_sub(umem_share(dataplane, pid)),
        },
        cpu_percent: if pid == 0 { 0.0 } else { meter.percent(pid) },
        restarts,
        last_exit: standing.last_exit,
        reason: standing.reason,
        again_in_ms: standing.again_in_ms,
    };
    let own = dataplane.supervised.child(DATAPLANE).and_then(|child| child.last_exit);
    let mut all = vec![
        process("supervisor".into(), std::os::unix::process::parent_id(), Standing::running(None), 0),
        process("dataplane".into(), std::process::id(), Standing::running(own), dataplane.restarts),
    ];
    for taker in takers {
        let standing = supervised::standing(dataplane, &taker.name, Some(taker));
        all.push(process(format!("worker {}", taker.name), taker.pid, standing, taker.restarts));
    }
    let enabled: Vec<FeatureName> = lock(&dataplane.config).enabled().collect();
    for name in enabled.iter().map(|name| name.as_str()) {
        if takers.iter().any(|taker| taker.name == name) {
            continue;
        }
        let (pid, restarts) = dataplane.supervised.child(name).map_or((0, 0), |child| (child.pid, child.restarts));
        let standing = supervised::standing(dataplane, name, None);
        all.push(process(format!("worker {name}"), pid, standing, restarts));
    }
    let living: Vec<u32> = all.iter().map(|process| process.pid).collect();
    meter.last.retain(|pid, _| living.contains(pid));
    all
}

/// The frame memory's part of a process's share: plain pages are counted there, hugepages are not.
fn umem_share(dataplane: &Dataplane, pid: u32) -> u64 {
    match dataplane.umem.backing() {
        Backing::HugePages2M => 0,
        Backing::Plain { .. } => host::mapping_pss(pid, "weir-umem").unwrap_or(0),
    }
}

fn memory_status(dataplane: &Dataplane, beside: u64) -> MemoryStatus {
    let (backing, why) = match dataplane.umem.backing() {
        Backing::HugePages2M => ("hugepages-2M", "enough 2 MiB pages were free".to_owned()),
        Backing::Plain { why } => ("plain", why.clone()),
    };
    let umem_bytes = dataplane.umem.length() as u64;
    let node = dataplane.umem.residence().wished;
    // A kernel without NUMA does not answer, and then there is nothing to say.
    let seen = dataplane.umem.pages_by_node().unwrap_or_default();
    let on_node = node.filter(|_| !seen.is_empty()).map(|node| seen.keys().all(|seen| *seen == Some(node)));
    let name = |node: Option<u32>| node.map_or_else(|| "absent".to_owned(), |node| node.to_string());
    let pages = seen.into_iter().map(|(node, count)| (name(node), count)).collect();
    let backing = backing.to_owned();
    MemoryStatus { umem_bytes, backing, why, pss_beside_umem_bytes: beside, node, on_node, pages }
}

fn features(dataplane: &Dataplane, takers: &[Taker]) -> Vec<FeatureStatus> {
    let enabled: Vec<FeatureName> = lock(&dataplane.config).enabled().collect();
    enabled.into_iter().map(|name| feature(dataplane, takers, name)).collect()
}

fn feature(dataplane: &Dataplane, takers: &[Taker], name: FeatureName) -> FeatureStatus {
    let taker = takers.iter().find(|taker| taker.name == name.as_str());
    let Standing { state, reason, .. } = supervised::standing(dataplane, name.as_str(), taker);
    let rings = dataplane.rings_of(name.as_str()).unwrap_or_default();
    let behind = rings.iter().map(|ring| {
        let figures = ring.gauges.read();
        figures.produced.saturating_sub(figures.recycled)
    });
    let records = dataplane.board.read(name.as_str());
    let window = (name.base() == FeatureName::STREAMING).then(|| window(&records)).flatten();
    FeatureStatus {
        name,
        state,
        reason,
        frames: taken(dataplane, name.as_str()),
        events: dataplane.board.events(name.as_str()),
        records: dataplane.board.posted(name.as_str()),
        behind: behind.sum(),
        slowed_us: dataplane.chaos.delay(name.as_str()).as_micros() as u64, // at most 1 s
        sends: dataplane.sends.status(&lock(&dataplane.config), name),
        window,
    }
}

/// Frames that the taker `name` has finished, of the wire and of streams.
fn taken(dataplane: &Dataplane, name: &str) -> u64 {
    let streams = dataplane.streams.as_ref().map(|streams| streams.taken_of(name));
    let counts = [Some(dataplane.taken_of(name)), streams];
    counts.into_iter().flatten().map(|count| count.frames.load(std::sync::atomic::Ordering::Relaxed)).sum()
}

/// The one-second window that closed last.
fn window(records: &[Record]) -> Option<WindowStatus> {
    let summary = |record: &&Record| record.kind == kind::SUMMARY;
    let read = |record: &Record| SummaryRow::read_from_prefix(&record.body).ok().map(|(row, _)| row);
    let last = records.iter().rev().filter(summary).filter_map(read).find(|row| row.window_ms == 1000)?;
    let rows = records.iter().rev().filter(|record| record.kind == kind::WINDOW_1S);
    let rows = rows.filter_map(|record| StreamRow::read_from_prefix(&record.body).ok().map(|(row, _)| row));
    let mut rows: Vec<StreamRow> = rows.filter(|row| row.window_start_ns == last.window_start_ns).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    let samples: u64 = rows.iter().map(|row| u64::from(row.latency_samples as u32)).sum();
    let micros = |ns: u64| ns as f64 / 1000.0;
    let busiest = rows.iter().take(BUSIEST).map(|row| SourceWindow {
        source: if row.is_other() { "other".to_owned() } else { row.source.to_string() },
        kind: Some(row.kind),
        events: row.count,
        events_per_s: row.per_second(),
        p50_us: (row.latency_samples > 0).then(|| micros(row.latency_p50_ns)),
        p99_us: (row.latency_samples > 0).then(|| micros(row.latency_p99_ns)),
    });
    let sources: std::collections::BTreeSet<u32> = rows.iter().map(|row| row.source).collect();
    // Quantiles do not add up over rows; the worst row's is an upper bound for all, and that is what is shown.
    let worst = |pick: fn(&StreamRow) -> u64| rows.iter().map(pick).max().filter(|_| samples > 0).map(micros);
    let events = last.events + last.messages;
    Some(WindowStatus {
        length_ms: u64::from(last.window_ms),
        sources: sources.len() as u64,
        events,
        events_per_s: events as f64,
        p50_us: worst(|row| row.latency_p50_ns),
        p99_us: worst(|row| row.latency_p99_ns),
        missing: last.events_missing,
        top: busiest.collect(),
    })
}
