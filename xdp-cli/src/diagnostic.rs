//! What is wrong with a configuration or a list file, and where.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// A mistake or a warning, with its place and the next step.
///
/// `check --json` prints these as they are; the keys are part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The file, as it was named on the command line or in a configuration.
    #[serde(serialize_with = "crate::notation::lossy_path")]
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// The column in characters, from 1; 0 for the line as a whole.
    pub column: u32,
    /// What is wrong, including the value.
    pub message: String,
    /// What to do about it, or what to write instead.
    pub hint: Option<String>,
    /// The text around the mistake, for people.
    #[serde(skip)]
    pub excerpt: Option<Excerpt>,
}

/// A part of a line with a mark. What would control a terminal is escaped in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    pub text: String,
    /// The mark: how many characters of the text come before it, and how many it has, at least one.
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

/// Everything that was found in a configuration and the list files that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostics {
    /// Each of these keeps the configuration from being loaded.
    pub errors: Vec<Diagnostic>,
    /// These do not keep it from being loaded.
    pub warnings: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Whether the configuration may be loaded.
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }
}
