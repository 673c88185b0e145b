//! Why a program was not loaded.

use std::io;

/// Why a program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The verifier's log is in the debug log, not in the message.
    #[error("the kernel's verifier refused the program ({0})")]
    Verifier(io::Error),
    #[error("the program or its maps cannot be loaded: {0}")]
    Other(String),
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
