//! A small HTTP server, for pages that are made anew for each request.
//!
//! It parses requests with httparse, the parser of hyper, and does the rest itself, since the rest
//! is little: one request a connection, GET and HEAD, no bodies. tiny_http was looked at, and neither
//! limits how much a client may send as a header nor how long it may take; hyper does, for an
//! asynchronous runtime that nothing else here needs.

pub mod listener;
pub mod request;
pub mod response;
pub mod server;
