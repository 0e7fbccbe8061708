//! `weir experiment`: a flag's share grows step by step while nothing becomes worse.

mod create;
mod show;

use std::io::Write;

use clap::{Args, Subcommand};
use weir_appliance_control::message::{Answer, ExperimentReplay, ExperimentStatus, Request};
use weir_appliance_control::name::ExperimentName;
use weir_appliance_experiment::Stage;

use crate::answer::{Ask, Exit, Outcome, json, unexpected};
use crate::table::{Column, Table};

pub use create::CreateArgs;

/// Experiments on flags: create, list, show, stop, remove, replay.
#[derive(Clone, Debug, Subcommand)]
pub enum ExperimentCommand {
    /// Begin an experiment: the flag gets the share of the first step, and the noise floor is measured.
    Create(Box<CreateArgs>),
    /// List what runs and what came of the others.
    List(Ask),
    /// Show one: its windows, the noise floor, the evidence and its bounds. Exit code 1 if it was rolled back or held.
    Show(NamedArgs),
    /// End one now. The flag stays as it is.
    Stop(StopArgs),
    /// Forget one that is over, with its windows.
    Remove(NamedArgs),
    /// Decide again from the raw windows. Exit code 1 if a decision comes out otherwise than it is stored.
    Replay(NamedArgs),
}

/// One experiment, by its name.
#[derive(Args, Clone, Debug)]
pub struct NamedArgs {
    /// The experiment's name.
    pub name: ExperimentName,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// An experiment to end.
#[derive(Args, Clone, Debug)]
pub struct StopArgs {
    /// Which.
    #[command(flatten)]
    pub named: NamedArgs,
    /// Make the flag what it was before the experiment.
    #[arg(long)]
    pub roll_back: bool,
    /// Why, in a few words: it stands in the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
}

impl ExperimentCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, the request is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self {
            Self::Create(args) => args.ask.change(&args.request()?, out),
            Self::List(ask) => match ask.call(&Request::ExperimentList)? {
                Answer::Experiments(all) if ask.json => json(&all, out),
                Answer::Experiments(all) => render(&all, out),
                other => Err(unexpected(&ask.socket, &other).into()),
            },
            Self::Show(NamedArgs { name, ask }) => match ask.call(&Request::ExperimentShow { name: name.clone() })? {
                Answer::Experiment(shown) if ask.json => json(&shown, out).map(|_| show::exit(&shown)),
                Answer::Experiment(shown) => Ok(show::render(&shown, out).map(|()| show::exit(&shown))?),
                other => Err(unexpected(&ask.socket, &other).into()),
            },
            Self::Stop(StopArgs { named, roll_back, reason }) => {
                let (name, reason) = (named.name.clone(), reason.clone());
                named.ask.change(&Request::ExperimentStop { name, roll_back: *roll_back, reason }, out)
            }
            Self::Remove(named) => named.ask.change(&Request::ExperimentRemove { name: named.name.clone() }, out),
            Self::Replay(NamedArgs { name, ask }) => {
                match ask.call(&Request::ExperimentReplay { name: name.clone() })? {
                    Answer::Replayed(replay) => replayed(&replay, ask.json, out),
                    other => Err(unexpected(&ask.socket, &other).into()),
                }
            }
        }
    }
}

/// Where an experiment stands, in a few words.
fn standing(status: &ExperimentStatus) -> String {
    match (&status.outcome, &status.waits, status.stage) {
        (Some(outcome), ..) => outcome.ending.as_str().to_owned(),
        (None, Some(_), _) => "waits".to_owned(),
        (None, None, Stage::Noise) => "measures its noise floor".to_owned(),
        (None, None, Stage::Step(step)) => format!("at step {} of {}", step + 1, status.spec.steps.len()),
        (None, None, Stage::Ended) => "ends".to_owned(),
    }
}

/// Experiments as a table.
///
/// # Errors
/// The output cannot be written.
pub fn render(all: &[ExperimentStatus], out: &mut dyn Write) -> Outcome {
    table(all).write("no experiment; begin one with weir experiment create", out)?;
    Ok(Exit::Done)
}

/// One that is not over in one line, for a screen that has no more: `canary on base at 5%: at step 1 of 5; waits …`.
pub(crate) fn line(status: &ExperimentStatus) -> String {
    let waits = status.waits.as_ref().map(|waits| format!(": {waits}")).unwrap_or_default();
    let ExperimentStatus { spec, share, windows, .. } = status;
    let (name, flag, all) = (&spec.name, &spec.flag, spec.windows);
    format!("{name} on flag {flag} at {share}, {windows}/{all} windows, {}{waits}", standing(status))
}

/// Experiments with their flags, steps and what they wait for.
pub(crate) fn table(all: &[ExperimentStatus]) -> Table {
    let mut table = Table::new([
        Column::Name("name"),
        Column::Name("flag"),
        Column::Number("share"),
        Column::Number("windows"),
        Column::Text("state"),
        Column::Text("latest"),
    ]);
    for status in all {
        let why = status.outcome.as_ref().map(|outcome| outcome.reason.clone());
        let latest = why.or_else(|| status.waits.clone());
        let latest = latest.or_else(|| status.latest.as_ref().map(|latest| latest.reason.clone()));
        table.row([
            status.spec.name.clone(),
            status.spec.flag.clone(),
            status.share.to_string(),
            format!("{}/{}", status.windows, status.spec.windows),
            standing(status),
            latest.unwrap_or_default(),
        ]);
    }
    table
}

fn replayed(replay: &ExperimentReplay, as_json: bool, out: &mut dyn Write) -> Outcome {
    let exit = if replay.same { Exit::Done } else { Exit::NotSo };
    if as_json {
        return json(replay, out).map(|_| exit);
    }
    for (number, decision) in (1..).zip(&replay.decisions) {
        let mark = if replay.differs_at == Some(number) { "  OTHERWISE THAN STORED" } else { "" };
        writeln!(out, "window {number}: {}{mark}", decision.verdict.as_str())?;
    }
    match replay.differs_at {
        None => writeln!(out, "{} decisions, all as they are stored", replay.windows)?,
        Some(number) => writeln!(out, "window {number} is decided otherwise than it is stored")?,
    }
    Ok(exit)
}
