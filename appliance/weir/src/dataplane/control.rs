//! The control socket: questions and changes, one line of JSON each way.
//!
//! A change is judged as a whole configuration, written to the store and put into the classifier in one step; an error
//! at any of these leaves what was in force in force.

use std::io::BufReader;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_appliance_control::config::{AgentSpec, ProgramFlags, RuleSpec};
use weir_appliance_control::keeper::Manner;
use weir_appliance_control::message::{
    AgentStatus, Answer, Changed, Done, LineError, RecordsAnswer, Reply, Request, RuleStatus, WhyQuestion, read_line,
    write_line,
};
use weir_appliance_control::problem::Problem;
use weir_ebpf_loader::Classifier;

use super::classes::KernelClasses;
use super::setup::Port;
use super::steering::Steering;
use super::{
    Dataplane, accept_later, changes, chaos, experiments, explain, features, flags, gate, lock, services, status,
    supervised,
};
use crate::place::Place;
use crate::records;

/// Conversations at the same time; more are turned away.
const CONVERSATIONS: usize = 16;
/// Time a killed weir's processes have to be gone.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);
/// Time one line may take to come or go.
const LINE_WITHIN: Duration = Duration::from_secs(5);

/// Listens at the control socket. A live owner is not pushed aside.
///
/// # Errors
/// When another weir answers there or the folder cannot be made.
pub(super) fn listen(place: &Place) -> Result<UnixListener> {
    let path = &place.control;
    std::fs::create_dir_all(place.folder()).with_context(|| format!("{} cannot be made", place.folder().display()))?;
    // One that was killed a moment ago may still be on its way out.
    let deadline = Instant::now() + LEAVES_WITHIN;
    while UnixStream::connect(path).is_ok() {
        if Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        bail!(
            "{}: another weir answers there; stop it, or give this one a socket of its own (`control: socket:`)",
            path.display()
        );
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("{}: a dead weir's socket cannot be removed: {error}; check who owns the folder", path.display())
        }
        _ => {}
    }
    UnixListener::bind(path)
        .with_context(|| format!("{}: the control socket cannot be made; check the folder's owner", path.display()))
}

/// Answers for as long as the process lives.
pub(super) fn serve(dataplane: &Arc<Dataplane>, listener: &UnixListener) {
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let connection = match listener.accept() {
            Ok((connection, _)) => connection,
            Err(error) => {
                accept_later("the control socket", &error);
                continue;
            }
        };
        if busy.fetch_add(1, Ordering::AcqRel) >= CONVERSATIONS {
            let problem =
                Problem::new(CONVERSATIONS.to_string(), "so many conversations are under way", "try again in a moment");
            let _ = write_line(&mut &connection, &Reply::Error(problem));
            busy.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (dataplane, count) = (Arc::clone(dataplane), Arc::clone(&busy));
        let spawned = std::thread::Builder::new().name("conversation".into()).spawn(move || {
            if let Err(error) = converse(&dataplane, &connection) {
                tracing::debug!("control socket: {error:#}");
            }
            count.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Requests of one connection, until it closes.
fn converse(dataplane: &Dataplane, connection: &UnixStream) -> Result<()> {
    connection.set_read_timeout(Some(LINE_WITHIN))?;
    connection.set_write_timeout(Some(LINE_WITHIN))?;
    let author = changes::author(connection);
    let mut lines = BufReader::new(connection);
    loop {
        let reply = match read_line::<Request>(&mut lines) {
            Ok(request) => answer(dataplane, &author, request).map_or_else(Reply::Error, Reply::Ok),
            Err(LineError::Closed) => return Ok(()),
            Err(LineError::Json(error)) => Reply::Error(Problem::new(
                "request",
                error.to_string(),
                "send one JSON object a line: {\"op\":\"status\"}",
            )),
            Err(error) => return Err(error.into()),
        };
        write_line(&mut &*connection, &reply)?;
    }
}

fn answer(dataplane: &Dataplane, author: &str, request: Request) -> Result<Answer, Problem> {
    match request {
        Request::Status => status::status(dataplane).map(|status| Answer::Status(Box::new(status))).map_err(internal),
        Request::Resources => Ok(Answer::Resources(Box::new(dataplane.shares.report()))),
        Request::SteerList => rules(dataplane).map(Answer::Rules),
        Request::AgentList => Ok(Answer::Agents(agents(dataplane))),
        Request::ServiceList => services::status(dataplane).map(Answer::Services).map_err(internal),
        Request::FlagList => Ok(Answer::Flags(flags::status(dataplane))),
        Request::FlagDocument => {
            let text = |flags: &ProgramFlags| flags.as_str().to_owned();
            Ok(Answer::Document(lock(&dataplane.config).program_flags().map(text)))
        }
        Request::FlagAsk { flag, key, context, at } => {
            flags::ask(dataplane, &flag, &key, context, at).map(Answer::Variant)
        }
        Request::FeatureList => Ok(Answer::Features(features::list(dataplane))),
        Request::FeatureRestart { name, reason } => {
            features::restart(dataplane, author, name, &reason).map(Answer::Done)
        }
        Request::FlagKill { name, reason } => changes::kill(dataplane, author, &name, &reason).map(Answer::Changed),
        Request::Why(WhyQuestion::Frame(bytes)) => {
            explain::frame(dataplane, &bytes.0).map(|why| Answer::Frame(Box::new(why)))
        }
        Request::Why(WhyQuestion::Flow(flow)) => explain::flow(dataplane, flow).map(|why| Answer::Flow(Box::new(why))),
        Request::Records { feature, limit } => {
            let kept = dataplane.board.read(feature.as_str());
            let first = kept.len().saturating_sub(limit as usize);
            let records = kept.iter().skip(first).map(records::json).collect();
            Ok(Answer::Records(RecordsAnswer { feature, records }))
        }
        request @ (Request::ExperimentList
        | Request::ExperimentShow { .. }
        | Request::ExperimentCreate { .. }
        | Request::ExperimentStop { .. }
        | Request::ExperimentRemove { .. }
        | Request::ExperimentReplay { .. }) => experiments::answer(dataplane, author, request),
        Request::PreservationShow { raw } => Ok(Answer::Preservation(Box::new(dataplane.gate.shown(dataplane, raw)))),
        Request::PreservationRun { feature } => gate::ask(dataplane, feature).map(Answer::Done),
        Request::ChaosSlow { feature, delay_us, seconds } => {
            dataplane.chaos.slow(feature, delay_us, seconds).map(Answer::Done)
        }
        Request::ChaosHang { feature, after_hello, seconds } => {
            chaos::hang(&dataplane.supervised, feature, after_hello, seconds).map(Answer::Done)
        }
        Request::Change { manner, request } => change(dataplane, author, &manner, *request).map(Answer::Changed),
        Request::Config(request) => changes::answer(dataplane, author, request),
        request @ (Request::SteerAdd { .. }
        | Request::SteerRemove { .. }
        | Request::AgentSet { .. }
        | Request::AgentRemove { .. }
        | Request::FeatureRun { .. }
        | Request::FlagSet { .. }
        | Request::FlagPut { .. }
        | Request::FlagRemove { .. }
        | Request::FlagPublish { .. }
        | Request::ServiceAdd { .. }
        | Request::ServiceRemove { .. }
        | Request::ServiceDrain { .. }) => change(dataplane, author, &Manner::default(), request).map(Answer::Changed),
        Request::Upgrade { program, within_s } => {
            supervised::upgrade(dataplane, author, &program, within_s).map(Answer::Done)
        }
        Request::Stop => {
            dataplane.stopping.store(true, Ordering::Relaxed);
            Ok(Answer::Done(Done { text: "stopping".into(), saved: true, unsaved_because: None }))
        }
    }
}

/// An error of the box itself, not of the request.
pub(super) fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new("weir", error.to_string(), "see `weir doctor` and the dataplane's log")
}

fn rules(dataplane: &Dataplane) -> Result<Vec<RuleStatus>, Problem> {
    let counts = lock(&dataplane.classifier).rule_counters().map_err(internal)?;
    let config = lock(&dataplane.config);
    let count = |index: usize| counts.get(index).copied().unwrap_or_default();
    let status = |(index, rule): (usize, &RuleSpec)| RuleStatus {
        place: index as u32 + 1, // at most MAX_RULES
        rule: rule.clone(),
        class: weir_appliance_control::class::takers(rule).and_then(|set| dataplane.classes.first_of(set)),
        packets: count(index).frames,
        bytes: count(index).bytes,
    };
    Ok(config.rules().iter().enumerate().map(status).collect())
}

fn agents(dataplane: &Dataplane) -> Vec<AgentStatus> {
    let config = lock(&dataplane.config);
    let reachable =
        |agent: &AgentSpec| weir_dataplane_io::net::link(agent.interface.as_str()).is_ok_and(|link| link.up);
    config.agents().iter().map(|agent| AgentStatus { agent: agent.clone(), reachable: reachable(agent) }).collect()
}

/// A change of one rule, agent, flag or service.
fn change(dataplane: &Dataplane, author: &str, manner: &Manner, request: Request) -> Result<Changed, Problem> {
    changes::change(dataplane, author, manner, |config| match request {
        Request::SteerAdd { rule, place } => {
            let rule = rule.named(|| config.free_rule_name());
            let name = rule.name.clone();
            let next = config.add_rule(rule, place)?;
            let place = next.rules().iter().position(|rule| rule.name == name).map_or(0, |index| index + 1);
            Ok((next, format!("rule {name} added at place {place}")))
        }
        Request::SteerRemove { name } => Ok((config.remove_rule(&name)?, format!("rule {name} removed"))),
        Request::AgentSet { agent } => {
            let text = format!("agent {} is at {} behind {}", agent.id, agent.address, agent.interface);
            Ok((config.set_agent(agent)?, text))
        }
        Request::AgentRemove { id } => Ok((config.remove_agent(id)?, format!("agent {id} removed"))),
        Request::FeatureRun { name, run } => features::change(config, name, run),
        Request::FlagSet { name, change } => {
            let next = config.set_flag(change.of(&name, config.flag(&name).ok()))?;
            let text = flags::said(&next, &name);
            Ok((next, text))
        }
        Request::FlagPut { flags } => {
            let text = format!("{} flags taken over", flags.len());
            Ok((config.put_flags(flags)?, text))
        }
        Request::FlagRemove { name } => Ok((config.remove_flag(&name)?, format!("flag {name} removed"))),
        Request::FlagPublish { document } => {
            let flags = document.map(|text| text.parse::<ProgramFlags>()).transpose()?;
            let text = match &flags {
                Some(flags) => format!("{} flags that programs ask", flags.document().flags().count()),
                None => "no flags that programs ask".to_owned(),
            };
            Ok((config.with_program_flags(flags), text))
        }
        Request::ServiceAdd { service } => {
            let agents = config.agents_of(&service).count();
            let text = format!("service {} at {} is shared among {agents} agents", service.name, service.address);
            Ok((config.add_service(service)?, text))
        }
        Request::ServiceRemove { name } => Ok((config.remove_service(&name)?, format!("service {name} removed"))),
        Request::ServiceDrain { agent, draining } => {
            let what = if draining { "gets no new connections" } else { "gets new connections again" };
            Ok((config.drain_agent(agent, draining)?, format!("agent {agent} {what}")))
        }
        _ => Err(Problem::new("change", "this request changes nothing", "ask it without the change around it")),
    })
}

/// Puts rules, flags, agents and services into the classifier. Each of the three steps is one flip of a bank.
///
/// # Errors
/// When the kernel refuses a map; what was in force stays in force.
pub(super) fn install(
    classifier: &mut Classifier,
    steering: &Steering,
    classes: &KernelClasses,
    ports: &[Port],
) -> Result<()> {
    let egress: Vec<(u8, u32)> = ports.iter().zip(0..).map(|(port, slot)| (slot, port.link.index)).collect();
    let mirror: Vec<u8> = (0..ports.len()).map(|slot| slot as u8).collect(); // at most MAX_EGRESS interfaces
    let has_mirror = classes.iter().any(|class| class.egress.is_some());
    classifier.install_agents(&steering.agents, &egress, if has_mirror { &mirror } else { &[] })?;
    classifier.install_services(&steering.services)?;
    classifier.install_rules(&steering.rules, &steering.flags)?;
    Ok(())
}
