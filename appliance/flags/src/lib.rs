//! Room 9a: flags. Frames come from no room and leave to none: here programs ask which variant of a flag is theirs.
//!
//! A [`Document`] is text in flagd's JSON schema, parsed once: every targeting rule is compiled, or the document is
//! refused with the flag, the value, the cause and the cure. [`Document::evaluate`] answers as flagd's present
//! generation (v3) does: `fractional` puts a key into the bucket that murmur3 of its canonical CBOR gives.
//!
//! Nothing here does input or output or reads a clock; the time is an argument. Whatever a document and a context hold,
//! an evaluation ends: steps, made text and nesting are bounded, and what goes beyond is an error with flagd's code.

mod cbor;
mod document;
mod error;
mod evaluation;
mod fractional;
mod item;
mod json;
mod murmur3;
mod operators;
mod rule;
mod run;
mod version;

pub use document::{Document, Flag, Kind, State};
pub use error::{FlagError, one_line, plain};
pub use evaluation::{ErrorCode, Evaluation, EvaluationError, Reason};

/// Bytes of a document at most.
pub const DOCUMENT_BYTES: usize = 1 << 20;
/// Flags of a document at most.
pub const FLAGS: usize = 4096;
/// Levels at most: of values in a document and in a context, of rules with the evaluators they refer to.
pub const DEPTH: usize = 64;
/// Bytes of a flag's, a variant's or an evaluator's name at most.
pub const NAME_BYTES: usize = 256;
/// Steps of one evaluation at most: one for each operator, each element of a list, and each 64 bytes of text looked at.
pub const STEPS: usize = 100_000;
/// Bytes of text that one evaluation may make.
pub const MADE_BYTES: usize = 1 << 20;
/// Values in a context at most, and bytes of its names and texts together.
pub const CONTEXT_VALUES: usize = 65_536;
/// Bytes of a context's names and texts together at most.
pub const CONTEXT_BYTES: usize = 1 << 20;
