//! Log lines on stderr, and kept back while a command holds its network namespace's lock.
//!
//! Whoever reads them may be slow or not read at all, and a command that waits for its reader under
//! the lock would stop every other command.

use std::env;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::notation::plain_lines;
use crate::report;

/// Lines that are kept back; `None` where they are written at once.
static KEPT: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn kept() -> MutexGuard<'static, Option<Vec<u8>>> {
    // What is guarded is whole between any two lines.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `-v` adds: this program's own steps, with the verifier's log; `-vv` everybody's.
/// `RUST_LOG` has the last word.
pub fn to_stderr(verbose: u8) {
    let filter = match verbose {
        0 => "off",
        1 => "xdpctl=debug",
        _ => "debug",
    };
    let environment = env_logger::Env::default().default_filter_or(filter);
    let mut builder = env_logger::Builder::from_env(environment);
    builder.target(env_logger::Target::Pipe(Box::new(Lines))).format(|out, record| {
        let style = out.default_level_style(record.level());
        let (level, target) = (record.level(), record.target());
        let message = plain_lines(&record.args().to_string());
        writeln!(out, "[{style}{level:<5}{style:#} {target}] {message}")
    });
    if env::var_os(env_logger::DEFAULT_WRITE_STYLE_ENV).is_none() {
        // The logger cannot see that what it writes ends on a terminal.
        builder.write_style(if report::colours(&io::stderr()) {
            env_logger::WriteStyle::Always
        } else {
            env_logger::WriteStyle::Never
        });
    }
    builder.init();
}

/// Keeps log lines back until the value is dropped, which writes them.
#[must_use = "lines are kept back for as long as it lives"]
pub struct KeptBack(());

/// Keeps log lines back from now on.
pub fn keep_back() -> KeptBack {
    kept().get_or_insert_default();
    KeptBack(())
}

impl Drop for KeptBack {
    fn drop(&mut self) {
        let lines = kept().take().unwrap_or_default();
        // As with every message: there is nobody to tell that it cannot be written.
        let _ = io::stderr().write_all(&lines);
    }
}

/// Where the logger writes to.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kept) = &mut *kept() {
            kept.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_until_they_are_let_go() {
        let before = keep_back();
        Lines.write_all(b"").unwrap();
        Lines.write_all(b"one\n").unwrap();
        assert_eq!(kept().as_deref(), Some(&b"one\n"[..]));
        // Taken away, so that the test writes nothing.
        kept().replace(Vec::new());
        drop(before);
        assert_eq!(kept().as_deref(), None);
    }
}
