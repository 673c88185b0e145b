//! `xdpctl man`: the manual pages. Both are written by hand, in man/; into that of the command go its
//! options and commands, from the command line's own description.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::Roff;

use crate::args::ManPage;

/// xdpctl(8).
const COMMAND: &str = include_str!("../../../man/xdpctl.8");
/// xdpctl.toml(5).
const CONFIGURATION: &str = include_str!("../../../man/xdpctl.toml.5");

/// The lines in [`COMMAND`] where the generated parts go.
const OPTIONS: &str = ".\\\" @OPTIONS@\n";
const COMMANDS: &str = ".\\\" @COMMANDS@\n";
const VERSION: &str = "@VERSION@";

/// What `roff` puts before everything it writes; the page does without.
const PREAMBLE: [&str; 2] = [".ie \\n(.g", ".el .ds Aq"];

/// Longest line of a page's source. Beyond it, `mandoc -T lint` complains.
const WIDTH: usize = 79;

/// Writes a page, in roff.
pub fn man(page: ManPage, command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let text = match page {
        ManPage::Command => whole(COMMAND, command)?,
        ManPage::Configuration => CONFIGURATION.to_owned(),
    };
    let version = command.get_version().unwrap_or_default();
    out.write_all(text.replace(VERSION, version).as_bytes())?;
    out.flush()
}

/// The command's page with its options and commands.
fn whole(page: &str, command: &Command) -> io::Result<String> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone());
    let options = tidy(&body(|out| man.render_options_section(out))?);
    let mut commands = String::new();
    for subcommand in shown(&command) {
        commands.push_str(&described(subcommand)?);
    }
    Ok(page.replace(OPTIONS, &options).replace(COMMANDS, &tidy(&commands)))
}

/// Generated roff as one would write it: no line is empty or long, no break or paragraph follows
/// another, and words between backquotes are bold.
fn tidy(generated: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in generated.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if line.starts_with('.') {
            let is_paragraph = |line: &str| matches!(line, ".br" | ".PP");
            let last = lines.last().map_or("", String::as_str);
            // What begins a block breaks the line by itself.
            let begins = [".RS", ".SS", ".TP", ".PP"].iter().any(|it| line.starts_with(it));
            if is_paragraph(line) && (is_paragraph(last) || last.starts_with(".SS")) {
                continue;
            }
            if begins && is_paragraph(last) {
                lines.pop();
            }
            lines.push(line.to_owned());
        } else {
            // An apostrophe, by the name that the preamble would define.
            lines.extend(wrapped(&emphasized(&line.replace(r"\*(Aq", r"\(aq"))));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Text with its `words` in bold.
fn emphasized(line: &str) -> String {
    let mut parts = line.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    let rest: Vec<&str> = parts.collect();
    for pair in rest.chunks(2) {
        match pair {
            [inside, after] => text.push_str(&format!("\\fB{inside}\\fR{after}")),
            // A backquote without another one.
            _ => text.push_str(&format!("\\(ga{}", pair.concat())),
        }
    }
    text
}

/// Breaks a line of text between words. A word that roff would take for a request is kept from
/// beginning a line as such.
fn wrapped(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        let last = lines.last_mut().expect("never empty");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= WIDTH {
            last.push(' ');
            last.push_str(word);
        } else {
            let guard = if word.starts_with(['.', '\'']) { "\\&" } else { "" };
            lines.push(format!("{guard}{word}"));
        }
    }
    lines
}

/// The section of a subcommand and its own subcommands. Options that every command has are left
/// out, since they are described once above.
fn described(command: &Command) -> io::Result<String> {
    let own = command.clone().mut_args(|argument| {
        let everywhere = argument.is_global_set() || argument.get_id() == "help";
        if everywhere { argument.hide(true) } else { argument }
    });
    let man = Man::new(own);
    let mut text = section(|out| {
        Roff::new()
            .control("SS", [command.get_bin_name().unwrap_or(command.get_name())])
            .to_writer(out)
    })?;
    text.push_str(&body(|out| man.render_synopsis_section(out))?);
    text.push_str(".PP\n");
    text.push_str(&body(|out| man.render_description_section(out))?);
    text.push_str(&body(|out| man.render_options_section(out))?);
    if has_more(command) {
        text.push_str(".PP\n");
        text.push_str(&body(|out| man.render_extra_section(out))?);
    }
    for subcommand in shown(command) {
        text.push_str(&described(subcommand)?);
    }
    Ok(text)
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set())
}

fn has_more(command: &Command) -> bool {
    command.get_after_long_help().or(command.get_after_help()).is_some()
}

/// The rendered text without the preamble.
fn section(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<String> {
    let mut text = Vec::new();
    render(&mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    let lines = text.split_inclusive('\n');
    Ok(lines.filter(|line| !PREAMBLE.iter().any(|start| line.starts_with(start))).collect())
}

/// A section without its heading. Further headings in it become paragraphs.
fn body(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<String> {
    let section = section(render)?;
    let body = section.split_once('\n').map_or("", |(_, body)| body);
    let line = |line: &str| match line.strip_prefix(".SH ") {
        Some(heading) => format!(".PP\n{heading}"),
        None => line.to_owned(),
    };
    Ok(body.split_inclusive('\n').map(line).collect())
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, CommandFactory as _};

    use super::*;
    use crate::args::Cli;

    /// A command line of the same shape as that of xdpctl.
    fn command() -> Command {
        let verbose = Arg::new("verbose").short('v').global(true).action(ArgAction::Count);
        let interface = Arg::new("IFACE").help("The interface's name");
        Command::new("xdpctl")
            .version("1.2.3")
            .about("Filters packets")
            .arg(verbose.help("Says more"))
            .subcommand(
                Command::new("attach")
                    .about("Puts a filter in force")
                    .arg(interface.clone().required(true)),
            )
            .subcommand(
                Command::new("stats")
                    .about("Shows counters")
                    .arg(interface)
                    .arg(Arg::new("interval").long("interval").default_value("1s"))
                    .after_help(".Dots and 'quotes' stay"),
            )
            .subcommand(Command::new("secret").hide(true))
    }

    #[test]
    fn one_page_has_all_commands_with_their_options() {
        let frame = "before\n.\\\" @OPTIONS@\nbetween\n.\\\" @COMMANDS@\nafter\n";
        insta::assert_snapshot!(whole(frame, &command()).unwrap());
    }

    /// The part of the page from a heading to the next one of the same kind.
    fn part<'p>(page: &'p str, kind: &str, title: &str) -> &'p str {
        let (_, rest) = page
            .split_once(&format!("\n{kind} {title}\n"))
            .unwrap_or_else(|| panic!("no {kind} {title} in\n{page}"));
        rest.split("\n.SS ").next().unwrap_or_default().split("\n.SH ").next().unwrap_or_default()
    }

    #[test]
    fn the_page_of_the_command_is_whole() {
        let mut page = Vec::new();
        man(ManPage::Command, &Cli::command(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(!page.contains('@'), "a part was not put in:\n{page}");
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "EXAMPLES",
            "FILES",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
            "OPTIONS",
        ] {
            let section = section.trim_matches('"');
            assert!(!part(&page, ".SH", section).is_empty(), "{section} is empty");
        }
        let mut all = Cli::command();
        all.build();
        let mut flags = 0;
        for command in shown(&all).filter(|command| command.get_name() != "help") {
            let part = part(&page, ".SS", &format!("\"xdpctl {}\"", command.get_name()));
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long() else { continue };
                if argument.is_global_set() || long == "help" {
                    continue;
                }
                let tag = format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-"));
                let tags = part.lines().filter(|line| line.contains(&tag)).count();
                assert!(tags >= 2, "{tag} is not described in\n{part}");
                flags += 1;
            }
        }
        assert!(flags > 20, "{flags}");
    }

    #[test]
    fn generated_text_is_made_fit() {
        let long = "word ".repeat(20);
        let given = format!(".PP\n.PP\n\nuse `a b` or `c\n.br\n\n.br\n{long}.x 'y\n");
        assert_eq!(
            tidy(&given),
            format!(
                ".PP\nuse \\fBa b\\fR or \\(gac\n.br\n{}\n{}\n",
                "word ".repeat(16).trim_end(),
                "word word word word .x 'y"
            )
        );
        assert_eq!(wrapped(&format!("{} .x", "x".repeat(79))), ["x".repeat(79).as_str(), "\\&.x"]);
    }
}
