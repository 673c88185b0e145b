//! What checks found last, as a file that `xdpctl services` reads.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::datapath::error::{Context as _, Result};
use crate::datapath::sys::private_dir;
use crate::ruleset::Ruleset;
use crate::ruleset::services::State;

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

/// A service whose backends nobody checks, though its configuration says how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    pub service: String,
    /// For how long; since the ruleset was loaded if there was no check since then.
    pub age: Duration,
    pub was_checked: bool,
    /// Why checks that somebody tried to make could not be made.
    pub why: Option<String>,
}

/// The services of a ruleset whose backends were not checked for longer than it takes to find one down. `loaded`
/// is when the ruleset was loaded, and `now` is now, both in milliseconds since 1970.
pub fn unchecked(
    ruleset: &Ruleset,
    report: Option<&Report>,
    loaded: u64,
    now: u64,
) -> Vec<Unchecked> {
    /// Whoever checks has to notice the ruleset, and begins with each backend at another moment.
    const LEAST: Duration = Duration::from_secs(10);

    let mut all = Vec::new();
    for service in &ruleset.services {
        let Some(check) = &service.check else { continue };
        // Those that the configuration takes out are not checked.
        if service.backends.iter().all(|backend| backend.state == State::Down) {
            continue;
        }
        let checks = report.iter().flat_map(|report| &report.checks);
        let of_it: Vec<&Last> = checks
            .filter(|it| it.service == service.name)
            .filter_map(|it| it.last.as_ref())
            .collect();
        // One that could not be made says nothing.
        let (unknown, made): (Vec<&Last>, Vec<&Last>) =
            of_it.into_iter().partition(|last| last.result == Word::Unknown);
        let last = made.iter().map(|last| last.at).max();
        let last = last.filter(|last| *last >= loaded);
        let age = Duration::from_millis(now.saturating_sub(last.unwrap_or(loaded)));
        let patience = check.interval * (u32::from(check.fall) + 3) + check.timeout;
        if age > patience.max(LEAST) {
            let (service, was_checked) = (service.name.clone(), last.is_some());
            let why = unknown.first().and_then(|last| last.message.clone());
            all.push(Unchecked { service, age, was_checked, why });
        }
    }
    all
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
    fn who_is_not_checked_any_more_is_known() {
        let text = "[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 80\n\
                    mode = \"nat\"\n[service.check]\ntype = \"tcp\"\ninterval = \"10s\"\ntimeout = \"1s\"\nfall = 3\n\
                    [[service.backend]]\nname = \"b1\"\naddress = \"10.0.0.1\"\n\
                    [[service]]\nname = \"dns\"\naddress = \"192.0.2.10\"\nprotocol = \"udp\"\nport = 53\n\
                    mode = \"nat\"\n[[service.backend]]\nname = \"b1\"\naddress = \"10.0.0.1\"\n";
        let read = |_: &Path| Ok(text.to_owned().into_bytes());
        let loaded = crate::config::load_with(Path::new("x.toml"), &read);
        let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics.errors));
        let mut report = report();
        let at = report.checks[0].last.as_ref().unwrap().at;
        // Six intervals of ten seconds, and one second until the last of them has failed.
        let patience = 61_000;
        let of = |report: Option<&Report>, loaded: u64, now: u64| {
            let all = unchecked(&ruleset, report, loaded, now);
            all.into_iter()
                .map(|it| (it.service, it.age.as_secs(), it.was_checked))
                .collect::<Vec<_>>()
        };
        let web = |age: u64, was_checked| vec![("web".to_owned(), age, was_checked)];
        assert_eq!(of(Some(&report), 0, at + patience), []);
        assert_eq!(of(Some(&report), 0, at + patience + 1000), web(62, true));
        // A reload gives it the same time again.
        assert_eq!(of(Some(&report), at + 60_000, at + 60_000 + patience), []);
        assert_eq!(of(Some(&report), at + 60_000, at + 60_000 + patience + 1), web(61, false));
        assert_eq!(of(None, 1000, 1000 + patience), []);
        assert_eq!(of(None, 1000, 1000 + patience + 1), web(61, false));
        // A check that could not be made is none.
        let mut unknown = report.clone();
        for last in unknown.checks.iter_mut().filter_map(|it| it.last.as_mut()) {
            last.result = Word::Unknown;
        }
        assert_eq!(of(Some(&unknown), 0, 1000 + patience), web(62, false));
        // Another service's checks are none of this one's.
        report.checks.iter_mut().for_each(|it| it.service = "dns".to_owned());
        assert_eq!(of(Some(&report), 0, 1000 + patience), web(62, false));
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
