//! `weir status`: everything on one page.

use std::io::{self, Write};

use clap::Args;
use weir_appliance_control::keeper::PendingChange;
use weir_appliance_control::message::{
    Answer, Counters, FeatureStatus, LogStatus, Loss, ProcessState, Request, SendStatus, Status, StreamsStatus,
};
use weir_appliance_control::taker::FeatureName;
use weir_ebpf_abi::reason::Reason;

use crate::answer::{Ask, Exit, Outcome, json, unexpected};
use crate::numbers::{bytes, duration, exact, micros, percent, short};
use crate::placement;
use crate::table::{Column, Table, say};
use crate::{experiment, flag, resources, service, upgrade};

/// Show the state on one page: ports with their mode, processes, rings, counters, features.
///
/// Exit code 1 if a process that shall run does not, or a frame is not accounted for.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl StatusArgs {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self.ask.call(&Request::Status)? {
            Answer::Status(status) if self.ask.json => json(&status, out).map(|_| exit(&status)),
            Answer::Status(status) => Ok(render(&status, out).map(|()| exit(&status))?),
            other => Err(unexpected(&self.ask.socket, &other).into()),
        }
    }
}

/// Whether all is as it should be.
pub fn exit(status: &Status) -> Exit {
    let at_work = |state| {
        use ProcessState::{Running, Starting, Stopped, Stopping};
        // Who was stopped on purpose does as it should.
        matches!(state, Running | Starting | Stopping | Stopped)
    };
    let all_run = status.processes.iter().all(|process| at_work(process.state));
    if all_run && status.counters.is_balanced() { Exit::Done } else { Exit::NotSo }
}

/// What a reason means, in one clause; the reason itself if this version does not know it.
pub(crate) fn sentence(reason: &str) -> &str {
    let classified = Reason::from_name(reason).map(Reason::sentence);
    classified.or_else(|| Loss::from_name(reason).map(Loss::sentence)).unwrap_or(reason)
}

/// Prints the page.
///
/// # Errors
/// The output cannot be written.
pub fn render(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    head(status, out)?;
    let mut ports =
        Table::new([Column::Name("port"), Column::Name("mode"), Column::Number("queues"), Column::Text("why")]);
    for port in &status.interfaces {
        let mode = if port.up == Some(false) {
            format!("{}, down", port.mode.as_str())
        } else {
            port.mode.as_str().to_owned()
        };
        ports.row([port.name.clone(), mode, port.queues.to_string(), port.why.clone()]);
    }
    section(out, &ports, "no port: add one with weir up --interface NAME")?;
    for line in status.interfaces.iter().flat_map(placement::lines) {
        say(out, &line)?;
    }
    counters(&status.counters, out)?;
    section(out, &rings(status), "no ring: no rule and no flag gives frames to a feature")?;
    section(out, &features(&status.features), "no feature runs")?;
    for slow in status.features.iter().filter(|feature| feature.slowed_us > 0) {
        let rest = micros(Some(slow.slowed_us as f64));
        writeln!(out, "{} is slow on purpose (weir chaos): it rests {rest} after each batch", slow.name)?;
    }
    for (feature, sends) in status.features.iter().filter_map(|it| Some((it.name, it.sends.as_ref()?))) {
        for line in sends_lines(feature, sends) {
            say(out, &line)?;
        }
    }
    for line in status.resources.iter().flat_map(resources::status_lines) {
        say(out, &line)?;
    }
    steering(status, out)?;
    section(out, &processes(status), "no process")?;
    for process in &status.processes {
        for note in process.notes() {
            say(out, &format!("  {}: {note}", process.name))?;
        }
    }
    if status.evicted > 0 {
        writeln!(out, "{} workers were killed for breaking the rules of the rings", status.evicted)?;
    }
    if let Some(log) = &status.log {
        say(out, &log_line(log))?;
    }
    for line in status.streams.iter().flat_map(streams_lines) {
        say(out, &line)?;
    }
    writeln!(out)?;
    let memory = &status.memory;
    let why = if memory.why.is_empty() { String::new() } else { format!(" ({})", memory.why) };
    let node = placement::node_of_frames(memory);
    let frames = format!("memory  {} of frames on {}{node}{why}", bytes(memory.umem_bytes), memory.backing);
    say(out, &frames)?;
    writeln!(out, "        {} beside them", bytes(memory.pss_beside_umem_bytes))?;
    let idle =
        status.cores.idle_cpu_percent.map(|idle| format!("; idle {} of a core", percent(idle))).unwrap_or_default();
    say(out, &format!("cores   {} ({}){idle}", status.cores.plan, status.cores.source))
}

/// Which weir this is, and what is about to change.
fn head(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let weir = &status.weir;
    let head = format!("weir {} on {}, up {}", weir.version, weir.host.name, duration(weir.uptime_s));
    say(out, &head)?;
    if let Some(line) = weir.upgrade.as_ref().and_then(upgrade::line) {
        say(out, &line)?;
    }
    if let Some(pending) = &status.pending {
        let reason = if pending.reason.is_empty() { String::new() } else { format!(" ({})", pending.reason) };
        let PendingChange { revision, left_s, author, .. } = pending;
        let line =
            format!("UNCONFIRMED for {left_s} s more: revision {revision} by {author}{reason}; weir confirm keeps it");
        say(out, &line)?;
    }
    Ok(())
}

/// Flags, experiments and services, where there are any.
fn steering(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    if !status.flags.is_empty() {
        section(out, &flag::table(&status.flags), "")?;
    }
    if !status.experiments.is_empty() {
        section(out, &experiment::table(&status.experiments), "")?;
    }
    if !status.services.is_empty() {
        section(out, &service::table(&status.services), "")?;
    }
    Ok(())
}

/// What a feature sends, and a second line where it did not send all it named.
fn sends_lines(feature: FeatureName, sends: &SendStatus) -> impl Iterator<Item = String> {
    let cap = sends.cap_mbit.map(|mbit| format!(", at most {mbit} Mbit/s")).unwrap_or_default();
    let fates = [
        ("capped", sends.capped),
        ("full", sends.full),
        ("already-sent", sends.already_sent),
        ("abandoned", sends.abandoned),
    ];
    let reasons = sends.reasons.iter().map(|(reason, count)| (reason.as_str(), *count));
    let not = fates.into_iter().chain(reasons).filter(|(_, count)| *count > 0);
    let not: Vec<String> = not.map(|(reason, count)| format!("{reason} {}", exact(count))).collect();
    let sent = format!("{feature} sent {} of {} frames it named{cap}", exact(sends.sent), exact(sends.requested));
    [Some(sent), (!not.is_empty()).then(|| format!("  not sent: {}", not.join(", ")))].into_iter().flatten()
}

/// One line about the durable log; what is wrong with it comes first.
fn log_line(log: &LogStatus) -> String {
    let lost = if log.dropped > 0 { format!(", {} NOT logged", exact(log.dropped)) } else { String::new() };
    match &log.failure {
        Some(failure) => format!("log     STANDS STILL at record {}{lost}: {failure}", log.durable),
        None => {
            format!("log     {} frames, durable below record {}{lost}; {}", exact(log.frames), log.durable, log.folder)
        }
    }
}

fn section(out: &mut dyn Write, table: &Table, otherwise: &str) -> io::Result<()> {
    writeln!(out)?;
    table.write(otherwise, out)
}

fn counters(counters: &Counters, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([Column::Name("frames"), Column::Number("count"), Column::Text("which are")]);
    let mut row = |name: &str, count: u64, text: &str| table.row([name.to_owned(), exact(count), text.to_owned()]);
    row("received", counters.received, "seen by the classifier");
    row("passed", counters.passed, "given to this host's network stack");
    let mirrored = format!("sent on to an agent; {} of them mirrored", exact(counters.mirrored));
    row("forwarded", counters.forwarded, &mirrored);
    let takers: Vec<_> = counters.per_taker.iter().map(|(name, count)| format!("{name} {}", exact(*count))).collect();
    row(
        "delivered",
        counters.delivered,
        &format!("on rings; taken: {}", if takers.is_empty() { "none".into() } else { takers.join(", ") }),
    );
    row("dropped", counters.dropped_total(), "for these reasons:");
    for (reason, count) in counters.dropped.iter().filter(|(_, count)| **count > 0) {
        row(&format!("  {reason}"), *count, sentence(reason));
    }
    for (reason, count) in counters.noted.iter().filter(|(_, count)| **count > 0) {
        row(&format!("  {reason}"), *count, &format!("not dropped: {}", sentence(reason)));
    }
    if !counters.is_balanced() {
        let sum = counters.passed + counters.dropped_total() + counters.forwarded + counters.delivered;
        row("missing", counters.received.saturating_sub(sum), "received, and not accounted for");
    }
    section(out, &table, "")
}

fn rings(status: &Status) -> Table {
    let mut table = Table::new([
        Column::Name("ring"),
        Column::Number("queue"),
        Column::Number("class"),
        Column::Text("takers"),
        Column::Number("full"),
        Column::Number("dropped"),
    ]);
    for ring in &status.rings {
        let full = 100.0 * f64::from(ring.fill) / f64::from(ring.size.max(1));
        let takers = ring.takers.join(" + ");
        let (queue, class) = (ring.queue.to_string(), ring.class.to_string());
        table.row([
            ring.interface.clone(),
            queue,
            class,
            takers,
            format!("{full:.0}% of {}", ring.size),
            exact(ring.dropped),
        ]);
    }
    table
}

fn features(features: &[FeatureStatus]) -> Table {
    let mut table = Table::new([
        Column::Name("feature"),
        Column::Name("state"),
        Column::Number("frames"),
        Column::Number("events"),
        Column::Number("behind"),
        Column::Number("sources"),
        Column::Number("events/s"),
        Column::Number("p50"),
        Column::Number("p99"),
    ]);
    for feature in features {
        let window = feature.window.as_ref();
        let of_window = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row([
            feature.name.to_string(),
            feature.state.as_str().to_owned(),
            short(feature.frames as f64),
            short(feature.events as f64),
            short(feature.behind as f64),
            of_window(window.map(|window| window.sources.to_string())),
            of_window(window.map(|window| short(window.events_per_s))),
            micros(window.and_then(|window| window.p50_us)),
            micros(window.and_then(|window| window.p99_us)),
        ]);
    }
    table
}

/// The streams: what came and what is held, and in a second line how many connections were refused for which reason.
fn streams_lines(streams: &StreamsStatus) -> Vec<String> {
    if let Some(failure) = &streams.failure {
        return vec![format!("streams STAND STILL: {failure}")];
    }
    let mut lines = vec![format!(
        "streams {} connections, {} messages, {} held, {} untaken, {} came twice",
        streams.connections,
        short(streams.messages as f64),
        short(streams.held as f64),
        short(streams.untaken as f64),
        short(streams.duplicates as f64),
    )];
    let refused: Vec<_> = streams.refused.iter().filter(|(_, count)| **count > 0).collect();
    if !refused.is_empty() {
        let refused: Vec<_> = refused.iter().map(|(reason, count)| format!("{reason} {}", exact(**count))).collect();
        lines.push(format!("        connections refused: {}", refused.join(", ")));
    }
    lines
}

fn processes(status: &Status) -> Table {
    let mut table = Table::new([
        Column::Name("process"),
        Column::Number("pid"),
        Column::Name("state"),
        Column::Number("memory"),
        Column::Number("cpu"),
        Column::Number("restarts"),
        Column::Text("ended by"),
    ]);
    for process in &status.processes {
        let pid = if process.pid == 0 { "-".to_owned() } else { process.pid.to_string() };
        table.row([
            process.name.clone(),
            pid,
            process.state.as_str().to_owned(),
            bytes(process.pss_bytes),
            percent(process.cpu_percent),
            process.restarts.to_string(),
            process.last_exit.clone().unwrap_or_default(),
        ]);
    }
    table
}
