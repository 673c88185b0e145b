//! Asks whether files have changed, for a while only: a file on a server that does not answer keeps
//! whoever asks for it, for as long as it likes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::file::Files;
use super::sources::{Compared, Since, Source};

/// How long is waited for an answer, while all others came in time.
const LIMIT: Duration = Duration::from_secs(1);
/// And while one is outstanding: there may be many files on the same server.
const SHORT: Duration = Duration::from_millis(50);

/// Answers that came, and those that are outstanding.
#[derive(Debug, Default)]
pub struct Asked {
    compared: Compared,
    outstanding: HashMap<PathBuf, Outstanding>,
}

#[derive(Debug)]
struct Outstanding {
    source: Source,
    answer: Receiver<(Since, Compared)>,
}

impl Asked {
    /// What has happened to a file since it was read; [`Since::Unanswered`] where that is not known
    /// in time. Then the next call asks no second time, but says what came in between.
    pub fn since<F: Files + Clone + Send + 'static>(
        &mut self,
        source: &Source,
        files: &F,
    ) -> Since {
        let before = self.outstanding.remove(&source.path);
        let (answer, limit) = match before.filter(|before| before.source == *source) {
            Some(before) => (before.answer, Duration::ZERO),
            None => {
                let limit = if self.outstanding.is_empty() { LIMIT } else { SHORT };
                let (sender, answer) = mpsc::sync_channel(1);
                let (asked, files_there) = (source.clone(), files.clone());
                let mut compared = self.compared.of(&source.path);
                let thread = thread::Builder::new().name("files".to_owned()).spawn(move || {
                    let since = asked.since(&files_there, &mut compared);
                    // Nobody waits for it any more where the command has ended.
                    let _ = sender.send((since, compared));
                });
                if thread.is_err() {
                    return source.since(files, &mut self.compared);
                }
                (answer, limit)
            }
        };
        match answer.recv_timeout(limit) {
            Ok((since, compared)) => {
                self.compared.add(compared);
                since
            }
            Err(RecvTimeoutError::Timeout) => {
                let outstanding = Outstanding { source: source.clone(), answer };
                self.outstanding.insert(source.path.clone(), outstanding);
                Since::Unanswered
            }
            // The thread panicked.
            Err(RecvTimeoutError::Disconnected) => source.since(files, &mut self.compared),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::{Arc, Barrier};

    use super::*;
    use crate::config::file::{Disk, FileError, FileId};
    use crate::config::sources::Recorded;

    /// A server that answers once somebody else waits at the barrier too.
    #[derive(Clone)]
    struct Slow(Arc<Barrier>);

    impl Files for Slow {
        fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
            Disk.read(path)
        }

        fn identity(&self, path: &Path) -> Option<FileId> {
            self.0.wait();
            Disk.identity(path)
        }
    }

    #[test]
    fn what_does_not_answer_keeps_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let recorded = Recorded::new(&Disk);
        for name in ["slow", "quick"] {
            fs::write(folder.path().join(name), name).unwrap();
            recorded.read(&folder.path().join(name)).unwrap();
        }
        let sources = recorded.into_sources();
        fs::write(&sources[0].path, "other").unwrap();

        let slow_server = Slow(Arc::new(Barrier::new(2)));
        let mut asked = Asked::default();
        let answer = |asked: &mut Asked, source: &Source, slow: bool| loop {
            let since = match slow {
                true => asked.since(source, &slow_server),
                false => asked.since(source, &Disk),
            };
            match since {
                // On a busy machine even the disk may not answer in time.
                Since::Unanswered => thread::yield_now(),
                answer => break answer,
            }
        };
        assert!(matches!(asked.since(&sources[0], &slow_server), Since::Unanswered));
        // Another file is asked for all the same, and this one not twice.
        assert!(matches!(answer(&mut asked, &sources[1], false), Since::Same));
        assert!(matches!(asked.since(&sources[0], &slow_server), Since::Unanswered));
        slow_server.0.wait();
        let said = answer(&mut asked, &sources[0], true);
        assert!(matches!(said, Since::Changed), "{said:?}");
        // Then it is asked again.
        assert!(matches!(answer(&mut asked, &sources[0], false), Since::Changed));
    }
}
