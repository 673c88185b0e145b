//! `xdpctl completions`, and what its scripts ask: the words that may come next on a command line.
//!
//! The scripts know nothing of xdpctl's commands. Each time, they run xdpctl with the line so far,
//! and with the shell's name in the variable [`ASKED`]; so names of interfaces and rules are those
//! of that moment.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};
use clap_complete::env::{CompleteEnv, Shells};

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::error::Result;
use crate::datapath::host::interface::Interface;

/// The environment variable by which a script says that it asks, and for which shell.
const ASKED: &str = "XDPCTL_COMPLETE";

/// What scripts run.
const PROGRAM: &str = "xdpctl";

/// What is added for bash, which cuts words at `=`: to xdpctl, `--mode=native` is one word, and to
/// bash, only what follows the sign is completed.
const BASH_EQUALS: &str = r#"
_xdpctl() {
    local -a whole=()
    local i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if ((i > 1)) && [[ ${COMP_WORDS[i]} == = && ${whole[-1]} == --* ||
            ${COMP_WORDS[i - 1]} == = && ${whole[-1]} == --*= ]]; then
            whole[-1]+=${COMP_WORDS[i]}
        else
            whole+=("${COMP_WORDS[i]}")
        fi
    done
    local -a COMP_WORDS=("${whole[@]}")
    local COMP_CWORD=$((${#whole[@]} - 1))
    local word=${whole[-1]}
    [[ $word == --*=* ]] || word=$2
    _clap_complete_xdpctl "$1" "$word" "$3"
    [[ $word != --*=* ]] || COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
}
complete -o nospace -o bashdefault -o nosort -F _xdpctl xdpctl"#;

/// What is added for zsh, which runs a script in $fpath when xdpctl is completed for the first time:
/// it has to answer at once.
const ZSH_FIRST_TIME: &str = r#"
if [ "$funcstack[1]" = "_xdpctl" ]; then
    _clap_dynamic_completer_xdpctl "$@"
fi"#;

/// Where configurations are that have no other place.
const CONFIGURATIONS: &str = "/etc/xdpctl";

/// Writes the script for a shell.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let completer = shells.completer(&name);
    let completer =
        completer.ok_or_else(|| io::Error::other(format!("no script is known for {name}")))?;
    completer.write_registration(ASKED, PROGRAM, PROGRAM, PROGRAM, out)?;
    match shell {
        Shell::Bash => writeln!(out, "{BASH_EQUALS}")?,
        Shell::Zsh => writeln!(out, "{ZSH_FIRST_TIME}")?,
        _ => {}
    }
    out.flush()
}

/// Answers a script, if one asks; this is no ordinary run then. Has to be called before any other
/// thread is there.
///
/// # Errors
///
/// Where the line cannot be completed, or nobody reads the answer.
pub fn answer(command: fn() -> Command, arguments: &[OsString]) -> clap::error::Result<bool> {
    let asked = CompleteEnv::with_factory(|| with_candidates(command())).var(ASKED);
    asked.try_complete(arguments, std::env::current_dir().ok().as_deref())
}

/// The command line, with what its arguments may be at this moment.
fn with_candidates(command: Command) -> Command {
    let is_attach = command.get_name() == "attach";
    let command = command.mut_args(|argument| {
        let takes = argument.get_id().as_str().to_owned();
        match takes.as_str() {
            "interface" if is_attach => argument.add(ArgValueCandidates::new(links)),
            "interface" => argument.add(ArgValueCandidates::new(attached)),
            "rule" => argument.add(ArgValueCandidates::new(rules)),
            "config" | "file" if is_path(&argument) => {
                argument.add(ArgValueCompleter::new(configurations))
            }
            _ => argument,
        }
    });
    command.mut_subcommands(with_candidates)
}

fn is_path(argument: &Arg) -> bool {
    argument.get_value_hint() == clap::ValueHint::FilePath
}

/// Every interface of the network namespace.
fn links() -> Vec<CompletionCandidate> {
    let all = Interface::all().unwrap_or_default();
    all.into_iter().map(|link| CompletionCandidate::new(link.name)).collect()
}

/// The interfaces that xdpctl is attached to. If that cannot be found out, as without root, every
/// interface.
fn attached() -> Vec<CompletionCandidate> {
    match names() {
        Ok(names) => names.into_iter().map(CompletionCandidate::new).collect(),
        Err(_) => links(),
    }
}

fn names() -> Result<BTreeSet<String>> {
    here(|attachment| vec![attachment.name()])
}

/// The lists and rules in force on any interface; none without root.
fn rules() -> Vec<CompletionCandidate> {
    let names = here(|attachment| {
        let in_force = attachment.in_force().into_iter();
        in_force.flat_map(|it| &it.metadata.counted).map(|it| it.name.clone()).collect()
    });
    names.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// Names of what is attached in this network namespace, each once.
fn here(names: impl FnMut(&Attachment) -> Vec<String>) -> Result<BTreeSet<String>> {
    let Some(namespace) = Namespace::look()? else { return Ok(BTreeSet::new()) };
    let attachments = namespace.attachments()?;
    let here = attachments.iter().filter(|attachment| !attachment.is_moved());
    Ok(here.flat_map(names).collect())
}

/// Files that may be configurations: those in TOML or, where there is none, any. Before a path is
/// begun, also those in [`CONFIGURATIONS`].
fn configurations(current: &OsStr) -> Vec<CompletionCandidate> {
    let is_toml = |path: &Path| path.is_file() && path.extension().is_some_and(|it| it == "toml");
    let mut found = PathCompleter::any().filter(is_toml).complete(current);
    if current.is_empty() {
        let all = fs::read_dir(CONFIGURATIONS).into_iter().flatten().flatten();
        let mut paths: Vec<_> = all.map(|entry| entry.path()).filter(|it| is_toml(it)).collect();
        paths.sort();
        found.extend(paths.into_iter().map(CompletionCandidate::new));
    }
    let is_file = |it: &CompletionCandidate| !it.get_value().to_string_lossy().ends_with('/');
    if found.iter().any(is_file) { found } else { PathCompleter::file().complete(current) }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_has_a_script_that_asks() {
        for &shell in Shell::value_variants() {
            let mut script = Vec::new();
            completions(shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for word in [PROGRAM, ASKED] {
                assert!(script.contains(word), "{shell} lacks {word}");
            }
        }
    }

    #[test]
    fn a_closed_pipe_is_an_error_and_no_panic() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let error = completions(Shell::Bash, &mut writer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn arguments_have_candidates_by_what_they_take() {
        let argument = |id: &'static str| Arg::new(id).long(id);
        let path = Arg::new("config").long("config").value_hint(clap::ValueHint::FilePath);
        let command = Command::new("xdpctl").subcommand(Command::new("x").args([
            argument("interface"),
            argument("rule"),
            argument("n"),
            path,
        ]));
        let command = with_candidates(command);
        let x = command.find_subcommand("x").unwrap();
        let has = |id: &str| {
            let found = x.get_arguments().find(|argument| argument.get_id() == id).unwrap();
            (
                found.get::<ArgValueCandidates>().is_some(),
                found.get::<ArgValueCompleter>().is_some(),
            )
        };
        assert_eq!(has("interface"), (true, false));
        assert_eq!(has("rule"), (true, false));
        assert_eq!(has("config"), (false, true));
        assert_eq!(has("n"), (false, false));
    }

    #[test]
    fn configurations_come_before_other_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.toml", "b.netset"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("lists")).unwrap();
        fs::write(folder.path().join("lists/c.txt"), "").unwrap();
        let offered = |start: &str| {
            let start = format!("{}/{start}", folder.path().display());
            let all = configurations(OsStr::new(&start));
            let name = |it: CompletionCandidate| it.get_value().to_string_lossy().into_owned();
            let all = all.into_iter().map(name);
            all.map(|it| it.replace(&format!("{}/", folder.path().display()), "")).collect()
        };
        let offered: [Vec<String>; 3] = ["", "b", "lists/"].map(offered);
        assert_eq!(offered[0], ["a.toml", "lists/"]);
        assert_eq!(offered[1], ["b.netset"]);
        assert_eq!(offered[2], ["lists/c.txt"]);
    }
}
