//! Rules, flags, agents, verdicts and sockets to run frames under.

use weir_ebpf_abi::action::Action;
use weir_ebpf_abi::agents::Agent;
use weir_ebpf_abi::rules::{Match, Prefix, Rule, masks_with_any};
use weir_ebpf_loader::{FlagTable, Service};

use crate::frames::{AGENTS, HIGHS6, NETS4, PORTS};
use crate::seed::Seed;
use crate::services;

/// What is put in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub rules: Vec<Rule>,
    pub flags: Vec<FlagTable>,
    pub agents: Vec<Agent>,
    pub mirror: Vec<u8>,
    /// Classes that have a socket on queue 0.
    pub sockets: Vec<u8>,
    /// Whether some flows get a verdict.
    pub verdicts: bool,
    /// Services, in most rounds a change of those before.
    pub services: Vec<Service>,
}

/// The set-up of a round: every kind of table is empty in some rounds and full in others.
pub(crate) fn setup(seed: &mut Seed, round: usize, before: &[Service]) -> Setup {
    let count = [0, 1, 10, 100, 1_024][round % 5];
    let mut setup = Setup { rules: (0..count).map(|_| rule(seed)).collect(), ..Setup::default() };
    if !round.is_multiple_of(3) {
        setup.agents = (0..AGENTS).map(|id| agent(seed, id)).collect();
        setup.mirror = vec![0, 7, 60];
    }
    if round % 4 == 1 {
        let mut table = |matches| FlagTable::of_widths(matches, &[(5, 500), (6, 2_000), (7, seed.below(5_000) as u16)]);
        setup.flags = vec![table(Match::default())];
        // As many as there is room for behind the rules.
        for _ in 0..(1_024 - count).min(seed.below(32)) {
            let matches = rule(seed).matches;
            if matches != Match::default() {
                setup.flags.push(FlagTable::new(matches, |bucket| bucket.is_multiple_of(3).then_some(8)));
            }
        }
    }
    setup.sockets = (0..64).filter(|_| seed.chance(60)).collect();
    setup.verdicts = round % 2 == 1;
    setup.services = match round % 6 {
        0 => Vec::new(),
        1 => services::services(seed),
        _ => services::changed(seed, before.to_vec()),
    };
    setup
}

fn agent(seed: &mut Seed, id: u32) -> Agent {
    let version = seed.pick(&[4, 4, 6]);
    let mut address = [0; 16];
    address.copy_from_slice(&seed.bytes(16));
    let mac = |seed: &mut Seed| -> [u8; 6] { std::array::from_fn(|_| seed.next() as u8) };
    Agent {
        id,
        address,
        mac: mac(seed),
        source_mac: mac(seed),
        version,
        egress: seed.pick(&[0, 1, 2, 9]),
        ..Agent::default()
    }
}

fn rule(seed: &mut Seed) -> Rule {
    let mut matches = Match::default();
    let fields = seed.pick(&[1, 1, 2, 2, 3, 5]);
    for _ in 0..fields {
        match seed.below(9) {
            0 | 1 => matches.destination = Some(prefix(seed)),
            2 => matches.source = Some(prefix(seed)),
            3 => matches.destination_port = Some(ports(seed)),
            4 => matches.source_port = Some(ports(seed)),
            5 => matches.protocol = Some(seed.pick(&[1, 6, 17, 47, 50, 200])),
            6 => matches.vlan = Some(seed.pick(&[(1, 1), (10, 20), (0, 4095), (4095, 4095)])),
            7 => {
                let first = seed.below(40) as u32;
                matches.message_type = Some(seed.pick(&[(first, first), (first, first + 9), (first, u32::MAX)]));
            }
            _ => matches.modality = Some(masks_with_any(1 + seed.below(15) as u8)),
        }
    }
    Rule {
        matches,
        action: seed.pick(&Action::ALL),
        class: seed.below(64) as u8,
        share: seed.pick(&[10_000, 10_000, 5_000, 500, 1, 0]),
    }
}

fn ports(seed: &mut Seed) -> (u16, u16) {
    let first = seed.pick(&PORTS);
    seed.pick(&[(first, first), (first.saturating_sub(10), first), (first, u16::MAX), (0, first)])
}

fn prefix(seed: &mut Seed) -> Prefix {
    let mut address = [0; 16];
    if seed.chance(50) {
        let host = seed.below(8) as u32;
        address[..4].copy_from_slice(&(seed.pick(&NETS4) | host).to_be_bytes());
        return Prefix { address, length: seed.pick(&[0, 1, 8, 24, 29, 30, 31, 32]), version: 4 };
    }
    address[..8].copy_from_slice(&seed.pick(&HIGHS6).to_be_bytes());
    address[8..].copy_from_slice(&seed.pick(&[0, 1, 7, u64::MAX, u64::MAX - 3]).to_be_bytes());
    Prefix { address, length: seed.pick(&[0, 7, 32, 64, 65, 120, 126, 127, 128]), version: 6 }
}
