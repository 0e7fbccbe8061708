//! Steps with their time, and the table at the end.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The moment of the first line printed; every later line carries the time since then.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// Prints a line of progress with the time since the start.
pub(crate) fn say(line: &str) {
    let started = STARTED.get_or_init(Instant::now);
    println!("[{:>7}] {line}", short(started.elapsed()));
}

/// A duration a person reads at a glance: `4.1 s` or `12 m 05 s`.
pub(crate) fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} m {:02} s", seconds / 60, seconds % 60)
    }
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It did what it is for.
    Held,
    /// It could not run here; the reason.
    Skipped(String),
    /// It ran and found something wrong; what.
    Failed(String),
}

struct Step {
    name: &'static str,
    ending: Ending,
    took: Duration,
}

/// All steps of one command. A failed step does not stop the later ones: one run shows everything that is wrong.
#[derive(Default)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    /// Runs one step and remembers how it ended.
    pub(crate) fn run(&mut self, name: &'static str, what_for: &str, work: impl FnOnce() -> Result<Ending>) {
        println!();
        say(&format!("── {name}: {what_for}"));
        let started = Instant::now();
        let ending = work().unwrap_or_else(|error| Ending::Failed(format!("{error:#}")));
        let took = started.elapsed();
        match &ending {
            Ending::Held => say(&format!("{name} held, {}", short(took))),
            Ending::Skipped(reason) => say(&format!("{name} SKIPPED: {reason}")),
            Ending::Failed(reason) => say(&format!("{name} FAILED, {}: {reason}", short(took))),
        }
        self.0.push(Step { name, ending, took });
    }

    /// Whether no step failed.
    pub(crate) fn held(&self) -> bool {
        !self.0.iter().any(|step| matches!(step.ending, Ending::Failed(_)))
    }

    /// `step: reason` of every step that could not run.
    pub(crate) fn skips(&self) -> Vec<String> {
        let skipped = self.0.iter().filter_map(|step| match &step.ending {
            Ending::Skipped(reason) => Some(format!("{}: {reason}", step.name)),
            Ending::Held | Ending::Failed(_) => None,
        });
        skipped.collect()
    }

    /// The table of steps: name, ending, time.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<12} {:<8} {:>12}\n", "step", "ending", "time");
        for step in &self.0 {
            let (ending, reason) = match &step.ending {
                Ending::Held => ("held", ""),
                Ending::Skipped(reason) => ("skipped", reason.as_str()),
                Ending::Failed(reason) => ("FAILED", reason.as_str()),
            };
            let first = reason.lines().next().unwrap_or_default();
            let line = format!("{:<12} {ending:<8} {:>12}  {first}", step.name, short(step.took));
            text.push_str(line.trim_end());
            text.push('\n');
        }
        let total = self.0.iter().map(|step| step.took).sum();
        text + &format!("{:<12} {:<8} {:>12}\n", "total", "", short(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_remembered_and_later_steps_run() {
        let mut steps = Steps::default();
        steps.run("first", "fails", || anyhow::bail!("wrong value 7"));
        steps.run("second", "cannot run", || Ok(Ending::Skipped("no tool".into())));
        steps.run("third", "holds", || Ok(Ending::Held));
        assert!(!steps.held());
        assert_eq!(steps.skips(), ["second: no tool"]);
        let table = steps.table();
        assert!(table.contains("wrong value 7") && table.contains("third"), "{table}");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(short(Duration::from_millis(4_120)), "4.1 s");
        assert_eq!(short(Duration::from_secs(725)), "12 m 05 s");
    }
}
