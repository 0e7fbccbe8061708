//! Running the programs on single frames by test-run: for explanations, replays and differential tests.

use aya::programs::{TestRun, TestRunOptions};
use weir_ebpf_abi::explain::Explanation;
use weir_ebpf_abi::layout::{self, program};
use weir_ebpf_abi::meta::FrameMeta;

use crate::attach::{self, chain};
use crate::classifier::Classifier;
use crate::error::LoadError;
use crate::values::{read, write};

/// Least frame that a test-run takes: an Ethernet header.
const SHORTEST: usize = 14;

/// XDP return codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// XDP_ABORTED, which the classifier never says.
    Aborted,
    /// To nowhere.
    Drop,
    /// To the stack.
    Pass,
    /// Back out of the interface it came from.
    Transmit,
    /// To a ring or another interface.
    Redirect,
}

/// What the classifier did with one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its return code.
    pub verdict: Verdict,
    /// The description it put in front, if any.
    pub meta: Option<FrameMeta>,
    /// The frame behind, rewritten or not.
    pub frame: Vec<u8>,
}

impl Classifier {
    /// What the kernel's program finds and decides about a frame, by a test-run of its telling twin: nothing is
    /// counted or sent.
    ///
    /// # Errors
    /// [`LoadError::Run`] under 14 bytes or over what the kernel can test (64 KiB with the maps' default).
    pub fn explain(&self, frame: &[u8]) -> Result<Explanation, LoadError> {
        let mut ebpf = self.lock();
        write(&mut ebpf, layout::MAP_EXPLANATION, 0, &Explanation::default())?;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let ran = attach::program(&mut ebpf, program::EXPLAIN)?.test_run(options);
        ran.map_err(|error| run_error(program::EXPLAIN, frame, &error))?;
        read(&ebpf, layout::MAP_EXPLANATION, 0)
    }

    /// As [`Classifier::explain`], for many frames.
    ///
    /// # Errors
    /// As [`Classifier::explain`]; the first frame that cannot be run ends the list.
    pub fn explain_all<'a>(&self, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Explanation>, LoadError> {
        frames.into_iter().map(|frame| self.explain(frame)).collect()
    }

    /// Runs the classifier itself on a frame that seems to come in on queue 0 of the loopback interface. It is
    /// counted; a redirect is decided but not carried out.
    ///
    /// # Errors
    /// As [`Classifier::explain`].
    pub fn run(&self, frame: &[u8]) -> Result<Ran, LoadError> {
        let mut ebpf = self.lock();
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
        let ran = attach::program(&mut ebpf, program::CLASSIFY)?.test_run(options);
        let ran = ran.map_err(|error| run_error(program::CLASSIFY, frame, &error))?;
        drop(ebpf);
        let verdict = match ran.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            3 => Verdict::Transmit,
            4 => Verdict::Redirect,
            _ => Verdict::Aborted,
        };
        out.truncate(ran.data_size_out as usize);
        // The frame's end never moves, so what came in addition is in front: its description, or headers around it, which
        // belong to it.
        let front = out.len().saturating_sub(frame.len());
        let meta = FrameMeta::read_before(&out, front);
        let frame = if front == 0 || meta.is_some() { out.split_off(front) } else { out };
        Ok(Ran { verdict, meta, frame })
    }
}

pub(crate) fn run_error(program: &'static str, frame: &[u8], error: &dyn std::error::Error) -> LoadError {
    let cause = if frame.len() < SHORTEST { "the frame has no Ethernet header".to_owned() } else { chain(error) };
    LoadError::Run { program, length: frame.len(), cause }
}
