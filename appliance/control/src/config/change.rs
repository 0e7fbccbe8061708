//! Changes to a running configuration. Each gives a whole new one, judged by the rules of the file, or a problem.

use super::judge::{Judge, Refused};
use super::*;
use crate::flags::{self, Standing};
use crate::name::{AgentId, FlagName, InterfaceName, RuleName, ServiceName};
use crate::problem::Problem;
use crate::share::Share;
use crate::taker::FeatureName;

/// Steps of schedules that a change's reason tells one by one.
const SENTENCES: usize = 3;

impl Config {
    /// The same configuration attached to these interfaces instead, each with its settings if the file has some:
    /// `weir up --interface NAME`.
    ///
    /// # Errors
    /// A name stands twice, or there are too many.
    pub fn with_interfaces(mut self, names: &[InterfaceName]) -> Result<Self, Problem> {
        let known = std::mem::take(&mut self.interfaces);
        let spec = |name: &InterfaceName| known.iter().find(|spec| spec.name == *name).cloned();
        self.interfaces =
            names.iter().map(|name| spec(name).unwrap_or_else(|| InterfaceSpec::new(name.clone()))).collect();
        self.judged()
    }

    /// The same configuration with the control socket at this path.
    #[must_use]
    pub fn with_socket(mut self, path: std::path::PathBuf) -> Self {
        self.control.socket = path;
        self
    }

    /// The configuration with one rule more. `place` counts from 1, the first to be asked; behind the last if it is
    /// `None` or beyond the end.
    ///
    /// # Errors
    /// The name is taken, the takers do not fit the action or are not enabled, or there are too many rules.
    pub fn add_rule(&self, rule: RuleSpec, place: Option<u32>) -> Result<Self, Problem> {
        let mut changed = self.clone();
        let end = changed.rules.len();
        let index = place.map_or(end, |place| (place.max(1) as usize - 1).min(end));
        changed.rules.insert(index, rule);
        changed.judged()
    }

    /// The configuration without the rule of this name.
    ///
    /// # Errors
    /// No rule has this name.
    pub fn remove_rule(&self, name: &RuleName) -> Result<Self, Problem> {
        let mut changed = self.clone();
        changed.rules.retain(|rule| rule.name != *name);
        if changed.rules.len() == self.rules.len() {
            return Err(Problem::new(name.to_string(), "no rule has this name", "see the names with: weir steer list"));
        }
        Ok(changed)
    }

    /// A name that no rule has: `rule-N`.
    pub fn free_rule_name(&self) -> RuleName {
        let taken = |name: &RuleName| self.rules.iter().any(|rule| rule.name == *name);
        let mut number = self.rules.len() + 1;
        while taken(&RuleName::numbered(number)) {
            number += 1;
        }
        RuleName::numbered(number)
    }

    /// The configuration with this agent, in place of the one of the same number if there is one.
    ///
    /// # Errors
    /// A value is out of its range, or there are too many agents.
    pub fn set_agent(&self, agent: AgentSpec) -> Result<Self, Problem> {
        let mut changed = self.clone();
        changed.agents.retain(|other| other.id != agent.id);
        changed.agents.push(agent);
        changed.agents.sort_by_key(|agent| agent.id);
        changed.judged()
    }

    /// The configuration without the agent of this number.
    ///
    /// # Errors
    /// No agent has this number, or a service names it.
    pub fn remove_agent(&self, id: AgentId) -> Result<Self, Problem> {
        let mut changed = self.clone();
        changed.agents.retain(|agent| agent.id != id);
        if changed.agents.len() == self.agents.len() {
            return Err(Problem::new(
                id.to_string(),
                "no agent has this number",
                "see the numbers with: weir agent list",
            ));
        }
        changed.judged()
    }

    /// The configuration with one service more.
    ///
    /// # Errors
    /// A value is out of its range, name or address are taken, or there are too many services.
    pub fn add_service(&self, service: ServiceSpec) -> Result<Self, Problem> {
        let mut changed = self.clone();
        changed.services.push(service);
        changed.judged()
    }

    /// The configuration without the service of this name.
    ///
    /// # Errors
    /// No service has this name.
    pub fn remove_service(&self, name: &ServiceName) -> Result<Self, Problem> {
        let mut changed = self.clone();
        changed.services.retain(|service| service.name != *name);
        if changed.services.len() == self.services.len() {
            let cure = "see the names with: weir service list";
            return Err(Problem::new(name.to_string(), "no service has this name", cure));
        }
        Ok(changed)
    }

    /// The configuration in which this agent gets no new connections, or gets them again.
    ///
    /// # Errors
    /// No agent has this number.
    pub fn drain_agent(&self, id: AgentId, draining: bool) -> Result<Self, Problem> {
        let mut changed = self.clone();
        let Some(agent) = changed.agents.iter_mut().find(|agent| agent.id == id) else {
            let cure = "see the numbers with: weir agent list";
            return Err(Problem::new(id.to_string(), "no agent has this number", cure));
        };
        agent.draining = draining;
        Ok(changed)
    }

    /// The flag of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn flag(&self, name: &FlagName) -> Result<&FlagSpec, Problem> {
        self.flags.iter().find(|flag| flag.name == *name).ok_or_else(|| {
            Problem::new(name.to_string(), "no flag has this name", "see the names with: weir flag list")
        })
    }

    /// The configuration with this flag, in place of the one of the same name if there is one. A flag is turned on, or
    /// given more, only when those that it requires work: features are enabled in their order.
    ///
    /// # Errors
    /// A value is out of its range, a prerequisite is missing or does not work, or there are too many flags.
    pub fn set_flag(&self, flag: FlagSpec) -> Result<Self, Problem> {
        let (name, before) = (flag.name.clone(), self.flag(&flag.name).ok());
        let had = before.filter(|flag| flag.state == FlagState::On).map_or(Share::NONE, |flag| flag.share);
        let more = flag.state == FlagState::On && flag.share > had;
        let changed = self.put_flags(vec![flag])?;
        let found = flags::resolve(&changed.flags).into_iter().find(|one| one.flag.name == name);
        if let (true, Some(Standing::Waits(required))) = (more, found.map(|one| one.standing)) {
            let cause = format!("it requires {required}, which does not work now");
            let cure = format!("turn that on first: weir flag set {required} --on");
            return Err(Problem::new(name.to_string(), cause, cure));
        }
        Ok(changed)
    }

    /// The configuration with these flags, each in place of the one of its name if there is one.
    ///
    /// # Errors
    /// As [`Config::set_flag`], but for the order: flags that come together are on together.
    pub fn put_flags(&self, flags: Vec<FlagSpec>) -> Result<Self, Problem> {
        let mut changed = self.clone();
        changed.flags.retain(|other| flags.iter().all(|flag| flag.name != other.name));
        changed.flags.extend(flags);
        changed.flags.sort_by(|one, other| one.name.cmp(&other.name));
        changed.judged()
    }

    /// The configuration without the flag of this name.
    ///
    /// # Errors
    /// No flag has this name, or another requires it.
    pub fn remove_flag(&self, name: &FlagName) -> Result<Self, Problem> {
        self.flag(name)?;
        let mut changed = self.clone();
        changed.flags.retain(|flag| flag.name != *name);
        changed.judged()
    }

    /// The configuration with the flag of this name off.
    ///
    /// # Errors
    /// No flag has this name.
    pub fn kill_flag(&self, name: &FlagName) -> Result<Self, Problem> {
        self.flag(name)?;
        let mut changed = self.clone();
        changed.flags.iter_mut().filter(|flag| flag.name == *name).for_each(|flag| flag.state = FlagState::Off);
        Ok(changed)
    }

    /// The configuration after all steps of flags' schedules whose time has come, and sentences for the first of them;
    /// `None` where there is none. A step goes with its time, so a clock that is set back makes none of them again.
    pub fn scheduled(&self, now_s: i64) -> Option<(Self, String)> {
        let mut changed = self.clone();
        let mut done = Vec::new();
        for flag in &mut changed.flags {
            let due = flag.schedule.iter().take_while(|step| step.at.unix_seconds() <= now_s).count();
            if let Some(last) = flag.schedule.drain(..due).next_back() {
                flag.share = last.share;
                done.push(format!("flag {} has {} as planned for {}", flag.name, last.share, last.at));
            }
        }
        // A reason in the history has a bound.
        let more = done.len().saturating_sub(SENTENCES);
        done.truncate(SENTENCES);
        if more > 0 {
            done.push(format!("and {more} flags more"));
        }
        (!done.is_empty()).then(|| (changed, done.join("; ")))
    }

    /// The configuration in which this becomes of a feature's worker.
    ///
    /// # Errors
    /// The feature is not enabled.
    pub fn set_run(&self, name: FeatureName, run: Run) -> Result<Self, Problem> {
        let mut changed = self.clone();
        let Some(spec) = changed.features.get_mut(&name).filter(|spec| spec.enabled) else {
            let cure = format!("write `features: {{{name}: {{enabled: true}}}}` and start weir again");
            return Err(Problem::new(name.to_string(), "this feature is not enabled, so it has no rings", cure));
        };
        spec.run = run;
        Ok(changed)
    }

    pub(super) fn judged(self) -> Result<Self, Problem> {
        let mut judge = Judge::new(self.enabled());
        let judged = (|| {
            self.interfaces.iter().try_for_each(|spec| judge.interface(spec))?;
            self.rules.iter().try_for_each(|spec| judge.rule(spec))?;
            self.flags.iter().try_for_each(|spec| judge.flag(spec))?;
            self.agents.iter().try_for_each(|spec| judge.agent(spec))?;
            self.services.iter().try_for_each(|spec| judge.service(spec))
        })();
        judged.map_err(|refused: Refused| refused.problem)?;
        flags::judge(&self.flags)
            .and_then(|()| judge.room_for_flags(&self.flags))
            .map_err(|(_, _, problem)| problem)?;
        Ok(self)
    }
}
