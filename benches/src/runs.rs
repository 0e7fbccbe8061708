//! Alternated runs: every case once a round, rounds until each has enough, disturbed rounds thrown away.

use anyhow::{Result, bail};

use crate::noise;

/// One thing that is measured.
pub struct Case<'a, T = f64> {
    /// Its name.
    pub name: String,
    /// Makes one run and gives its figure, or several.
    pub run: Box<dyn FnMut() -> Result<T> + 'a>,
}

impl<'a, T> Case<'a, T> {
    /// A case of this name.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<T> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// The runs of each case, in the order of the cases.
#[derive(Clone, Debug, Default)]
pub struct Measured<T = f64> {
    /// Figures that count.
    pub runs: Vec<Vec<T>>,
    /// Runs thrown away.
    pub discarded: usize,
}

impl<T> Measured<T> {
    /// The note that stands under a table.
    #[must_use]
    pub fn note(&self) -> String {
        let kept: usize = self.runs.iter().map(Vec::len).sum();
        format!("{kept} runs count; {} more were disturbed by other programs and thrown away", self.discarded)
    }
}

/// How many runs may be thrown away for each that counts.
const PATIENCE: usize = 4;

/// Two distances that differ by less than this factor are the same: within one chip it moves by two, between chips by ten.
const SAME_DISTANCE: f64 = 4.0;
/// How often a round is made again because the cores moved. A host that never lets them rest gets its figures too, with the
/// range to show for it.
const AGAIN: usize = 1;

/// Runs all cases `rounds` times, one after the other in each round and in turned order, so that none is always first.
/// The cores are probed before and after each run; a disturbed one is made again at once, in the same minute. A round in
/// which the host moved the cores nearer together or further apart is made again as a whole, once.
///
/// # Errors
/// A case failed, or the machine never was quiet for long enough.
pub fn alternate<T>(cases: &mut [Case<'_, T>], rounds: usize, cores: &[u32]) -> Result<Measured<T>> {
    let runs = cases.iter().map(|_| Vec::with_capacity(rounds)).collect();
    let mut measured = Measured { runs, discarded: 0 };
    let patience = rounds * cases.len() * PATIENCE;
    for number in 0..rounds {
        let mut before = distance(cores);
        let mut values = round(cases, number, cores, &mut measured.discarded, patience)?;
        for _ in 0..AGAIN {
            let after = distance(cores);
            if (1.0 / SAME_DISTANCE..=SAME_DISTANCE).contains(&(after / before)) {
                break;
            }
            measured.discarded += values.len();
            before = after;
            values = round(cases, number, cores, &mut measured.discarded, patience)?;
        }
        for (runs, value) in measured.runs.iter_mut().zip(values) {
            runs.push(value);
        }
    }
    Ok(measured)
}

/// How far apart the cores are, 1 for a single one. The least of three: a tick in one of them makes it look longer.
fn distance(cores: &[u32]) -> f64 {
    match cores {
        [one, other, ..] => (0..3).map(|_| noise::distance_ns(*one, *other)).fold(f64::INFINITY, f64::min),
        _ => 1.0,
    }
}

/// One run of each case, in the order of the cases.
fn round<T>(
    cases: &mut [Case<'_, T>],
    number: usize,
    cores: &[u32],
    discarded: &mut usize,
    patience: usize,
) -> Result<Vec<T>> {
    let count = cases.len();
    let mut values: Vec<Option<T>> = cases.iter().map(|_| None).collect();
    for step in 0..count {
        let index = (number + step) % count;
        while values[index].is_none() {
            let value = if noise::is_quiet(cores) { Some((cases[index].run)()?) } else { None };
            std::thread::sleep(noise::PAUSE);
            if value.is_some() && noise::is_quiet(cores) {
                values[index] = value;
                continue;
            }
            *discarded += 1;
            if *discarded > patience {
                let name = &cases[index].name;
                bail!(
                    "{patience} runs were disturbed by other programs, the last of `{name}`; stop them and try again"
                );
            }
        }
    }
    Ok(values.into_iter().flatten().collect())
}

/// The value in the middle, the upper one of two; `None` of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Upper bound of the median of what `values` were drawn from, one-sided, at 95 %: the least of their order statistics below
/// which the median lies with that probability (binomial, so it assumes nothing of the distribution). `None` for fewer than 5.
#[must_use]
pub fn upper_bound(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = i32::try_from(sorted.len()).ok()?;
    // Probability that at most `place` values lie below the median, summed up term by term.
    let mut term = 0.5_f64.powi(count);
    let mut below = 0.0;
    for (place, value) in (0..count).zip(&sorted) {
        below += term;
        if below >= 0.95 {
            return Some(*value);
        }
        term *= f64::from(count - place) / f64::from(place + 1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_below_its_bound_at_95_percent() {
        let rising = |count: u32| (1..=count).map(f64::from).collect::<Vec<f64>>();
        // Places from a table of the sign test: the ninth of eleven, the fifteenth of twenty.
        assert_eq!(upper_bound(&rising(4)), None);
        assert_eq!(upper_bound(&rising(5)), Some(5.0));
        assert_eq!(upper_bound(&rising(11)), Some(9.0));
        assert_eq!(upper_bound(&rising(20)), Some(15.0));
        let mut turned = rising(11);
        turned.reverse();
        assert_eq!(upper_bound(&turned), Some(9.0));
    }
}
