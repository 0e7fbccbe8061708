//! A limit on everything. Each stands beside the table that it protects.

/// Rules: the bit vectors of the classifier's rule set have this many bits.
pub const MAX_RULES: usize = 1024;
/// Agents: slots of the classifier's agent table.
pub const MAX_AGENTS: usize = 4096;
/// Classes: sets of takers in use at the same time; a queue's row in the XSKMAP.
pub const MAX_CLASSES: usize = 64;
/// Interfaces that the classifier is attached to, and interfaces that agents are behind: slots of the device map.
pub const MAX_INTERFACES: usize = 64;
/// Queues of one interface.
pub const MAX_QUEUES: u32 = 64;
/// Flags: a table of the classifier is made of all of them at every change.
pub const MAX_FLAGS: usize = 64;
/// Variants of one flag.
pub const MAX_VARIANTS: usize = 16;
/// Planned changes of one flag's share.
pub const MAX_FLAG_STEPS: usize = 32;
/// The longest configuration file in bytes: 4096 agents and 1024 rules at their longest take less than half of it.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// Descriptors of one receive ring: the kernel wants a power of two; fewer than 64 starve a driver's batch.
pub const RX_RING: std::ops::RangeInclusive<u32> = 64..=32_768;
/// MiB of one segment of the durable log.
pub const SEGMENT_MIB: std::ops::RangeInclusive<u32> = 1..=4096;
/// Connections of streams at the same time: each takes a descriptor and some hundred bytes.
pub const STREAM_CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=100_000;
/// MiB of buffers that the kernel fills with streams; a power of two.
pub const STREAM_BUFFERS_MIB: std::ops::RangeInclusive<u32> = 1..=1024;
/// Messages that a stream's source may have on their way.
pub const STREAM_CREDIT: std::ops::RangeInclusive<u32> = 1..=1_048_576;
/// Seconds in which a begun message has to go on.
pub const STREAM_STALL_SECONDS: std::ops::RangeInclusive<u32> = 1..=3600;
/// Seconds without progress after which a process counts as stalled: one that rests on purpose rests for a second at most.
pub const STALL_SECONDS: std::ops::RangeInclusive<u32> = 2..=3600;
/// Seconds from a worker's start to its first heartbeat, after which it counts as hung. On a loaded machine it takes one or two.
pub const START_SECONDS: std::ops::RangeInclusive<u32> = 2..=3600;
/// Milliseconds before a process that died is started again: shorter ones would only burn a core, longer ones are an outage.
pub const RESTART_MS: std::ops::RangeInclusive<u32> = 10..=600_000;
/// Deaths of a feature that park it.
pub const PARK_DEATHS: std::ops::RangeInclusive<u32> = 1..=100;
/// Seconds in which these deaths count together.
pub const PARK_WITHIN_SECONDS: std::ops::RangeInclusive<u32> = 1..=3600;
/// Seconds in which the base path is measured after a change: a hundredth is a slice, and one below 50 ms is as much the
/// scheduler's as the traffic's.
pub const PRESERVATION_SECONDS: std::ops::RangeInclusive<u32> = 5..=3600;
/// Minutes between two runs of the preservation gate.
pub const GATE_MINUTES: std::ops::RangeInclusive<u32> = 1..=10_080;
/// Frames a second above which the preservation gate does not run.
pub const GATE_FRAMES: std::ops::RangeInclusive<u32> = 1..=1_000_000_000;
/// What the base path may lose, in basis points.
pub const PRESERVATION_LOSS: std::ops::RangeInclusive<u16> = 1..=5_000;
/// Addresses that streams are listened for at.
pub const MAX_LISTEN: usize = 16;
/// Cap on what a feature sends, in Mbit/s: below one a jumbo frame takes longer than a person waits; the fastest port there
/// is has 400 Gbit/s.
pub const SEND_MBIT: std::ops::RangeInclusive<u32> = 1..=400_000;
/// Cores of one role that a feature can ask for.
pub const FEATURE_CORES: u32 = 1024;
/// MiB of memory that a feature can ask for: below 32 it cannot keep its windows.
pub const FEATURE_MIB: std::ops::RangeInclusive<u64> = 32..=16_777_216;
/// Weight of a feature among those that want the same core: the kernel's `cpu.weight`.
pub const CPU_WEIGHT: std::ops::RangeInclusive<u32> = 1..=10_000;
/// Highest core number that is believed (CONFIG_NR_CPUS of distribution kernels is at most 8192).
pub const MAX_CORE: u32 = 8_191;
/// Longest path of a feature's program in bytes: `PATH_MAX` is 4096 with its closing zero (limits.h).
pub const MAX_PROGRAM_PATH: usize = 4_095;
/// Longest path of a Unix socket in bytes: `sun_path` holds 108 with its closing zero (unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;
/// Services: entries of the classifier's service index.
pub const MAX_SERVICES: usize = 64;
/// Agents of one service: a slot of its table is one byte.
pub const MAX_SERVICE_AGENTS: usize = 256;
/// TCP ports that the management has: each takes a flag table of the classifier.
pub const MAX_MANAGEMENT_PORTS: usize = 8;
/// Addresses that the management has.
pub const MAX_MANAGEMENT_ADDRESSES: usize = 16;
/// Milliseconds between two checks of an agent's health.
pub const CHECK_EVERY_MS: std::ops::RangeInclusive<u32> = 100..=3_600_000;
/// Checks in a row that change an agent's state.
pub const CHECK_ROW: std::ops::RangeInclusive<u32> = 1..=100;
/// The greatest weight of an agent.
pub const MAX_WEIGHT: u32 = 1000;
