//! Waiting for a lock that another command holds: for a limited time, and with word of which
//! command.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};

/// How long a command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until it says that it waits. Most commands release the lock sooner.
    pub silent: Duration,
    /// Until it gives up.
    pub most: Duration,
}

impl Patience {
    /// The patience of every command.
    pub const COMMAND: Self =
        Self { silent: Duration::from_secs(1), most: Duration::from_secs(30) };
}

/// Longest time between two tries.
const PAUSE: Duration = Duration::from_millis(10);
/// A message shows at most as much of a command's name.
const NAME: usize = 64;

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The command's name; for xdpctl, with its first argument too. The process sets it, so it may
    /// be anything.
    pub command: String,
    pub pid: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, process {}", self.command, self.pid)
    }
}

/// The lock could not be taken.
#[derive(Debug)]
pub enum Error {
    Io(io::Error),
    /// Another process still has it after that time. `holder` is `None` where the kernel does not
    /// tell who.
    Held {
        holder: Option<Holder>,
        waited: Duration,
    },
}

/// The holder of a lock, for a message.
pub fn named(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another command".to_owned(), Holder::to_string)
}

/// Is told which process a command waits for.
pub type Say<'s> = dyn FnMut(Option<&Holder>) + 's;

/// One wait for a lock. It may take several files one after the other: the locked directory may be
/// removed and made anew meanwhile.
pub struct Waiting<'s> {
    begun: Instant,
    patience: Patience,
    /// Called once, with the process that it waits for; `None` afterwards.
    say: Option<&'s mut Say<'s>>,
}

impl<'s> Waiting<'s> {
    pub fn begin(patience: Patience, say: &'s mut Say<'s>) -> Self {
        Self { begun: Instant::now(), patience, say: Some(say) }
    }

    /// Locks a file as soon as no other process has it locked.
    pub fn lock(&mut self, mut file: File) -> Result<Flock<File>, Error> {
        let mut pause = Duration::from_millis(1);
        // A blocking flock(2) could not be given up: only a signal ends it, and signals are for the
        // whole process.
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => file = again,
                other => return other.map_err(|(_, errno)| Error::Io(errno.into())),
            }
            let waited = self.begun.elapsed();
            if waited >= self.patience.most {
                return Err(Error::Held { holder: holder(&file), waited: self.patience.most });
            }
            if waited >= self.patience.silent
                && let Some(say) = self.say.take()
            {
                say(holder(&file).as_ref());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE);
        }
    }
}

/// Who holds the lock of a file, according to /proc/locks (see proc_locks(5)). `None` where that is
/// not known: the process may be in another PID namespace, or has ended and left the lock to a
/// child.
pub fn holder(file: &File) -> Option<Holder> {
    let metadata = file.metadata().ok()?;
    let place = (metadata.dev(), metadata.ino());
    let pid = holder_in(&fs::read_to_string("/proc/locks").ok()?, place)?;
    // Another process may have that number by now; then it does not have the file open.
    if !has_open(pid, place) {
        return None;
    }
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(Holder { command: command(&words)?, pid })
}

/// The process that holds a flock on the file of that device and inode.
fn holder_in(locks: &str, (device, inode): (u64, u64)) -> Option<u32> {
    let file = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    locks.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        // The line of a process that waits has an arrow (`->`) here.
        let is_flock = fields.next()? == "FLOCK";
        let pid = fields.nth(2)?;
        (is_flock && fields.next()? == file).then(|| pid.parse().ok().filter(|&pid| pid != 0))?
    })
}

fn has_open(pid: u32, place: (u64, u64)) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let is_file = |path: &Path| {
        fs::metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == place)
    };
    descriptors.flatten().any(|descriptor| is_file(&descriptor.path()))
}

/// A command by its words, each of which ends with a zero.
pub(super) fn command(words: &[u8]) -> Option<String> {
    let mut words = words.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let program = words.next()?;
    let program = program.rsplit('/').next().filter(|name| !name.is_empty())?;
    let mut command = program.to_owned();
    if program == "xdpctl"
        && let Some(word) = words.find(|word| !word.is_empty() && !word.starts_with('-'))
    {
        command.push(' ');
        command.push_str(&word);
    }
    Some(command.chars().take(NAME).collect())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const NEVER: Patience = Patience { silent: Duration::ZERO, most: Duration::ZERO };

    fn open(path: &Path) -> File {
        File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    fn lock(file: File, patience: Patience, say: &mut Say<'_>) -> Result<Flock<File>, Error> {
        Waiting::begin(patience, say).lock(file)
    }

    /// Locks the file as another command would.
    fn locked(path: &Path) -> Flock<File> {
        Flock::lock(open(path), FlockArg::LockExclusive).unwrap()
    }

    #[test]
    fn who_waits_says_for_whom_once_and_then_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let mut first = Some(locked(&path));
        let mut said = Vec::new();
        let patience = Patience { silent: Duration::ZERO, most: Duration::from_secs(600) };
        lock(open(&path), patience, &mut |holder| {
            said.push(holder.cloned());
            first = None;
        })
        .unwrap();
        let [Some(holder)] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!(holder.pid, std::process::id());
    }

    #[test]
    fn who_waited_too_long_knows_for_whom() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = locked(&path);
        let error = lock(open(&path), NEVER, &mut |_| {}).unwrap_err();
        let Error::Held { holder: Some(holder), .. } = error else { panic!("{error:?}") };
        assert_eq!(holder.pid, std::process::id());
        drop(first);
        lock(open(&path), NEVER, &mut |_| {}).unwrap();
    }

    /// A child inherits the lock from a process that has ended: another process may have its
    /// number.
    #[test]
    fn a_process_that_is_gone_is_not_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        // The shell locks, leaves a child that has the descriptor, and ends.
        let mut shell = Command::new("sh")
            .args(["-c", "exec 9<>\"$0\"; flock 9; sleep 60 >/dev/null & echo $!"])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = String::new();
        io::Read::read_to_string(&mut shell.stdout.take().unwrap(), &mut child).unwrap();
        shell.wait().unwrap();
        let error = lock(open(&path), NEVER, &mut |_| {}).unwrap_err();
        let child = nix::unistd::Pid::from_raw(child.trim().parse().unwrap());
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert!(matches!(error, Error::Held { holder: None, .. }), "{error:?}");
    }

    #[test]
    fn the_holder_among_others() {
        let locks = "\
            1: POSIX  ADVISORY  WRITE 11 00:1a:77 0 EOF\n\
            2: FLOCK  ADVISORY  WRITE 12 00:1a:78 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 13 00:1a:77 0 EOF\n\
            3: -> FLOCK  ADVISORY  WRITE 14 00:1a:77 0 EOF\n\
            4: FLOCK  ADVISORY  WRITE 0 00:1a:79 0 EOF\n";
        let device = nix::sys::stat::makedev(0, 0x1a);
        assert_eq!(holder_in(locks, (device, 77)), Some(13));
        // The holder is in another PID namespace, and has no number here.
        assert_eq!(holder_in(locks, (device, 79)), None);
        assert_eq!(holder_in(locks, (device, 80)), None);
        assert_eq!(holder_in("nonsense\n\n1: FLOCK", (device, 77)), None);
    }

    #[test]
    fn commands_by_their_words() {
        let of = |words: &[u8]| command(words);
        assert_eq!(of(b"/usr/bin/xdpctl\0-v\0reload\0eth0\0").as_deref(), Some("xdpctl reload"));
        assert_eq!(of(b"xdpctl\0").as_deref(), Some("xdpctl"));
        assert_eq!(of(b"/usr/bin/flock\0/run\0").as_deref(), Some("flock"));
        assert_eq!(of(b""), None);
        assert_eq!(of(&[b'x'; 1000]).map(|name| name.len()), Some(NAME));
    }
}
