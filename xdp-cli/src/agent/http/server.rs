//! Serves clients side by side, until told to stop.
//!
//! Each connection has a thread, one request, and [`TIME`] for all of it. There are up to [`PLACES`]
//! at once. If they are all taken, the oldest connection gives up its own: a client that sends its
//! request at once has been answered by then, and one that holds places to keep others out does not.

use std::collections::BTreeMap;
use std::io::{self, pipe};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::listener::{Listener, Stream};
use super::request::{MAX_HEAD, Method, Request, parse};
use super::response::{Response, Status};
use crate::views::stats::stop::Stop;

/// How many connections are served at once.
pub const PLACES: usize = 16;
/// How long a client may take for its request, and for that and to take the answer.
pub const REQUEST_TIME: Duration = Duration::from_secs(5);
pub const TIME: Duration = Duration::from_secs(10);
/// How long to wait for the client's end of the connection when it was answered, and how much may come
/// until then. To close a connection on which something is unread would reset it, and the client
/// could lose the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;
/// How long to wait where the system has no descriptors or no memory for another connection.
const SHORT_OF_MEANS: Duration = Duration::from_millis(100);

/// Accepts clients and answers them until `stop` is set. `answer` may be called by several threads at
/// once. Fails only if waiting for clients does; `stop` is set then too.
pub fn serve(
    listener: &Listener,
    stop: &Stop,
    answer: &(dyn Fn(&Request) -> Response + Sync),
) -> io::Result<()> {
    let (ended, ends) = pipe()?;
    let places = Places::default();
    thread::scope(|scope| {
        // Closing the pipe's one end wakes `poll` at the other.
        let waiter = thread::Builder::new().spawn_scoped(scope, || {
            stop.wait_until(None);
            places.close();
            drop(ends);
        })?;
        let result = accept_all(listener, &ended, stop, |stream| {
            let Some(place) = places.take(&stream) else { return };
            // If there is no memory for a thread, the client has to try again.
            let _ = thread::Builder::new().spawn_scoped(scope, move || {
                let _place = place;
                converse(&stream, answer);
            });
        });
        stop.set();
        // It does not panic; were it to, the scope would pass it on.
        let _ = waiter.join();
        result
    })
}

fn accept_all(
    listener: &Listener,
    ended: &io::PipeReader,
    stop: &Stop,
    mut serve: impl FnMut(Stream),
) -> io::Result<()> {
    while !stop.is_set() {
        let mut wanted = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut wanted, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        match listener.accept() {
            Ok(stream) => serve(stream),
            Err(error) => match error.kind() {
                // The client has gone already, or it was the pipe that woke us.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted => {}
                _ => {
                    stop.wait_until(Some(Instant::now() + SHORT_OF_MEANS));
                }
            },
        }
    }
    Ok(())
}

/// The connections that are open.
#[derive(Default)]
struct Places {
    open: Mutex<Open>,
    freed: Condvar,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// By number, the oldest first.
    streams: BTreeMap<u64, Stream>,
    is_closed: bool,
}

/// A connection's place, free again when this is dropped.
struct Place<'p> {
    places: &'p Places,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.lock().streams.remove(&self.number);
        self.places.freed.notify_all();
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // Each change is a single step, so it is consistent even after a panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection. Where none is free, the oldest connection is ended, and its thread
    /// waited for: it may be making an answer, which takes no client's time. `None` where no
    /// further connection is to be served.
    fn take(&self, stream: &Stream) -> Option<Place<'_>> {
        let stream = stream.try_clone().ok()?;
        let mut open = self.lock();
        if open.streams.len() >= PLACES
            && let Some(oldest) = open.streams.values().next()
        {
            oldest.shutdown(Shutdown::Both);
        }
        while open.streams.len() >= PLACES && !open.is_closed {
            open = self.freed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
        if open.is_closed {
            return None;
        }
        let number = open.next;
        open.next += 1;
        open.streams.insert(number, stream);
        Some(Place { places: self, number })
    }

    /// Ends every connection, and takes no further one.
    fn close(&self) {
        let mut open = self.lock();
        open.is_closed = true;
        for stream in open.streams.values() {
            stream.shutdown(Shutdown::Both);
        }
        self.freed.notify_all();
    }
}

/// Reads a request and answers it. Whatever fails with the client ends the connection: there is
/// nobody to tell.
fn converse(stream: &Stream, answer: &(dyn Fn(&Request) -> Response + Sync)) {
    let begun = Instant::now();
    let deadline = begun + TIME;
    let (method, response) = match request(stream, begun + REQUEST_TIME) {
        Ok(Ok(request)) => (request.method, answer(&request)),
        Ok(Err(refused)) => (Method::Other, refused),
        Err(_) => return,
    };
    if write_all(stream, &response.bytes(method, SystemTime::now()), deadline).is_err() {
        return;
    }
    stream.shutdown(Shutdown::Write);
    let deadline = deadline.min(Instant::now() + LINGER);
    let (mut bytes, mut taken) = ([0; 4096], 0);
    while taken < LINGER_BYTES
        && let Ok(limit) = left(deadline)
        && let Ok(length @ 1..) = stream.read(&mut bytes, limit)
    {
        taken += length;
    }
}

/// The client's request, or what to answer in its place.
fn request(stream: &Stream, deadline: Instant) -> io::Result<Result<Request, Response>> {
    let mut bytes = [0; MAX_HEAD];
    let mut length = 0;
    loop {
        match parse(&bytes[..length]) {
            Ok(Some(request)) => return Ok(Ok(request)),
            Ok(None) => {}
            Err(refusal) => return Ok(Err(refusal.into())),
        }
        let read = left(deadline).and_then(|limit| stream.read(&mut bytes[length..], limit));
        match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => length += more,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    let text =
                        format!("no whole request within {} seconds", REQUEST_TIME.as_secs());
                    return Ok(Err(Response::error(Status::RequestTimeout, &text)));
                }
                _ => return Err(error),
            },
        }
    }
}

fn write_all(stream: &Stream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        match left(deadline).and_then(|limit| stream.write(bytes, limit)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => bytes = &bytes[taken..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time until the deadline, which is not zero; `TimedOut` when it is over.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}
