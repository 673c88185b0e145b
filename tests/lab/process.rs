//! Running commands with a limit on their time, in the foreground or beside the test.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::patience::patient;

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit status; 128 plus the signal's number where a signal ended it, as in a shell.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Panics with everything that the command wrote, unless the exit status is `status`.
    #[track_caller]
    pub fn expect_status(&self, status: i32) -> &Self {
        assert!(
            self.status == status,
            "`{}`: exit status {} instead of {status}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn success(&self) -> &Self {
        self.expect_status(0)
    }

    /// The array of `status --json`. The exit status has to be 1 where it has a problem, and 0
    /// otherwise.
    #[track_caller]
    pub fn statuses(&self) -> serde_json::Value {
        let all = self.json();
        let told = |status: &serde_json::Value| status["problems"] != serde_json::json!([]);
        let problems = all.as_array().is_some_and(|all| all.iter().any(told));
        self.expect_status(problems.into());
        all
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("`{}`: {error} in\n{}", self.command, self.stdout))
    }
}

/// Runs a command to its end. Kills it and panics where that takes longer than `timeout`.
#[track_caller]
pub fn run(command: Command, timeout: Duration) -> Output {
    let mut child = Background::start(command);
    match child.wait(timeout) {
        Some(output) => output,
        None => panic!("`{}` did not end within {timeout:?}", child.command),
    }
}

/// Runs a command and ignores its failure, for a `Drop`, where nothing can be done about it.
pub fn try_run(mut command: Command, timeout: Duration) {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = spawned else { return };
    let deadline = Instant::now() + patient(timeout);
    while let Ok(None) = child.try_wait() {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A command that runs beside the test; killed on drop.
#[derive(Debug)]
pub struct Background {
    command: String,
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Background {
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let name = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Another thread that begins a program at the same time has, for a moment, what this test has
        // open to write: a program that was just made may be busy so (ETXTBSY).
        let busy = |spawned: &io::Result<Child>| {
            spawned.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ExecutableFileBusy)
        };
        let mut spawned = command.spawn();
        for _ in 0..100 {
            if !busy(&spawned) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
            spawned = command.spawn();
        }
        let mut child = spawned.unwrap_or_else(|error| panic!("`{name}`: {error}"));
        let stdout = Stream::collect(child.stdout.take().expect("a pipe"));
        let stderr = Stream::collect(child.stderr.take().expect("a pipe"));
        Self { command: name, child, stdout, stderr }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as the SIGINT of Ctrl-C.
    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.child.id().try_into().expect("a process id"));
        kill(process, signal).unwrap_or_else(|error| panic!("`{}`: {error}", self.command));
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until it has written that many whole lines, and returns them.
    #[track_caller]
    pub fn lines(&self, count: usize, timeout: Duration) -> Vec<String> {
        let deadline = Instant::now() + patient(timeout);
        loop {
            let text = self.stdout();
            let whole = text.bytes().filter(|&byte| byte == b'\n').count();
            if whole >= count {
                return text.lines().take(count).map(str::to_owned).collect();
            }
            assert!(
                Instant::now() < deadline,
                "`{}` wrote {whole} lines within {timeout:?}, not {count}\n{text}\n--- stderr\n{}",
                self.command,
                self.stderr.so_far()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Waits for its end; `None` when it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<Output> {
        let deadline = Instant::now() + patient(timeout);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return Some(Output {
                    command: self.command.clone(),
                    status: as_shell(status),
                    stdout: self.stdout.finish(),
                    stderr: self.stderr.finish(),
                });
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail where it has ended already, which does no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn as_shell(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// Everything read from a pipe, by a thread that ends with it.
#[derive(Debug)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn collect(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = pipe.read(&mut buffer)
                && length > 0
            {
                sink.lock().expect("no panic while held").extend_from_slice(&buffer[..length]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no panic while held")).into_owned()
    }

    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reading thread");
        }
        self.so_far()
    }
}
