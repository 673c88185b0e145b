//! The completions of Debian's bash, zsh and fish, typed on a terminal.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use tempfile::TempDir;

use crate::lab::bench::Bench;
use crate::lab::patience::{EVENT, patient};

/// What shells prompt with once they have read their settings.
const PROMPT: &str = "READY> ";

#[derive(Clone, Copy, Debug)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    /// Writes the script and the settings that load it, as a package and a user's settings do.
    /// Returns the arguments that start the shell with these.
    fn set_up(self, home: &Path, script: &str) -> Vec<String> {
        let home = home.display();
        let write = |name: &str, text: &str| {
            let path = PathBuf::from(format!("{home}/{name}"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        match self {
            Self::Bash => {
                write("completions/xdpctl", script);
                let settings = format!("PS1='{PROMPT}'\n. {home}/completions/xdpctl\n");
                write("bashrc", &settings);
                ["--rcfile", &format!("{home}/bashrc"), "-i"].map(str::to_owned).to_vec()
            }
            Self::Zsh => {
                // Loaded when it is first asked.
                write("completions/_xdpctl", script);
                let settings = format!(
                    "PS1='{PROMPT}'\nbindkey -e\nfpath=({home}/completions $fpath)\n\
                     autoload -Uz compinit\ncompinit -u -d {home}/zcompdump\n"
                );
                write(".zshrc", &settings);
                vec!["-i".to_owned()]
            }
            Self::Fish => {
                write(".config/fish/completions/xdpctl.fish", script);
                let settings =
                    format!("set -g fish_greeting\nfunction fish_prompt; printf '{PROMPT}'; end\n");
                write(".config/fish/config.fish", &settings);
                vec!["-i".to_owned()]
            }
        }
    }
}

/// A shell on a terminal. It is killed when the value is dropped.
struct Typed {
    child: Child,
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    home: TempDir,
    answers: usize,
}

impl Typed {
    /// Starts a shell beside the bench's interfaces, as root or as a user without any right.
    fn start(shell: Shell, bench: &Bench, is_root: bool) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| home.path().join(name);
        for name in [".", "bin", "answers"] {
            fs::create_dir_all(path(name)).expect("made");
            fs::set_permissions(path(name), Permissions::from_mode(0o777)).expect("opened");
        }
        // Where it was built may be closed to others.
        fs::copy(env!("CARGO_BIN_EXE_xdpctl"), path("bin/xdpctl")).expect("a copy");
        fs::write(path("rules.toml"), "").expect("written");
        fs::write(path("rules.netset"), "203.0.113.7\n").expect("written");
        let script = bench.xdpctl(["completions", shell.name()]);
        let args = shell.set_up(home.path(), &script.success().stdout);

        let mut command = match is_root {
            true => bench.lab().command("dut", shell.name()),
            false => {
                let mut command = bench.lab().command("dut", "setpriv");
                command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
                command.arg(shell.name());
                command
            }
        };
        for made in ["zcompdump", ".config", ".config/fish", ".config/fish/completions"] {
            if path(made).exists() {
                fs::set_permissions(path(made), Permissions::from_mode(0o777)).expect("opened");
            }
        }
        command.args(args).current_dir(home.path());
        command.env("HOME", home.path()).env("ZDOTDIR", home.path()).env("TERM", "xterm");
        command.env("PATH", format!("{}:/usr/bin:/bin", path("bin").display()));
        for variable in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "SHELL", "ENV"] {
            command.env_remove(variable);
        }
        let size = Winsize { ws_row: 40, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(Some(&size), None).expect("a terminal");
        let slave = || terminal.slave.try_clone().expect("dup");
        command.stdin(slave()).stdout(slave()).stderr(slave());
        // SAFETY: between fork and exec the closure only makes system calls that are
        // async-signal-safe, on descriptor 0, which is the terminal by then.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("{shell:?}: {error}"));
        drop(command);
        let keys = File::from(terminal.master);
        let mut screen = keys.try_clone().expect("dup");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        // Ends when the shell does: then the other side of the terminal is closed.
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut part) {
                sink.lock().expect("no panic while held").extend_from_slice(&part[..length]);
            }
        });
        let typed = Self { child, keys, shown, home, answers: 0 };
        typed.await_that("a prompt", |typed| typed.shown().contains(PROMPT));
        typed
    }

    fn shown(&self) -> String {
        let bytes = self.shown.lock().expect("no panic while held");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[track_caller]
    fn await_that(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patient(EVENT);
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what} does not come: {:?}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types the beginning of a line and Tab, and returns what the line is then: it is turned into
    /// one that writes itself into a file.
    #[track_caller]
    fn completed(&mut self, start: &str) -> String {
        self.answers += 1;
        let answer = self.home.path().join(format!("answers/{}", self.answers));
        // Ctrl-A goes to the beginning of the line.
        let keys = format!("{start}\t\u{1}echo >{} \r", answer.display());
        self.keys.write_all(keys.as_bytes()).expect("typed");
        let read = |_: &Self| fs::read_to_string(&answer).is_ok_and(|text| text.ends_with('\n'));
        self.await_that(&format!("a completion of {start:?}"), read);
        fs::read_to_string(&answer).expect("an answer").trim_end().to_owned()
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        // Both fail where it has ended already, which does no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach("[[blocklist]]\nname = \"spamhaus\"\nprefixes = [\"203.0.113.0/24\"]\n");
    bench
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_tab_completes_the_line() {
    let bench = attached();
    for shell in Shell::ALL {
        let mut typed = Typed::start(shell, &bench, true);
        for (start, expected) in [
            ("xdpctl det", "xdpctl detach"),
            // What is attached, and every link for what attaches.
            ("xdpctl detach i", "xdpctl detach in0"),
            ("xdpctl detach o", "xdpctl detach o"),
            ("xdpctl stats i", "xdpctl stats in0"),
            ("xdpctl block i", "xdpctl block in0"),
            ("xdpctl attach o", "xdpctl attach out0"),
            ("xdpctl attach out0 --mo", "xdpctl attach out0 --mode"),
            ("xdpctl attach out0 --mode nat", "xdpctl attach out0 --mode native"),
            ("xdpctl attach out0 --mode=nat", "xdpctl attach out0 --mode=native"),
            ("xdpctl attach out0 --mode=", "xdpctl attach out0 --mode="),
            ("xdpctl reload --config=ru", "xdpctl reload --config=rules.toml"),
            ("xdpctl lookup in0 2001:db8::1 --js", "xdpctl lookup in0 2001:db8::1 --json"),
            ("xdpctl bypass in0 of", "xdpctl bypass in0 off"),
            // The list file beside it is no configuration.
            ("xdpctl attach out0 -c ru", "xdpctl attach out0 -c rules.toml"),
            ("xdpctl reload --config ru", "xdpctl reload --config rules.toml"),
            ("xdpctl check rules.", "xdpctl check rules.toml"),
            ("xdpctl explain in0 --pcap rules.n", "xdpctl explain in0 --pcap rules.netset"),
            ("xdpctl capture in0 --rule spam", "xdpctl capture in0 --rule spamhaus"),
            ("xdpctl man xdpctl.", "xdpctl man xdpctl.toml"),
            ("xdpctl capture in0 --verdict dr", "xdpctl capture in0 --verdict drop"),
            ("xdpctl capture in0 --rule sp", "xdpctl capture in0 --rule spamhaus"),
        ] {
            assert_eq!(typed.completed(start), expected, "{shell:?}");
        }
        // Names are those of the moment.
        bench.lab().ip("dut", ["link", "set", "out0", "down"]);
        bench.lab().ip("dut", ["link", "set", "out0", "name", "wan7"]);
        assert_eq!(typed.completed("xdpctl attach w"), "xdpctl attach wan7", "{shell:?}");
        bench.lab().ip("dut", ["link", "set", "wan7", "name", "out0"]);
        bench.lab().ip("dut", ["link", "set", "out0", "up"]);
    }
}

/// Without root, it cannot be seen what is attached: every link is offered.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_user_gets_the_names_of_all_links() {
    let bench = attached();
    for shell in Shell::ALL {
        let mut typed = Typed::start(shell, &bench, false);
        for (start, expected) in [
            ("xdpctl detach o", "xdpctl detach out0"),
            ("xdpctl detach i", "xdpctl detach in0"),
            ("xdpctl attach o", "xdpctl attach out0"),
        ] {
            assert_eq!(typed.completed(start), expected, "{shell:?}");
        }
    }
}
