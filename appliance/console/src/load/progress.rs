//! How far a long run is: one line on the error stream, written over again and again.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::numbers::{duration, short};

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Since the start.
    pub elapsed: Duration,
    /// From start to end.
    pub total: Duration,
    /// Events that were due so far.
    pub offered: u64,
    /// Events that came so far.
    pub delivered: u64,
    /// Events that were shed so far.
    pub shed: u64,
}

/// The line. Nothing is written where the error stream is no terminal: a log wants no line that is written over.
pub struct Progress {
    out: Option<Box<dyn Write>>,
    last: Reading,
}

impl Progress {
    /// On the error stream, if that is a terminal.
    pub fn on_stderr() -> Self {
        let stderr = std::io::stderr();
        let out = stderr.is_terminal().then(|| Box::new(stderr) as Box<dyn Write>);
        Self { out, last: Reading::default() }
    }

    /// Whether anybody sees it.
    pub fn is_shown(&self) -> bool {
        self.out.is_some()
    }

    /// Shows where the run stands; the rate is that since the last time.
    pub fn show(&mut self, reading: Reading) {
        if let Some(out) = &mut self.out {
            // A terminal that went away is no reason to end the run.
            let _ = write!(out, "\r\x1b[K{}", line(&self.last, &reading)).and_then(|()| out.flush());
        }
        self.last = reading;
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if let Some(out) = &mut self.out {
            let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        }
    }
}

fn line(last: &Reading, now: &Reading) -> String {
    let seconds = now.elapsed.saturating_sub(last.elapsed).as_secs_f64();
    let came = now.delivered.saturating_sub(last.delivered) as f64;
    let rate = if seconds > 0.0 { came / seconds } else { 0.0 };
    let [offered, delivered, shed] = [now.offered, now.delivered, now.shed].map(|count| short(count as f64));
    let left = duration(now.total.saturating_sub(now.elapsed).as_secs_f64().ceil());
    format!("{}/s now; offered {offered}, came {delivered}, shed {shed}; {left} left", short(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_counts_and_time_left() {
        let at = |seconds, offered, delivered| Reading {
            elapsed: Duration::from_secs(seconds),
            total: Duration::from_secs(600),
            offered,
            delivered,
            shed: offered - delivered,
        };
        let text = line(&at(10, 2_000_000, 1_000_000), &at(12, 4_000_000, 1_500_000));
        assert_eq!(text, "250k/s now; offered 4.00M, came 1.50M, shed 2.50M; 9:48 left");
        assert_eq!(line(&at(0, 0, 0), &at(0, 0, 0)), "0/s now; offered 0, came 0, shed 0; 10:00 left");
        let most = Reading { offered: u64::MAX, delivered: u64::MAX, shed: u64::MAX, ..at(1, 0, 0) };
        assert!(line(&at(0, 0, 0), &most).chars().count() < 80);
    }
}
