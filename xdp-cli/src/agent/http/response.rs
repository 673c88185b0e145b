//! What a client is answered.

use std::time::SystemTime;

use super::request::{Method, Refusal};

/// An answer: status, type and text of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: Status,
    content_type: &'static str,
    body: String,
}

/// The statuses that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    HeaderFieldsTooLarge,
    InternalServerError,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::InternalServerError => "500 Internal Server Error",
        }
    }
}

impl Response {
    pub fn page(content_type: &'static str, body: String) -> Self {
        Self { status: Status::Ok, content_type, body }
    }

    /// An answer that is an error, which the text explains in a line.
    pub fn error(status: Status, text: &str) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, body: format!("{text}\n") }
    }

    /// All bytes of the answer. That to HEAD has the header of that to GET, and no body.
    pub fn bytes(&self, method: Method, now: SystemTime) -> Vec<u8> {
        let Self { status, content_type, body } = self;
        let mut text = format!(
            "HTTP/1.1 {}\r\nDate: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\n",
            status.line(),
            httpdate::fmt_http_date(now),
            body.len(),
        );
        if *status == Status::MethodNotAllowed {
            text.push_str("Allow: GET, HEAD\r\n");
        }
        text.push_str("\r\n");
        if method != Method::Head {
            text.push_str(body);
        }
        text.into_bytes()
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed => Self::error(Status::BadRequest, "not a request of HTTP/1"),
            Refusal::TooLarge => {
                Self::error(Status::HeaderFieldsTooLarge, "the request's headers are too large")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn text(response: &Response, method: Method) -> String {
        let now = UNIX_EPOCH + Duration::from_secs(1_769_860_800);
        String::from_utf8(response.bytes(method, now)).unwrap().replace("\r\n", "\n")
    }

    #[test]
    fn a_head_is_that_of_the_page() {
        let page = Response::page("text/plain", "two\nlines\n".into());
        insta::assert_snapshot!(text(&page, Method::Get), @r"
        HTTP/1.1 200 OK
        Date: Sat, 31 Jan 2026 12:00:00 GMT
        Content-Type: text/plain
        Content-Length: 10
        Connection: close

        two
        lines
        ");
        let head = text(&page, Method::Get).replace("two\nlines\n", "");
        assert_eq!(text(&page, Method::Head), head);
    }

    #[test]
    fn what_is_allowed_is_said() {
        let refused = Response::error(Status::MethodNotAllowed, "only GET and HEAD");
        assert!(text(&refused, Method::Other).contains("\nAllow: GET, HEAD\n"));
    }
}
