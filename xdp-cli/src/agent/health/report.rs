//! What checks found last, as a file that `xdpctl services` reads.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::datapath::error::{Context as _, Result};
use crate::datapath::sys::private_dir;

/// The file, in the directory of an attachment's state.
const NAME: &str = "health.json";
/// Its name until it is whole.
const NEW: &str = "health.json.new";
/// The layout of the file.
const VERSION: u32 = 1;

/// What was found on an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    version: u32,
    /// The process that wrote this.
    pub pid: u32,
    /// When it did, in milliseconds since 1970: as long as that process runs, once a second where
    /// it has found something.
    pub written: u64,
    pub checks: Vec<Checked>,
}

/// What was found of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    pub service: String,
    pub backend: String,
    /// Where it is asked; the port is 0 where the check has none.
    pub place: SocketAddr,
    /// Its own address, where it is asked at the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Whether it is up, and since when (milliseconds since 1970); `None` as long as that is not
    /// decided.
    pub is_up: Option<bool>,
    pub since: Option<u64>,
    /// `None` before the first check.
    pub last: Option<Last>,
}

/// A check that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Last {
    pub result: Word,
    /// When it ended, in milliseconds since 1970.
    pub at: u64,
    /// How long it took, in milliseconds.
    pub rtt_ms: f64,
    /// Why it did not succeed.
    pub message: Option<String>,
    /// How many had the same result, one after the other.
    pub in_a_row: u32,
}

/// What a check found, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Ok,
    Failed,
    /// It could not be made.
    Unknown,
}

impl Word {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl Report {
    /// Of this process. `written` is the time now, in milliseconds since 1970.
    pub fn new(written: u64, checks: Vec<Checked>) -> Self {
        Self { version: VERSION, pid: std::process::id(), written, checks }
    }

    /// What was found of a backend, if anything.
    pub fn of(&self, service: &str, backend: &str) -> Option<&Checked> {
        self.checks.iter().find(|it| it.service == service && it.backend == backend)
    }
}

/// Reads what was found on the interface whose state lies in this directory; `None` where nobody
/// has checked anything, or another version has.
///
/// # Errors
///
/// Where the file cannot be read, or another user could have written it.
pub fn read(state: &Path) -> Result<Option<Report>> {
    let path = state.join(NAME);
    let bytes =
        private_dir::read_file(state, NAME).context(format_args!("read {}", path.display()))?;
    // What was found once more in a moment is not worth an error.
    let read = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(read.filter(|report: &Report| report.version == VERSION))
}

/// Writes what was found into this directory, which must be there. Who reads it meanwhile reads
/// what was there before. The caller has the lock of the network namespace: the directory may be
/// removed.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write(state: &Path, report: &Report) -> Result<()> {
    let path = state.join(NAME);
    let what = format!("write {}", path.display());
    let mut file = BufWriter::new(private_dir::create_file(state, NEW).context(&what)?);
    serde_json::to_writer(&mut file, report)
        .map_err(std::io::Error::from)
        .and_then(|()| file.flush())
        .and_then(|()| fs::rename(state.join(NEW), &path))
        .context(&what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let last = Last {
            result: Word::Failed,
            at: 1_769_860_800_007,
            rtt_ms: 0.25,
            message: Some("connection refused".to_owned()),
            in_a_row: 3,
        };
        let checked = Checked {
            service: "web".to_owned(),
            backend: "b1".to_owned(),
            place: "[2001:db8::1]:80".parse().unwrap(),
            address: None,
            is_up: Some(false),
            since: Some(1_769_860_800_000),
            last: Some(last),
        };
        let new = Checked {
            backend: "b2".to_owned(),
            address: Some([10, 0, 0, 2].into()),
            is_up: None,
            since: None,
            last: None,
            ..checked.clone()
        };
        Report::new(1_769_860_800_500, vec![checked, new])
    }

    #[test]
    fn what_is_written_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("7");
        assert_eq!(read(&state).unwrap(), None);
        write(&state, &report()).unwrap();
        let read_back = read(&state).unwrap().unwrap();
        assert_eq!(read_back, report());
        assert_eq!(read_back.of("web", "b2").unwrap().last, None);
        assert_eq!(read_back.of("web", "b3"), None);
        let second = Report::new(1, Vec::new());
        write(&state, &second).unwrap();
        assert_eq!(read(&state).unwrap(), Some(second));
        let names: Vec<_> =
            fs::read_dir(&state).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, [NAME]);
    }

    #[test]
    fn what_another_version_wrote_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("7");
        let other = Report { version: 2, ..report() };
        write(&state, &other).unwrap();
        assert_eq!(read(&state).unwrap(), None);
        fs::write(state.join(NAME), "{\"version\":1").unwrap();
        assert_eq!(read(&state).unwrap(), None);
    }
}
