//! `weir feature`: whose workers run, and why not.

use std::io::Write;

use clap::{Args, Subcommand};
use weir_appliance_control::config::Run;
use weir_appliance_control::message::{Answer, FeatureStanding, ProcessState, Request};
use weir_appliance_control::taker::FeatureName;

use crate::answer::{Ask, Exit, Outcome, json, unexpected};
use crate::config::MannerArgs;
use crate::table::{Column, Table, say};

/// Features: list them, start, stop, park and restart their workers while frames flow.
#[derive(Clone, Debug, Subcommand)]
pub enum FeatureCommand {
    /// List the features with their workers. Exit code 1 if one that is started does not run.
    List(Ask),
    /// Start a feature, also one that was parked. It gets frames when its worker is ready.
    Start(RunArgs),
    /// Stop a feature: it gets no frames, finishes those it has, and stays stopped also over restarts.
    Stop(RunArgs),
    /// Park a feature, as one that died too often is: as stop, but whoever looks sees that something is wrong.
    Park(RunArgs),
    /// Have a feature's worker finish what it has, and start another one.
    Restart(RestartArgs),
}

/// One feature, and how the change is made.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The feature.
    pub name: FeatureName,
    /// How the change is made.
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

/// One feature that begins anew.
#[derive(Args, Clone, Debug)]
pub struct RestartArgs {
    /// The feature.
    pub name: FeatureName,
    /// Why, in a few words: it stands in the log.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Whom to ask, and how to print.
    #[command(flatten)]
    pub ask: Ask,
}

impl FeatureCommand {
    /// Asks and prints.
    ///
    /// # Errors
    /// Nobody answers, the change is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        let change = |args: &RunArgs, run: Run, out: &mut dyn Write| {
            args.ask.change(&args.manner.around(Request::FeatureRun { name: args.name, run }), out)
        };
        match self {
            Self::List(ask) => list(ask, out),
            Self::Start(args) => change(args, Run::Started, out),
            Self::Stop(args) => change(args, Run::Stopped, out),
            Self::Park(args) => change(args, Run::Parked, out),
            Self::Restart(RestartArgs { name, reason, ask }) => {
                ask.change(&Request::FeatureRestart { name: *name, reason: reason.clone() }, out)
            }
        }
    }
}

fn list(ask: &Ask, out: &mut dyn Write) -> Outcome {
    let features = match ask.call(&Request::FeatureList)? {
        Answer::Features(features) => features,
        other => return Err(unexpected(&ask.socket, &other).into()),
    };
    if ask.json { json(&features, out).map(|_| exit(&features)) } else { render(&features, out) }
}

fn exit(features: &[FeatureStanding]) -> Exit {
    let at_work = [ProcessState::Running, ProcessState::Starting, ProcessState::Stopping, ProcessState::Stopped];
    if features.iter().all(|feature| at_work.contains(&feature.state)) { Exit::Done } else { Exit::NotSo }
}

/// Prints the features as a table.
///
/// # Errors
/// The output cannot be written.
pub fn render(features: &[FeatureStanding], out: &mut dyn Write) -> Outcome {
    let mut table = Table::new([
        Column::Name("feature"),
        Column::Name("state"),
        Column::Number("pid"),
        Column::Number("restarts"),
        Column::Number("revision"),
        Column::Text("ended by"),
    ]);
    for feature in features {
        table.row([
            feature.name.to_string(),
            feature.state.as_str().to_owned(),
            if feature.pid == 0 { "-".to_owned() } else { feature.pid.to_string() },
            feature.restarts.to_string(),
            feature.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
            feature.last_exit.clone().unwrap_or_default(),
        ]);
    }
    table.write("no feature is enabled", out)?;
    for feature in features {
        for note in feature.notes() {
            say(out, &format!("  {}: {note}", feature.name))?;
        }
    }
    Ok(exit(features))
}
