//! Health checks: who of a service's agents answers. One thread, far from any frame; it sleeps until a check is due.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use weir_appliance_control::config::{AgentSpec, Config, HealthSpec, ServiceSpec};
use weir_appliance_control::name::{AgentId, ServiceName};

use super::{Dataplane, lock, services};

/// Checks under way at the same time; more wait for their turn.
const AT_ONCE: usize = 32;
/// Stack of a thread that makes one connection.
const STACK: usize = 64 << 10;
/// Longest sleep while nothing is to be checked.
const IDLE: Duration = Duration::from_secs(3600);

type Who = (ServiceName, AgentId);

/// What is known of one agent of a service.
#[derive(Clone, Debug)]
struct Known {
    up: bool,
    /// Checks in a row that said otherwise.
    otherwise: u32,
    /// When it is checked next.
    due: Instant,
    /// What the last check said.
    last: String,
}

/// What is known of all agents that are checked.
#[derive(Default)]
pub(crate) struct Health {
    known: Mutex<BTreeMap<Who, Known>>,
    /// The configuration has changed and was not looked at since.
    news: AtomicBool,
    changed: Condvar,
}

impl Health {
    /// Whether an agent counts as healthy: it does until its checks say otherwise.
    pub(super) fn is_up(&self, service: &ServiceSpec, agent: &AgentSpec) -> bool {
        service.asks(agent).is_none() || self.find(service, agent).is_none_or(|known| known.up)
    }

    /// What its last check said, if it is checked.
    pub(super) fn last(&self, service: &ServiceSpec, agent: &AgentSpec) -> Option<String> {
        service.asks(agent)?;
        Some(self.find(service, agent).map_or_else(|| "not checked yet".to_owned(), |known| known.last))
    }

    fn find(&self, service: &ServiceSpec, agent: &AgentSpec) -> Option<Known> {
        lock(&self.known).get(&(service.name.clone(), agent.id)).cloned()
    }

    /// Says that the configuration has changed.
    pub(super) fn look_again(&self) {
        // Under the lock, so that a watcher that is about to sleep has seen it or is woken.
        let _known = lock(&self.known);
        self.news.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Takes one answer in; true when the agent's state has changed.
    fn take(&self, check: &Check, answer: &Result<Duration, String>) -> bool {
        let mut all = lock(&self.known);
        let Some(known) = all.get_mut(&check.who) else { return false };
        known.last = match answer {
            Ok(took) => format!("{} answered in {} ms", check.asked, took.as_millis()),
            Err(error) => format!("{}: {error}", check.asked),
        };
        if answer.is_ok() == known.up {
            known.otherwise = 0;
            return false;
        }
        known.otherwise += 1;
        let enough = if known.up { check.spec.fall } else { check.spec.rise };
        if known.otherwise < enough {
            return false;
        }
        (known.up, known.otherwise) = (!known.up, 0);
        true
    }

    /// Forgets who is gone, gets to know who is new, and gives the checks that are due and when the next one is.
    fn due(&self, config: &Config, now: Instant) -> (Vec<Check>, Instant) {
        let mut wanted = Vec::new();
        for service in config.services() {
            for agent in config.agents_of(service) {
                if let Some(asked) = service.asks(agent) {
                    wanted.push(Check { who: (service.name.clone(), agent.id), asked, spec: service.health });
                }
            }
        }
        let mut all = lock(&self.known);
        all.retain(|who, _| wanted.iter().any(|check| check.who == *who));
        let mut next = now + IDLE;
        wanted.retain(|check| {
            let known = all.entry(check.who.clone()).or_insert_with(|| Known {
                up: true,
                otherwise: 0,
                due: now,
                last: "not checked yet".to_owned(),
            });
            let is_due = known.due <= now;
            if is_due {
                known.due = now + Duration::from_millis(check.spec.every_ms.into());
            }
            next = next.min(known.due);
            is_due
        });
        (wanted, next)
    }
}

/// One question.
#[derive(Clone, Debug)]
struct Check {
    who: Who,
    asked: SocketAddr,
    spec: HealthSpec,
}

impl Check {
    fn ask(&self) -> Result<Duration, String> {
        let begun = Instant::now();
        let within = Duration::from_millis(self.spec.timeout_ms.into());
        // Dropped at once: the agent sees a connection that says nothing.
        TcpStream::connect_timeout(&self.asked, within).map(|_| begun.elapsed()).map_err(|error| error.to_string())
    }
}

/// Checks for as long as the process lives.
pub(super) fn watch(dataplane: &Arc<Dataplane>) {
    loop {
        let (checks, next) = dataplane.health.due(&lock(&dataplane.config), Instant::now());
        let mut changed = false;
        for some in checks.chunks(AT_ONCE) {
            for (check, answer) in some.iter().zip(ask_all(some)) {
                let turned = dataplane.health.take(check, &answer);
                if turned {
                    let (service, agent) = &check.who;
                    let state = if answer.is_ok() { "up" } else { "down" };
                    tracing::warn!("service {service}: agent {agent} is {state}");
                }
                changed |= turned;
            }
        }
        if changed && let Err(error) = install(dataplane) {
            tracing::error!("services stay as they were although an agent's health has changed: {error}");
        }
        let guard = lock(&dataplane.health.known);
        let left = next.saturating_duration_since(Instant::now());
        if !left.is_zero() && !dataplane.health.news.swap(false, Ordering::Relaxed) {
            drop(dataplane.health.changed.wait_timeout(guard, left));
        }
    }
}

/// Asks some at the same time, in their order.
fn ask_all(checks: &[Check]) -> Vec<Result<Duration, String>> {
    std::thread::scope(|scope| {
        let ask = |check| {
            std::thread::Builder::new()
                .name("check".into())
                .stack_size(STACK)
                .spawn_scoped(scope, move || Check::ask(check))
        };
        let asked: Vec<_> = checks.iter().map(ask).collect();
        let answer = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err("the check panicked".to_owned())),
            Err(error) => Err(format!("no thread for the check: {error}")),
        };
        asked.into_iter().map(answer).collect()
    })
}

/// Puts the services in force as the agents' health is now.
fn install(dataplane: &Dataplane) -> anyhow::Result<()> {
    let config = lock(&dataplane.config);
    let made = services::services(&config, &dataplane.ports, &dataplane.health)
        .map_err(|problem| anyhow::anyhow!("{problem}"))?;
    lock(&dataplane.classifier).install_services(&made)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!(
            "agents:\n  - {{id: 1, address: 10.9.0.1, mac: \"02:00:00:00:00:01\", interface: eth0}}\n  \
             - {{id: 2, address: 10.9.0.2, mac: \"02:00:00:00:00:02\", interface: eth0}}\n\
             services:\n  - {{name: web, address: 10.9.9.9, protocol: tcp, port: 80, type: 1, health: {{check: tcp, rise: 2, fall: 3}}}}\n{more}"
        );
        Config::parse(&text).expect("a good file")
    }

    #[test]
    fn a_state_turns_after_so_many_answers_in_a_row() {
        let (config, health, now) = (config(""), Health::default(), Instant::now());
        let (checks, _) = health.due(&config, now);
        assert_eq!(
            checks.iter().map(|check| check.asked.to_string()).collect::<Vec<_>>(),
            ["10.9.0.1:80", "10.9.0.2:80"]
        );
        let (service, agent) = (&config.services()[0], &config.agents()[0]);
        let turns = |answers: &[bool]| {
            let answer = |is_ok: &bool| if *is_ok { Ok(Duration::ZERO) } else { Err("refused".to_owned()) };
            answers.iter().map(|is_ok| health.take(&checks[0], &answer(is_ok))).collect::<Vec<_>>()
        };
        assert!(health.is_up(service, agent), "until its checks say otherwise");
        assert_eq!(turns(&[false, false, true, false, false, false]), [false, false, false, false, false, true]);
        assert!(!health.is_up(service, agent));
        assert_eq!(health.last(service, agent).as_deref(), Some("10.9.0.1:80: refused"));
        assert_eq!(turns(&[true, false, true, true]), [false, false, false, true]);
        assert!(health.is_up(service, agent));
    }

    #[test]
    fn checks_are_due_in_their_time_and_forgotten_with_their_service() {
        let (all, health, now) = (config(""), Health::default(), Instant::now());
        assert_eq!(health.due(&all, now).0.len(), 2);
        let (none, next) = health.due(&all, now);
        assert_eq!((none.len(), next), (0, now + Duration::from_secs(1)));
        assert_eq!(health.due(&all, next).0.len(), 2);
        let without = all.remove_service(&all.services()[0].name).expect("removed");
        let (none, next) = health.due(&without, next);
        assert!(none.is_empty() && next >= now + IDLE);
        assert!(lock(&health.known).is_empty());
    }
}
