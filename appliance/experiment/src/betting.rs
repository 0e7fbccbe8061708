//! The test: evidence as the wealth of somebody who bets against a hypothesis at fair odds.
//!
//! For numbers z in [-1, 1] and the hypothesis that each has, given those before it, a mean of at most q, the product of
//! `1 + b (z - q)` over the numbers is a nonnegative supermartingale that begins at 1, for every stake b in [0, 1 / (1 + q)]. By
//! Ville's inequality it ever reaches c with probability at most 1 / c if the hypothesis holds: one may look after every number
//! and stop whenever one likes. The other side, a mean of at least q, has `1 + b (q - z)` and b in [0, 1 / (1 - q)].
//! Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, Journal of the Royal Statistical Society B
//! 86(1), 2024, 1-27. A mean of such products is one again.
//!
//! The stakes are fixed beforehand, so the order of the numbers within a product does not matter.

/// Parts of the largest stake that are bet side by side, each with a sixth of the wealth: the largest finds what is plain in
/// few numbers, the smallest what is slight in many.
const STAKES: [f64; 6] = [0.9, 0.45, 0.225, 0.1125, 0.056, 0.028];
/// Wealth beyond this counts no more: it is far above every bound, and a product of thousands must not overflow.
const RICHEST: f64 = 1e12;
/// One comparison counts at most as this many times what is tolerated: what is bounded more closely is decided sooner, since
/// the odds must allow for the worst that can come.
const AT_MOST: f64 = 6.0;

/// Which hypothesis is bet against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// "It is no worse than tolerated": the wealth is evidence that it is worse.
    Fine,
    /// "It is worse than tolerated": the wealth is evidence that it is not.
    Worse,
}

/// What is tolerated, on the scale on which bets are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Comparisons are divided by this, and cut at -1 and 1.
    scale: f64,
    /// What is tolerated, on that scale.
    mean: f64,
}

impl Bound {
    /// Losses up to `tolerated` are; both in the units of [`compare`](crate::compare). `None` where nothing that can be compared
    /// is beyond it, or it is not positive.
    #[must_use]
    pub fn new(tolerated: f64) -> Option<Self> {
        Self::within(tolerated, AT_MOST)
    }

    /// The same where a comparison counts at most as `at_most` times what is tolerated.
    #[must_use]
    pub fn within(tolerated: f64, at_most: f64) -> Option<Self> {
        if !(tolerated > 0.0 && tolerated < 1.0) {
            return None;
        }
        let scale = (at_most * tolerated).min(1.0);
        Some(Self { scale, mean: tolerated / scale })
    }

    fn scaled(self, loss: f64) -> f64 {
        (loss / self.scale).clamp(-1.0, 1.0)
    }
}

/// The wealth of bets with each of the stakes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wealth([f64; STAKES.len()]);

impl Default for Wealth {
    fn default() -> Self {
        Self([1.0; STAKES.len()])
    }
}

impl Wealth {
    /// Takes in one comparison.
    pub fn observe(&mut self, against: Against, bound: Bound, loss: f64) {
        let z = bound.scaled(loss);
        let (gain, most) = match against {
            Against::Fine => (z - bound.mean, 1.0 / (1.0 + bound.mean)),
            Against::Worse => (bound.mean - z, 1.0 / (1.0 - bound.mean)),
        };
        for (wealth, stake) in self.0.iter_mut().zip(STAKES) {
            *wealth = (*wealth * (1.0 + stake * most * gain)).min(RICHEST);
        }
    }

    /// The evidence: how many times what was there at the start.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.0.iter().sum::<f64>() / STAKES.len() as f64
    }
}

/// Bets that begin anew with every window, each with an equal part of the wealth: a candidate that was fine for long and then
/// is not is found as soon as one that never was.
#[derive(Clone, Debug, PartialEq)]
pub struct Starts {
    begun: Vec<Wealth>,
    windows: u32,
}

impl Starts {
    /// Bets over at most so many windows.
    #[must_use]
    pub fn over(windows: u32) -> Self {
        Self { begun: Vec::new(), windows: windows.max(1) }
    }

    /// A window begins. Beyond the number that was given no further bet begins.
    pub fn begin(&mut self) {
        if self.begun.len() < self.windows as usize {
            self.begun.push(Wealth::default());
        }
    }

    /// Takes in one comparison.
    pub fn observe(&mut self, bound: Bound, loss: f64) {
        self.begun.iter_mut().for_each(|wealth| wealth.observe(Against::Fine, bound, loss));
    }

    /// The evidence; what was not bet yet is part of it.
    #[must_use]
    pub fn value(&self) -> f64 {
        let idle = f64::from(self.windows) - self.begun.len() as f64;
        (self.begun.iter().map(Wealth::value).sum::<f64>() + idle) / f64::from(self.windows)
    }
}
