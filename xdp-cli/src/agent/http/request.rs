//! What a client asks for.

/// How many bytes a request may have, with its headers.
pub const MAX_HEAD: usize = 8 << 10;
/// How many headers it may have.
const MAX_HEADERS: usize = 64;

/// A request, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// Without a query.
    pub path: String,
    /// The Accept headers, joined by commas (RFC 9110, section 5.3).
    pub accept: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Other,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no request of HTTP/1.
    Malformed,
    /// It has more headers, or longer ones, than are read.
    TooLarge,
}

/// Reads a request from all bytes that have come so far; `None` while some are missing.
pub fn parse(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => return Err(Refusal::TooLarge),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLarge),
        Err(_) => return Err(Refusal::Malformed),
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => Method::Other,
    };
    let accept = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("accept"))
        .map(|header| String::from_utf8_lossy(header.value).into_owned());
    Ok(Some(Request {
        method,
        path: path(request.path.unwrap_or_default()).to_owned(),
        accept: accept.collect::<Vec<_>>().join(","),
    }))
}

/// The path of a request's target. A proxy sends it with scheme and host (RFC 9112, section 3.2.2).
fn path(target: &str) -> &str {
    let after_host = target.strip_prefix("http://").map(|rest| match rest.find('/') {
        Some(slash) => &rest[slash..],
        None => "/",
    });
    let path = after_host.unwrap_or(target);
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Whether an Accept header (RFC 9110, section 12.5.1) names OpenMetrics 1.0, and prefers it to plain
/// text or has both alike.
pub fn prefers_openmetrics(accept: &str) -> bool {
    let (mut open, mut plain) = (0.0_f32, 0.0_f32);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (mut quality, mut version) = (1.0_f32, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("q") {
                quality = value.parse().unwrap_or(0.0);
            } else if name.trim().eq_ignore_ascii_case("version") {
                version = Some(value);
            }
        }
        if media.eq_ignore_ascii_case("application/openmetrics-text")
            && version.is_none_or(|version| version == "1.0.0")
        {
            open = open.max(quality);
        } else if media.eq_ignore_ascii_case("text/plain") {
            plain = plain.max(quality);
        }
    }
    open > 0.0 && open >= plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Request>, Refusal> {
        parse(text.as_bytes())
    }

    #[test]
    fn requests() {
        let request =
            parsed("GET /metrics?x=/y HTTP/1.1\r\nHost: a\r\naccept: a/b\r\nAccept: c/d\r\n\r\n");
        let expected =
            Request { method: Method::Get, path: "/metrics".into(), accept: "a/b,c/d".into() };
        assert_eq!(request, Ok(Some(expected)));
        let method = |text| parsed(text).unwrap().unwrap().method;
        assert_eq!(method("HEAD / HTTP/1.0\r\n\r\n"), Method::Head);
        assert_eq!(method("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"), Method::Other);
        assert_eq!(method("get / HTTP/1.1\r\n\r\n"), Method::Other);
        for (target, path) in [
            ("/", "/"),
            ("http://a:1/metrics", "/metrics"),
            ("http://a", "/"),
            ("http://a/?b", "/"),
            ("*", "*"),
        ] {
            let request = parsed(&format!("GET {target} HTTP/1.1\r\n\r\n")).unwrap().unwrap();
            assert_eq!(request.path, path, "{target}");
        }
    }

    #[test]
    fn requests_come_in_pieces() {
        let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(parsed(&whole[..length]), Ok(None), "{:?}", &whole[..length]);
        }
    }

    #[test]
    fn what_is_refused() {
        for malformed in
            ["GET\r\n\r\n", "GET / HTTP/3.0\r\n\r\n", "\x16\x03\x01", "GET / HTTP/1.1\r\n:\r\n"]
        {
            assert_eq!(parsed(malformed), Err(Refusal::Malformed), "{malformed:?}");
        }
        let many = "a: b\r\n".repeat(MAX_HEADERS + 1);
        assert_eq!(parsed(&format!("GET / HTTP/1.1\r\n{many}\r\n")), Err(Refusal::TooLarge));
        let long = format!("GET /{} ", "a".repeat(MAX_HEAD));
        assert_eq!(parsed(&long), Err(Refusal::TooLarge));
    }

    #[test]
    fn formats_are_negotiated() {
        // As Prometheus 2.42 and 3 send it.
        let old = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                   version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                   application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
                   escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in [
            old,
            new,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=1",
            "text/plain, application/openmetrics-text",
        ] {
            assert!(prefers_openmetrics(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=nan",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0.2,text/plain;q=0.3",
        ] {
            assert!(!prefers_openmetrics(accept), "{accept}");
        }
    }
}
