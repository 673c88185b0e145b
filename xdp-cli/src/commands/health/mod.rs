//! `xdpctl health`.

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::look::{Looked, Looker};
use super::told::{self, Done};
use super::{Failure, Session};
use crate::agent::health::checker::{Checker, Finding, Start};
use crate::agent::health::keeper::{Found, Keeper, News};
use crate::agent::health::plan::Way;
use crate::agent::health::probe::Through;
use crate::agent::health::report::Report;
use crate::args::Health;
use crate::datapath::attached::attachments::not_attached;
use crate::datapath::attached::found::BackendStates;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::error::{Error, Result};
use crate::datapath::host::checking;
use crate::event::What;
use crate::notation::{counted, plain};
use crate::ruleset::services::check::Probe;
use crate::views::health::{Row, write};
use crate::views::monitor::text;

/// Time between two reports of what was found.
const REPORT: Duration = Duration::from_secs(1);
/// Most checks that have a connection open at a time.
const AT_A_TIME: u64 = 4096;
/// Descriptors for everything else.
const OTHERS: u64 = 256;

enum Message {
    Looked(Result<Looked>),
    Found(Finding),
    Stop,
}

/// Checks backends until Ctrl-C, or once. Returns the exit status.
pub fn run(args: &Health, session: &mut Session<'_>) -> std::result::Result<u8, Failure> {
    let (to, messages) = channel();
    let stop = to.clone();
    // The command has ended where nobody receives it.
    let handler = move || drop(stop.send(Message::Stop));
    ctrlc::set_handler(handler)
        .map_err(|error| Error::new(format!("cannot catch Ctrl-C: {error}")))?;
    // Privileges first, so that a lack of them gets its own message.
    let namespace = Namespace::look()?;
    if args.once {
        attached(namespace.as_ref(), args.interface.as_deref())?;
    }
    let mut looker = Looker::new(args.interface.clone());
    let first = looker.look()?;
    let found = to.clone();
    let through = Arc::new(Through::default());
    let checker = Checker::start(at_a_time(), Arc::clone(&through), move |finding| {
        // As above.
        let _ = found.send(Message::Found(finding));
    });
    let checker =
        checker.map_err(|error| Error::new(format!("cannot start to check backends: {error}")))?;
    let (reports, to_write) = sync_channel(1);
    let tell = move |looked| {
        let _ = to.send(Message::Looked(looked));
    };
    let looks = thread::Builder::new().name("looks".to_owned());
    let looks = looks
        .spawn(move || looker.run(&to_write, tell))
        .map_err(|error| Error::new(format!("cannot start to look for reloads: {error}")))?;
    // Whoever attaches or reloads then does not say that nobody checks.
    let announced = match args.once {
        true => None,
        false => checking::announce()
            .inspect_err(|error| log::warn!("others do not know that this runs: {error}"))
            .ok(),
    };
    let mut daemon = Daemon {
        keeper: Keeper::default(),
        checker,
        through,
        once: args.once,
        counts: None,
        problems: BTreeSet::new(),
        reports,
        next_report: None,
    };
    if let Some(looked) = first {
        daemon.looked(looked, session);
    }
    daemon.until_stopped(&messages, session);
    let status = match args.once {
        true => daemon.table(session)?,
        false => 0,
    };
    drop(announced);
    let Daemon { keeper, checker, reports, .. } = daemon;
    // The programs that it runs end with it.
    drop(checker);
    // If the thread that writes is gone, so is what it would have written.
    let _ = reports.send(keeper.reports(SystemTime::now()));
    drop(reports);
    let _ = looks.join();
    Ok(status)
}

/// Fails where nothing is attached, or not to that interface.
fn attached(namespace: Option<&Namespace>, interface: Option<&str>) -> Result<()> {
    match (namespace, interface) {
        (Some(namespace), Some(name)) => namespace.attachments()?.require_here(name).map(|_| ()),
        (Some(namespace), None) if !namespace.attachments()?.is_empty() => Ok(()),
        (None, Some(name)) => Err(not_attached(name, &[])),
        (_, None) => Err(super::nothing_attached()),
    }
}

/// How many checks may have a connection open at a time, by the descriptors that there are. Most
/// processes get few and may ask for more.
fn at_a_time() -> usize {
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let wanted = (AT_A_TIME + OTHERS).min(hard).max(soft);
            let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
            if raised.is_ok() { wanted } else { soft }
        }
        Err(_) => 0,
    };
    usize::try_from(limit.saturating_sub(OTHERS).clamp(16, AT_A_TIME)).unwrap_or(16)
}

impl Found for BackendStates {
    fn set(
        &mut self,
        service: &str,
        backend: &str,
        is_up: Option<bool>,
        deadline: Option<Duration>,
    ) -> Result<()> {
        Self::set(self, service, backend, is_up, deadline)
    }
}

struct Daemon {
    keeper: Keeper<BackendStates>,
    checker: Checker,
    /// The ways of checks that go through services.
    through: Arc<Through>,
    once: bool,
    /// How many services and backends were said to be checked.
    counts: Option<(usize, usize)>,
    /// What was wrong at the last look.
    problems: BTreeSet<String>,
    reports: SyncSender<BTreeMap<String, Report>>,
    /// When to write down what was found; `None` where nothing was since the last time.
    next_report: Option<Instant>,
}

impl Daemon {
    fn until_stopped(&mut self, messages: &Receiver<Message>, session: &mut Session<'_>) {
        let mut last_report: Option<Instant> = None;
        loop {
            if self.once && self.keeper.is_settled() {
                return;
            }
            let mut next = match self.next_report {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(time) => messages.recv_timeout(time.saturating_duration_since(Instant::now())),
            };
            // All that have come are told to the kernel before anything is said: whoever reads that
            // may be slow.
            let (mut news, mut errors) = (Vec::new(), Vec::new());
            let mut stops = false;
            let mut looked = Vec::new();
            while let Ok(message) = next {
                match message {
                    Message::Found(finding) => {
                        let (new, failed) = self.keeper.found(&finding);
                        news.extend(new);
                        errors.extend(failed);
                        let due = last_report.map_or_else(Instant::now, |last| last + REPORT);
                        self.next_report.get_or_insert(due);
                    }
                    Message::Looked(one) => looked.push(one),
                    Message::Stop => {
                        stops = true;
                        break;
                    }
                }
                next = match looked.is_empty() {
                    true => messages.try_recv().map_err(|_| RecvTimeoutError::Timeout),
                    // What comes after that may be about other backends.
                    false => break,
                };
            }
            self.tell(news, session);
            warn(errors, session);
            for one in looked {
                match one {
                    Ok(looked) => self.looked(looked, session),
                    Err(problem) => self.say_problems(vec![problem], session),
                }
            }
            if stops {
                return;
            }
            if self.next_report.is_some_and(|time| Instant::now() >= time) {
                // Who is still writing the last one gets the next.
                let _ = self.reports.try_send(self.keeper.reports(SystemTime::now()));
                (self.next_report, last_report) = (None, Some(Instant::now()));
            }
        }
    }

    /// Has what there is now checked.
    fn looked(&mut self, looked: Looked, session: &mut Session<'_>) {
        let start = if self.once { Start::AtOnce } else { Start::Spread };
        let targets = looked.planned.iter().flat_map(|planned| &planned.targets.checked);
        let ways: BTreeSet<Way> = targets.filter_map(|target| target.way.clone()).collect();
        let mut problems = looked.problems;
        // Before the first check of them.
        problems.extend(self.through.plan(&ways));
        let planned = looked.planned.into_iter().map(|it| it.with(BackendStates::new)).collect();
        let (orders, errors) = self.keeper.plan(planned, start);
        self.checker.order(orders);
        self.say_problems(problems, session);
        warn(errors, session);
        let counts = self.keeper.counts();
        if self.counts == Some(counts) {
            return;
        }
        self.counts = Some(counts);
        let end = if self.once { "" } else { "; Ctrl-C ends" };
        let text = match counts {
            (_, 0) => format!("there is nothing to check: no service has [service.check]{end}"),
            (services, backends) => format!(
                "checking {} of {}{end}",
                counted(backends as u64, "backend"),
                counted(services as u64, "service")
            ),
        };
        session.reporter.note(&text, None);
    }

    /// Says what is wrong, each time that it is new.
    fn say_problems(&mut self, problems: Vec<Error>, session: &mut Session<'_>) {
        let before = std::mem::take(&mut self.problems);
        self.problems = problems.iter().map(|problem| problem.message.clone()).collect();
        warn(problems.into_iter().filter(|it| !before.contains(&it.message)), session);
    }

    /// Tells what became of backends: here, the journal, and every monitor.
    fn tell(&self, news: Vec<News>, session: &mut Session<'_>) {
        let mut done = Vec::new();
        for one in &news {
            let News::Changed { places, service, backend, is_up, message, in_a_row } = one else {
                continue;
            };
            for place in places {
                let Some(states) = self.keeper.place(place) else { continue };
                let what = What::Health {
                    service: service.clone(),
                    backend: backend.clone(),
                    up: *is_up,
                    why: (!is_up).then(|| message.clone()),
                    in_a_row: *in_a_row,
                };
                done.push(Done::to(states.attachment(), what));
            }
        }
        told::tell(done);
        for one in news {
            match one {
                News::Changed { service, backend, is_up, message, in_a_row, .. } => {
                    let why = (!is_up).then_some(message.as_str());
                    let text = text::health(&service, &backend, is_up, why, in_a_row);
                    match is_up {
                        true => session.reporter.note(&text, None),
                        false => session.reporter.warning(&text, None),
                    }
                }
                News::Unchecked { service, backend, message } => {
                    let text = format!("{service}: {backend} could not be checked: {message}");
                    let hint = "it is taken to be as before";
                    session.reporter.warning(&text, Some(hint));
                }
            }
        }
    }

    /// Prints what was found of each backend. Returns the exit status.
    fn table(&self, session: &mut Session<'_>) -> std::result::Result<u8, Failure> {
        let mut rows = Vec::new();
        let mut is_served: BTreeMap<String, bool> = BTreeMap::new();
        for (target, checked) in self.keeper.all() {
            let kind = target.check.probe.as_str();
            let mut check = match &target.check.probe {
                Probe::Exec { command } => {
                    format!("{kind} {}", command.first().map_or("", String::as_str))
                }
                _ if target.port == 0 => format!("{kind} {}", target.place().ip()),
                _ => format!("{kind} {}", target.place()),
            };
            if target.way.is_some() {
                check.push_str(" through the service");
            }
            // What no check has decided is taken to be up, by the program too.
            *is_served.entry(checked.service.clone()).or_default() |= checked.is_up != Some(false);
            let last = checked.last.as_ref();
            rows.push(Row {
                service: checked.service,
                backend: checked.backend,
                check,
                is_up: checked.is_up,
                took: last.map(|last| Duration::from_secs_f64(last.rtt_ms.max(0.0) / 1e3)),
                why: last.and_then(|last| last.message.clone()),
            });
        }
        if rows.is_empty() {
            return Ok(0);
        }
        write(session.out, &rows).map_err(Failure::from_output)?;
        let mut status = 0;
        for (service, _) in is_served.iter().filter(|(_, is_served)| !**is_served) {
            let text = format!("{}: no backend is up", plain(service));
            session.reporter.error(&text, None);
            status = 1;
        }
        Ok(status)
    }
}

fn warn(errors: impl IntoIterator<Item = Error>, session: &mut Session<'_>) {
    for error in errors {
        session.reporter.warning(&error.message, error.hint.as_deref());
    }
}
