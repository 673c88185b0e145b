//! `xdpctl completions`: a script that completes the command line in a shell.

use std::io::{self, Write};

use clap_complete::Shell;

/// Writes the script for a shell.
pub fn completions(
    shell: Shell,
    command: &mut clap::Command,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = command.get_name().to_owned();
    // The generator panics if it cannot write, such as into a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, command, name, &mut script);
    out.write_all(&script)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::commands::man::tests::command;

    #[test]
    fn every_shell_has_the_subcommands_and_their_options() {
        for &shell in Shell::value_variants() {
            let mut script = Vec::new();
            completions(shell, &mut command(), &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for word in ["attach", "stats", "interval"] {
                assert!(script.contains(word), "{shell} lacks {word}");
            }
        }
    }

    #[test]
    fn a_closed_pipe_is_an_error_and_no_panic() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let error = completions(Shell::Bash, &mut command(), &mut writer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
