//! Runs a frame through the kernel and through the host, and compares.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::counters::Counters;
use weir_ebpf_abi::decode::WHOLE;
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::flow::FlowVerdict;
use weir_ebpf_abi::meta::{FrameMeta, META_MAGIC};
use weir_ebpf_abi::reason::Reason;
use weir_ebpf_abi::rewrite::rewrite_slice;
use weir_ebpf_loader::{Classifier, HostTables, LoadError, LoadOptions, Ran, Service, Verdict};

use crate::services::{self, Model};
use crate::setups::Setup;

/// The loopback interface, from which a test-run seems to come.
pub(crate) const LOOPBACK: u32 = 1;
/// Bytes of a test-run's first buffer: 4096 - 256 - 320.
const FIRST_BUFFER: usize = 3_520;
/// The host's clock: any verdict that expires at second 1 has.
const NOW_S: u32 = 1_000;

/// Both sides, and what they have met.
pub(crate) struct Judge {
    classifier: Classifier,
    host: HostTables,
    setup: Setup,
    agents: BTreeMap<u32, Agent>,
    socket: OwnedFd,
    /// In the order in which they were stored: they stay in force when the rules change.
    verdicts: Vec<FlowVerdict>,
    /// What the counters should say by now.
    expected: Counters,
    met: BTreeMap<String, u64>,
    model: Model,
    /// Frames to services, to be seen again after the services have changed.
    again: Vec<Vec<u8>>,
}

/// Frames that are kept to be seen again.
const AGAIN: usize = 200;

impl Judge {
    /// `None`, with a printed reason, where the kernel lets us load nothing.
    pub(crate) fn new(test: &str) -> Option<Judge> {
        let classifier = match Classifier::load(LoadOptions::default()) {
            Ok(classifier) => classifier,
            Err(LoadError::Load { cause }) if !rustix::process::geteuid().is_root() => {
                weir_tests::skip(test, &format!("needs root or CAP_BPF and CAP_NET_ADMIN: {cause}"));
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let family = rustix::net::AddressFamily::from_raw(44); // AF_XDP
        let socket = rustix::net::socket(family, rustix::net::SocketType::RAW, None).expect("an AF_XDP socket");
        let host = HostTables::new(&[], &[], &[]).expect("empty tables");
        let (agents, met, expected) = (BTreeMap::new(), BTreeMap::new(), Counters::default());
        let (verdicts, again, setup, model) = (Vec::new(), Vec::new(), Setup::default(), Model::default());
        Some(Judge { classifier, host, setup, agents, socket, verdicts, expected, met, model, again })
    }

    /// Puts a set-up in force on both sides. Egress slot 0 is where frames come from, slots 1 and 2 another way out,
    /// and slot 9 leads nowhere.
    pub(crate) fn install(&mut self, setup: Setup) {
        for class in 0..64 {
            self.classifier.clear_socket(0, class).expect("clears");
        }
        for &class in &setup.sockets {
            self.classifier.set_socket(0, class, self.socket.as_fd()).expect("sets");
        }
        // The kernel looks a redirect's interface up and carries nothing out, so the loopback stands for all; what
        // differs is what the agent table says, and there only slot 0 is the frames' own interface.
        let egress = [(0u8, LOOPBACK), (1, LOOPBACK), (2, LOOPBACK)];
        let reach = |agent: &Agent| if agent.egress < 3 { LOOPBACK } else { 0 };
        let agents: Vec<Agent> = setup.agents.iter().map(|agent| Agent { ifindex: reach(agent), ..*agent }).collect();
        self.classifier.install_agents(&setup.agents, &egress, &setup.mirror).expect("installs agents");
        self.classifier.install_rules(&setup.rules, &setup.flags).expect("installs rules");
        self.classifier.install_services(&setup.services).expect("installs services");
        self.host = HostTables::new(&setup.rules, &setup.flags, &agents)
            .expect("the host takes what the kernel took")
            .with_key(self.classifier.flow_key())
            .with_mirror_classes(&setup.mirror)
            .with_services(&setup.services, self.classifier.placement())
            .expect("the host takes what the kernel took");
        self.model.install(&setup.services, &mut self.host);
        for verdict in &self.verdicts {
            self.host.set_verdict(*verdict, NOW_S);
        }
        self.agents = agents.into_iter().map(|agent| (agent.id, agent)).collect();
        self.setup = setup;
    }

    /// Compares everything both sides say about one frame.
    pub(crate) fn judge(&mut self, frame: &[u8]) {
        // The classifier sees a long frame's first buffer, of a page less headroom and bookkeeping in a test-run.
        let head = &frame[..frame.len().min(FIRST_BUFFER)];
        let mut host = Explanation::of(&self.host, head, frame.len());
        if self.setup.verdicts && host.flow.is_multiple_of(16) && host.by_verdict == 0 {
            let action = Action::ALL[(host.flow >> 8) as usize % 5];
            // Some have expired long ago, the rest never do.
            let expires_s = (host.flow >> 16 & 1) as u32;
            let verdict = FlowVerdict::new(host.flow, action, (host.flow >> 24) as u8 & 63, expires_s);
            self.classifier.set_flow_verdict(verdict).expect("stores");
            self.host.set_verdict(verdict, NOW_S);
            self.verdicts.push(verdict);
            host = Explanation::of(&self.host, head, frame.len());
        }
        let kernel = self.classifier.explain(frame).expect("the kernel explains");
        assert_eq!(kernel, host, "{}\n{:?}", hex(frame), self.rule_of(&host));
        let ran = self.classifier.run(frame).expect("the kernel runs");
        let (expected, action, reason) = self.expect(frame, &host);
        assert_eq!(ran, expected, "{}\n{host:?}", hex(frame));
        // Once more: now the flow is known, and nothing may be different.
        let again = self.classifier.run(frame).expect("the kernel runs");
        assert_eq!(again, expected, "the second time\n{}\n{host:?}", hex(frame));
        if host.served != 0 {
            self.again.truncate(AGAIN - 1);
            self.again.insert(0, frame.to_vec());
        }
        // What trails an IP packet in later buffers is not counted.
        let counted = if host.decoded.outer.flags & WHOLE != 0 { head.len() } else { frame.len() };
        for _ in 0..2 {
            self.count(counted as u64, &host, action, reason);
            self.count_service(counted as u64, &host, action, reason);
            host = Explanation::of(&self.host, head, frame.len());
        }
        if host.service().is_some() {
            let kernel = self.classifier.explain(frame).expect("the kernel explains");
            assert_eq!(kernel, host, "once it is known\n{}", hex(frame));
        }
    }

    /// A frame as an agent of this service, the only one in force, gets it from the kernel.
    pub(crate) fn sent(&mut self, service: Service, frame: &[u8]) -> Vec<u8> {
        self.install(Setup { services: vec![service], ..Setup::default() });
        self.judge(frame);
        let ran = self.classifier.run(frame).expect("the kernel runs");
        assert_eq!(ran.verdict, Verdict::Transmit);
        ran.frame
    }

    /// The services in force.
    pub(crate) fn services(&self) -> &[Service] {
        &self.setup.services
    }

    /// Judges frames to former services once more; gives their number.
    pub(crate) fn repeat(&mut self) -> usize {
        let frames = std::mem::take(&mut self.again);
        frames.iter().for_each(|frame| self.judge(frame));
        frames.len()
    }

    fn count_service(&mut self, bytes: u64, host: &Explanation, action: Action, reason: Reason) {
        let Some(key) = host.service().and_then(|number| self.classifier.placement().key(number)) else { return };
        if reason == Reason::NoAgentUp {
            self.model.unserved(key, bytes);
        }
        if host.served != 0 && action == Action::Forward {
            self.model.served(key, bytes, host, &mut self.host);
            let wrap = self.host.service_table(host.service).expect("a service we installed").wrap;
            let how = (wrap.encapsulation(), wrap.version, host.decoded.outer.version);
            for what in [format!("served {how:?}"), format!("connection known {}", host.known)] {
                *self.met.entry(what).or_default() += 1;
            }
        }
    }

    fn rule_of(&self, explanation: &Explanation) -> Option<&weir_ebpf_abi::rules::Rule> {
        explanation.rule().and_then(|rule| self.setup.rules.get(usize::from(rule)))
    }

    /// What the classifier should do with the frame, and under which action and reason it should count it.
    fn expect(&self, frame: &[u8], host: &Explanation) -> (Ran, Action, Reason) {
        let whole = |verdict| Ran { verdict, meta: None, frame: frame.to_vec() };
        let rewritten = || {
            let mut frame = frame.to_vec();
            let agent = host.agent().and_then(|id| self.agents.get(&id)).expect("an agent we installed");
            rewrite_slice(&mut frame, agent);
            frame
        };
        if host.served != 0 {
            return match services::sent(frame, host, &self.host) {
                Some(sent) => {
                    (Ran { verdict: Verdict::Transmit, meta: None, frame: sent }, Action::Forward, Reason::None)
                }
                None => (whole(Verdict::Pass), Action::Pass, Reason::TooLongForAgent),
            };
        }
        let has_taker = self.setup.sockets.contains(&host.class);
        let meta = has_taker.then(|| meta(host));
        match host.action() {
            Action::Pass => (whole(Verdict::Pass), Action::Pass, host.reason()),
            Action::Drop => (whole(Verdict::Drop), Action::Drop, host.reason()),
            Action::Deliver if has_taker => {
                (Ran { verdict: Verdict::Redirect, meta, frame: frame.to_vec() }, Action::Deliver, Reason::None)
            }
            Action::Deliver => (whole(Verdict::Pass), Action::Pass, Reason::NoTaker),
            Action::Mirror if has_taker => {
                (Ran { verdict: Verdict::Redirect, meta, frame: rewritten() }, Action::Mirror, Reason::None)
            }
            Action::Mirror | Action::Forward => {
                let reason = if host.action() == Action::Mirror { Reason::NoTaker } else { Reason::None };
                (Ran { verdict: Verdict::Transmit, meta: None, frame: rewritten() }, Action::Forward, reason)
            }
        }
    }

    fn count(&mut self, bytes: u64, host: &Explanation, action: Action, reason: Reason) {
        let expected = &mut self.expected;
        expected.received.count(bytes);
        match action {
            Action::Pass => expected.passed.count(bytes),
            Action::Drop => expected.dropped.count(bytes),
            Action::Forward => expected.forwarded.count(bytes),
            Action::Deliver => expected.delivered.count(bytes),
            Action::Mirror => {
                expected.forwarded.count(bytes);
                expected.mirrored.count(bytes);
            }
        }
        if reason != Reason::None {
            expected.reasons[reason as usize] += 1;
        }
        if action.takes_a_ring() {
            expected.classes[usize::from(host.class)] += 1;
        }
        let mut meet = |what: String| *self.met.entry(what).or_default() += 1;
        meet(format!("action {action}"));
        meet(format!("reason {reason}"));
        meet(format!("kind {}", host.decoded.kind().name()));
        meet(format!("tunnel {}", host.decoded.tunnel().name().unwrap_or("none")));
        for (ground, holds) in
            [("rule", host.rule().is_some()), ("flag", host.by_flag != 0), ("verdict", host.by_verdict != 0)]
        {
            if holds {
                meet(format!("by {ground}"));
            }
        }
    }

    /// The kernel's counters are what we counted along.
    pub(crate) fn check_counters(&mut self) {
        let counters = self.classifier.counters().expect("reads");
        assert_eq!(counters, self.expected);
        let sum =
            counters.passed.frames + counters.dropped.frames + counters.forwarded.frames + counters.delivered.frames;
        assert_eq!(counters.received.frames, sum);
        self.model.check(&self.classifier);
    }

    /// What was met, on one line.
    pub(crate) fn summary(&self) -> String {
        self.met.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// A generator that never makes some kind of frame tests nothing.
    pub(crate) fn assert_all_met(&self) {
        let reasons = Reason::ALL.into_iter().filter(|reason| {
            // No driver without room and no frame under 14 bytes in a test-run; an empty egress slot is decided.
            !matches!(reason, Reason::NoMetadataRoom | Reason::NoHeaderRoom | Reason::TruncatedEthernet)
        });
        let wanted = reasons
            .map(|reason| format!("reason {reason}"))
            .chain(Action::ALL.map(|action| format!("action {action}")))
            .chain(["rule", "flag", "verdict"].map(|ground| format!("by {ground}")))
            .chain(["none", "standard", "multimodal", "batch"].map(|kind| format!("kind {kind}")))
            .chain(["none", "vxlan", "geneve", "gre"].map(|tunnel| format!("tunnel {tunnel}")))
            .chain([0, 1].map(|known| format!("connection known {known}")))
            .chain([4, 6].map(|inside| format!("served (None, 0, {inside})")))
            .chain(["IpInIp", "Geneve"].iter().flat_map(|how| {
                [(4, 4), (4, 6), (6, 4), (6, 6)].map(|(outer, inside)| format!("served ({how}, {outer}, {inside})"))
            }));
        let missing: Vec<String> = wanted.filter(|what| !self.met.contains_key(what)).collect();
        assert!(missing.is_empty(), "never met: {missing:?}");
    }
}

fn meta(host: &Explanation) -> FrameMeta {
    FrameMeta {
        flow: host.flow,
        received_ns: 0,
        rule: host.rule,
        class: host.class,
        kind: host.decoded.kind,
        payload_offset: host.decoded.payload_offset,
        payload_length: host.decoded.payload_length,
        agent_source: host.decoded.message.source_agent,
        bucket: host.bucket,
        magic: META_MAGIC,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
