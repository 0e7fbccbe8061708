//! Waiting until no program still reads what was just replaced.

/// Returns when every XDP program that was running at the call has ended: an RCU grace period, which is what
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` is made of.
pub(crate) fn wait() {
    if rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global).is_err() {
        // Kernels with nohz_full refuse it. A program runs for microseconds, so this is a thousandfold margin.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
