//! Writes to the journal by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), or to syslog
//! where there is no journal.
//!
//! Crates for this wait until the journal reads, and hand over large messages in a memfd. A command
//! must not wait for a log. So a message is one datagram, as small as the events that it is made of,
//! and is lost where the journal does not take it at once.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// LOG_DAEMON, in the place that it has beside a priority.
const FACILITY: u8 = 3 << 3;

/// Writes a message with its fields to the journal; where there is none, `message` alone to syslog;
/// where there is neither, nothing. Does not wait.
pub fn write(fields: &[(&'static str, String)], priority: u8, message: &str) {
    let Ok(socket) = UnixDatagram::unbound() else { return };
    if socket.set_nonblocking(true).is_err() {
        return;
    }
    let (place, sent) = match socket.send_to(&native(fields), JOURNAL) {
        Err(error) if is_missing(&error) => {
            ("syslog", socket.send_to(&syslog(priority, message), SYSLOG))
        }
        sent => ("the journal", sent),
    };
    match sent {
        Ok(_) => log::info!("wrote to {place}: {message}"),
        Err(error) => log::info!("nothing was written to the journal or to syslog: {error}"),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// The fields as the journal reads them: `NAME=VALUE`; or, where the value has several lines, the
/// name, a line feed, the value's length in eight bytes, and the value.
fn native(fields: &[(&'static str, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            bytes.push(b'\n');
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            bytes.push(b'=');
        }
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

/// The message as syslog(3) writes it (RFC 3164): `<30>Jan 31 12:00:00 xdpctl[77]: MESSAGE`.
fn syslog(priority: u8, message: &str) -> Vec<u8> {
    let (priority, pid) = (FACILITY | priority, process::id());
    format!("<{priority}>{}xdpctl[{pid}]: {message}", local_time()).into_bytes()
}

/// The time in the machine's time zone, in which syslog has it, and a blank; nothing where it is not
/// known: then the reader takes its own.
fn local_time() -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Ok(seconds) = libc::time_t::try_from(since.as_secs()) else { return String::new() };
    // SAFETY: the structure is made of integers and a pointer, for all of which zero is a value.
    let mut time: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to values of this function; localtime_r(3) keeps neither.
    if unsafe { libc::localtime_r(&raw const seconds, &raw mut time) }.is_null() {
        return String::new();
    }
    let month = usize::try_from(time.tm_mon).ok().and_then(|month| MONTHS.get(month));
    let Some(month) = month else { return String::new() };
    let libc::tm { tm_mday, tm_hour, tm_min, tm_sec, .. } = time;
    format!("{month} {tm_mday:2} {tm_hour:02}:{tm_min:02}:{tm_sec:02} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_several_lines_has_its_length_before_it() {
        let fields = [("MESSAGE", "a=b".to_owned()), ("NOTE", "c\nd".to_owned())];
        assert_eq!(native(&fields), b"MESSAGE=a=b\nNOTE\n\x03\0\0\0\0\0\0\0c\nd\n");
    }

    #[test]
    fn as_syslog_has_it() {
        let line = String::from_utf8(syslog(5, "in0: detached")).unwrap();
        let (head, rest) = line.split_at("<29>Jan 31 12:00:00 ".len());
        assert!(head.starts_with("<29>") && head.ends_with(' '), "{line}");
        assert_eq!(head.matches(':').count(), 2, "{line}");
        assert_eq!(rest, format!("xdpctl[{}]: in0: detached", process::id()));
    }
}
