//! The command line: arguments in, exit status out.

mod oom;

use std::cell::Cell;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::{self, ExitCode};

use clap::{CommandFactory as _, Parser as _};
use xdpctl::args::{Cli, Command};
use xdpctl::commands::{self, Failure, Session, then_sweep};
use xdpctl::logging;
use xdpctl::notation::json_line;
use xdpctl::report::{self, Failed, Reporter};
use xdpctl::usage;

fn main() -> ExitCode {
    oom::heed();
    let arguments: Vec<OsString> = env::args_os().collect();
    match commands::completions::answer(Cli::command, &arguments) {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => error.exit(),
    }
    let cli = match Cli::try_parse_from(&arguments).and_then(Cli::without_contradictions) {
        Ok(cli) => cli,
        Err(error) => refuse(&usage::harmless(usage::suggest(error), &arguments), &arguments),
    };
    logging::to_stderr(cli.verbose);
    // Stdout and stderr are not locked: a thread of this command that logs would wait for the one
    // that waits for it.
    let is_written = Cell::new(false);
    let (mut out, mut err) = (Noticed { out: io::stdout(), is_written: &is_written }, io::stderr());
    let colours = report::colours(&err);
    let mut session = Session {
        colours: report::colours(&out.out),
        out: &mut out,
        reporter: Reporter::new(&mut err, colours),
        is_untold: false,
    };
    if cli.command.is_json() {
        session.reporter.keep_errors();
    }
    let result = run(&cli.command, &mut session).and_then(|status| match session.is_untold {
        true => Ok(status),
        false => session.out.flush().map(|()| status).map_err(Failure::from_output),
    });
    let status = match result {
        Ok(status) => return ExitCode::from(status),
        Err(Failure::ClosedPipe) => return ExitCode::SUCCESS,
        Err(Failure::Configuration) => 2,
        Err(Failure::Impossible(error)) => {
            session.tell(&error);
            1
        }
    };
    // A reader of JSON gets either the answer or the errors, never one after the other. If the
    // output cannot be written, that has been reported on stderr.
    if let Some(failed) = session.reporter.kept()
        && !is_written.get()
    {
        let _ = json_line(&failed)
            .and_then(|line| session.out.write_all(&line))
            .and_then(|()| session.out.flush());
    }
    ExitCode::from(status)
}

/// Ends with what clap says of the arguments: a mistake, or what `--help` and `--version` ask for. A
/// mistake in a command that was to print JSON is printed as JSON too.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ! {
    if error.use_stderr() && usage::is_json(arguments) {
        let (message, hint) = usage::told(error);
        // If the output cannot be written, the mistake is still reported on stderr.
        let _ = json_line(&Failed::by(message, hint))
            .and_then(|line| io::stdout().write_all(&line))
            .and_then(|()| io::stdout().flush());
    }
    if error.use_stderr() {
        error.exit()
    }
    // `exit` would end with success, even where the help cannot be written.
    let written = error.print().and_then(|()| io::stdout().flush()).map_err(Failure::from_output);
    if let Err(Failure::Impossible(failed)) = written {
        let mut err = io::stderr();
        let colours = report::colours(&err);
        Reporter::new(&mut err, colours).error(&failed.message, failed.hint.as_deref());
        process::exit(1)
    }
    process::exit(0)
}

/// Standard output that notes whether anything was written to it.
struct Noticed<'w> {
    out: io::Stdout,
    is_written: &'w Cell<bool>,
}

impl io::Write for Noticed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_written.set(true);
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn run(command: &Command, session: &mut Session<'_>) -> Result<u8, Failure> {
    match command {
        Command::Attach(args) => then_sweep(session, |s| commands::attach::run(args, s))?,
        // A dry run changes nothing, so it does not clean up after other namespaces either.
        Command::Reload(args) if args.dry_run => commands::reload::run(args, session)?,
        Command::Reload(args) => then_sweep(session, |s| commands::reload::run(args, s))?,
        Command::Limits(args) => commands::limits::run(args, session)?,
        Command::Services(args) => commands::services::run(args, session)?,
        Command::Backend(args) => then_sweep(session, |s| commands::backend::run(args, s))?,
        Command::Bypass(args) => then_sweep(session, |s| commands::bypass::run(args, s))?,
        Command::Confirm(args) => then_sweep(session, |s| commands::confirm::run(args, s))?,
        Command::Detach(args) => then_sweep(session, |s| commands::detach::run(args, s))?,
        Command::Stats(args) => commands::stats::run(args, session)?,
        Command::Top(args) => return commands::top::run(args, session),
        Command::Monitor(args) => commands::monitor::run(args, session)?,
        Command::Show(args) => commands::show::run(args, session)?,
        Command::Status(args) => {
            return then_sweep(session, |s| commands::status::run(args, s));
        }
        Command::Check(args) => {
            let Session { out, reporter, .. } = session;
            return Ok(commands::check::run(&args.file, args.json, *out, reporter));
        }
        Command::Block(args) => then_sweep(session, |s| commands::block::block(args, s))?,
        Command::Allow(args) => then_sweep(session, |s| commands::block::allow(args, s))?,
        Command::Unblock(args) => then_sweep(session, |s| commands::unblock::run(args, s))?,
        Command::Bans(args) if args.flush => then_sweep(session, |s| commands::bans::run(args, s))?,
        Command::Bans(args) => commands::bans::run(args, session)?,
        Command::Explain(args) => commands::explain::run(args, session)?,
        Command::Lookup(args) => commands::lookup::run(args, session)?,
        Command::Metrics(args) => commands::metrics::run(args, session)?,
        Command::Health(args) => return commands::health::run(args, session),
        Command::Capture(args) => commands::capture::run(args, session)?,
        Command::Completions { shell } => {
            commands::completions::completions(*shell, session.out)
                .map_err(Failure::from_output)?;
        }
        Command::Man(args) => {
            commands::man::man(args.page, &Cli::command(), session.out)
                .map_err(Failure::from_output)?;
        }
    }
    Ok(0)
}
