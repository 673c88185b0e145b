//! What is wrong with a configuration or a list file, and where.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One mistake or one warning, with its place and the next step.
///
/// `check --json` prints these as they are; the keys are part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file, as it was named by whoever named it.
    #[serde(serialize_with = "crate::notation::lossy_path")]
    pub file: PathBuf,
    /// Line, from 1; 0 where the file as a whole is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 where the line as a whole is meant.
    pub column: u32,
    /// What is wrong, the value included.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Where the mistake stands, for people.
    #[serde(skip)]
    pub excerpt: Option<Excerpt>,
}

/// A part of a line, of which something is marked. It steers no terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    pub text: String,
    /// What is marked: characters of the text before it, and its own, at least one.
    pub start: usize,
    pub length: usize,
}

impl fmt::Display for Diagnostic {
    /// `FILE:LINE:COLUMN: MESSAGE (HINT)`, the form that editors jump to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
            if self.column > 0 {
                write!(f, "{}:", self.column)?;
            }
        }
        write!(f, " {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// All that was found in a configuration and the list files that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostics {
    /// Each of these keeps the configuration from being loaded.
    pub errors: Vec<Diagnostic>,
    /// These do not.
    pub warnings: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Whether the configuration may be loaded.
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }
}
