//! One screen as a file: text, or a picture of a terminal.

use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::{View, draw};

/// Draws the view into a screen of this size in memory.
pub fn render(view: &View, columns: u16, rows: u16) -> Buffer {
    // A screen in memory cannot fail: both errors are of the type that has no value.
    let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, rows));
    let Ok(_) = terminal.draw(|frame| draw(frame, view));
    terminal.backend().buffer().clone()
}

/// The screen as text, a line for each row, without spaces at the ends.
pub fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in rows(buffer) {
        let line: String = row.iter().map(Cell::symbol).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn rows(buffer: &Buffer) -> impl Iterator<Item = &[Cell]> {
    buffer.content.chunks(usize::from(buffer.area.width).max(1))
}

/// Size of one character in the picture, in SVG units.
const CELL: (f64, f64) = (8.4, 17.0);
/// Room around the text.
const MARGIN: f64 = 12.0;
const FOREGROUND: &str = "#d8dee9";
const BACKGROUND: &str = "#1b1f27";

/// The screen as a picture: SVG text in a monospaced face on a dark ground, with the colours of the screen.
pub fn svg(buffer: &Buffer) -> String {
    let width = f64::from(buffer.area.width) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(buffer.area.height) * CELL.1 + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" font-size=\"14\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" xml:space=\"preserve\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n"
    );
    for (number, row) in rows(buffer).enumerate() {
        let y = MARGIN + number as f64 * CELL.1;
        let mut column = 0;
        for run in row.chunk_by(|a, b| look(a) == look(b)) {
            part(&mut svg, run, MARGIN + column as f64 * CELL.0, y);
            column += run.len();
        }
    }
    svg + "</svg>\n"
}

/// What cells of one run have in common: foreground, background, bold.
fn look(cell: &Cell) -> (&'static str, &'static str, bool) {
    let (front, back) = (colour(cell.fg, FOREGROUND), colour(cell.bg, BACKGROUND));
    let bold = cell.modifier.contains(Modifier::BOLD);
    if cell.modifier.contains(Modifier::REVERSED) { (back, front, bold) } else { (front, back, bold) }
}

fn part(svg: &mut String, run: &[Cell], x: f64, y: f64) {
    let Some((front, back, bold)) = run.first().map(look) else { return };
    let width = run.len() as f64 * CELL.0;
    if back != BACKGROUND {
        let height = CELL.1;
        let _ =
            writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{back}\"/>");
    }
    let text: String = run.iter().map(Cell::symbol).collect();
    if text.trim().is_empty() {
        return;
    }
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    // `textLength` keeps columns in line in a face whose characters are a little wider or narrower.
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{front}\"{weight} textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>",
        y + 13.0,
        escaped(&text)
    );
}

/// XML keeps single spaces only unless told otherwise; a no-break space is kept by every viewer.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            ' ' => out.push('\u{a0}'),
            c => out.push(c),
        }
    }
    out
}

/// The sixteen colours of a terminal; any other is shown as the default.
fn colour(colour: Color, default: &'static str) -> &'static str {
    match colour {
        Color::Black => "#1b1f27",
        Color::Red => "#e06c75",
        Color::Green => "#8fc379",
        Color::Yellow => "#e5c07b",
        Color::Blue => "#61afef",
        Color::Magenta => "#c678dd",
        Color::Cyan => "#56b6c2",
        Color::Gray => "#abb2bf",
        Color::DarkGray => "#6b7487",
        Color::LightRed => "#ff7b86",
        Color::LightGreen => "#a9dc93",
        Color::LightYellow => "#ffd68a",
        Color::LightBlue => "#82c7ff",
        Color::LightMagenta => "#dc9af0",
        Color::LightCyan => "#7fd5e0",
        Color::White => "#ffffff",
        _ => default,
    }
}
