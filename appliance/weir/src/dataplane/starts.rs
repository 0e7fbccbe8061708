//! Workers between their start and their first heartbeat: who hangs there has no rings whose cursors could stand still.
//!
//! The supervisor says which processes it has started, the list of takers who has come to work. Who is in the first for too
//! long and not in the second is told to the supervisor, which ends it. Only time in which the pool turns counts: without it
//! nobody can attach.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use weir_appliance_control::message::ProcessState;

use super::takers::{Taker, TakerState};
use crate::supervise::{Heard, Progress, Shown};

/// How far a worker has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not said who it is.
    #[default]
    Silent,
    /// It was lent its rings.
    Lent,
    /// It worked.
    Worked,
    /// It worked, and has let go of its connection.
    Gone,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "hung at its start: it has not said a word to the dataplane",
            Self::Lent => "hung at its start: it was lent its rings and has not come to work",
            Self::Worked => "works",
            Self::Gone => "hung at its end: it has let go of its rings and is still there",
        })
    }
}

/// One process.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    stage: Stage,
    progress: Progress,
    still: Duration,
    reported: bool,
}

/// All that the supervisor has started.
#[derive(Debug, Default)]
pub(super) struct Starts(BTreeMap<u32, Start>);

impl Starts {
    /// One look at the supervisor's `children` and at who is attached; gives those who take longer than `within`, each once.
    pub(super) fn look(
        &mut self,
        children: &[Shown],
        attached: &[Taker],
        within: Duration,
        now: Instant,
    ) -> Vec<Heard> {
        let running = |child: &&Shown| child.state == ProcessState::Running && child.pid != 0;
        self.0.retain(|pid, _| children.iter().filter(running).any(|child| child.pid == *pid));
        let mut hung = Vec::new();
        for child in children.iter().filter(running) {
            let Ok(feature) = child.name.parse() else { continue }; // the dataplane is no feature
            let start = self.0.entry(child.pid).or_default();
            let taker = attached.iter().find(|taker| taker.pid == child.pid);
            let stage = match (taker.map(|taker| taker.state), start.stage) {
                (Some(TakerState::Ready), _) => Stage::Worked,
                (_, Stage::Worked | Stage::Gone) => Stage::Gone,
                (Some(TakerState::Starting), _) => Stage::Lent,
                (None, _) => Stage::Silent,
            };
            // From its start to its work is one time, however it is spent; its end is another.
            let mark = u64::from(matches!(stage, Stage::Worked | Stage::Gone));
            start.still = start.progress.look(mark, stage != Stage::Worked, now);
            start.stage = stage;
            if start.still >= within && !std::mem::replace(&mut start.reported, true) {
                let how = format!("{stage} after {} s", start.still.as_secs());
                hung.push(Heard::Hung { pid: child.pid, feature, how });
            }
        }
        hung
    }

    /// How far process `pid` has come and for how long it stands there, if it does not work.
    pub(super) fn of(&self, pid: u32) -> Option<(Stage, Duration)> {
        self.0.get(&pid).filter(|start| start.stage != Stage::Worked).map(|start| (start.stage, start.still))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_dataplane_pool::class::TakerId;
    use weir_dataplane_ring::{HeapMemory, OwnerCursors, OwnerPage, PAGE_LENGTH};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(3);

    fn child(name: &str, pid: u32) -> Shown {
        let state = ProcessState::Running;
        Shown { name: name.into(), pid, state, restarts: 0, last_exit: None, again_in_ms: None }
    }

    fn taker(pid: u32, state: TakerState) -> Taker {
        let page = || HeapMemory::zeroed(PAGE_LENGTH);
        Taker {
            id: TakerId(u64::from(pid)),
            name: "test1".into(),
            pid,
            restarts: 0,
            state,
            leaving: false,
            cursors: Arc::new(OwnerCursors::new(page(), 0).expect("a page")),
            stop: Arc::new(OwnerPage::new(page(), 0).expect("a page")),
        }
    }

    /// What is heard in so many looks, half a second apart.
    fn looks(starts: &mut Starts, now: &mut Instant, taker: Option<Taker>, count: u32) -> Vec<String> {
        let children = [child("dataplane", 1), child("test1", 7)];
        let attached: Vec<Taker> = taker.into_iter().collect();
        let mut heard = Vec::new();
        for _ in 0..count {
            *now += Duration::from_millis(500);
            heard.extend(starts.look(&children, &attached, WITHIN, *now));
        }
        let how = |heard: Heard| match heard {
            Heard::Hung { pid: 7, how, .. } => how,
            other => panic!("{other:?}"),
        };
        heard.into_iter().map(how).collect()
    }

    #[test]
    fn who_is_silent_or_lent_and_not_at_work_is_told_once() {
        let (mut starts, mut now) = (Starts::default(), Instant::now());
        assert!(looks(&mut starts, &mut now, None, 4).is_empty());
        assert_eq!(starts.of(7).map(|(stage, _)| stage), Some(Stage::Silent));
        let lent = || Some(taker(7, TakerState::Starting));
        // Both are one time: who says a word at last has no more of it.
        let told = looks(&mut starts, &mut now, lent(), 20);
        assert_eq!(told, ["hung at its start: it was lent its rings and has not come to work after 3 s"]);
        let mut starts = Starts::default();
        let told = looks(&mut starts, &mut now, None, 20);
        assert_eq!(told, ["hung at its start: it has not said a word to the dataplane after 3 s"]);
    }

    #[test]
    fn who_works_may_do_so_for_ever_and_who_let_go_has_to_end() {
        let (mut starts, mut now) = (Starts::default(), Instant::now());
        assert!(looks(&mut starts, &mut now, None, 5).is_empty());
        assert!(looks(&mut starts, &mut now, Some(taker(7, TakerState::Ready)), 100).is_empty());
        assert_eq!(starts.of(7), None);
        assert!(looks(&mut starts, &mut now, None, 5).is_empty());
        let told = looks(&mut starts, &mut now, None, 10);
        assert_eq!(told, ["hung at its end: it has let go of its rings and is still there after 3 s"]);
    }
}
