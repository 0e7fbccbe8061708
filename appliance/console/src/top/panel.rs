//! The parts of the screen: each gives its lines for a width, the title first.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use weir_appliance_control::message::{
    CoreStatus, FeatureStatus, InterfaceMode, MemoryStatus, ProcessState, Status, WindowStatus,
};

use super::history::Series;
use super::symbols::Symbols;
use super::view::View;
use crate::numbers::{bytes, exact, micros, percent, short};
use crate::status::sentence;

pub(super) const DIM: Style = Style::new().fg(Color::DarkGray);
const GOOD: Style = Style::new().fg(Color::Green);
const LESS: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const PLAIN: Style = Style::new();

/// A row under construction: cells of fixed width, then a rest.
pub(super) struct Row<'a> {
    spans: Vec<Span<'static>>,
    left: usize,
    symbols: &'a Symbols,
}

impl<'a> Row<'a> {
    pub(super) fn new(width: usize, symbols: &'a Symbols) -> Self {
        Self { spans: Vec::new(), left: width, symbols }
    }

    /// A cell to the left, and a space behind it.
    pub(super) fn text(self, text: &str, width: usize, style: Style) -> Self {
        self.cell(text, width, style, false)
    }

    /// A cell to the right, and a space behind it.
    pub(super) fn number(self, text: &str, width: usize, style: Style) -> Self {
        self.cell(text, width, style, true)
    }

    fn cell(mut self, text: &str, width: usize, style: Style, right: bool) -> Self {
        let width = width.min(self.left);
        let text = cut(text, width, *self.symbols);
        let text = if right { format!("{text:>width$}") } else { format!("{text:<width$}") };
        self.left -= width;
        self.spans.push(Span::styled(text, style));
        if self.left > 0 {
            self.spans.push(Span::raw(" "));
            self.left -= 1;
        }
        self
    }

    /// What is left of the line.
    pub(super) fn rest(self, text: &str, style: Style) -> Line<'static> {
        let width = self.left;
        Line::from(self.cell(text, width, style, false).spans)
    }

    pub(super) fn left(&self) -> usize {
        self.left
    }
}

/// The text in at most so many characters, without control characters.
pub(super) fn cut(text: &str, width: usize, symbols: Symbols) -> String {
    let mut text = crate::table::cut(text, width);
    if symbols == Symbols::Ascii {
        text = text.chars().map(|c| if c.is_ascii() { c } else { symbols.more() }).collect();
    }
    text
}

/// `Ports ─────────`.
pub(super) fn title(text: &str, width: usize, symbols: Symbols) -> Line<'static> {
    let rule = symbols.rule().repeat(width.saturating_sub(text.chars().count() + 1));
    Line::from(vec![
        Span::styled(text.to_owned(), Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD)),
        Span::styled(format!(" {rule}"), DIM),
    ])
}

/// What is done with frames: rate, total, sparkline.
pub(super) fn frames(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let row = |which: Series| {
        let rate = view.history.frames(which);
        let total = which.count(&status.counters).saturating_sub(which.count(&view.base));
        let style = match which {
            Series::Dropped if rate > 0.0 => BAD,
            Series::Delivered if rate > 0.0 => GOOD,
            Series::Forwarded | Series::Mirrored if rate > 0.0 => Style::new().fg(Color::Cyan),
            _ => PLAIN,
        };
        let row = Row::new(width, &view.symbols)
            .text(which.name(), 9, PLAIN)
            .number(&format!("{}/s", short(rate)), 8, style)
            .number(&exact(total), 19, DIM);
        let bars = view.symbols.sparkline(view.history.series(which, row.left()));
        row.rest(&bars, style)
    };
    let mut lines = vec![title("Frames a second, in all, and over time", width, view.symbols)];
    lines.extend(Series::ALL.into_iter().map(row));
    lines
}

/// Who took how many frames a second.
pub(super) fn takers(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let taker = |name: &String| format!("{name} {}/s", short(view.history.taken(name)));
    let all: Vec<_> = status.counters.per_taker.keys().map(taker).collect();
    if all.is_empty() {
        return Vec::new();
    }
    vec![Row::new(width, &view.symbols).text("taken by", 9, PLAIN).rest(&all.join(view.symbols.dot()), GOOD)]
}

/// Experiments that are not over, and a program that is just taking over or was refused.
pub(super) fn changing(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let row = |what: &str, text: &str, style| Row::new(width, &view.symbols).text(what, 10, PLAIN).rest(text, style);
    let upgrade = status.weir.upgrade.as_ref().and_then(crate::upgrade::line);
    let upgrade = upgrade.map(|line| row("program", &line, LESS));
    let experiments = status.experiments.iter().map(|experiment| {
        let style = if experiment.waits.is_some() { LESS } else { GOOD };
        row("experiment", &crate::experiment::line(experiment), style)
    });
    upgrade.into_iter().chain(experiments).collect()
}

/// Interfaces with mode and reason.
pub(super) fn ports(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("Ports", width, view.symbols)];
    lines.extend(status.interfaces.iter().map(|port| {
        let style = match (port.up, port.mode) {
            (Some(false), _) => BAD,
            (_, InterfaceMode::ZeroCopy) => GOOD,
            (_, InterfaceMode::NativeCopy) => PLAIN,
            (_, InterfaceMode::Generic) => LESS,
        };
        let mode = if port.up == Some(false) { "down" } else { port.mode.as_str() };
        Row::new(width, &view.symbols)
            .text(&port.name, 15, PLAIN)
            .text(mode, 11, style)
            .number(&format!("{} queue{}", port.queues, if port.queues == 1 { " " } else { "s" }), 9, PLAIN)
            .rest(&port.why, DIM)
    }));
    or_none(lines, "no port: add one with weir up --interface NAME")
}

/// Rings with how full they are.
pub(super) fn rings(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("Rings: queue, class, takers, how full, dropped", width, view.symbols)];
    lines.extend(status.rings.iter().map(|ring| {
        let full = f64::from(ring.fill) / f64::from(ring.size.max(1));
        let style = match full {
            full if full < 0.6 => GOOD,
            full if full < 0.9 => LESS,
            _ => BAD,
        };
        let dropped = if ring.dropped > 0 { BAD } else { DIM };
        Row::new(width, &view.symbols)
            .text(&format!("{} q{}", ring.interface, ring.queue), 15, PLAIN)
            .number(&format!("c{}", ring.class), 3, DIM)
            .text(&ring.takers.join("+"), 18, PLAIN)
            .text(&gauge(full, 12, view.symbols), 12, style)
            .number(&format!("{:.0}%", full * 100.0), 4, style)
            .number(&format!("of {}", ring.size), 8, DIM)
            .rest(&format!("{} dropped", short(ring.dropped as f64)), dropped)
    }));
    or_none(lines, "no ring: no rule and no flag gives frames to a feature")
}

fn gauge(full: f64, width: usize, symbols: Symbols) -> String {
    let (on, off) = symbols.gauge();
    // Anything at all shows as one cell; `as` saturates.
    let cells = ((full * width as f64).ceil() as usize).min(width);
    on.repeat(cells) + &off.repeat(width - cells)
}

/// Features with their latest window.
pub(super) fn features(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("Features: frames and events a second, sources, p50, p99, behind", width, view.symbols)];
    lines.extend(status.features.iter().map(|feature| feature_row(view, feature, width)));
    let mut lines = or_none(lines, "no feature runs");
    lines.extend(takers(view, status, width));
    lines
}

fn feature_row(view: &View, feature: &FeatureStatus, width: usize) -> Line<'static> {
    let name = feature.name.as_str();
    let window = feature.window.as_ref();
    let events = window.map_or_else(|| view.history.feature_events(name), |window| window.events_per_s);
    let sources = window.map_or_else(|| "-".to_owned(), |window| window.sources.to_string());
    let behind = if feature.behind > 0 { LESS } else { DIM };
    Row::new(width, &view.symbols)
        .text(name, 10, PLAIN)
        .text(feature.state.as_str(), 11, state_style(feature.state))
        .number(&format!("{} f/s", short(view.history.feature_frames(name))), 9, GOOD)
        .number(&format!("{} ev/s", short(events)), 10, GOOD)
        .number(&format!("{sources} src"), 7, PLAIN)
        .number(&micros(window.and_then(|window| window.p50_us)), 7, PLAIN)
        .number(&micros(window.and_then(|window| window.p99_us)), 7, PLAIN)
        .rest(&format!("{} behind", short(feature.behind as f64)), behind)
}

/// The busiest sources of a feature's latest window.
pub(super) fn window(view: &View, window: &WindowStatus, width: usize) -> Vec<Line<'static>> {
    let head = format!(
        "Window of {} ms: {} events from {} sources, {} missing",
        window.length_ms,
        exact(window.events),
        window.sources,
        window.missing
    );
    let mut lines = vec![title(&head, width, view.symbols)];
    lines.extend(window.top.iter().map(|source| {
        let kind = source.kind.map(|kind| format!("type {kind}")).unwrap_or_default();
        Row::new(width, &view.symbols)
            .text(&source.source, 24, PLAIN)
            .text(&kind, 12, DIM)
            .number(&format!("{} ev/s", short(source.events_per_s)), 12, GOOD)
            .number(&micros(source.p50_us), 9, PLAIN)
            .rest(&micros(source.p99_us), PLAIN)
    }));
    lines
}

/// One reason: its name, the rate, the count since the reset, and whether frames were dropped for it.
pub(super) struct ReasonRow {
    pub(super) name: String,
    rate: f64,
    count: u64,
    dropped: bool,
}

/// Reasons that were seen, the busiest first, those of drops before those of oddities that passed.
pub(super) fn reasons(view: &View, status: &Status) -> Vec<ReasonRow> {
    let since = |now: u64, base: Option<&u64>| now.saturating_sub(base.copied().unwrap_or(0));
    let dropped = status.counters.dropped.iter().map(|(name, count)| ReasonRow {
        rate: view.history.dropped(name),
        count: since(*count, view.base.dropped.get(name)),
        name: name.clone(),
        dropped: true,
    });
    let noted = status.counters.noted.iter().map(|(name, count)| ReasonRow {
        rate: view.history.noted(name),
        count: since(*count, view.base.noted.get(name)),
        name: name.clone(),
        dropped: false,
    });
    let mut rows: Vec<_> = dropped.chain(noted).filter(|row| row.count > 0).collect();
    rows.sort_by(|a, b| b.dropped.cmp(&a.dropped).then(b.rate.total_cmp(&a.rate)).then(b.count.cmp(&a.count)));
    rows
}

/// Drops by reason, each with what it means.
pub(super) fn drops(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("Drops, and oddities that passed, by reason", width, view.symbols)];
    lines.extend(reasons(view, status).iter().map(|row| {
        let style = if row.dropped { BAD } else { LESS };
        Row::new(width, &view.symbols)
            .text(&row.name, 20, if row.rate > 0.0 { style } else { PLAIN })
            .number(&format!("{}/s", short(row.rate)), 8, if row.rate > 0.0 { style } else { DIM })
            .number(&short(row.count as f64), 6, DIM)
            .rest(&format!("{}{}", if row.dropped { "" } else { "passed: " }, sentence(&row.name)), PLAIN)
    }));
    or_none(lines, "nothing was dropped")
}

/// Processes with memory and CPU.
pub(super) fn processes(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title("Processes: memory, CPU, restarts", width, view.symbols)];
    lines.extend(status.processes.iter().flat_map(|process| {
        let pid = if process.pid == 0 { "-".to_owned() } else { process.pid.to_string() };
        let restarts = format!("{} restarts", process.restarts);
        let row = Row::new(width, &view.symbols)
            .text(&process.name, 20, PLAIN)
            .number(&pid, 8, DIM)
            .text(process.state.as_str(), 11, state_style(process.state))
            .number(&bytes(process.pss_bytes), 9, PLAIN)
            .number(&percent(process.cpu_percent), 6, PLAIN)
            .text(&restarts, 11, if process.restarts > 0 { LESS } else { DIM })
            .rest(process.last_exit.as_deref().unwrap_or_default(), DIM);
        let note =
            |note: String| Row::new(width, &view.symbols).text("", 2, DIM).rest(&note, state_style(process.state));
        std::iter::once(row).chain(process.notes().map(note)).collect::<Vec<_>>()
    }));
    or_none(lines, "no process")
}

/// Memory and cores.
pub(super) fn host(view: &View, status: &Status, width: usize) -> Vec<Line<'static>> {
    let MemoryStatus { umem_bytes, backing, why, pss_beside_umem_bytes, .. } = &status.memory;
    let CoreStatus { plan, source, idle_cpu_percent, .. } = &status.cores;
    let node = crate::placement::node_of_frames(&status.memory);
    let host = &status.weir.host;
    let row = |name: &str, text: String| Row::new(width, &view.symbols).text(name, 9, DIM).rest(&text, PLAIN);
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let idle = idle_cpu_percent.map(|idle| format!("; idle {} of a core", percent(idle))).unwrap_or_default();
    vec![
        title("Memory, cores, host", width, view.symbols),
        row("frames", format!("{} on {backing}{node}{why}", bytes(*umem_bytes))),
        row("beside", bytes(*pss_beside_umem_bytes)),
        row("cores", format!("{plan} ({source}){idle}")),
        row("host", crate::figures::host(host)),
    ]
}

fn state_style(state: ProcessState) -> Style {
    match state {
        ProcessState::Running => GOOD,
        ProcessState::Starting | ProcessState::Stopping => LESS,
        ProcessState::Stalled | ProcessState::BackingOff | ProcessState::Parked | ProcessState::Stopped => BAD,
    }
}

fn or_none(mut lines: Vec<Line<'static>>, text: &str) -> Vec<Line<'static>> {
    if lines.len() == 1 {
        lines.push(Line::styled(text.to_owned(), DIM));
    }
    lines
}
