//! Where a backend is named: in the configuration, or in a file that it names.

use std::path::Path;
use std::rc::Rc;

use super::super::report::{Report, quote};
use crate::diagnostic::Diagnostic;
use crate::ruleset::services::Backend;

/// The place of a backend's address.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// Its place in the configuration, or that of the file's name.
    pub(super) at: usize,
    /// The places of those of its keys that are written.
    pub(super) keys: Keys,
    /// The file of backends that it stands in.
    pub(super) in_file: Option<InFile>,
}

/// Where keys of a backend have their values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keys {
    pub(super) name: Option<usize>,
    pub(super) port: Option<usize>,
    pub(super) state: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct InFile {
    pub(super) path: Rc<Path>,
    /// Both from 1.
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A backend with its place.
pub(super) struct BackendRead {
    pub(super) spot: Spot,
    pub(super) value: Backend,
}

impl Spot {
    /// The place of one of its keys; its own where that key is not written.
    pub(super) fn of(&self, key: impl Fn(&Keys) -> Option<usize>) -> Self {
        Self { at: key(&self.keys).unwrap_or(self.at), ..self.clone() }
    }

    pub(super) fn error(&self, message: String, hint: impl Into<String>, report: &mut Report<'_>) {
        match &self.in_file {
            None => report.error(self.at, message, hint),
            Some(file) => report.elsewhere(self.at, file.diagnostic(message, hint.into())),
        }
    }

    pub(super) fn warning(
        &self,
        message: String,
        hint: impl Into<String>,
        report: &mut Report<'_>,
    ) {
        match &self.in_file {
            None => report.warning(self.at, message, hint),
            Some(file) => report.warning_elsewhere(self.at, file.diagnostic(message, hint.into())),
        }
    }

    /// `line 7`, with its file if that is not the file of `from`.
    pub(super) fn line_seen_from(&self, from: &Self, report: &Report<'_>) -> String {
        let of = |spot: &Self| spot.in_file.as_ref().map(|file| file.path.clone());
        match (&self.in_file, of(from)) {
            (None, None) => report.line_seen_from(self.at, from.at),
            (Some(file), Some(other)) if file.path == other => format!("line {}", file.line),
            (Some(file), _) => {
                format!("line {} of {}", file.line, quote(&file.path.to_string_lossy(), 200))
            }
            (None, Some(_)) => {
                let path = quote(&report.path(self.at).to_string_lossy(), 200);
                format!("line {} of {path}", report.line(self.at))
            }
        }
    }
}

impl InFile {
    fn diagnostic(&self, message: String, hint: String) -> Diagnostic {
        let Self { path, line, column } = self;
        Diagnostic {
            file: path.to_path_buf(),
            line: *line,
            column: *column,
            message,
            hint: Some(hint),
            excerpt: None,
        }
    }
}
