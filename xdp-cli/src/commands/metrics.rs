//! `xdpctl metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use super::{Failure, Session, stats, status};
use crate::agent::http::listener::{self, Listener};
use crate::agent::http::request::{Method, Request, prefers_openmetrics};
use crate::agent::http::response::{Response, Status as HttpStatus};
use crate::agent::http::server::serve;
use crate::args::{Listen, Metrics};
use crate::config::asked::Asked;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::services;
use crate::datapath::change::redirect_targets;
use crate::datapath::error::{Context as _, Error};
use crate::report::{self, Reporter};
use crate::views::metrics::{Format, InForce, Interface, List, Runs, Scrape, State, write};
use crate::views::stats::stop::Stop;
use crate::views::status::Status;

/// Serves metrics, or writes them to a file.
pub fn run(args: &Metrics, session: &mut Session<'_>) -> Result<(), Failure> {
    // Without privileges, that is reported at once, and not at each scrape.
    Namespace::look()?;
    match (&args.listen, &args.textfile) {
        (Some(listen), _) => listen_on(listen, session),
        (None, Some(path)) => to_file(path, session),
        (None, None) => Err(Error::new("nowhere to put metrics")
            .hint("`--listen` serves them, `--textfile PATH` writes them to a file")
            .into()),
    }
}

fn listen_on(listen: &Listen, session: &mut Session<'_>) -> Result<(), Failure> {
    let stop =
        Stop::on_signals().map_err(|error| Error::new(format!("cannot catch Ctrl-C: {error}")))?;
    let listener = match listen {
        Listen::Tcp(address) => Listener::tcp(*address),
        Listen::Unix(path) => Listener::unix(path),
    };
    let listener = listener.map_err(not_listening)?;
    session.print(format_args!("serving metrics on {} until Ctrl-C\n", listener.place()))?;
    session.out.flush().map_err(Failure::from_output)?;
    let exporter = Exporter::default();
    Ok(serve(&listener, &stop, &|request| exporter.answer(request)).context("wait for clients")?)
}

fn not_listening(error: listener::Error) -> Error {
    let told = Error::new(error.to_string());
    match error.hint() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// Answers requests, each with a scrape of its own.
#[derive(Default)]
struct Exporter {
    /// Held while an interface is read, which waits for the kernel alone: never for a client, and
    /// not for other commands either. Many clients at once do not take many times the descriptors.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    errors: u64,
    /// What could not be read the last time: it is reported once, not at each scrape.
    told: BTreeSet<String>,
    /// What is known of files that have changed: a list may be large, and is not read at each scrape.
    asked: Asked,
}

impl Exporter {
    fn answer(&self, request: &Request) -> Response {
        match (request.path.as_str(), request.method) {
            ("/" | "/metrics", Method::Other) => {
                Response::error(HttpStatus::MethodNotAllowed, "only GET and HEAD are answered here")
            }
            ("/", _) => Response::page("text/html; charset=utf-8", FRONT.to_owned()),
            ("/metrics", _) => self.metrics(&request.accept),
            _ => Response::error(HttpStatus::NotFound, "there is only /metrics here"),
        }
    }

    fn metrics(&self, accept: &str) -> Response {
        let format = match prefers_openmetrics(accept) {
            true => Format::OpenMetrics,
            false => Format::Prometheus,
        };
        let (scrape, new) = self.scrape();
        // Without the lock: whoever reads stderr may be slow.
        say(&new);
        let text = scrape.and_then(|scrape| {
            write(scrape, format).map_err(|_| Error::new("the metrics cannot be written"))
        });
        match text {
            Ok(text) => Response::page(format.content_type(), text),
            Err(error) => Response::error(HttpStatus::InternalServerError, &error.message),
        }
    }

    /// Reads everything, and returns what could not be read either, as far as it is new.
    fn scrape(&self) -> (Result<Scrape, Error>, Vec<Error>) {
        // Counts and texts are each consistent by themselves, even after a panic.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (interfaces, errors) = match gather(&mut seen.asked) {
            Ok((interfaces, errors)) => (Ok(interfaces), errors),
            Err(error) => (Err(error.clone()), vec![error]),
        };
        seen.errors = seen.errors.saturating_add(errors.len() as u64);
        let before = std::mem::take(&mut seen.told);
        seen.told = errors.iter().map(|error| error.message.clone()).collect();
        let new = errors.into_iter().filter(|error| !before.contains(&error.message)).collect();
        (interfaces.map(|interfaces| Scrape { interfaces, errors: Some(seen.errors) }), new)
    }
}

/// The page at `/`.
const FRONT: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>xdpctl</title></head>\n\
                     <body><h1>xdpctl</h1><p><a href=\"/metrics\">Metrics</a></p></body>\n</html>\n";

fn say(errors: &[Error]) {
    let mut err = io::stderr();
    let colours = report::colours(&err);
    let mut reporter = Reporter::new(&mut err, colours);
    for error in errors {
        reporter.warning(&error.message, error.hint.as_deref());
    }
}

/// Writes metrics to a file. What cannot be read of one interface is a warning; if nothing can be
/// read, the file stays as it was.
fn to_file(path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
    let (interfaces, errors) = gather(&mut Asked::default())?;
    for error in errors {
        session.reporter.warning(&error.message, error.hint.as_deref());
    }
    let text = write(Scrape { interfaces, errors: None }, Format::Prometheus)
        .map_err(|_| Error::new("the metrics cannot be written"))?;
    Ok(write_whole(path, text.as_bytes()).context(format_args!("write {}", path.display()))?)
}

/// Writes a file under another name and then gives it its own, so that the collector reads the old
/// one or the new one, whole. The first name does not end in `.prom`, so it is never read.
fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", process::id()));
    let new = path.with_file_name(name);
    let create = || {
        // The directory may be another user's: a link that lies there is not followed.
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)
    };
    let mut file = match create() {
        // Of a process that was killed and had the same number.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&new)?;
            create()?
        }
        other => other?,
    };
    let written = file
        .set_permissions(Permissions::from_mode(0o644))
        .and_then(|()| file.write_all(contents))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // If that fails too, the first error says more.
        let _ = fs::remove_file(&new);
    }
    written
}

/// How often to look again where something cannot be read: another command may be taking it away.
const LOOKS: usize = 3;

/// Everything that is attached, each name once, and what could not be read of it. Fails only if
/// nothing can be read at all.
fn gather(asked: &mut Asked) -> Result<(Vec<Interface>, Vec<Error>), Error> {
    let mut found = look(asked)?;
    for _ in 1..LOOKS {
        if found.1.is_empty() {
            break;
        }
        found = look(asked)?;
    }
    Ok(found)
}

fn look(asked: &mut Asked) -> Result<(Vec<Interface>, Vec<Error>), Error> {
    let Some(namespace) = Namespace::look()? else { return Ok((Vec::new(), Vec::new())) };
    let (attached, failed) = namespace.attachments_each()?;
    let mut errors = Vec::new();
    let outcomes = redirect_targets::inspect(&namespace, attached.iter()).unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    });
    let carriers = attached.carriers();
    // A name that two have is that of the one that is on its interface: the other one is what is left
    // of an interface that is gone, and only its problems count.
    let mut all: Vec<&Attachment> = attached.iter().collect();
    all.sort_by_key(|attachment| attachment.ifindex().is_none());
    let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
    for attachment in all {
        let status = status::of(&namespace, attachment, carriers, &outcomes, asked);
        match interfaces.get_mut(&status.interface) {
            Some(Interface { state: Some(state), .. }) => {
                state.problems += status.problems.len() as u64;
            }
            _ => {
                let interface = interface(attachment, status, &mut errors);
                interfaces.insert(interface.name.clone(), interface);
            }
        }
    }
    for (key, error) in failed {
        let name = match carriers.by_index(key.ifindex()) {
            Some(carrier) => carrier.name.clone(),
            None => format!("interface index {}", key.ifindex()),
        };
        errors.push(of(&name, error));
        let unread = Interface {
            name,
            is_readable: false,
            state: None,
            counters: None,
            services: Vec::new(),
        };
        let there = interfaces.entry(unread.name.clone()).or_insert(unread);
        there.is_readable = false;
    }
    Ok((interfaces.into_values().collect(), errors))
}

/// An error, with the interface that it is about.
fn of(name: &str, error: Error) -> Error {
    Error { message: format!("{name}: {}", error.message), ..error }
}

fn interface(attachment: &Attachment, status: Status, errors: &mut Vec<Error>) -> Interface {
    let name = status.interface.clone();
    let mut is_readable = true;
    let mut counters = None;
    if attachment.has_counters() {
        match attachment.read() {
            Ok(reading) => counters = Some(stats::view(attachment, reading)),
            Err(error) => {
                is_readable = false;
                errors.push(of(&name, error));
            }
        }
    }
    let mut served = Vec::new();
    if attachment.in_force().is_some_and(|in_force| !in_force.metadata.backends.is_empty()) {
        match services::read(attachment) {
            Ok((_, services)) => served = services,
            Err(error) => {
                is_readable = false;
                errors.push(of(&name, error));
            }
        }
    }
    // The program may just have been exchanged; and it runs all the same.
    let runs = attachment.runs().ok().flatten();
    let ruleset = attachment.in_force().map(|in_force| InForce {
        generation: in_force.generation,
        attached_at: UNIX_EPOCH + Duration::from_millis(in_force.metadata.attached_at),
        loaded_at: status.loaded_at,
        entries: status.entries,
        lists: in_force
            .metadata
            .counted
            .iter()
            .filter_map(|counted| {
                let (name, kind) = (counted.name.clone(), counted.kind);
                Some(List { name, kind, entries: counted.entries? })
            })
            .collect(),
    });
    let state = State {
        mode: status.mode,
        link: status.link,
        is_on: attachment.ifindex().is_some(),
        bypass: status.bypass,
        problems: status.problems.len() as u64,
        map_bytes: status.map_bytes,
        ruleset,
        runs: runs.map(|runs| Runs {
            count: runs.count,
            seconds: Duration::from_nanos(runs.nanoseconds).as_secs_f64(),
        }),
    };
    Interface { name, is_readable, state: Some(state), counters, services: served }
}
