//! Room 12: weir. Frames come from no room and leave to none: here the rooms are wired together and supervised.
//!
//! The words of the command line live in the console's room, one file a noun; what a command does that needs the data
//! plane is wired here from the rooms that do it.

mod capture;
mod cards;
mod dataplane;
mod demo;
mod doctor;
mod groups;
mod host;
mod instructions;
mod load;
mod log;
mod offline;
mod passport;
mod place;
mod records;
mod replay;
mod resources;
mod seed;
mod supervise;
mod why;
mod worker;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_appliance_console::agent::AgentCommand;
use weir_appliance_console::answer::{Exit, Failure, Outcome, finish};
use weir_appliance_console::chaos::ChaosCommand;
use weir_appliance_console::config::{ConfigCommand, SettleArgs};
use weir_appliance_console::demo::DemoArgs;
use weir_appliance_console::doctor::DoctorArgs;
use weir_appliance_console::experiment::ExperimentCommand;
use weir_appliance_console::feature::FeatureCommand;
use weir_appliance_console::flag::FlagCommand;
use weir_appliance_console::line;
use weir_appliance_console::load::{LoadCommand, expanded};
use weir_appliance_console::log::LogCommand;
use weir_appliance_console::preservation::PreservationCommand;
use weir_appliance_console::replay::ReplayArgs;
use weir_appliance_console::resources::ResourcesArgs;
use weir_appliance_console::service::ServiceCommand;
use weir_appliance_console::status::StatusArgs;
use weir_appliance_console::steer::SteerCommand;
use weir_appliance_console::table::fit_output;
use weir_appliance_console::top::TopArgs;
use weir_appliance_console::upgrade::UpgradeArgs;
use weir_appliance_console::why::WhyArgs;
use weir_appliance_control::config_file;
use weir_appliance_control::name::InterfaceName;
use weir_appliance_control::problem::Problem;

use place::Place;
use seed::Seed;
use supervise::{Hang, Program};

/// A kernel-bypass edge appliance: classify in the driver, work on rings, forward in the kernel.
#[derive(Parser)]
#[command(name = "weir", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run on these interfaces until Ctrl-C.
    Up(UpArgs),
    /// Take away what a killed weir left: pins, links, sockets. Traffic goes back to the stack.
    Down(DownArgs),
    Upgrade(UpgradeArgs),
    Status(StatusArgs),
    Top(TopArgs),
    Resources(ResourcesArgs),
    Doctor(DoctorArgs),
    /// Rules: who gets which frames.
    #[command(subcommand)]
    Steer(SteerCommand),
    /// Agents: where base messages go.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// The configuration: check, show, compare, apply, roll back, and who changed what.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Keep the change that waits for its confirmation.
    Confirm(SettleArgs),
    /// Take back the change that waits for its confirmation.
    Revert(SettleArgs),
    /// Flags: which share of the flows features see, and flags that programs ask.
    #[command(subcommand)]
    Flag(FlagCommand),
    /// Features: start, stop, park and restart their workers while frames flow.
    #[command(subcommand)]
    Feature(FeatureCommand),
    /// Experiments: a flag's share grows step by step while nothing becomes worse.
    #[command(subcommand)]
    Experiment(ExperimentCommand),
    /// Preservation: what changes and features do to the base path.
    #[command(subcommand)]
    Preservation(PreservationCommand),
    /// Services: virtual addresses whose connections are shared among agents.
    #[command(subcommand)]
    Service(ServiceCommand),
    Why(WhyArgs),
    Replay(ReplayArgs),
    /// The durable log: its segments, its records, whether every byte is as it was written.
    #[command(subcommand)]
    Log(LogCommand),
    /// Break something on purpose, and see that the rest does not notice.
    #[command(subcommand)]
    Chaos(ChaosCommand),
    /// Load tools.
    #[command(subcommand)]
    Load(LoadCommand),
    Demo(DemoArgs),
    /// One process of `weir up`: frames, sockets and the classifier.
    #[command(hide = true)]
    Dataplane {
        /// Memory that outlives this process, for its successor's books.
        #[arg(long, value_name = "FILE")]
        ledger: Option<PathBuf>,
        #[command(flatten)]
        process: ProcessArgs,
    },
    /// One process of `weir up`: a feature.
    #[command(hide = true)]
    Worker {
        /// The feature.
        name: String,
        /// Hang at this point of the start instead of working, for somebody wants to see what happens.
        #[arg(long, value_name = "POINT")]
        hang: Option<Hang>,
        #[command(flatten)]
        process: ProcessArgs,
    },
}

#[derive(clap::Args)]
struct UpArgs {
    /// Interfaces to run on, instead of the configuration's; several with commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    interface: Vec<InterfaceName>,
    /// The configuration. Without one the defaults are in force.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What differs here: NAME.yaml beside the configuration, or a path; several with commas, the last one decides.
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "config")]
    overlay: Vec<String>,
    /// The store of what is in force, instead of /var/lib/weir/state.redb or the one beside a socket elsewhere.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// The control socket, instead of the configuration's.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Read the files, say what this program takes over from another one, and end.
    #[arg(long, hide = true)]
    check: bool,
}

#[derive(clap::Args)]
struct DownArgs {
    /// The control socket of the weir that was killed.
    #[arg(long, value_name = "PATH", default_value = weir_appliance_control::config::ControlSpec::DEFAULT_SOCKET)]
    socket: PathBuf,
}

#[derive(clap::Args)]
struct ProcessArgs {
    /// The control socket.
    #[arg(long)]
    control: PathBuf,
    /// The store of what is in force.
    #[arg(long)]
    state: PathBuf,
    /// How often this process was started before.
    #[arg(long, default_value_t = 0)]
    restarts: u32,
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let outcome = match line::parse::<Cli>(expanded(std::env::args_os()), &mut out) {
        Ok(cli) => {
            log_to_stderr();
            fit_output();
            run(cli.command, &mut out)
        }
        Err(outcome) => outcome,
    };
    finish(&outcome, &mut std::io::stderr())
}

/// Warnings and worse, one line each; RUST_LOG asks for more.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "weir=info,warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are no part of this build; asking for them would write a complaint, and end a debug build.
        .with_ansi(false)
        .with_target(false)
        .init();
}

fn run(command: Command, out: &mut dyn Write) -> Outcome {
    match command {
        Command::Up(args) => up(&args, out).map_err(failure),
        Command::Down(args) => offline::down(&args.socket, out).map_err(failure),
        Command::Upgrade(args) => args.run(out),
        Command::Status(args) => args.run(out),
        Command::Top(args) => args.run(out),
        Command::Resources(args) => match &args.file {
            Some(file) => resources::of_file(file, &args, out),
            None => args.run(out),
        },
        Command::Doctor(args) if args.passport => passport::run(&args, out),
        Command::Doctor(args) => doctor::run(&args, out),
        Command::Steer(args) => args.run(out),
        Command::Agent(args) => args.run(out),
        Command::Config(args) => args.run(out),
        Command::Confirm(args) => args.confirm(out),
        Command::Revert(args) => args.revert(out),
        Command::Flag(args) => args.run(out),
        Command::Feature(args) => args.run(out),
        Command::Experiment(args) => args.run(out),
        Command::Preservation(args) => args.run(out),
        Command::Service(args) => args.run(out),
        Command::Why(args) => match args.flow {
            Some(flow) => args.run_flow(flow, out),
            None => offline::why(&args, out),
        },
        Command::Replay(args) => offline::replay(&args, out),
        Command::Log(command) => log::run(&command, out),
        Command::Chaos(command) => command.run(out),
        Command::Load(command) => load::run(&command, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::Dataplane { ledger, process } => Seed::from_supervisor()
            .and_then(|seed| dataplane::run(process.place(), seed, process.restarts, ledger.as_deref()))
            .map(done)
            .map_err(failure),
        Command::Worker { name, hang: Some(hang), process } => {
            let hung = worker::hang(&name, &process.place(), process.restarts, hang);
            hung.map(|never| match never {}).map_err(failure)
        }
        Command::Worker { name, hang: None, process } => {
            worker::run(&name, &process.place(), process.restarts).map(done).map_err(failure)
        }
    }
}

fn done((): ()) -> Exit {
    Exit::Done
}

/// An error chain as one line: what was tried, why not, and the cure that the innermost cause names.
fn failure(error: anyhow::Error) -> Failure {
    match error.downcast::<Problem>() {
        Ok(problem) => problem.into(),
        Err(error) => Failure::Line(format!("{error:#}")),
    }
}

impl ProcessArgs {
    fn place(&self) -> Place {
        Place::of(&self.state, &self.control)
    }
}

/// `weir up`: the files are read here, once; what is in force is the store's business.
fn up(args: &UpArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    // A worker would refuse it too, again and again.
    instructions::chosen()?;
    let overlays =
        |file: &PathBuf| args.overlay.iter().map(|name| config_file::overlay(file, name)).collect::<Vec<_>>();
    let files: Vec<PathBuf> =
        args.config.iter().flat_map(|file| std::iter::once(file.clone()).chain(overlays(file))).collect();
    let read = {
        let (interfaces, socket) = (args.interface.clone(), args.socket.clone());
        move || Seed::read(&files, interfaces.clone(), socket.clone())
    };
    let seed = read()?;
    let config = seed.config()?.config;
    if args.check {
        writeln!(out, "{}", serde_json::to_string(&Program::own())?)?;
        return Ok(Exit::Done);
    }
    let control = &config.control().socket;
    let state = args.state.clone().unwrap_or_else(|| seed::state_beside(control));
    let place = Place::of(&state, control);
    std::fs::create_dir_all(place.folder()).map_err(|error| {
        anyhow::anyhow!("{}: cannot be made: {error}; run as root, or name another --socket", place.folder().display())
    })?;
    supervise::up(place, &config, seed, Box::new(read))?;
    Ok(Exit::Done)
}
