//! Messages on stderr: errors, warnings and notes, each with what to do about it.

use std::env;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, Diagnostics, Excerpt};
use crate::notation::plain;

/// How severe a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The command was not carried out.
    Error,
    /// It was carried out, but something is not as it should be.
    Warning,
    /// It was carried out, and this is worth knowing.
    Note,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }

    const fn style(self) -> Style {
        let color = match self {
            Self::Error => AnsiColor::Red,
            Self::Warning => AnsiColor::Yellow,
            Self::Note => AnsiColor::Cyan,
        };
        color.on_default().bold()
    }
}

/// Whether to write colours to a stream.
pub fn colours(stream: &impl IsTerminal) -> bool {
    // An empty NO_COLOR does not count (https://no-color.org).
    let are_wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // Such a terminal shows control codes as text.
    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    stream.is_terminal() && are_wanted && !is_dumb
}

/// Writes messages. If one cannot be written there is nobody to tell, so such errors are ignored.
pub struct Reporter<'o> {
    out: &'o mut dyn Write,
    colours: bool,
    /// The errors reported so far, if they are kept.
    errors: Option<Vec<Told>>,
}

/// An error as `--json` prints it. A mistake in a configuration has its place, as in `check
/// --json`.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Placed(Diagnostic),
    Plain { message: String, hint: Option<String> },
}

/// What a command with `--json` prints if it fails.
#[derive(Serialize)]
pub struct Failed {
    ok: bool,
    errors: Vec<Told>,
}

impl Failed {
    /// For one error without a place in a configuration.
    pub fn by(message: String, hint: Option<String>) -> Self {
        Self { ok: false, errors: vec![Told::Plain { message, hint }] }
    }
}

impl<'o> Reporter<'o> {
    pub fn new(out: &'o mut dyn Write, colours: bool) -> Self {
        Self { out, colours, errors: None }
    }

    /// Keeps the errors reported from now on, so that they can be printed as JSON too.
    pub fn keep_errors(&mut self) {
        self.errors = Some(Vec::new());
    }

    /// The errors that were kept; `None` if they are not kept.
    pub fn kept(&mut self) -> Option<Failed> {
        Some(Failed { ok: false, errors: self.errors.take()? })
    }

    /// Writes `error: MESSAGE`, and each hint below it on a line of its own. Line feeds are
    /// escaped: with one, a path or a name could forge further lines, such as hints.
    pub fn say<H: AsRef<str>>(
        &mut self,
        level: Level,
        message: &str,
        hints: impl IntoIterator<Item = H>,
    ) {
        let hints: Vec<String> = hints.into_iter().map(|hint| hint.as_ref().to_owned()).collect();
        if let (Level::Error, Some(errors)) = (level, &mut self.errors) {
            let hint = (!hints.is_empty()).then(|| hints.join("; "));
            errors.push(Told::Plain { message: message.to_owned(), hint });
        }
        self.say_of(level, message, None, hints);
    }

    /// Like [`Self::say`], with an excerpt of the text that it is about below the message.
    fn say_of<H: AsRef<str>>(
        &mut self,
        level: Level,
        message: &str,
        excerpt: Option<&Excerpt>,
        hints: impl IntoIterator<Item = H>,
    ) {
        let mut text = self.styled(level.style(), level.as_str());
        text.push_str(": ");
        text.push_str(&plain(message));
        text.push('\n');
        if let Some(Excerpt { text: line, start, length }) = excerpt {
            let marks = self.styled(level.style(), &"^".repeat(*length));
            text.push_str(&format!("    {}\n    {:start$}{marks}\n", plain(line), ""));
        }
        for hint in hints {
            text.push_str("  ");
            text.push_str(&self.styled(Style::new().bold(), "hint"));
            text.push_str(": ");
            text.push_str(&plain(hint.as_ref()));
            text.push('\n');
        }
        let _ = self.write(&text);
    }

    /// Reports why the command was not carried out.
    pub fn error(&mut self, message: &str, hint: Option<&str>) {
        self.say(Level::Error, message, hint);
    }

    pub fn warning(&mut self, message: &str, hint: Option<&str>) {
        self.say(Level::Warning, message, hint);
    }

    pub fn note(&mut self, message: &str, hint: Option<&str>) {
        self.say(Level::Note, message, hint);
    }

    /// Reports everything that was found in a configuration, as `error: FILE:LINE:COLUMN: MESSAGE`.
    pub fn diagnostics(&mut self, diagnostics: &Diagnostics) {
        for error in &diagnostics.errors {
            self.diagnostic(Level::Error, error);
        }
        for warning in &diagnostics.warnings {
            self.diagnostic(Level::Warning, warning);
        }
    }

    fn diagnostic(&mut self, level: Level, diagnostic: &Diagnostic) {
        if let (Level::Error, Some(errors)) = (level, &mut self.errors) {
            errors.push(Told::Placed(diagnostic.clone()));
        }
        let place = Diagnostic { hint: None, ..diagnostic.clone() };
        self.say_of(
            level,
            &place.to_string(),
            diagnostic.excerpt.as_ref(),
            diagnostic.hint.as_deref(),
        );
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colours {
            format!("{}{text}{}", style.render(), style.render_reset())
        } else {
            text.to_owned()
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(colours: bool, say: impl FnOnce(&mut Reporter<'_>)) -> String {
        let mut out = Vec::new();
        say(&mut Reporter::new(&mut out, colours));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_with_hints() {
        let said = said(false, |report| {
            report.error("eth0: no such interface", Some("ip link lists them"));
            report.warning("generic mode is slower", None);
            report.say(Level::Note, "two hints", ["one", "another"]);
        });
        insta::assert_snapshot!(said, @"
        error: eth0: no such interface
          hint: ip link lists them
        warning: generic mode is slower
        note: two hints
          hint: one
          hint: another
        ");
    }

    #[test]
    fn errors_are_kept_for_json() {
        let mut out = Vec::new();
        let mut report = Reporter::new(&mut out, false);
        report.error("before", None);
        assert!(report.kept().is_none());
        report.keep_errors();
        report.warning("no error", None);
        report.error("no such interface", Some("ip link lists them"));
        let found = Diagnostic {
            file: "a.toml".into(),
            line: 3,
            column: 7,
            message: "wrong".into(),
            hint: None,
            excerpt: None,
        };
        report.diagnostics(&Diagnostics { errors: vec![found], warnings: Vec::new() });
        let kept = serde_json::to_string(&report.kept().unwrap()).unwrap();
        insta::assert_snapshot!(kept, @r#"{"ok":false,"errors":[{"message":"no such interface","hint":"ip link lists them"},{"file":"a.toml","line":3,"column":7,"message":"wrong","hint":null}]}"#);
    }

    #[test]
    fn colours_are_around_the_first_word_alone() {
        let said = said(true, |report| report.error("x", Some("y")));
        insta::assert_snapshot!(said.escape_debug(), @r"\u{1b}[1m\u{1b}[31merror\u{1b}[0m: x\n  \u{1b}[1mhint\u{1b}[0m: y\n");
    }

    #[test]
    fn foreign_text_does_not_reach_the_terminal() {
        let told = said(false, |report| report.error("a\u{1b}]0;b\u{7}\rc", None));
        assert_eq!(told, "error: a\\u{1b}]0;b\\u{7}\\rc\n");
        let told = said(true, |report| report.note("\u{9b}2J\u{202e}a", Some("\u{2066}b\u{7f}")));
        let harmless = ["\\u{9b}2J\\u{202e}a\n", "\\u{2066}b\\u{7f}\n"];
        assert!(harmless.iter().all(|text| told.contains(text)), "{told:?}");
        let told = said(false, |report| report.error("no \n  hint: rm -r /", Some("a\nb")));
        assert_eq!(told, "error: no \\n  hint: rm -r /\n  hint: a\\nb\n");
    }

    #[test]
    fn places_are_left_out_where_there_is_none() {
        let at = |line, column| Diagnostic {
            file: "a.toml".into(),
            line,
            column,
            message: "wrong".into(),
            hint: Some("right".into()),
            excerpt: None,
        };
        let excerpt = Some(Excerpt { text: "a = dorp".into(), start: 4, length: 4 });
        let marked = Diagnostic { excerpt, ..at(3, 7) };
        let diagnostics = Diagnostics { errors: vec![marked, at(0, 0)], warnings: vec![at(4, 0)] };
        let said = said(false, |report| report.diagnostics(&diagnostics));
        insta::assert_snapshot!(said, @"
        error: a.toml:3:7: wrong
            a = dorp
                ^^^^
          hint: right
        error: a.toml: wrong
          hint: right
        warning: a.toml:4: wrong
          hint: right
        ");
    }
}
