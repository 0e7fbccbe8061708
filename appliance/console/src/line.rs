//! From the words on the command line to a parsed command, or to one line that says what is wrong.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use weir_appliance_control::problem::Problem;

use crate::answer::{Exit, Outcome};

/// Parses a command line, the program's name first. Help and version are printed to `out` and end the program well.
///
/// # Errors
/// What the program must end with: `Ok` after help, or the problem.
pub fn parse<P: Parser + CommandFactory>(
    words: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
) -> Result<P, Outcome> {
    let words: Vec<OsString> = words.into_iter().collect();
    P::try_parse_from(&words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            write!(out, "{}", error.render()).map(|()| Exit::Done).map_err(Into::into)
        }
        _ => Err(problem(&error, help(P::command(), &words)).into()),
    })
}

/// What is wrong with the command line, in three parts.
fn problem(error: &clap::Error, help: String) -> Problem {
    let context = |kind| error.get(kind).map(text).unwrap_or_default();
    let argument = context(ContextKind::InvalidArg);
    // A value's own parser knows best.
    if let Some(problem) = error.source().and_then(|source| source.downcast_ref::<Problem>()) {
        return Problem { cause: format!("{} ({})", problem.cause, short(&argument)), ..problem.clone() };
    }
    let suggested = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| error.get(kind).map(text).filter(|text| !text.is_empty()));
    let cure = suggested.map_or(help, |suggested| format!("did you mean {suggested}?"));
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            Problem::new(context(ContextKind::InvalidSubcommand), "there is no such command", cure)
        }
        ErrorKind::UnknownArgument => Problem::new(argument, "there is no such argument", cure),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue);
            let known = context(ContextKind::ValidValue);
            match (value.is_empty(), known.is_empty()) {
                (true, _) => Problem::new(argument, "a value must follow", cure),
                (false, true) => {
                    let cause =
                        error.source().map_or_else(|| "this value is not possible".to_owned(), ToString::to_string);
                    Problem::new(value, format!("{cause} ({})", short(&argument)), cure)
                }
                (false, false) => Problem::new(
                    value,
                    format!("this value is not possible ({})", short(&argument)),
                    format!("write one of: {known}"),
                ),
            }
        }
        ErrorKind::MissingRequiredArgument => Problem::new(argument, "this is missing", cure),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Problem::new("weir", "a command must follow", cure)
        }
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg);
            let cause = if other == argument {
                "it stands twice".to_owned()
            } else {
                format!("it cannot stand beside {other}")
            };
            Problem::new(argument, cause, "keep one of the two")
        }
        kind => Problem::new(argument, kind.to_string(), cure),
    }
}

/// The argument without the name of its value: `--share` of `--share <SHARE>`.
fn short(argument: &str) -> &str {
    argument.split(' ').next().unwrap_or(argument)
}

fn text(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        ContextValue::StyledStr(text) => text.to_string(),
        ContextValue::StyledStrs(texts) => texts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        ContextValue::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// Where to read on: the help of the command that the words name, as far as they do.
fn help(mut command: clap::Command, words: &[OsString]) -> String {
    let mut path = command.get_name().to_owned();
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        let Some(found) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", found.get_name());
        command = found;
    }
    format!("see: {path} --help")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Failure;
    use crate::{agent, config, demo, flag, load, replay, resources, service, status, steer, top, why};

    #[derive(Debug, Parser)]
    #[command(name = "weir", version = "1.2.3")]
    enum Weir {
        Status(status::StatusArgs),
        Top(top::TopArgs),
        Resources(resources::ResourcesArgs),
        #[command(subcommand)]
        Steer(steer::SteerCommand),
        #[command(subcommand)]
        Agent(agent::AgentCommand),
        #[command(subcommand)]
        Config(config::ConfigCommand),
        Confirm(config::SettleArgs),
        Revert(config::SettleArgs),
        #[command(subcommand)]
        Service(service::ServiceCommand),
        #[command(subcommand)]
        Flag(flag::FlagCommand),
        Why(why::WhyArgs),
        Replay(replay::ReplayArgs),
        #[command(subcommand)]
        Load(load::LoadCommand),
        Demo(demo::DemoArgs),
    }

    fn try_words(line: &str) -> Result<Weir, Outcome> {
        let words = std::iter::once("weir").chain(line.split_whitespace()).map(OsString::from);
        parse(words, &mut Vec::new())
    }

    #[test]
    fn the_whole_tree_is_sound() {
        Weir::command().debug_assert();
    }

    #[test]
    fn good_lines() {
        for line in [
            "status",
            "status --json --socket /tmp/x",
            "top",
            "top --once",
            "resources --json",
            "resources --file weir.yaml",
            "steer list",
            "steer show telemetry --json",
            "steer add --match udp:5004 --to streaming --share 5%",
            "steer add --match any --action drop --name x --priority 1",
            "steer remove telemetry",
            "agent list",
            "agent show 7",
            "agent set 7 --address 10.9.0.2 --mac 02:00:00:00:00:07 --interface eth1 --modality text,audio",
            "agent remove 7",
            "steer remove telemetry --reason done --confirm-within 60s --force",
            "flag eval flags.json split --key user-0 --context {\"tier\":1} --at 7 --json",
            "flag eval flags.json split --keys keys.txt",
            "flag eval flags.json split",
            "flag ask split",
            "flag check flags.json --json",
            "config check weir.yaml --overlay prod,./site.yaml",
            "config show",
            "config show weir.yaml --json",
            "config diff weir.yaml",
            "config apply weir.yaml --live-only --confirm-within 5m",
            "config rollback 7 --reason drops",
            "config rollback",
            "config history --limit 5",
            "config schema",
            "confirm --reason seen",
            "revert",
            "service list",
            "service show web --json",
            "service add web --address 10.9.0.100 --protocol tcp --port 443 --agents 1,2,3 --check tcp --every-ms 200",
            "service add dns --address 2001:db8::53 --protocol udp --type 4 --encapsulation geneve --source 2001:db8::1",
            "service remove web",
            "service drain 7 --reason upgrade --confirm-within 5m",
            "service undrain 7",
            "flag list",
            "flag show canary --json",
            "flag set canary --to streaming --share 5% --match udp:48102 --requires base --on --confirm-within 60s",
            "flag set ab --share 25% --variant control=1 --variant candidate=1:streaming --step 2026-12-01T06:00:00Z=50%",
            "flag set ab --off --requires-none --no-steps",
            "flag kill canary --reason slow",
            "flag remove canary",
            "flag export",
            "flag import flags.json --reason moved --confirm-within 60s",
            "why 10.0.0.1:5000-10.0.0.2:48100/udp",
            "why --pcap x.pcap --json --frame 3",
            "replay x.pcap --json",
            "load stream --events-per-second 10000000 --duration 1800 --event-size-bytes 1024 --producers 16 --verify-delivery true",
            "load latency --background-load 8000000 --probe-rate 1000 --duration 600 --percentiles 50,90,95,99,99.9",
            "load backpressure --max-rate 15000000 --consumer-delay-ms 10 --duration 300 --svg x.svg",
            "load burst --baseline-rate 3000000 --burst-rate 6000000 --burst-duration-sec 300 --burst-interval-sec 1800 --total-duration-hours 2",
            "load stream --events-per-second 100 --scale 0.01 --json",
            "demo --minutes 3",
        ] {
            try_words(line).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        }
    }

    #[test]
    fn refused_lines_are_one_line_with_value_cause_and_cure() {
        for (line, start) in [
            ("stauts", "stauts: there is no such command; did you mean status?"),
            ("", "weir: a command must follow; see: weir --help"),
            ("steer", "weir: a command must follow; see: weir steer --help"),
            ("status --jsn", "--jsn: there is no such argument; did you mean --json?"),
            ("status --socket", "--socket <PATH>: a value must follow; see: weir status --help"),
            ("steer add --match udp:99999", "99999: a port is a number from 0 to 65535 (--match); write one number"),
            (
                "steer add --match any --to twin",
                "twin: this build does not have this feature (--to); name a feature of this build: streaming",
            ),
            ("steer add --match any --share 5", "5: a share ends with % (--share); write a percentage"),
            ("steer add --match any --action eat", "eat: this is not an action (--action); write one of: pass, drop"),
            ("steer add", "--match <MATCH>: this is missing; see: weir steer add --help"),
            ("steer add --match any --priority 0", "0: 0 is not in 1..=1024 (--priority); see: weir steer add --help"),
            ("agent remove 0", "0: an agent's number is a whole number from 1 to 4294967295 (<ID>)"),
            ("flag eval f n --key k --context 1", "1: this is not a JSON object (--context); write an object"),
            (
                "flag eval f n --key k --context {\"targetingKey\":1}",
                "{\"targetingKey\":1}: the targetingKey is who asks (--context); write it with --key",
            ),
            ("config apply", "<FILE>: this is missing; see: weir config apply --help"),
            ("config rollback x", "x: a revision is a whole number from 0 to 4294967295 ([REVISION])"),
            (
                "config apply x --confirm-within 60",
                "60: this is not a time (--confirm-within); write a number and its unit",
            ),
            (
                "service add x --address 10.0.0.9 --protocol sctp --type 1",
                "sctp: this is not a service's protocol (--protocol); write one of: tcp, udp",
            ),
            ("service add x --address 10.0.0.9 --protocol tcp", "<--agents <ID>|--type <N>>: this is missing; see"),
            ("why", "<FLOW|--pcap <FILE>>: this is missing; see: weir why --help"),
            ("why 1.1.1.1", "1.1.1.1: the protocol is missing ([FLOW]); write it as 10.0.0.1:5000"),
            ("status --json --json", "--json: it stands twice; keep one"),
            ("demo --minutes 0", "0: "),
            (
                "load backpressure --consumer-delay-ms 0",
                "0: 0 is not in 1..=1000 (--consumer-delay-ms); see: weir load",
            ),
            ("load backpressure --max-rate 0", "0: 0 is not in 1..=1000000000 (--max-rate); see: weir load"),
            (
                "load burst --burst-rate x",
                "x: invalid digit found in string (--burst-rate); see: weir load burst --help",
            ),
            ("load burst --scale 0", "0: a scale is a number above 0, at most 1000 (--scale); see: weir load"),
            ("load stream --svg x", "--svg: there is no such argument"),
        ] {
            let outcome = try_words(line).expect_err(line);
            let Err(Failure::Problem(problem)) = outcome else { panic!("{line}: {outcome:?}") };
            let text = problem.to_string();
            assert!(text.starts_with(start) && !text.contains('\n'), "{line}\n  want {start}\n  have {text}");
        }
    }

    #[test]
    fn help_and_version_end_well() {
        for (line, part) in [("--version", "weir 1.2.3"), ("steer --help", "add"), ("load --help", "latency")] {
            let mut out = Vec::new();
            let words = std::iter::once("weir").chain(line.split_whitespace()).map(OsString::from);
            let outcome = parse::<Weir>(words, &mut out).expect_err(line);
            assert!(matches!(outcome, Ok(Exit::Done)), "{line}: {outcome:?}");
            assert!(String::from_utf8(out).expect("text").contains(part), "{line}");
        }
    }
}
