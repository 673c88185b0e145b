//! `[service.check]`.

use std::time::Duration;

use toml::de::DeValue;

use super::super::report::{Report, quote};
use super::super::table::{Placed, TomlTable};
use super::super::time;
use super::super::value::{Value, integer};
use super::spot::BackendRead;
use super::united;
use crate::ruleset::services::check::{Check, Http, IfUnwatched, Probe, Through, Tls};

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(3600);
/// Most bytes of what is sent, and of what is looked for in an answer: it fits into a datagram.
const MAX_TEXT: usize = 1024;
/// Most arguments of a program, and most bytes of each.
const MAX_ARGUMENTS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Tcp,
    Http,
    Https,
    Udp,
    Icmp,
    Exec,
}

const TYPES: [(&str, Type); 6] = [
    ("tcp", Type::Tcp),
    ("http", Type::Http),
    ("https", Type::Https),
    ("udp", Type::Udp),
    ("icmp", Type::Icmp),
    ("exec", Type::Exec),
];

const THROUGH: [(&str, Through); 2] =
    [("backend", Through::Backend), ("service", Through::Service)];
const UNWATCHED: [(&str, IfUnwatched); 2] = [("keep", IfUnwatched::Keep), ("up", IfUnwatched::Up)];

/// The keys that only some types have, and which.
const KEYS: [(&str, &[Type]); 9] = [
    ("port", &[Type::Tcp, Type::Http, Type::Https, Type::Udp, Type::Exec]),
    ("path", &[Type::Http, Type::Https]),
    ("host", &[Type::Http, Type::Https]),
    ("status", &[Type::Http, Type::Https]),
    ("body", &[Type::Http, Type::Https]),
    ("verify", &[Type::Https]),
    ("send", &[Type::Tcp, Type::Udp]),
    ("expect", &[Type::Tcp, Type::Udp]),
    ("command", &[Type::Exec]),
];

/// Reads the check of a service. `None` where there is none, and also where something is missing or
/// wrong, which has been reported.
pub(super) fn read(
    service: &mut TomlTable<'_>,
    ports: Option<&Placed<Vec<(u16, u16)>>>,
    backends: &[BackendRead],
    report: &mut Report<'_>,
) -> Option<Check> {
    let value = service.value("check")?;
    let title = format!("{}, check", service.title);
    let DeValue::Table(entries) = value.value else {
        let hint = "write [service.check] below [[service]], and its keys below that";
        service.wrong_type("check", "a table", &value, hint, report);
        return None;
    };
    let mut table = service.inner(title, value.at, entries);
    if !table.has("type") {
        let message = format!("{}: type is missing", table.title);
        report.missing(
            table.at,
            message,
            "write type = \"tcp\", or http, https, udp, icmp or exec",
        );
    }
    let kind = table.word("type", &TYPES, report);
    if let Some(kind) = kind {
        foreign_keys(&mut table, kind, report);
    }
    let through = table.word("through", &THROUGH, report).unwrap_or_default();
    let port = port(&mut table, report);
    let http = http(&mut table, kind == Some(Type::Https), report);
    let [send, expect] = ["send", "expect"].map(|key| text(&mut table, key, report));
    let command = command(&mut table, report);
    let (interval, timeout) = times(&mut table, report);
    let fall = count(&mut table, "fall", report).unwrap_or(Check::FALL);
    let rise = count(&mut table, "rise", report).unwrap_or(Check::RISE);
    let if_unwatched = table.word("if_unwatched", &UNWATCHED, report).unwrap_or_default();
    if kind == Some(Type::Exec) && !table.has("command") {
        report.missing(
            table.at,
            format!("{}: command is missing", table.title),
            "write the program and its arguments: command = [\"/usr/local/bin/check\", \"--fast\"]",
        );
    }
    if matches!(kind, Some(Type::Tcp | Type::Http | Type::Https | Type::Udp)) {
        derived_port(&table, ports, backends, report);
    }
    table.finish(report);
    let probe = match kind? {
        Type::Tcp => Probe::Tcp { send, expect },
        Type::Udp => Probe::Udp { send, expect },
        Type::Http | Type::Https => Probe::Http(http),
        Type::Icmp => Probe::Icmp,
        Type::Exec => Probe::Exec { command: command? },
    };
    Some(Check { probe, through, port, interval, timeout, fall, rise, if_unwatched })
}

/// Reports keys that checks of this type do not have.
fn foreign_keys(table: &mut TomlTable<'_>, kind: Type, report: &mut Report<'_>) {
    for (key, types) in KEYS {
        if types.contains(&kind) {
            continue;
        }
        let Some(value) = table.value(key) else { continue };
        let word = |kind: Type| TYPES.iter().find(|it| it.1 == kind).map_or("", |it| it.0);
        let them: Vec<String> = types.iter().map(|it| format!("{:?}", word(*it))).collect();
        let message = format!("{}: {key} with type = {:?}", table.title, word(kind));
        let hint = format!("leave it out: {key} goes with type = {}", them.join(", "));
        report.error(value.at, message, hint);
    }
}

fn port(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<u16> {
    const HINT: &str = "a port is 1 to 65535";
    let at = table.value("port").map(|value| value.at);
    let port = table.number("port", 65_535, HINT, report);
    if let (Some(at), Some(0)) = (at, port) {
        report.error(at, format!("{}: port 0 is out of range", table.title), HINT);
    }
    port.and_then(|port| u16::try_from(port).ok())
}

/// Reports backends of which it is not known at which port to check them.
fn derived_port(
    table: &TomlTable<'_>,
    ports: Option<&Placed<Vec<(u16, u16)>>>,
    backends: &[BackendRead],
    report: &mut Report<'_>,
) {
    if table.has("port") {
        return;
    }
    let first = ports.and_then(|ports| ports.value.iter().map(|(first, _)| *first).min());
    if first.is_some_and(|port| port != 0) || report.is_broken() {
        return;
    }
    let Some(backend) = backends.iter().find(|it| it.value.port.is_none()) else { return };
    report.error(
        table.at,
        format!(
            "{}: port is missing: neither the service nor backend {:?} names one",
            table.title, backend.value.name
        ),
        "write the port that answers, such as port = 80",
    );
}

fn http(table: &mut TomlTable<'_>, is_tls: bool, report: &mut Report<'_>) -> Http {
    let verify = table.boolean("verify", report).unwrap_or(false);
    let hint = "write a path such as \"/healthz\"";
    let path = table.string("path", hint, report);
    if let Some(path) = path {
        let shown = quote(path.value, 60);
        if !path.value.starts_with('/') {
            let message = format!("{}: path {shown} does not begin with a slash", table.title);
            report.error(path.at, message, hint);
        } else if !path.value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            let message = format!("{}: path {shown} cannot be asked for", table.title);
            let hint = "write blanks, `#` and what is not ASCII as %20, %23 and their like";
            report.error(path.at, message, hint);
        }
    }
    let hint = "write a name such as \"www.example.org\"";
    let host = table.string("host", hint, report);
    if let Some(host) = host {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if host.value.is_empty() || host.value.len() > 255 || !host.value.bytes().all(is_part) {
            let shown = quote(host.value, 60);
            let message = format!("{}: host {shown} is neither a name nor an address", table.title);
            report.error(host.at, message, hint);
        }
    }
    Http {
        tls: is_tls.then_some(Tls { verify }),
        host: host.map(|host| host.value.to_owned()),
        path: path.map_or("/", |path| path.value).to_owned(),
        status: status(table, report).unwrap_or_else(|| vec![Check::STATUS]),
        body: text(table, "body", report),
    }
}

const STATUS_HINT: &str =
    "write a code such as 200, a range such as \"200-299\", or a list of them";

fn status(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Vec<(u16, u16)>> {
    let value = table.value("status")?;
    let at = value.at;
    let mut ranges = Vec::new();
    for value in value.one_or_more() {
        match code_or_range(&value) {
            Some(Some(range)) => ranges.push(range),
            Some(None) => {
                let message = format!("{}: status cannot be {}", table.title, value.raw(report));
                report.error(value.at, message, format!("a code is 100 to 599: {STATUS_HINT}"));
            }
            None => {
                let expected = "an integer, a string or an array of them";
                table.wrong_type("status", expected, &value, STATUS_HINT, report);
            }
        }
    }
    if table.is_empty_array("status") {
        let message = format!("{}: status is empty: no answer would do", table.title);
        report.error(at, message, STATUS_HINT);
    }
    Some(united(ranges))
}

/// A range of status codes; `Some(None)` where it is none, `None` where it is of another type.
fn code_or_range(value: &Value<'_>) -> Option<Option<(u16, u16)>> {
    let code = |text: &str| {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|code| is_code && (100..=599).contains(code))
    };
    Some(match value.value {
        DeValue::Integer(number) => {
            let number = integer(number).and_then(|number| u16::try_from(number).ok());
            number.filter(|code| (100..=599).contains(code)).map(|code| (code, code))
        }
        DeValue::String(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            code(first).zip(code(last)).filter(|(first, last)| first <= last)
        }
        _ => return None,
    })
}

/// What is sent, or what an answer must contain.
fn text(table: &mut TomlTable<'_>, key: &'static str, report: &mut Report<'_>) -> Option<String> {
    let hint = format!("write a text of 1 to {MAX_TEXT} bytes, such as \"ping\\n\"");
    let text = table.string(key, &hint, report)?;
    if text.value.is_empty() || text.value.len() > MAX_TEXT {
        let bytes = text.value.len();
        let message = format!("{}: {key} has {bytes} bytes", table.title);
        report.error(text.at, message, hint);
    }
    Some(text.value.to_owned())
}

fn command(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    const HINT: &str = "write the program's path and its arguments, each in quotes: \
                        [\"/usr/local/bin/check\", \"--fast\"]";
    let value = table.value("command")?;
    let arguments = table.strings("command", HINT, report);
    let mut fault = |at, what: String| {
        report.error(at, format!("{}: command {what}", table.title), HINT);
    };
    if table.is_empty_array("command") {
        fault(value.at, "is empty".to_owned());
    }
    if arguments.len() > MAX_ARGUMENTS {
        fault(value.at, format!("has more than {MAX_ARGUMENTS} arguments"));
    }
    for (place, argument) in arguments.iter().enumerate() {
        let shown = quote(argument.value, 60);
        if argument.value.contains('\0') || argument.value.len() > MAX_TEXT {
            let what =
                format!("{shown}: an argument has up to {MAX_TEXT} bytes, none of them zero");
            fault(argument.at, what);
        } else if place == 0 && !argument.value.starts_with('/') {
            fault(argument.at, format!("{shown} does not say where the program is"));
        }
    }
    Some(arguments.into_iter().map(|argument| argument.value.to_owned()).collect())
}

/// How often, and for how long at most.
fn times(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> (Duration, Duration) {
    let interval = time::read(table, "interval", SHORTEST..=LONGEST, report);
    let timeout = time::read(table, "timeout", SHORTEST..=LONGEST, report);
    let every = interval.map_or(Check::INTERVAL, |interval| interval.value);
    if let Some(timeout) = timeout
        && timeout.value > every
        // One that could not be read may have been longer.
        && (interval.is_some() || !table.has("interval"))
    {
        let shown = [timeout.value, every].map(time::text);
        report.error(
            timeout.at,
            format!("{}: timeout {} is over interval {}", table.title, shown[0], shown[1]),
            "a check must have ended when the next one begins: write a shorter timeout or a longer \
             interval",
        );
    }
    let usual = Check::TIMEOUT.min(every);
    (every, timeout.map_or(usual, |timeout| timeout.value))
}

fn count(table: &mut TomlTable<'_>, key: &'static str, report: &mut Report<'_>) -> Option<u8> {
    const HINT: &str = "write how many in a row: 1 to 255";
    let at = table.value(key).map(|value| value.at);
    let number = table.number(key, 255, HINT, report);
    if let (Some(at), Some(0)) = (at, number) {
        report.error(at, format!("{}: {key} 0 is out of range", table.title), HINT);
    }
    number.and_then(|number| u8::try_from(number).ok())
}
