//! What could not be done to the kernel, and what to do about it.

use std::fmt;
use std::io;

use crate::datapath::sys::private_dir;
use crate::diagnostic::Diagnostic;

/// Something that could not be done: what and why, and the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub message: String,
    pub hint: Option<String>,
    /// What else keeps the same thing from being done, each told like an error of its own.
    pub others: Vec<Error>,
}

/// A result of this room.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, others: Vec::new() }
    }

    /// Fails with all of these; where there are none, nothing is wrong.
    pub fn unless_none(errors: Vec<Self>) -> Result<()> {
        let mut errors = errors.into_iter();
        match errors.next() {
            Some(first) => Err(Self { others: errors.collect(), ..first }),
            None => Ok(()),
        }
    }

    /// Each error that is to be told: this one, and then the others.
    pub fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<Diagnostic> for Error {
    /// The place comes first, as editors want it.
    fn from(mut told: Diagnostic) -> Self {
        let hint = told.hint.take();
        Self { message: told.to_string(), hint, others: Vec::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Says what was tried when the kernel refused it.
pub trait Context<T> {
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| {
            let told = Error::new(format!("cannot {what}: {error}"));
            match error.raw_os_error() {
                Some(libc::ENOMEM) => told.hint("the kernel has no memory for it; a smaller ruleset needs less"),
                Some(libc::ENOSPC) => told.hint("the file system that pins or state lie on is full"),
                Some(libc::EPERM | libc::EACCES) => {
                    told.hint("run as root in the machine's own user namespace; a security module (lockdown, SELinux, AppArmor) may forbid it too")
                }
                _ => told,
            }
        })
    }
}

impl<T> Context<T> for std::result::Result<T, private_dir::Error> {
    /// Only an I/O error gets that context: the other errors of a private directory say it all.
    fn context(self, what: impl fmt::Display) -> Result<T> {
        match self {
            Err(private_dir::Error::Io { source, .. }) => Err(source).context(what),
            other => Ok(other?),
        }
    }
}

macro_rules! from {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self { hint: error.hint(), message: error.to_string(), others: Vec::new() }
            }
        })+
    };
}

from!(
    super::host::bpffs::Error,
    super::host::interface::Error,
    super::host::netns::Error,
    private_dir::Error,
    super::sys::privilege::Error,
);
