//! Files of backends: one a line, `ADDRESS [PORT] [weight=N] [state=WORD] [name=NAME]`.

use std::net::IpAddr;

use super::line::entry_span;
use super::{Fault, Faults, column, line_end, quoted};
use crate::config::name;
use crate::config::spelling::closest;
use crate::ruleset::services::State;

/// A backend as a line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendLine {
    /// The place of its address, both from 1.
    pub line: u32,
    pub column: u32,
    pub address: IpAddr,
    pub port: Option<u16>,
    pub weight: u16,
    pub state: State,
    pub name: Option<String>,
}

/// Reads a file's text, which need not be UTF-8. Of its backends, at most `most` are kept; whether
/// there are more is the second value.
pub fn scan(bytes: &[u8], most: usize) -> (Vec<BackendLine>, bool, Faults) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut backends, mut faults) = (Vec::new(), Faults::default());
    let (mut at, mut number) = (0, 0);
    while at < bytes.len() {
        number += 1;
        let end = line_end(bytes, at);
        let line = &bytes[at..end];
        at = end + 1;
        match read(line, number) {
            Ok(None) => {}
            Ok(Some(_)) if backends.len() == most => return (backends, true, faults),
            Ok(Some(backend)) => backends.push(backend),
            Err(Wrong { span, message, hint }) => faults.add(|| Fault {
                line: number,
                column: column(line, span.0),
                message: format!("{} {message}", quoted(line, span)),
                hint,
            }),
        }
    }
    (backends, false, faults)
}

/// What cannot be read of a line: its place, and what is wrong, worded to follow it.
struct Wrong {
    span: (usize, usize),
    message: &'static str,
    hint: String,
}

/// Reads a line, given without its line feed; `None` where it holds nothing.
fn read(line: &[u8], number: u32) -> Result<Option<BackendLine>, Wrong> {
    const FORM: &str =
        "a line looks like 10.0.0.1, or 10.0.0.1 8080 weight=2 state=drain name=web1";
    let (start, end) = entry_span(line);
    if start == end {
        return Ok(None);
    }
    let whole = (start, end);
    let wrong = |span, message, hint: &str| Wrong { span, message, hint: hint.to_owned() };
    let text = std::str::from_utf8(&line[start..end])
        .map_err(|_| wrong(whole, "is not UTF-8 text", "a file of backends is plain text"))?;
    let mut fields = text.split([' ', '\t', '\r']).filter(|field| !field.is_empty()).map(|field| {
        let at = start + (field.as_ptr() as usize - text.as_ptr() as usize);
        (field, (at, at + field.len()))
    });
    let Some((first, span)) = fields.next() else { return Ok(None) };
    let address = first.parse().map_err(|_| wrong(span, "is not an address", FORM))?;
    let mut backend = BackendLine {
        line: number,
        column: column(line, span.0),
        address,
        port: None,
        weight: 1,
        state: State::default(),
        name: None,
    };
    let mut seen: Vec<&str> = Vec::new();
    for (field, span) in fields {
        let (key, value) = field.split_once('=').unwrap_or(("port", field));
        if seen.contains(&key) {
            return Err(wrong(span, "says it a second time", FORM));
        }
        seen.push(key);
        match key {
            "port" => {
                let port = value.parse().ok().filter(|port| *port > 0);
                // A number of 16 bits; the parser takes a sign too.
                let port = port.filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
                let hint = format!("a port is 1 to 65535; {FORM}");
                backend.port = Some(port.ok_or_else(|| wrong(span, "is not a port", &hint))?);
            }
            "weight" => {
                let weight = value.parse().ok().filter(|weight| *weight > 0);
                let weight = weight.filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
                let hint = "a weight is 1 to 65535; state=drain gives a backend no new connections, state=down none at all";
                backend.weight = weight.ok_or_else(|| wrong(span, "is not a weight", hint))?;
            }
            "state" => {
                let state = State::ALL.into_iter().find(|state| state.as_str() == value);
                backend.state = state.ok_or_else(|| {
                    let mut hint = "write state=up, state=drain or state=down".to_owned();
                    if let Some(meant) = closest(value, State::ALL.map(State::as_str)) {
                        hint = format!("did you mean state={meant}? Else {hint}");
                    }
                    wrong(span, "is not a state", &hint)
                })?;
            }
            "name" => {
                if let Some(why) = name::fault(value) {
                    return Err(wrong(span, "cannot be a name", &why));
                }
                backend.name = Some(value.to_owned());
            }
            _ => {
                let hint = match closest(key, ["port", "weight", "state", "name"]) {
                    Some(meant) => format!("did you mean {meant}={value}? {FORM}"),
                    None => FORM.to_owned(),
                };
                return Err(wrong(span, "says nothing of a backend", &hint));
            }
        }
    }
    Ok(Some(backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_line() {
        let text = "\u{feff}10.0.0.1\r\n# all of them\n\n  10.0.0.2 8080 ; second\n\
                    2001:db8::1\tweight=7 state=drain name=web-3# third\n10.0.0.4 port=80";
        let (backends, more, faults) = scan(text.as_bytes(), 10);
        let shown: Vec<String> = backends
            .iter()
            .map(|BackendLine { line, column, address, port, weight, state, name }| {
                let (port, name) = (port.unwrap_or(0), name.as_deref().unwrap_or("-"));
                format!("{line}:{column} {address} {port} {weight} {} {name}", state.as_str())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "1:1 10.0.0.1 0 1 up -",
                "4:3 10.0.0.2 8080 1 up -",
                "5:1 2001:db8::1 0 7 drain web-3",
                "6:1 10.0.0.4 80 1 up -",
            ]
        );
        assert!(!more);
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn what_cannot_be_read_has_its_place() {
        for (line, expected) in [
            ("web1.example", "1: \"web1.example\" is not an address"),
            ("10.0.0.0/24", "1: \"10.0.0.0/24\" is not an address"),
            ("10.0.0.1 http", "10: \"http\" is not a port"),
            ("10.0.0.1 0", "10: \"0\" is not a port"),
            ("10.0.0.1 +80", "10: \"+80\" is not a port"),
            ("10.0.0.1 65536", "10: \"65536\" is not a port"),
            ("10.0.0.1 80 81", "13: \"81\" says it a second time"),
            ("10.0.0.1 weight=0", "10: \"weight=0\" is not a weight"),
            ("10.0.0.1 weight=", "10: \"weight=\" is not a weight"),
            ("10.0.0.1 weight=2 weight=3", "19: \"weight=3\" says it a second time"),
            ("10.0.0.1 state=DOWN", "10: \"state=DOWN\" is not a state"),
            ("10.0.0.1 name=a/b", "10: \"name=a/b\" cannot be a name"),
            ("é 10.0.0.1", "1: \"é\" is not an address"),
            ("10.0.0.1 ttl=5", "10: \"ttl=5\" says nothing of a backend"),
        ] {
            let (backends, _, faults) = scan(line.as_bytes(), 10);
            assert_eq!((backends.len(), faults.total), (0, 1), "{line}");
            let Fault { column, message, .. } = &faults.shown[0];
            assert_eq!(format!("{column}: {message}"), expected);
        }
        let (_, _, faults) = scan(b"10.0.0.1\n\xff\xfe\n", 10);
        assert_eq!((faults.total, faults.shown[0].line), (1, 2));
    }

    #[test]
    fn mistyped_words_have_a_hint() {
        for (line, meant) in [
            ("10.0.0.1 wieght=2", "did you mean weight=2? "),
            ("10.0.0.1 nmae=a", "did you mean name=a? "),
            ("10.0.0.1 state=dwn", "did you mean state=down? "),
            ("10.0.0.1 state=Drain", "did you mean state=drain? "),
        ] {
            let (_, _, faults) = scan(line.as_bytes(), 10);
            assert!(faults.shown[0].hint.starts_with(meant), "{line}: {}", faults.shown[0].hint);
        }
        for line in ["10.0.0.1 ttl=5", "10.0.0.1 state=backup"] {
            let (_, _, faults) = scan(line.as_bytes(), 10);
            assert!(!faults.shown[0].hint.contains("did you mean"), "{line}");
        }
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let (backends, more, _) = scan(b"10.0.0.1\n10.0.0.2\n10.0.0.3\n", 2);
        assert_eq!((backends.len(), more), (2, true));
        let (backends, more, _) = scan(b"10.0.0.1\n10.0.0.2\n# end\n", 2);
        assert_eq!((backends.len(), more), (2, false));
    }
}
