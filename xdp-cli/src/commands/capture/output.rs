//! Where captured frames are written: standard output or a file, however slowly it is read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::views::stats::stop::Stop;

/// Bytes that a pipe takes without waiting once it has room (PIPE_BUF).
const PIECE: usize = 4096;
/// Bytes after which what was gathered is written out in any case.
const MOST: usize = 1 << 16;
/// How long a reader may take after a signal until it is given up.
const GRACE: Duration = Duration::from_secs(1);
/// How often a signal is looked for while the reader is waited for, in milliseconds.
const LOOK: u8 = 100;

/// An output that does not keep the command from ending. Gathers what is written until it is
/// flushed.
pub(super) struct Output {
    file: File,
    stop: Stop,
    gathered: Vec<u8>,
    /// When the reader is given up, once a signal came.
    end: Option<Instant>,
}

impl Output {
    pub(super) fn stdout(stop: &Stop) -> io::Result<Self> {
        Ok(Self::new(io::stdout().as_fd().try_clone_to_owned()?.into(), stop))
    }

    /// Makes a file, or empties the one that is there. A FIFO is opened once somebody reads it.
    pub(super) fn file(path: &Path, stop: &Stop) -> io::Result<Self> {
        loop {
            // Opening a FIFO waits for its reader, and begins anew after a signal, unless it must not wait.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).custom_flags(OFlag::O_NONBLOCK.bits());
            match options.open(path) {
                // So is it with a socket, which nobody can open.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENXIO)
                        && fs::metadata(path).is_ok_and(|it| it.file_type().is_fifo()) =>
                {
                    if stop.wait_until(Some(Instant::now() + Duration::from_millis(LOOK.into()))) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                opened => {
                    let file = opened?;
                    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
                    return Ok(Self::new(file, stop));
                }
            }
        }
    }

    fn new(file: File, stop: &Stop) -> Self {
        Self { file, stop: stop.clone(), gathered: Vec::new(), end: None }
    }

    /// Writes a piece as soon as there is room for it.
    fn write_piece(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut fds, PollTimeout::from(LOOK)) {
                Ok(0) | Err(Errno::EINTR) => {}
                // Also where nobody reads any more: writing says so.
                Ok(_) => return self.file.write(&bytes[..bytes.len().min(PIECE)]),
                Err(error) => return Err(error.into()),
            }
            if self.stop.is_set()
                && *self.end.get_or_insert_with(|| Instant::now() + GRACE) <= Instant::now()
            {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= MOST {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    /// # Errors
    ///
    /// `TimedOut` where a signal came and nobody reads.
    fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let mut rest = &gathered[..];
        while !rest.is_empty() {
            match self.write_piece(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, pipe};
    use std::thread;

    use super::*;

    #[test]
    fn a_slow_reader_gets_everything() {
        let (mut reader, writer) = pipe().unwrap();
        let mut output = Output::new(File::from(std::os::fd::OwnedFd::from(writer)), &Stop::new());
        let bytes: Vec<u8> = (0..1_000_000u32).map(|number| number as u8).collect();
        let expected = bytes.clone();
        let writing = thread::spawn(move || {
            output.write_all(&bytes).unwrap();
            output.flush().unwrap();
        });
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        writing.join().unwrap();
        assert_eq!(read, expected);
    }

    #[test]
    fn after_a_signal_a_reader_that_does_not_read_is_given_up() {
        let (_reader, writer) = pipe().unwrap();
        let stop = Stop::new();
        let mut output = Output::new(File::from(std::os::fd::OwnedFd::from(writer)), &stop);
        stop.set();
        let error = output.write_all(&[0; 1 << 20]).and_then(|()| output.flush()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_reader_that_is_gone_is_a_closed_pipe() {
        let (reader, writer) = pipe().unwrap();
        let mut output = Output::new(File::from(std::os::fd::OwnedFd::from(writer)), &Stop::new());
        drop(reader);
        output.write_all(b"x").unwrap();
        assert_eq!(output.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
