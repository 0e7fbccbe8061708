//! The flags that programs ask: a document in flagd's schema.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use weir_appliance_flags::Document;

use crate::problem::Problem;

/// Most bytes of the document that a box keeps.
pub const MAX_PROGRAM_FLAGS: usize = 256 << 10;

/// A document that was judged, and its text as it was given. Two are equal if their texts are.
#[derive(Clone)]
pub struct ProgramFlags {
    text: Arc<str>,
    document: Arc<Document>,
}

impl ProgramFlags {
    /// The text, as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is evaluated.
    pub fn document(&self) -> &Document {
        &self.document
    }
}

impl PartialEq for ProgramFlags {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for ProgramFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProgramFlags({} flags)", self.document.flags().count())
    }
}

impl FromStr for ProgramFlags {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_PROGRAM_FLAGS {
            let cause = format!("a box keeps at most {MAX_PROGRAM_FLAGS} bytes of flags that programs ask");
            return Err(Problem::new(
                format!("{} bytes", text.len()),
                cause,
                "leave some out, or take out white space",
            ));
        }
        let document = Document::parse(text).map_err(|error| {
            let flag = error.flag.map(|flag| format!("flag {flag}: ")).unwrap_or_default();
            Problem::new(format!("{flag}{}", error.value), error.cause, error.cure)
        })?;
        Ok(Self { text: text.into(), document: Arc::new(document) })
    }
}
