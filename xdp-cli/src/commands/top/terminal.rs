//! The terminal of `top`: what it was before, and that it is so afterwards, whatever ends the
//! command.
//!
//! The process that draws is a child. Its parent does nothing but wait, and when the child was
//! killed, puts the terminal back. Where the parent is killed, the kernel ends the child, which
//! does it.

use std::io::{self, BufWriter, IsTerminal as _, Stdout};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd as _;
use std::panic;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, write};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use crate::datapath::error::Error;
use crate::views::stats::terminal::{Size, size};
use crate::views::top::{Top, screen};

/// Begins another screen and hides the cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
/// Ordinary letters, the screen from before, and the cursor shown.
const LEAVE: &[u8] = b"\x1b[0m\x1b[?1049l\x1b[?25h";
/// An empty screen.
const CLEAR: &[u8] = b"\x1b[2J";
/// How long the child may take to end after a signal, until it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How long a terminal that takes no output is waited for.
const STALLED: u16 = 1000;
/// What ends a command, and is handed to the child.
const ENDS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
/// What would stop a process that is not the terminal's any more, just when it puts it back.
const STOPS: [Signal; 3] = [Signal::SIGTTOU, Signal::SIGTTIN, Signal::SIGTSTP];

/// The modes that the terminal had before.
#[derive(Clone)]
pub(super) struct Before(Termios);

/// On which side of the fork a process is.
pub(super) enum Side {
    /// The child, which draws.
    Drawing(Before),
    /// The parent, after the child's end; with its exit status.
    Waited(u8),
}

/// Whether both input and output are a terminal.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Forks, and returns at once in the child, and in the parent after the child's end. Has to be
/// called before any other thread is there.
pub(super) fn fork_and_wait() -> Result<Side, Error> {
    let failed = |error| Error::new(format!("cannot take the terminal over: {error}"));
    let before = Before(tcgetattr(io::stdin()).map_err(failed)?);
    let mut handled = SigSet::empty();
    for one in ENDS {
        handled.add(one);
    }
    handled.add(Signal::SIGCHLD);
    for one in STOPS {
        // SAFETY: no handler is installed.
        unsafe { signal(one, SigHandler::SigIgn) }.map_err(failed)?;
    }
    // Whoever ignores it is not told how its children end.
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map_err(failed)?;
    let mut mask = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&handled), Some(&mut mask)).map_err(failed)?;
    let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed)?;
    let parent = getpid();
    // SAFETY: there is one thread, so nothing is locked or half done that the child would wait for.
    match unsafe { fork() }.map_err(failed)? {
        ForkResult::Child => {
            drop(signals);
            set_pdeathsig(Signal::SIGTERM).map_err(failed)?;
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None).map_err(failed)?;
            if getppid() != parent {
                return Err(Error::new("the command was killed before it began"));
            }
            Ok(Side::Drawing(before))
        }
        ForkResult::Parent { child } => wait(child, &signals, &before).map(Side::Waited),
    }
}

/// Waits for the child's end, and returns its exit status.
fn wait(child: Pid, signals: &SignalFd, before: &Before) -> Result<u8, Error> {
    let failed = |error| Error::new(format!("cannot wait for the process that draws: {error}"));
    let mut deadline: Option<Instant> = None;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).map_err(failed)? {
            WaitStatus::Exited(_, status) => {
                before.put_back();
                return Ok(u8::try_from(status).unwrap_or(1));
            }
            WaitStatus::Signaled(_, signal, _) => {
                before.put_back();
                return Err(Error::new(format!(
                    "the process that draws was ended by {}",
                    signal.as_str()
                )));
            }
            _ => {}
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            // It waits for a terminal that takes no output.
            let _ = kill(child, Signal::SIGKILL);
            deadline = None;
            continue;
        }
        let most = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, most) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(failed(error)),
        }
        while let Some(told) = signals.read_signal().map_err(failed)? {
            if told.ssi_signo != Signal::SIGCHLD as u32 {
                // It has not ended, or was not waited for: its number is no other process'.
                let _ = kill(child, Signal::SIGTERM);
                deadline.get_or_insert_with(|| Instant::now() + GRACE);
            }
        }
    }
}

impl Before {
    /// Puts the terminal back, if it is not as it was. A child that is done has left its screen
    /// before it puts the modes back, so where those are right, everything is.
    fn put_back(&self) {
        if tcgetattr(io::stdin()).is_ok_and(|now| now != self.0) {
            leave(self);
        }
    }
}

/// Leaves the other screen, and puts the modes back. If that fails, there is no terminal any more.
fn leave(before: &Before) {
    write_all(LEAVE);
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before.0);
}

/// Writes to the terminal, as far as it takes it.
fn write_all(mut bytes: &[u8]) {
    let out = io::stdout();
    while !bytes.is_empty() {
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
        if !matches!(poll(&mut fds, STALLED), Ok(1..)) {
            return;
        }
        match write(&out, bytes) {
            Ok(written @ 1..) => bytes = bytes.get(written..).unwrap_or_default(),
            _ => return,
        }
    }
}

/// Whether errors go to a terminal.
pub(super) fn is_on_stderr() -> bool {
    io::stderr().is_terminal()
}

/// Whether the terminal hung up.
pub(super) fn hung_up() -> bool {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}

type Drawn = Terminal<CrosstermBackend<BufWriter<Stdout>>>;

/// The screen, until this is dropped.
pub(super) struct Screen {
    terminal: ManuallyDrop<Drawn>,
    size: Size,
    modes: Modes,
}

/// The terminal's modes, before and now.
#[derive(Clone, Copy)]
struct Modes {
    before: libc::termios,
    raw: libc::termios,
}

impl Modes {
    /// Puts the terminal back, unless somebody has done so already: a shell whose command was
    /// killed has modes of its own by then.
    fn put_back(self) {
        if tcgetattr(io::stdin()).is_ok_and(|now| now == Termios::from(self.raw)) {
            leave(&Before(self.before.into()));
        }
    }
}

impl Screen {
    pub(super) fn open(before: &Before) -> io::Result<Self> {
        let mut raw = before.0.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)?;
        // What the terminal made of it.
        let raw = tcgetattr(io::stdin())?;
        let modes = Modes { before: before.0.clone().into(), raw: raw.into() };
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            modes.put_back();
            hook(panic);
        }));
        let size = size();
        let screen = Self { terminal: ManuallyDrop::new(terminal(size)?), size, modes };
        write_all(ENTER);
        write_all(CLEAR);
        Ok(screen)
    }

    /// Draws a picture over the one before: only what is different is written.
    pub(super) fn draw(&mut self, top: &Top) -> io::Result<()> {
        let size = size();
        if size != self.size {
            (*self.terminal, self.size) = (terminal(size)?, size);
            write_all(CLEAR);
        }
        self.terminal.draw(|frame| screen::draw(frame, top))?;
        Ok(())
    }
}

/// A terminal on which nothing was drawn yet. Its size is not its own affair: where ratatui finds
/// no size, it starts a program to ask.
fn terminal(size: Size) -> io::Result<Drawn> {
    // Larger than most pictures, so that each is written in one piece.
    let out = BufWriter::with_capacity(1 << 16, io::stdout());
    let viewport = Viewport::Fixed(area(size));
    Terminal::with_options(CrosstermBackend::new(out), TerminalOptions { viewport })
}

impl Drop for Screen {
    /// ratatui's own terminal is not dropped: it would show the cursor once more, and panic where
    /// the terminal hung up.
    fn drop(&mut self) {
        self.modes.put_back();
    }
}

fn area(size: Size) -> Rect {
    let [width, height] =
        [size.columns, size.rows].map(|length| u16::try_from(length).unwrap_or(u16::MAX));
    // A picture of more cells than 16 bits count is cut.
    Rect::new(0, 0, width.min(1000), height.min(500))
}
