//! Writes log lines to stderr, but keeps them back while a command holds the lock of its network
//! namespace.
//!
//! A step of a command is logged as a sentence, at the level of information, and shown by `-v` as it
//! is, as are warnings. What is below that is for those who work on xdpctl.
//!
//! Whoever reads them may be slow, or not read at all. A command that waits for its reader under
//! the lock would stop every other command.

use std::env;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::notation::plain_lines;
use crate::report;

/// Lines that are kept back; `None` while lines are written at once.
static KEPT: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn kept() -> MutexGuard<'static, Option<Vec<u8>>> {
    // The lines are consistent even after a panic.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to log. `-v` logs the steps of a command; `-vv` more of this program, with the verifier's
/// log. `RUST_LOG` overrides both, and shows what its libraries log too.
pub fn to_stderr(verbose: u8) {
    let filter = match verbose {
        0 => "off",
        1 => "xdpctl=info",
        _ => "xdpctl=debug",
    };
    let environment = env_logger::Env::default().default_filter_or(filter);
    let mut builder = env_logger::Builder::from_env(environment);
    builder.target(env_logger::Target::Pipe(Box::new(Lines))).format(|out, record| {
        let (level, target) = (record.level(), record.target());
        let message = plain_lines(&record.args().to_string());
        if level <= log::Level::Info && target.starts_with(env!("CARGO_PKG_NAME")) {
            return writeln!(out, "{message}");
        }
        let style = out.default_level_style(level);
        writeln!(out, "[{style}{level:<5}{style:#} {target}] {message}")
    });
    if env::var_os(env_logger::DEFAULT_WRITE_STYLE_ENV).is_none() {
        // The logger writes through `Lines`, so it cannot see whether that ends on a terminal.
        builder.write_style(if report::colours(&io::stderr()) {
            env_logger::WriteStyle::Always
        } else {
            env_logger::WriteStyle::Never
        });
    }
    builder.init();
}

/// Log lines are kept back until this is dropped, which writes them.
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
        // If they cannot be written, there is nobody to tell, as with every message.
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
        // Remove the lines, so that the test writes nothing.
        kept().replace(Vec::new());
        drop(before);
        assert_eq!(kept().as_deref(), None);
    }
}
