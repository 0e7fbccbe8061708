//! `weir flag`: flags that programs ask.

use std::io::Write;

use clap::Subcommand;

use crate::answer::Outcome;

pub mod eval;

/// Flags that programs ask: which variant is whose, and whether a document is sound.
#[derive(Clone, Debug, Subcommand)]
pub enum FlagCommand {
    /// Say which variant of a flag a key gets, by a document in flagd's schema. Needs no running weir.
    ///
    /// Exit code 1 if the document has no such flag, or its rule gives no answer.
    Eval(eval::EvalArgs),
    /// Judge a document in flagd's schema. Needs no running weir.
    Check(eval::CheckArgs),
}

impl FlagCommand {
    /// Does what was asked.
    ///
    /// # Errors
    /// A file cannot be read or is refused, or the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Outcome {
        match self {
            Self::Eval(args) => args.run(out),
            Self::Check(args) => args.run(out),
        }
    }
}
