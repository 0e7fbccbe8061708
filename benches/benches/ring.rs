//! The rings beside rtrb: a producer and a consumer on two cores, as threads and as two processes.
//!
//! What is fair: the same loops, the same slot sizes and counts, each item written and read whole, the sequence checked
//! by every consumer. rtrb cannot live in shared memory, so its threads stand beside our processes as well.

use anyhow::Result;
use weir_benches::noise;

#[path = "ring/contest.rs"]
mod contest;
#[path = "ring/pairs.rs"]
mod pairs;
#[path = "ring/process.rs"]
mod process;

fn main() -> Result<()> {
    if let Some(role) = std::env::args().find(|word| word.starts_with(process::ROLE)) {
        return process::consumer(&role);
    }
    noise::settle();
    contest::run()
}
