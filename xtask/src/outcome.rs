//! Reading what `cargo test` prints: results, skips, and which lines a person needs to see.

/// What a whole run of `cargo test` said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Tests that passed, over all test binaries.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests marked `#[ignore]`.
    pub(crate) ignored: u64,
    /// `test: reason` of every skip a test reported.
    pub(crate) skips: Vec<String>,
    /// Test binaries that started without reporting a result: they crashed or were killed.
    pub(crate) unfinished: u64,
    /// In the part where the harness repeats the output of tests that passed.
    in_successes: bool,
    /// A test binary announced itself and has not reported a result yet.
    running: bool,
}

impl Outcome {
    /// Takes one line; true when it is worth showing. Output of passed tests is asked for only to see their skips.
    pub(crate) fn take(&mut self, line: &str) -> bool {
        let text = line.trim();
        if let Some((_, skip)) = text.split_once("weir-skip: ") {
            if !self.skips.iter().any(|known| known == skip) {
                self.skips.push(skip.to_owned());
                return true;
            }
            return false;
        }
        if text.starts_with("running ") && (text.ends_with(" tests") || text.ends_with(" test")) {
            self.unfinished += u64::from(self.running);
            self.running = true;
        }
        if let Some(result) = text.strip_prefix("test result: ") {
            self.passed += number_before(result, " passed");
            self.failed += number_before(result, " failed");
            self.ignored += number_before(result, " ignored");
            self.in_successes = false;
            self.running = false;
            return true;
        }
        match text {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => {}
        }
        !self.in_successes
    }

    /// To be called when the run has ended and whether it ended well: a run that failed without naming a failed
    /// test has one all the same.
    pub(crate) fn end(&mut self, well: bool) {
        self.unfinished += u64::from(self.running);
        self.running = false;
        if !well && self.failed == 0 && self.unfinished == 0 {
            self.unfinished = 1;
        }
    }

    /// Takes another run's results in.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.unfinished += other.unfinished;
        self.skips.extend(other.skips);
    }

    /// The closing line. A test binary that died counts as one failure, since its tests cannot be known.
    pub(crate) fn last_line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed + self.unfinished)
    }

    /// Whether everything that ran passed.
    pub(crate) fn held(&self) -> bool {
        self.failed == 0 && self.unfinished == 0
    }
}

/// The number that stands right before `word`, 0 when there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().filter(|before| before.len() < text.len());
    before.and_then(|before| before.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, well: bool) -> (Outcome, Vec<&str>) {
        let mut outcome = Outcome::default();
        let shown = text.lines().filter(|line| outcome.take(line)).collect();
        outcome.end(well);
        (outcome, shown)
    }

    const TWO_BINARIES: &str = "\
running 2 tests
test a ... ok
test b ... ok

successes:

---- b stdout ----
noise
weir-skip: b: no network namespaces

successes:
    a
    b

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 1 test
test c ... FAILED

failures:

---- c stdout ----
the reason

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn results_are_summed_and_skips_are_seen() {
        let (outcome, shown) = read(TWO_BINARIES, false);
        assert_eq!((outcome.passed, outcome.failed, outcome.ignored, outcome.unfinished), (2, 1, 1, 0));
        assert_eq!(outcome.skips, ["b: no network namespaces"]);
        assert_eq!(outcome.last_line(), "2 passed, 1 failed");
        assert!(shown.contains(&"the reason") && !shown.contains(&"noise"), "{shown:?}");
    }

    #[test]
    fn a_binary_that_dies_is_a_failure() {
        let (outcome, _) = read("running 3 tests\ntest a ... ok\n", false);
        assert_eq!(outcome.last_line(), "0 passed, 1 failed");
        let (outcome, _) = read("error: could not compile\n", false);
        assert_eq!(outcome.last_line(), "0 passed, 1 failed");
        assert!(!outcome.held());
    }

    #[test]
    fn runs_add_up() {
        let (mut outcome, _) = read(TWO_BINARIES, false);
        let (other, _) = read("running 3 tests\ntest a ... ok\n", false);
        outcome.add(other);
        assert_eq!(outcome.last_line(), "2 passed, 2 failed");
    }

    #[test]
    fn a_good_run_holds() {
        let (outcome, _) = read("running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored\n", true);
        assert!(outcome.held());
        assert_eq!(outcome.last_line(), "0 passed, 0 failed");
    }
}
