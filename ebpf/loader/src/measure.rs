//! What a frame costs: the programs' own time as the kernel measures it over a repeated test-run.

use aya::programs::{TestRun, TestRunOptions};
use weir_ebpf_abi::layout::program;

use crate::attach;
use crate::classifier::{Classifier, load_program};
use crate::error::LoadError;
use crate::ran::run_error;

/// Which program to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The classifier, with its changes to the frame undone after every turn: slightly dearer than the real one.
    Classifier,
    /// A program that passes and does nothing: the cost of the call itself.
    EmptyPass,
    /// A program that redirects to egress slot 0 and does nothing else.
    EmptyRedirect,
}

impl Subject {
    const fn program(self) -> &'static str {
        match self {
            Subject::Classifier => program::MEASURE,
            Subject::EmptyPass => program::EMPTY_PASS,
            Subject::EmptyRedirect => program::EMPTY_REDIRECT,
        }
    }
}

impl Classifier {
    /// Nanoseconds per turn of `subject` over `frame`, as the kernel's clock says over `repeat` turns. The frame
    /// stays in the cache and every branch is learnt, so this is the cost of the instructions, not of a real mixture
    /// of frames. Alternate subjects and take medians: hosts change their speed.
    ///
    /// # Errors
    /// As [`Classifier::explain`].
    pub fn measure(&self, subject: Subject, frame: &[u8], repeat: u32) -> Result<u64, LoadError> {
        let mut ebpf = self.lock();
        let name = subject.program();
        if attach::program(&mut ebpf, name)?.fd().is_err() {
            load_program(&mut ebpf, name)?;
        }
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let ran = attach::program(&mut ebpf, name)?.test_run(options);
        let ran = ran.map_err(|error| run_error(name, frame, &error))?;
        Ok(ran.duration.as_nanos() as u64)
    }
}
