//! The decision: one source for the kernel and for the host.
//!
//! Order: a malformed frame is counted and passes · flow verdict · first matching rule · flag bucket · a frame to a
//! service goes to one of its agents · a message to a known agent is forwarded · everything else passes.

use crate::action::Action;
use crate::agents::{Agent, AgentTable};
use crate::control::{Control, HAS_AGENTS, HAS_BUCKETS, HAS_RULES, HAS_SERVICES, NEEDS_FLOW};
use crate::decode::{Decoded, OPENS};
use crate::flow::{FLOW_HEADER_SLOT, FlowVerdict, bucket, slot};
use crate::layout::{BUCKETS, FLAG_TABLES, MAX_RULES};
use crate::maglev::SLOTS;
use crate::meta::NO_RULE;
use crate::reason::Reason;
use crate::ruleset::{ASK_FLAGS, NO_CLASS, RuleSet};
use crate::services::{Backend, Connection, NO_SERVICE, ServiceIndex, ServiceTable, Wrap, slot_of};

/// What a decision looks up. The classifier reads maps, the host reads its own copies.
pub trait Tables {
    /// The control word.
    fn control(&self) -> &Control;
    /// The wish of the rules and flag buckets in force: [`steer`] over the active bank.
    fn steer(&self, decoded: &Decoded, flow: u64) -> Steered;
    /// The flow's fingerprint.
    fn fingerprint(&self, decoded: &Decoded) -> u64;
    /// The flow's fingerprint, or 0 where neither the caller wants it nor the answer is to deliver, and [`Tables::steer`]'s
    /// answer under it. The classifier remembers both for the next frame of the flow.
    #[inline(always)]
    fn known(&self, decoded: &Decoded, want_flow: bool) -> (u64, Steered) {
        let flow = if want_flow { self.fingerprint(decoded) } else { 0 };
        (flow, self.steer(decoded, flow))
    }
    /// A bank of agents.
    fn agents(&self, bank: u32) -> Option<&AgentTable>;
    /// A slot of the flow map; an empty one where there is none.
    fn verdict(&self, slot: usize) -> FlowVerdict;
    /// CLOCK_MONOTONIC in whole seconds.
    fn seconds(&self) -> u32;
    /// A bank's index of services.
    fn service_index(&self, bank: u32) -> Option<&ServiceIndex>;
    /// A service in a bank.
    fn service(&self, bank: u32, number: u8) -> Option<&ServiceTable>;
    /// Who has the connection with this fingerprint.
    fn connection(&self, flow: u64) -> Option<Connection>;
}

/// What happens to a frame, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What to do.
    pub action: Action,
    /// Number of the [`Reason`] why a frame was dropped, or of what is odd about it; see [`Decision::reason`].
    pub reason: u8,
    /// Class for deliver and mirror, else 0.
    pub class: u8,
    /// Index of the rule that decided, [`NO_RULE`] for none.
    pub rule: u16,
    /// True when a flag bucket decided.
    pub by_flag: bool,
    /// True when a flow verdict decided.
    pub by_verdict: bool,
    /// The flow's fingerprint, or 0 where nothing asked for it.
    pub flow: u64,
    /// Whom the frame is rewritten for: set for forward and mirror only.
    pub agent: Option<&'a Agent>,
    /// Number of the service that the frame is to, [`NO_SERVICE`] where none was asked or found.
    pub service: u8,
    /// The parts of [`Decision::served`], one by one: what an `Option` of them all holds while it is `None` is nothing that
    /// the verifier lets be kept.
    wrap: Option<&'a Wrap>,
    backend: Option<&'a Backend>,
    place: u8,
    known: bool,
}

/// The pick of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// How the frame travels.
    pub wrap: &'a Wrap,
    /// To whom.
    pub backend: &'a Backend,
    /// The backend's place in the service.
    pub place: u8,
    /// True when the connection was known; false when the slot decided and the connection is to be remembered.
    pub known: bool,
}

impl Served<'_> {
    /// What is to be remembered of the connection.
    #[inline(always)]
    pub const fn connection(&self) -> Connection {
        Connection { agent: self.backend.agent.id, place: self.place as u32 }
    }
}

impl<'a> Decision<'a> {
    /// Which agent of the service the frame goes to, instead of one that a message names.
    #[inline(always)]
    pub fn served(&self) -> Option<Served<'a>> {
        Some(Served { wrap: self.wrap?, backend: self.backend?, place: self.place, known: self.known })
    }

    /// Why a frame was dropped, or what is odd about it.
    pub fn reason(&self) -> Reason {
        Reason::from_number(self.reason).unwrap_or(Reason::None)
    }

    /// Index of the rule that decided.
    pub fn rule(&self) -> Option<u16> {
        (self.rule != NO_RULE).then_some(self.rule)
    }

    #[inline(always)]
    const fn pass(reason: u8) -> Self {
        Decision {
            action: Action::Pass,
            reason,
            class: 0,
            rule: NO_RULE,
            by_flag: false,
            by_verdict: false,
            flow: 0,
            agent: None,
            service: NO_SERVICE,
            wrap: None,
            backend: None,
            place: 0,
            known: false,
        }
    }
}

/// Decides about a frame.
#[inline(always)]
pub fn decide<'a, T: Tables>(tables: &'a T, decoded: &Decoded) -> Decision<'a> {
    if decoded.malformed != 0 {
        return Decision::pass(decoded.malformed);
    }
    let control = tables.control();
    let mut decision = Decision::pass(Reason::None as u8);
    let mut wish = None;
    let verdicts = tables.verdict(FLOW_HEADER_SLOT).flow != 0;
    let steers = control.state & (HAS_RULES | HAS_BUCKETS) != 0;
    let mut steered = Steered::NOTHING;
    if steers {
        let want_flow = verdicts || control.state & (NEEDS_FLOW | HAS_BUCKETS) != 0;
        (decision.flow, steered) = tables.known(decoded, want_flow);
    }
    if verdicts {
        if !steers {
            decision.flow = tables.fingerprint(decoded);
        }
        wish = verdict(tables, decision.flow, &mut decision);
    }
    if wish.is_none() && steers {
        wish = steered.action();
        decision.rule = steered.0 as u16;
        decision.class = (steered.0 >> 16) as u8;
        decision.by_flag = wish.is_some() && decision.rule == NO_RULE;
    }
    if wish.is_none()
        && control.services & HAS_SERVICES != 0
        && let Some(index) = tables.service_index(control.service_bank())
        && let Some((number, by_port)) = index.find(&decoded.outer)
    {
        return serve(tables, control, decoded, number, by_port, decision);
    }
    match wish {
        None if decoded.kind == 0 => decision,
        None | Some(Action::Forward | Action::Mirror) => forward(tables, control, decoded, wish, decision),
        Some(Action::Drop) => {
            let reason = if decision.by_verdict { Reason::FlowVerdictDrop } else { Reason::RuleDrop };
            Decision { action: Action::Drop, reason: reason as u8, ..decision }
        }
        Some(action) => Decision { action, ..decision },
    }
}

#[inline(always)]
fn verdict<T: Tables>(tables: &T, flow: u64, decision: &mut Decision<'_>) -> Option<Action> {
    let entry = tables.verdict(slot(flow));
    if entry.flow != flow {
        return None;
    }
    let action = entry.action()?;
    let expires = entry.expires_s();
    if expires != 0 && expires <= tables.seconds() {
        return None;
    }
    decision.class = entry.class();
    decision.by_verdict = true;
    Some(action)
}

/// What rules and flag buckets say, in one word: the classifier steers in a function of its own, which can give back
/// no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steered(pub u32);

impl Steered {
    /// Nothing applies.
    pub const NOTHING: Steered = Steered(NO_RULE as u32);

    #[inline(always)]
    const fn new(rule: u16, class: u8, action: u8) -> Steered {
        Steered(rule as u32 | (class as u32) << 16 | (action as u32 + 1) << 24)
    }

    /// Whether the answer is to put frames on a ring.
    #[inline(always)]
    pub const fn takes_a_ring(self) -> bool {
        matches!(self.action(), Some(action) if action.takes_a_ring())
    }

    #[inline(always)]
    const fn action(self) -> Option<Action> {
        Action::from_number(((self.0 >> 24) as u8).wrapping_sub(1))
    }
}

/// Asks the rules and then the flag buckets of one bank. `zero` is as in [`RuleSet::first_match`].
#[inline(always)]
pub fn steer(control: &Control, set: &RuleSet, decoded: &Decoded, flow: u64, zero: u16) -> Steered {
    let share = bucket(flow);
    let mut table = 0;
    if control.state & HAS_RULES != 0
        && let Some(rule) = set.first_match(decoded, share, zero)
    {
        let entry = set.rules[rule as usize & (MAX_RULES - 1)];
        if entry.action != ASK_FLAGS {
            return Steered::new(rule, entry.class, entry.action);
        }
        table = entry.class as usize & (FLAG_TABLES - 1);
    }
    if control.state & HAS_BUCKETS != 0 && (share as usize) < BUCKETS {
        let class = set.flags[table][share as usize];
        if class != NO_CLASS {
            return Steered::new(NO_RULE, class, Action::Deliver as u8);
        }
    }
    Steered::NOTHING
}

/// Picks the agent of a frame to a service: the one that has the connection, else the one whose slot it is.
#[inline(always)]
fn serve<'a, T: Tables>(
    tables: &'a T,
    control: &Control,
    decoded: &Decoded,
    number: u8,
    by_port: bool,
    decision: Decision<'a>,
) -> Decision<'a> {
    let mut decision = Decision { service: number, ..decision };
    if by_port && decoded.outer.is_partial() {
        return Decision { reason: Reason::ServiceFragment as u8, ..decision };
    }
    let Some(table) = tables.service(control.service_bank(), number) else { return decision };
    if decision.flow == 0 {
        decision.flow = tables.fingerprint(decoded);
    }
    let opens = decoded.outer.flags & OPENS != 0;
    let keeper = tables.connection(decision.flow).and_then(|connection| table.keeper(connection, opens));
    let place = match keeper {
        Some(place) => place,
        None if table.up == 0 => return Decision { reason: Reason::NoAgentUp as u8, ..decision },
        // The minimum is for the verifier, which does not see that a slot is below their number.
        None => table.slots[(slot_of(decision.flow) as usize).min(SLOTS - 1)],
    };
    let backend = &table.backends[place as usize];
    if backend.agent.ifindex == 0 {
        return Decision { reason: Reason::NoEgress as u8, ..decision };
    }
    if decoded.hop_limit <= 1 {
        return Decision { action: Action::Drop, reason: Reason::HopLimit as u8, ..decision };
    }
    let (wrap, known) = (Some(&table.wrap), keeper.is_some());
    Decision {
        action: Action::Forward,
        agent: Some(&backend.agent),
        wrap,
        backend: Some(backend),
        place,
        known,
        ..decision
    }
}

/// Finds the agent of a message; `wish` is the rule's, `None` for the base path.
#[inline(always)]
fn forward<'a, T: Tables>(
    tables: &'a T,
    control: &Control,
    decoded: &Decoded,
    wish: Option<Action>,
    decision: Decision<'a>,
) -> Decision<'a> {
    let class = decision.class;
    let decision = Decision { class: 0, ..decision };
    if decoded.kind == 0 {
        return Decision { reason: Reason::NotForwardable as u8, ..decision };
    }
    let found = match control.state & HAS_AGENTS {
        0 => None,
        _ => tables.agents(control.agent_bank()).and_then(|table| table.find(decoded.message.dest_agent)),
    };
    let Some(agent) = found else { return Decision { reason: Reason::UnknownAgent as u8, ..decision } };
    if agent.version != decoded.outer.version {
        return Decision { reason: Reason::AgentFamily as u8, ..decision };
    }
    if agent.ifindex == 0 {
        return Decision { reason: Reason::NoEgress as u8, ..decision };
    }
    if decoded.hop_limit <= 1 {
        return Decision { action: Action::Drop, reason: Reason::HopLimit as u8, ..decision };
    }
    if let Some(Action::Mirror) = wish {
        let offset = control.mirror_class.0[agent.egress as usize & (crate::layout::MAX_EGRESS - 1)];
        let class = class.wrapping_add(offset) & (crate::layout::MAX_CLASSES as u8 - 1);
        return Decision { action: Action::Mirror, class, agent: Some(agent), ..decision };
    }
    Decision { action: Action::Forward, agent: Some(agent), ..decision }
}
