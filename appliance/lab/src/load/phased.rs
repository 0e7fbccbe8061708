//! The open loop in phases, for who does the receiving elsewhere: a frame that cannot be sent in time is given up and
//! counted, never kept.

use weir_dataplane_io::clock::monotonic_ns;

use super::ledger::Phase;
use super::overload::LATE_NS;
use super::pace::Pace;
use super::run::{BURST, rest};
use super::tally::Tally;
use crate::error::LabError;
use crate::generate::Sender;
use crate::traffic::Traffic;

/// What became of the frames of a phase on the sending side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseSent {
    /// What was asked for.
    pub phase: Phase,
    /// Frames that were due.
    pub offered: u64,
    /// Frames of these that were sent; the sender came to the others too late.
    pub sent: u64,
    /// How far sending fell behind the schedule at worst, in nanoseconds.
    pub behind_ns: u64,
}

/// Sends `traffic` in phases from `start_ns` (CLOCK_MONOTONIC) on, each frame stamped with the time at which it was due.
///
/// # Errors
/// The sender is gone.
pub fn drive_phases(
    sender: &mut dyn Sender,
    traffic: &mut Traffic,
    phases: &[Phase],
    start_ns: u64,
    tally: &Tally,
) -> Result<Vec<PhaseSent>, LabError> {
    let (mut from_ns, mut sent, mut all) = (start_ns, Vec::with_capacity(phases.len()), 0);
    for phase in phases {
        sent.push(drive(sender, traffic, phase, from_ns, &mut |offered| tally.write(all + offered, 0, 0))?);
        all += sent.last().map_or(0, |phase| phase.offered);
        from_ns += phase.duration.as_nanos() as u64;
    }
    sender.flush()?;
    Ok(sent)
}

fn drive(
    sender: &mut dyn Sender,
    traffic: &mut Traffic,
    phase: &Phase,
    start_ns: u64,
    watch: &mut dyn FnMut(u64),
) -> Result<PhaseSent, LabError> {
    let pace = Pace::new(start_ns, phase.per_second);
    let offered = (phase.per_second.max(0.0) * phase.duration.as_secs_f64()) as u64;
    let (mut done, mut sent, mut behind_ns) = (0, 0, 0);
    let mut stamps = Vec::with_capacity(BURST);
    while done < offered {
        let now = monotonic_ns();
        // What is this late would only make everything behind it late as well.
        let late = pace.due(now.saturating_sub(LATE_NS)).min(offered).saturating_sub(done);
        done += late;
        let due = pace.due(now).min(offered).saturating_sub(done).min(BURST as u64);
        if due == 0 {
            sender.flush()?;
            rest(now, pace.time(done));
            continue;
        }
        stamps.clear();
        stamps.extend((done..done + due).map(|number| pace.time(number)));
        behind_ns = behind_ns.max(now.saturating_sub(stamps[0]));
        let taken = sender.send(traffic, &stamps)? as u64;
        (done, sent) = (done + taken, sent + taken);
        watch(done);
    }
    Ok(PhaseSent { phase: *phase, offered, sent, behind_ns })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::traffic::{Content, TrafficSpec};

    /// A way out that takes so many frames and then no more.
    struct Narrow(usize);

    impl Sender for Narrow {
        fn describe(&self) -> String {
            "a counter".to_owned()
        }

        fn send(&mut self, traffic: &mut Traffic, stamps: &[u64]) -> Result<usize, LabError> {
            let taken = stamps.len().min(self.0);
            self.0 -= taken;
            for stamp in &stamps[..taken] {
                let _ = traffic.next(*stamp);
            }
            Ok(taken)
        }

        fn flush(&mut self) -> Result<(), LabError> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_sent_in_time_is_given_up_and_counted() {
        let mut traffic = Traffic::new(&TrafficSpec::pair(Content::Message { frame_bytes: 70 })).unwrap();
        let phase = |name, per_second| Phase { name, duration: Duration::from_millis(20), per_second };
        let phases = [phase("one", 5_000.0), phase("two", 10_000.0)];
        let sent = drive_phases(&mut Narrow(150), &mut traffic, &phases, monotonic_ns(), &Tally::default()).unwrap();
        let counts: Vec<_> = sent.iter().map(|phase| (phase.offered, phase.sent)).collect();
        assert_eq!(counts, [(100, 100), (200, 50)]);
        assert_eq!(traffic.sent().map(|(_, count)| count).sum::<u64>(), 150);
    }
}
