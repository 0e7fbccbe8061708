//! How a load run went over time, in a few lines of a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use crate::numbers::{duration, micros, short};
use crate::top::Symbols;

/// Points that fit on a line of 80 cells beside name and greatest value.
pub const COLUMNS: usize = 60;

/// One even part of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Events a second that were due.
    pub offered: f64,
    /// Events a second of these that came.
    pub delivered: f64,
    /// Events a second of these that were shed.
    pub shed: f64,
    /// The 99th percentile of latency in microseconds, `None` if nothing came.
    pub p99_us: Option<f64>,
}

/// A run in even parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// How long each part is.
    pub step: Duration,
    /// The parts, at most [`COLUMNS`].
    pub points: Vec<Point>,
}

impl Course {
    /// The greatest of a value over the run.
    pub(super) fn most(&self, value: impl Fn(&Point) -> f64) -> f64 {
        self.points.iter().map(value).fold(0.0, f64::max)
    }

    /// How long the run was.
    pub(super) fn length(&self) -> Duration {
        self.step.mul_f64(self.points.len() as f64)
    }

    /// Four lines of bars, each as high as its own greatest value, and a title.
    pub fn text(&self, symbols: Symbols) -> String {
        let seconds = self.step.as_secs_f64();
        let step = if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") };
        let mut text =
            format!("over {}, a bar for each {step}; beside it the greatest\n", duration(self.length().as_secs_f64()));
        let mut line = |name: &str, most: &str, value: &dyn Fn(&Point) -> f64| {
            let bars = symbols.sparkline(self.points.iter().take(COLUMNS).map(value));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", format!("{name:<10}{most:>8} {bars}").trim_end());
        };
        line("offered/s", &short(self.most(|point| point.offered)), &|point| point.offered);
        line("came/s", &short(self.most(|point| point.delivered)), &|point| point.delivered);
        line("shed/s", &short(self.most(|point| point.shed)), &|point| point.shed);
        let p99 = |point: &Point| point.p99_us.unwrap_or(0.0);
        line("p99", &micros(Some(self.most(p99)).filter(|most| *most > 0.0)), &p99);
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A ramp up and down, wider than a line.
    pub(crate) fn ramp() -> Course {
        let point = |number: i32| {
            let rate = f64::from(40 - (number - 40).abs()) * 100.0;
            let shed = (rate - 2000.0).max(0.0);
            Point { offered: rate, delivered: rate - shed, shed, p99_us: (number != 3).then_some(rate * 2.0) }
        };
        Course { step: Duration::from_millis(100), points: (0..80).map(point).collect() }
    }

    #[test]
    fn a_chart_fits_a_serial_console() {
        for symbols in [Symbols::Unicode, Symbols::Ascii] {
            let text = ramp().text(symbols);
            assert!(text.lines().count() <= 24 && text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
        let text = ramp().text(Symbols::Ascii);
        for part in
            ["over 8 s, a bar for each 100 ms", "offered/s    4.00k", "came/s       2.00k", "p99          8.0ms", "#"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(Course::default().text(Symbols::Ascii).contains("p99              -"));
    }
}
