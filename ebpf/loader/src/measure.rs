//! What a frame costs: the programs' own time as the kernel measures it over a repeated test-run.

use std::os::fd::AsFd;

use aya::programs::{TestRun, TestRunOptions};
use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::layout::{self, program};
use weir_ebpf_abi::rules::{Match, Prefix, Rule, masks_with_any};

use crate::attach;
use crate::classifier::{Classifier, LoadOptions, load_program};
use crate::error::LoadError;
use crate::ran::run_error;
use crate::values::refused;

mod cases;

pub use cases::Case;

/// Socket family of AF_XDP (linux/socket.h).
const AF_XDP: u16 = 44;

/// Which program to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The classifier, with its changes to the frame undone after every turn: slightly dearer than the real one.
    Classifier,
    /// The same, and to services every turn is a connection that nobody has seen before.
    NewConnection,
    /// A program that passes and does nothing: the cost of the call itself.
    EmptyPass,
    /// A program that redirects to egress slot 0 and does nothing else.
    EmptyRedirect,
}

impl Subject {
    const fn program(self) -> &'static str {
        match self {
            Subject::Classifier => program::MEASURE,
            Subject::NewConnection => program::MEASURE_NEW,
            Subject::EmptyPass => program::EMPTY_PASS,
            Subject::EmptyRedirect => program::EMPTY_REDIRECT,
        }
    }
}

impl Classifier {
    /// Nanoseconds per turn of `subject` over `frame`, as the kernel's clock says over `repeat` turns. The frame
    /// stays in the cache and every branch is learnt, so this is the cost of the instructions, not of a real mixture
    /// of frames. Alternate subjects and take medians: hosts change their speed.
    ///
    /// # Errors
    /// As [`Classifier::explain`].
    pub fn measure(&self, subject: Subject, frame: &[u8], repeat: u32) -> Result<u64, LoadError> {
        let mut ebpf = self.lock();
        let name = subject.program();
        if attach::program(&mut ebpf, name)?.fd().is_err() {
            load_program(&mut ebpf, name)?;
        }
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let ran = attach::program(&mut ebpf, name)?.test_run(options);
        let ran = ran.map_err(|error| run_error(name, frame, &error))?;
        Ok(ran.duration.as_nanos() as u64)
    }
}

/// How many rules are in force while a frame is measured. None of them matches it, so all must be asked; together
/// they ask about every field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(pub usize);

impl Rules {
    /// The numbers that are reported.
    pub const ALL: [Rules; 4] = [Rules(0), Rules(10), Rules(100), Rules(1024)];

    /// The rules themselves.
    pub fn make(self) -> Vec<Rule> {
        (0..self.0 as u32).map(rule).collect()
    }
}

/// A rule that no measured frame matches: each asks for two things, one of them port 9 or an address of 198.18/15.
fn rule(number: u32) -> Rule {
    let prefix = |word: u32, length| {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&word.to_be_bytes());
        Some(Prefix { address, length, version: 4 })
    };
    let prefix6 = |number: u32, length| {
        let mut address = [0; 16];
        address[..8].copy_from_slice(&(0x2001_0db8_0000_0000 | u64::from(number) << 4).to_be_bytes());
        Some(Prefix { address, length, version: 6 })
    };
    let port = (10_000 + (number % 20_000) as u16, 10_000 + (number % 20_000) as u16 + 3);
    let never = Some((9, 9));
    let matches = match number % 8 {
        0 => Match { destination: prefix(0xc612_0000 | number << 4, 28), ..Match::default() },
        1 => Match { source: prefix(0xc612_0000 | number << 4, 30), destination_port: Some(port), ..Match::default() },
        2 => Match { protocol: Some(6), destination_port: Some(port), ..Match::default() },
        3 => Match { source: prefix6(number, 64), ..Match::default() },
        4 => Match { destination: prefix6(number, 61), source_port: Some(port), ..Match::default() },
        5 => Match { vlan: Some((10, 20)), destination_port: never, ..Match::default() },
        6 => Match { message_type: Some((number, number + 5)), source_port: never, ..Match::default() },
        _ => Match { modality: Some(masks_with_any(1)), destination_port: never, ..Match::default() },
    };
    Rule { matches, action: Action::Drop, class: 0, share: 10_000 }
}

/// What one kind of frame costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Median of the differences between the classifier and the floor, in nanoseconds.
    pub median_ns: f64,
    /// Least difference.
    pub min_ns: f64,
    /// Greatest difference.
    pub max_ns: f64,
    /// Median of the floor itself: an empty program, or a bare redirect.
    pub floor_ns: f64,
    /// Pairs measured.
    pub pairs: usize,
}

/// Measures `case` under `rules`, `pairs` times the classifier and its floor in turn, each over `repeat` frames.
///
/// # Errors
/// As [`Classifier::load`] and [`Classifier::measure`].
pub fn net_cost(case: Case, rules: Rules, repeat: u32, pairs: usize) -> Result<Cost, LoadError> {
    let mut classifier = Classifier::load(LoadOptions::default())?;
    case.prepare(&mut classifier, rules)?;
    let frame = case.frame();
    let floor = case.floor();
    // One turn each to warm caches and the branch predictor, and to compile.
    classifier.measure(floor, &frame, repeat)?;
    classifier.measure(Subject::Classifier, &frame, repeat)?;
    let mut floors = Vec::with_capacity(pairs);
    let mut nets = Vec::with_capacity(pairs);
    for _ in 0..pairs.max(1) {
        let below = classifier.measure(floor, &frame, repeat)? as f64;
        let whole = classifier.measure(Subject::Classifier, &frame, repeat)? as f64;
        floors.push(below);
        nets.push(whole - below);
    }
    floors.sort_by(f64::total_cmp);
    nets.sort_by(f64::total_cmp);
    let middle = nets.len() / 2;
    let (min_ns, max_ns) = (nets[0], nets[nets.len() - 1]);
    Ok(Cost { median_ns: nets[middle], min_ns, max_ns, floor_ns: floors[middle], pairs: nets.len() })
}

impl Classifier {
    /// Makes the agents reachable over an interface that test-run frames never come from: nothing is sent anyway.
    fn pretend_elsewhere(&mut self, agents: &[Agent]) -> Result<(), LoadError> {
        let agents: Vec<Agent> = agents.iter().map(|agent| Agent { ifindex: u32::MAX, ..*agent }).collect();
        self.write_agents(&agents)
    }

    /// Puts an AF_XDP socket that is bound nowhere on class 0 of queue 0: enough for a redirect to be decided.
    fn bind_unbound_socket(&self) -> Result<(), LoadError> {
        let family = rustix::net::AddressFamily::from_raw(AF_XDP);
        let socket = rustix::net::socket(family, rustix::net::SocketType::RAW, None)
            .map_err(|error| refused(layout::MAP_SOCKETS, 0, &error))?;
        self.set_socket(0, 0, socket.as_fd())
    }
}
