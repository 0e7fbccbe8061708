//! Made-up traffic of two arms, from a seed: what the tests of this room share.
#![allow(dead_code)] // each test uses a part of it

use weir_appliance_experiment::{
    Arms, BUCKETS, Figures, Guardrail, Histogram, Metric, Moment, SLICES, Slice, Spec, Stage, Window, bucket,
};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x1234_5678)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let (one, other) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
    }
}

/// What happens to the candidate's frames.
#[derive(Clone, Copy)]
pub(crate) struct Harm {
    /// Nanoseconds that each frame waits longer.
    pub(crate) later_ns: f64,
    /// Share of the frames that is lost.
    pub(crate) lost: f64,
}

pub(crate) const NO_HARM: Harm = Harm { later_ns: 0.0, lost: 0.0 };

/// Traffic: frames wait some tens of microseconds, with a long tail; some slices are busy for both arms, some for one.
pub(crate) struct Traffic {
    pub(crate) random: Random,
    /// Frames of an arm in a slice.
    pub(crate) frames: u64,
    /// Milliseconds since the start, on both clocks.
    pub(crate) now: u64,
    busy: f64,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), frames: 400, now: 1_000_000, busy: 0.0 }
    }

    fn figures(&mut self, level: f64, harm: Harm) -> Figures {
        let mut counts = [vec![0; BUCKETS], vec![0; BUCKETS]];
        let lost = (0..self.frames).filter(|_| self.random.uniform() < harm.lost).count() as u64;
        for at in 0..self.frames - lost {
            let typical = 40_000.0 * (level + 0.5 * self.random.normal()).exp();
            let tail = if self.random.uniform() < 0.02 { 150_000.0 * self.random.uniform() } else { 0.0 };
            counts[at as usize % 2][bucket((typical + tail + harm.later_ns) as u64)] += 1;
        }
        // What is counted is off by a few frames that are on their way.
        let on_their_way = (self.random.uniform() * 4.0) as u64;
        let taken = Some(self.frames - lost - on_their_way.min(self.frames - lost));
        Figures { offered: self.frames, lost, taken, waits: counts.map(|counts| Histogram::of(&counts)) }
    }

    /// The next slice of a window.
    pub(crate) fn slice(&mut self, spec: &Spec, harm: Harm) -> Slice {
        self.busy = 0.6 * self.busy + 0.15 * self.random.normal();
        let (one, other) = (self.busy + 0.08 * self.random.normal(), self.busy + 0.08 * self.random.normal());
        self.now += spec.slice_ms();
        let end = self.moment();
        Slice { end, control: self.figures(one, NO_HARM), candidate: self.figures(other, harm) }
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { monotonic_ms: self.now, wall_ms: self.now + 1_700_000_000_000 }
    }

    /// A whole window.
    pub(crate) fn window(&mut self, spec: &Spec, number: u32, stage: Stage, harm: Harm) -> Window {
        let mut window = Window::new(number, stage, self.moment());
        window.slices = (0..SLICES).map(|_| self.slice(spec, harm)).collect();
        window
    }
}

/// An experiment with all that can be guarded.
pub(crate) fn spec() -> Spec {
    let arms = Arms::Variants { control: "control".into(), candidate: "candidate".into() };
    let mut spec = Spec::new("try", "canary", arms);
    spec.guardrails = Metric::ALL.map(Guardrail::of).to_vec();
    spec.window_ms = 10_000;
    spec
}
