//! Puts a view on a screen.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};
use weir_appliance_control::message::Status;
use weir_appliance_control::problem::Problem;

use super::panel::{self, DIM, Row, cut};
use super::symbols::Symbols;
use super::view::{Known, Tab, View};
use crate::numbers::duration;
use crate::table::wrap;

const KEYS: &str = "q quit  p pause  r reset  tab page  up/down select  ? help";
const HELP: [&str; 10] = [
    "q, Esc       quit",
    "p, space     pause, and go on",
    "r            count from now on",
    "tab, right   next page",
    "left         page before",
    "1 to 6       a page by its number",
    "up, down     select a row",
    "home, end    first and last row",
    "?            this help",
    "any key      close it",
];

/// Draws the view over the whole frame. Made for 80x24 and larger; on a smaller one the lower and right parts are cut.
pub fn draw(frame: &mut Frame, view: &View) {
    let area = frame.area();
    let width = usize::from(area.width);
    let mut lines = header(view, width);
    let foot = Row::new(width, &view.symbols).rest(KEYS, DIM);
    let room = usize::from(area.height).saturating_sub(lines.len() + 1);
    let mut body = match &view.known {
        Known::Nothing => absent(&["asking weir for its status".to_owned()], room, width),
        Known::Absent(problem) => absent(&not_running(problem, width), room, width),
        Known::Present(status) => page(view, status, width, room),
    };
    body.resize_with(room, Line::default);
    lines.append(&mut body);
    lines.push(foot);
    frame.render_widget(Paragraph::new(lines), area);
    if view.help {
        help(frame, area, view.symbols);
    }
}

/// The banner if there is one, then who is watched, then the pages.
fn header(view: &View, width: usize) -> Vec<Line<'static>> {
    let bar = Style::new().fg(Color::Black).bg(Color::Cyan);
    let mut lines = Vec::new();
    if let Some(banner) = &view.banner {
        let left = banner.left.map(|left| format!("{} left", duration(left.as_secs_f64()))).unwrap_or_default();
        lines.push(ends(&banner.line, &left, width, Style::new().fg(Color::Black).bg(Color::Yellow), view.symbols));
    }
    let state = if view.paused { "PAUSED" } else { "" };
    let who = match &view.known {
        Known::Present(status) => {
            let weir = &status.weir;
            let parts = [
                format!("weir {}", weir.version),
                weir.host.name.clone(),
                format!("up {}", duration(weir.uptime_s)),
                if weir.host.kernel.is_empty() { String::new() } else { format!("Linux {}", weir.host.kernel) },
            ];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(view.symbols.dot())
        }
        Known::Nothing | Known::Absent(_) => "weir".to_owned(),
    };
    lines.push(ends(&who, state, width, bar, view.symbols));
    let mut tabs = Vec::new();
    for (number, tab) in Tab::ALL.into_iter().enumerate() {
        let style = if tab == view.tab { Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD) } else { DIM };
        tabs.push(Span::styled(format!(" {} {} ", number + 1, tab.name()), style));
    }
    lines.push(Line::from(tabs));
    lines
}

/// One text at the left end, one at the right, over the whole width.
fn ends(left: &str, right: &str, width: usize, style: Style, symbols: Symbols) -> Line<'static> {
    let right = cut(right, width.saturating_sub(2), symbols);
    let room = width.saturating_sub(right.chars().count() + 3);
    let left = cut(left, room, symbols);
    Line::styled(format!(" {left:<room$} {right} "), style)
}

fn not_running(problem: &Problem, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for text in [&problem.value, &problem.cause, &problem.cure] {
        lines.extend(wrap(text, width.saturating_sub(4)));
        lines.push(String::new());
    }
    lines.push("this page looks again twice a second".to_owned());
    lines
}

/// The texts in the middle of the page.
fn absent(texts: &[String], room: usize, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default(); room.saturating_sub(texts.len()) / 2];
    let line = |(at, text): (usize, &String)| {
        let style = if at == 0 { Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD) } else { Style::new() };
        Line::styled(format!("{text:^width$}"), style)
    };
    lines.extend(texts.iter().enumerate().map(line));
    lines
}

fn page(view: &View, status: &Status, width: usize, room: usize) -> Vec<Line<'static>> {
    match view.tab {
        Tab::Overview => overview(view, status, width, room),
        Tab::Ports => {
            let detail = status.interfaces.get(view.selected).map(|port| {
                let mtu = port.mtu.map(|mtu| format!(", longest payload {mtu} bytes")).unwrap_or_default();
                format!("{}: {} on {} queues{mtu}, because: {}", port.name, port.mode.as_str(), port.queues, port.why)
            });
            list(view, panel::ports(view, status, width), text(detail, width), room)
        }
        Tab::Rings => {
            let detail = status.rings.get(view.selected).map(|ring| {
                let takers = ring.takers.join(" and ");
                format!(
                    "{} queue {} class {}: {} of {} descriptors wait for {takers}; the kernel dropped {} frames here because the \
                     ring was full or had no frame to fill",
                    ring.interface, ring.queue, ring.class, ring.fill, ring.size, ring.dropped
                )
            });
            list(view, panel::rings(view, status, width), text(detail, width), room)
        }
        Tab::Features => {
            let window = status.features.get(view.selected).and_then(|feature| feature.window.as_ref());
            let detail = window.map(|window| panel::window(view, window, width)).unwrap_or_default();
            list(view, panel::features(view, status, width), detail, room)
        }
        Tab::Drops => {
            let rows = panel::reasons(view, status);
            let detail =
                rows.get(view.selected).map(|row| format!("{}: {}", row.name, crate::status::sentence(&row.name)));
            list(view, panel::drops(view, status, width), text(detail, width), room)
        }
        Tab::Processes => list(view, panel::processes(view, status, width), panel::host(view, status, width), room),
    }
}

fn text(detail: Option<String>, width: usize) -> Vec<Line<'static>> {
    detail.iter().flat_map(|text| wrap(text, width)).map(Line::from).collect()
}

/// A list with its selected row marked and kept in sight, details below it.
fn list(view: &View, mut lines: Vec<Line<'static>>, detail: Vec<Line<'static>>, room: usize) -> Vec<Line<'static>> {
    // The title is not a row.
    if let Some(line) = lines.get_mut(view.selected + 1) {
        line.style = line.style.add_modifier(Modifier::REVERSED);
    }
    // Details get at most half of the page, an empty line before them.
    let below = if detail.is_empty() { 0 } else { (detail.len() + 1).min(room / 2) };
    let above = room.saturating_sub(below);
    if lines.len() > above {
        let rows = above.saturating_sub(1);
        let first = (view.selected + 1).saturating_sub(rows);
        lines.drain(1..=first.min(lines.len() - 1)).for_each(drop);
        lines.truncate(above);
    }
    if below > 0 {
        lines.push(Line::default());
        lines.extend(detail.into_iter().take(below - 1));
    }
    lines
}

/// Something of everything: frames whole, then each list with what room there is.
fn overview(view: &View, status: &Status, width: usize, room: usize) -> Vec<Line<'static>> {
    let mut lines = panel::frames(view, status, width);
    // What changes the box by itself comes before what it does, two lines at most: weir status has the rest.
    lines.extend(panel::changing(view, status, width).into_iter().take(2));
    let lists = [
        panel::ports(view, status, width),
        panel::rings(view, status, width),
        panel::features(view, status, width),
        panel::drops(view, status, width),
    ];
    let wanted = lists.each_ref().map(Vec::len);
    let given = share(room.saturating_sub(lines.len()), wanted);
    for ((mut list, given), page) in lists.into_iter().zip(given).zip(2..) {
        let hidden = list.len() - given.min(list.len());
        list.truncate(given);
        // The last row that is shown says how many are not, unless that would hide the only row.
        if let Some(last) = list.last_mut().filter(|_| hidden > 0 && given > 2) {
            *last = Row::new(width, &view.symbols).rest(&format!("and {} more: press {page}", hidden + 1), DIM);
        }
        lines.append(&mut list);
    }
    lines
}

/// Shares rows among lists: a title and one row for each, then one row more in turn for each that wants one.
fn share<const N: usize>(room: usize, wanted: [usize; N]) -> [usize; N] {
    let mut given = wanted.map(|wanted| wanted.min(2));
    let mut left = room.saturating_sub(given.iter().sum());
    while left > 0 {
        let before = left;
        for (given, wanted) in given.iter_mut().zip(wanted) {
            if *given < wanted && left > 0 {
                *given += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    given
}

fn help(frame: &mut Frame, area: Rect, symbols: Symbols) {
    let (width, height) = (40.min(area.width), (HELP.len() as u16 + 2).min(area.height)); // ten lines
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let mut block = Block::new().borders(Borders::ALL).title(" keys ").title_alignment(Alignment::Center);
    if symbols == Symbols::Ascii {
        block = block.border_set(ASCII_BORDER);
    }
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(HELP.map(Line::from).to_vec()).block(block), place);
}

const ASCII_BORDER: ratatui::symbols::border::Set<'_> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn rows_are_shared_in_turn() {
        assert_eq!(share(20, [3, 3, 3, 3]), [3, 3, 3, 3]);
        assert_eq!(share(10, [9, 2, 9, 2]), [3, 2, 3, 2]);
        assert_eq!(share(3, [9, 9, 9, 9]), [2, 2, 2, 2], "what does not fit is cut by the screen");
    }
}
