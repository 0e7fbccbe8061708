//! How a load run went over time, as SVG.

use std::fmt::Write as _;

use super::chart::{Course, Point};
use crate::numbers::{duration, micros, short};

/// Size of the picture, and where the graphs lie in it, in pixels.
const WIDTH: f64 = 816.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 88.0;
const RIGHT: f64 = 800.0;

/// Colours of the screen picture: ground, text, faint text, and one for each line.
const GROUND: &str = "#16181d";
const TEXT: &str = "#d8dce4";
const FAINT: &str = "#6b7280";
const OFFERED: &str = "#56b6c2";
const CAME: &str = "#98c379";
const SHED: &str = "#e06c75";
const P99: &str = "#e5c07b";

/// A graph: its name and greatest value, and where it lies.
struct Panel {
    top: f64,
    bottom: f64,
    most: f64,
}

/// Rates above, p99 below, both from 0 to the greatest value.
pub(super) fn svg(course: &Course, title: &str) -> String {
    let title = escaped(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" rx=\"6\" \
         fill=\"{GROUND}\"/>\n<g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
         font-size=\"13\">\n"
    );
    text(&mut svg, (16.0, 28.0), TEXT, &title);
    for (x, colour, name) in [(LEFT, OFFERED, "offered/s"), (200.0, CAME, "came/s"), (300.0, SHED, "shed/s")] {
        text(&mut svg, (x, 54.0), colour, name);
    }
    let most = course.most(|point| point.offered.max(point.delivered).max(point.shed));
    let rates = Panel { top: 64.0, bottom: 224.0, most };
    rates.frame(&mut svg, &short(most));
    rates.line(&mut svg, course, OFFERED, |point| Some(point.offered));
    rates.line(&mut svg, course, CAME, |point| Some(point.delivered));
    rates.line(&mut svg, course, SHED, |point| Some(point.shed));
    text(&mut svg, (LEFT, 258.0), P99, "p99 from when frames were due");
    let most = course.most(|point| point.p99_us.unwrap_or(0.0));
    let latency = Panel { top: 268.0, bottom: 380.0, most };
    latency.frame(&mut svg, &micros(Some(most)));
    latency.line(&mut svg, course, P99, |point| point.p99_us);
    text(&mut svg, (LEFT, 404.0), FAINT, "0");
    let length = duration(course.length().as_secs_f64());
    text(&mut svg, (RIGHT - 8.0 * length.len() as f64, 404.0), FAINT, &length);
    svg.push_str("</g>\n</svg>\n");
    svg
}

impl Panel {
    /// The lines at zero and at the greatest value.
    fn frame(&self, svg: &mut String, most: &str) {
        for (y, label) in [(self.top, most), (self.bottom, "0")] {
            // Writing to a string cannot fail.
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y}H{RIGHT}\" stroke=\"{FAINT}\" stroke-width=\"0.5\"/>");
            text(svg, (LEFT - 8.0 - 8.0 * label.chars().count() as f64, y + 4.0), FAINT, label);
        }
    }

    /// One value over time; where there is none, the line is broken.
    fn line(&self, svg: &mut String, course: &Course, colour: &str, value: impl Fn(&Point) -> Option<f64>) {
        let step = (RIGHT - LEFT) / course.points.len().max(1) as f64;
        let (mut path, mut pen_down) = (String::new(), false);
        for (place, point) in course.points.iter().enumerate() {
            let Some(value) = value(point) else {
                pen_down = false;
                continue;
            };
            let part = if self.most > 0.0 { value / self.most } else { 0.0 };
            let (x, y) = (LEFT + place as f64 * step, self.bottom - part * (self.bottom - self.top));
            let word = if pen_down { 'L' } else { 'M' };
            // A flat stretch for the whole of the part: the value is its mean, not a moment's.
            let _ = write!(path, "{word}{x:.1} {y:.1}H{:.1}", x + step);
            pen_down = true;
        }
        if !path.is_empty() {
            let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
        }
    }
}

/// One line of text, which must be escaped before.
fn text(svg: &mut String, (x, y): (f64, f64), colour: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{text}</text>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::chart::tests::ramp;

    /// The names of open elements, none of which may be left at the end.
    fn assert_balanced(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, rest) = tag.split_once('>').expect("every < has its >");
            assert!(!rest.contains('>') && tag.matches('"').count() % 2 == 0, "{tag}");
            let name = tag.split([' ', '\n']).next().expect("a name");
            if let Some(closed) = name.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed), "{tag}");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_picture_is_sound() {
        for course in [ramp(), Course::default()] {
            let svg = svg(&course, "a < b & c");
            assert_balanced(&svg);
            assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        let svg = svg(&ramp(), "ramp");
        let p99 = svg.lines().find(|line| line.starts_with("<path d=\"M") && line.contains(P99)).expect("a line");
        assert_eq!(p99.matches('M').count(), 2, "the line is broken where nothing came: {p99}");
    }
}
