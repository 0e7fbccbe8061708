//! Clocks in nanoseconds. Reading one costs about 20 ns (vDSO), so per batch, never per frame.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC`: the clock of frame stamps within one machine.
#[inline]
pub fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// `CLOCK_REALTIME`: the clock of frame stamps from other machines.
#[inline]
pub fn realtime_ns() -> u64 {
    read(ClockId::Realtime)
}

/// CPU time the calling thread has used. A system call, unlike the other two.
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

#[inline]
fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // Neither part is negative on these clocks after 1970.
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_move_forward() {
        let (monotonic, cpu) = (monotonic_ns(), thread_cpu_ns());
        assert!(monotonic_ns() >= monotonic);
        assert!(thread_cpu_ns() >= cpu);
        assert!(realtime_ns() > 1_600_000_000_000_000_000, "the wall clock is before 2020");
    }
}
