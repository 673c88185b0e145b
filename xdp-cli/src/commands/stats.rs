//! `xdpctl stats`.

use std::env;
use std::io::{self, IsTerminal as _};
use std::time::SystemTime;

use super::{Failure, Session};
use crate::args::Stats;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::in_force::Reading;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::error::Error;
use crate::datapath::maps::dynamic::bypass;
use crate::views::stats::follow::{self, Options, follow};
use crate::views::stats::stop::Stop;
use crate::views::stats::{CountedSample, Sample};

/// Shows counters, once or again and again.
pub fn run(args: &Stats, session: &mut Session<'_>) -> Result<(), Failure> {
    let stop =
        Stop::on_signals().map_err(|error| Error::new(format!("cannot catch Ctrl-C: {error}")))?;
    let options = Options {
        interval: args.interval,
        count: args.count,
        once: args.once,
        json: args.json,
        all: args.all,
    };
    // A terminal without control sequences gets plain lines.
    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let is_terminal = io::stdout().is_terminal() && !is_dumb;
    let mut source = || sample(args.interface.as_deref());
    match follow(&mut source, &options, session.out, is_terminal, &stop) {
        Ok(()) => Ok(()),
        Err(follow::Error::Source(error)) => Err(error.into()),
        Err(follow::Error::Output(error)) => Err(Failure::from_output(error)),
    }
}

/// Takes a sample. Attachments are opened anew each time, since meanwhile one may have been
/// detached, or another attached.
pub(super) fn sample(interface: Option<&str>) -> Result<Vec<Sample>, Error> {
    let Some(namespace) = Namespace::look()? else { return Err(super::nothing_attached()) };
    let attached = namespace.attachments()?;
    let chosen = match interface {
        Some(name) => vec![attached.require_here(name)?],
        None => {
            let mut all: Vec<&Attachment> = attached.iter().collect();
            if all.iter().any(|attachment| attachment.has_counters()) {
                all.retain(|attachment| attachment.has_counters());
            }
            all
        }
    };
    if chosen.is_empty() {
        return Err(super::nothing_attached());
    }
    chosen.into_iter().map(|attachment| Ok(view(attachment, attachment.read()?))).collect()
}

/// The sample that a reading makes.
pub(super) fn view(attachment: &Attachment, reading: Reading) -> Sample {
    let metadata = reading.in_force.metadata;
    let redirects = metadata.redirects.iter().map(|redirect| redirect.to.to_string()).collect();
    let counted = metadata.counted.into_iter().zip(reading.counted);
    Sample {
        interface: attachment.name(),
        ifindex: attachment.ifindex().unwrap_or(attachment.key().ifindex()),
        gone: attachment.ifindex().is_none(),
        // If this cannot be read, `status` reports it.
        bypass: attachment.readable().and_then(|(maps, _)| bypass::is_on(maps)).unwrap_or(false),
        mode: metadata.mode,
        generation: reading.in_force.generation,
        time: SystemTime::now(),
        matrix: reading.matrix,
        unreadable: reading.unreadable,
        counted: counted
            .map(|(counted, counters)| CountedSample {
                name: counted.name,
                kind: counted.kind,
                action: counted.action,
                counter: counters.own,
                lost: counters.lost,
                under: counters.under,
            })
            .collect(),
        redirects,
    }
}
