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

/// Runs all cases `rounds` times, one after the other in each round and in turned order, so that none is always first.
/// The cores are probed before and after each run; a disturbed one is made again at once, in the same minute.
///
/// # Errors
/// A case failed, or the machine never was quiet for long enough.
pub fn alternate<T>(cases: &mut [Case<'_, T>], rounds: usize, cores: &[u32]) -> Result<Measured<T>> {
    let runs = cases.iter().map(|_| Vec::with_capacity(rounds)).collect();
    let mut measured = Measured { runs, discarded: 0 };
    let (count, most) = (cases.len(), rounds * cases.len() * PATIENCE);
    for number in 0..rounds {
        for step in 0..count {
            let index = (number + step) % count;
            let value = loop {
                let quiet_before = noise::is_quiet(cores);
                let value = if quiet_before { Some((cases[index].run)()?) } else { None };
                std::thread::sleep(noise::PAUSE);
                match value {
                    Some(value) if noise::is_quiet(cores) => break value,
                    _ => measured.discarded += 1,
                }
                if measured.discarded > most {
                    let name = &cases[index].name;
                    bail!(
                        "{most} runs were disturbed by other programs, the last of `{name}`; stop them and try again"
                    );
                }
            };
            measured.runs[index].push(value);
        }
    }
    Ok(measured)
}
