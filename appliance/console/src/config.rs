//! `weir config`, `weir confirm`, `weir revert`: what is in force, who made it so, and taking it back.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use weir_appliance_control::config::{Config, Difference, Layer, Layered};
use weir_appliance_control::config_file;
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{Answer, ConfigRequest, ConfigValue, HistoryRow, Request};
use weir_appliance_control::resources::Revision;

use crate::answer::{Ask, Exit, Failure, Outcome, json, unexpected};
use crate::chaos::time;
use crate::table::{Column, Table};

/// How a change is made.
#[derive(Args, Clone, Debug, Default)]
pub struct MannerArgs {
    /// Why, in a few words: it stands in the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Take the change back after this time (1s to 60m), unless `weir confirm` keeps it; also after a crash in between.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub confirm_within: Option<Duration>,
    /// Make the change even if it could cut ssh off; only together with --confirm-within.
    #[arg(long)]
    pub force: bool,
}

impl MannerArgs {
    /// The words as they are sent.
    fn manner(&self) -> Manner {
        let confirm_within_s = self.confirm_within.map(|time| time.as_secs());
        Manner { reason: self.reason.clone(), confirm_within_s, force: self.force }
    }

    /// A change in this manner.
    pub(crate) fn around(&self, request: Request) -> Request {
        let manner = self.manner();
        if manner == Manner::default() { request } else { Request::Change { manner, request: Box::new(request) } }
    }
}

/// See and change the configuration as a whole.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Judge a file without using it. Needs no running weir.
    Check(FileArgs),
    /// Show every value and where it comes from: in force, or as a file gives it.
    Show(ShowArgs),
    /// Show what a file would change; without one, how what is in force differs from the files of the start.
    ///
    /// Exit code 1 if something differs.
    Diff(ShowArgs),
    /// Put a file in force, the whole of it or nothing.
    Apply(ApplyArgs),
    /// Put in force what was in force at a revision.
    Rollback(RollbackArgs),
    /// List the changes, the newest first.
    History(HistoryArgs),
    /// Print the JSON Schema of the file.
    Schema,
}

/// A file and what is laid over it.
#[derive(Args, Clone, Debug)]
pub struct FileArgs {
    /// The configuration file.
    pub file: PathBuf,
    /// What differs: NAME.yaml beside the file, or a path; several with commas, the last one decides.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub overlay: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A file, or what is in force.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The configuration file; what the running weir was started with if there is none.
    pub file: Option<PathBuf>,
    /// What differs: NAME.yaml beside the file, or a path; several with commas, the last one decides.
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "file")]
    pub overlay: Vec<String>,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// A file to put in force.
#[derive(Args, Clone, Debug)]
pub struct ApplyArgs {
    /// The configuration file.
    pub file: PathBuf,
    /// What differs: NAME.yaml beside the file, or a path; several with commas, the last one decides.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub overlay: Vec<String>,
    /// Leave as it is what cannot change while weir runs, instead of refusing everything.
    #[arg(long)]
    pub live_only: bool,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// A revision to go back to.
#[derive(Args, Clone, Debug)]
pub struct RollbackArgs {
    /// The revision; the one before the newest change if there is none.
    pub revision: Option<Revision>,
    /// Leave as it is what cannot change while weir runs, instead of refusing everything.
    #[arg(long)]
    pub live_only: bool,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// How much history.
#[derive(Args, Clone, Debug)]
pub struct HistoryArgs {
    /// How many changes at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// What becomes of the change that waits.
#[derive(Args, Clone, Debug)]
pub struct SettleArgs {
    /// Why, in a few words: it stands in the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl SettleArgs {
    /// `weir confirm`.
    ///
    /// # Errors
    /// Nobody answers, or no change waits.
    pub fn confirm(&self, out: &mut dyn Write) -> Outcome {
        self.ask.change(&Request::Config(ConfigRequest::Confirm { reason: self.reason.clone() }), out)
    }

    /// `weir revert`.
    ///
    /// # Errors
    /// Nobody answers, or no change waits.
    pub fn revert(&self, out: &mut dyn Write) -> Outcome {
        self.ask.change(&Request::Config(ConfigRequest::Revert { reason: self.reason.clone() }), out)
    }
}

impl ConfigCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// A file is refused, nobody answers, the change is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self {
            Self::Check(args) => check(args, out),
            Self::Show(args) => show(args, out),
            Self::Diff(args) => diff(args, out),
            Self::Apply(args) => {
                let layers = layers(&args.file, &args.overlay)?;
                let (live_only, manner) = (args.live_only, args.manner.manner());
                args.ask.change(&Request::Config(ConfigRequest::Apply { layers, live_only, manner }), out)
            }
            Self::Rollback(RollbackArgs { revision, live_only, manner, ask }) => {
                let (revision, live_only, manner) = (*revision, *live_only, manner.manner());
                ask.change(&Request::Config(ConfigRequest::Rollback { revision, live_only, manner }), out)
            }
            Self::History(HistoryArgs { limit, ask }) => {
                match ask.call(&Request::Config(ConfigRequest::History { limit: *limit }))? {
                    Answer::History(rows) if ask.json => json(&rows, out),
                    Answer::History(rows) => history(&rows, out),
                    other => Err(unexpected(&ask.socket, &other).into()),
                }
            }
            Self::Schema => {
                let text = serde_json::to_string_pretty(&Config::schema()).map_err(std::io::Error::other)?;
                writeln!(out, "{text}")?;
                Ok(Exit::Done)
            }
        }
    }
}

fn line(error: impl std::fmt::Display) -> Failure {
    Failure::Line(error.to_string())
}

fn layers(file: &Path, overlays: &[String]) -> Result<Vec<Layer>, Failure> {
    let overlays = overlays.iter().map(|name| config_file::overlay(file, name));
    std::iter::once(file.to_owned()).chain(overlays).map(|file| config_file::layer(&file).map_err(line)).collect()
}

fn check(args: &FileArgs, out: &mut dyn Write) -> Outcome {
    let layered = Layered::read(&layers(&args.file, &args.overlay)?).map_err(line)?;
    let config = layered.config();
    if args.json {
        let count = |count: usize| serde_json::Value::from(count);
        return json(
            &serde_json::json!({"good": true, "interfaces": count(config.interfaces().len()),
                "rules": count(config.rules().len()), "agents": count(config.agents().len())}),
            out,
        );
    }
    writeln!(
        out,
        "{} is good: {} interfaces, {} rules, {} agents",
        args.file.display(),
        config.interfaces().len(),
        config.rules().len(),
        config.agents().len()
    )?;
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, out: &mut dyn Write) -> Outcome {
    let values = match &args.file {
        Some(file) => {
            let layered = Layered::read(&layers(file, &args.overlay)?).map_err(line)?;
            let value = |(path, value): (String, String)| ConfigValue { origin: layered.origin(&path), path, value };
            layered.config().values().into_iter().map(value).collect()
        }
        None => match args.ask.call(&Request::Config(ConfigRequest::Show))? {
            Answer::Values(values) => values,
            other => return Err(unexpected(&args.ask.socket, &other).into()),
        },
    };
    if args.ask.json {
        return json(&values, out);
    }
    for ConfigValue { path, value, origin } in values {
        writeln!(out, "{path}: {value}  # {origin}")?;
    }
    Ok(Exit::Done)
}

fn diff(args: &ShowArgs, out: &mut dyn Write) -> Outcome {
    let layers = args.file.as_ref().map_or(Ok(Vec::new()), |file| layers(file, &args.overlay))?;
    let differences = match args.ask.call(&Request::Config(ConfigRequest::Diff { layers }))? {
        Answer::Differences(differences) => differences,
        other => return Err(unexpected(&args.ask.socket, &other).into()),
    };
    let exit = if differences.is_empty() { Exit::Done } else { Exit::NotSo };
    if args.ask.json {
        return json(&differences, out).map(|_| exit);
    }
    render_differences(&differences, out)?;
    Ok(exit)
}

fn render_differences(differences: &[Difference], out: &mut dyn Write) -> std::io::Result<()> {
    if differences.is_empty() {
        return writeln!(out, "nothing differs from what is in force");
    }
    for Difference { path, before, after, live } in differences {
        let needs = if *live { "" } else { "  (needs a restart)" };
        match (before, after) {
            (Some(before), Some(after)) => writeln!(out, "~ {path}: {before} -> {after}{needs}")?,
            (Some(before), None) => writeln!(out, "- {path}: {before}{needs}")?,
            (None, after) => writeln!(out, "+ {path}: {}{needs}", after.as_deref().unwrap_or_default())?,
        }
    }
    Ok(())
}

fn history(rows: &[HistoryRow], out: &mut dyn Write) -> Outcome {
    let mut table = Table::new([
        Column::Number("revision"),
        Column::Name("when (UTC)"),
        Column::Text("who"),
        Column::Text("what"),
        Column::Text("why"),
    ]);
    for row in rows {
        let what = match row.writes.as_slice() {
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => String::new(),
        };
        table.row([row.revision.to_string(), date(row.time_ms), row.author.clone(), what, row.reason.clone()]);
    }
    table.write("no change yet", out)?;
    Ok(Exit::Done)
}

/// A moment as `2026-03-01 12:30:05`: the civil calendar from days since 1970 (proleptic Gregorian, eras of 400 years).
fn date(time_ms: u64) -> String {
    let (days, second) = (time_ms / 86_400_000, time_ms / 1000 % 86_400);
    let shifted = days + 719_468; // days from 0000-03-01, where a leap day is the last of its year
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_709_251_200, "2024-03-01 00:00:00"),
            (4_102_444_799, "2099-12-31 23:59:59"),
        ] {
            assert_eq!(date(seconds * 1000), text);
        }
    }

    #[test]
    fn differences_say_what_needs_a_restart() {
        let difference = |path: &str, before: Option<&str>, after: Option<&str>, live| Difference {
            path: path.into(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            live,
        };
        let mut out = Vec::new();
        render_differences(
            &[
                difference("rules[x].share", Some("5%"), Some("10%"), true),
                difference("agents[7].weight", None, Some("2"), true),
                difference("wait", Some("poll"), Some("spin"), false),
                difference("flags[#1].share", Some("1%"), None, true),
            ],
            &mut out,
        )
        .expect("written");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "~ rules[x].share: 5% -> 10%\n+ agents[7].weight: 2\n~ wait: poll -> spin  (needs a restart)\n- flags[#1].share: 1%\n"
        );
    }
}
