//! `xdpctl man`: one manual page with all subcommands.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::Roff;

/// What `roff` puts before everything it writes; a page needs it once.
const PREAMBLE: [&str; 2] = [".ie \\n(.g", ".el .ds Aq"];

/// Writes the page, in roff.
pub fn man(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone()).section("8").manual("System Administration");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    for render in [
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ] {
        page.extend(section(|out| render(&man, out))?.into_bytes());
    }
    page.extend(b".SH COMMANDS\n");
    for subcommand in shown(&command) {
        page.extend(described(subcommand)?.into_bytes());
    }
    if has_more(&command) {
        page.extend(section(|out| man.render_extra_section(out))?.into_bytes());
    }
    out.write_all(&page)?;
    out.flush()
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
pub(super) mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    /// A command line of the same shape as that of xdpctl.
    pub(in crate::commands) fn command() -> Command {
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
        let mut page = Vec::new();
        man(&command(), &mut page).unwrap();
        insta::assert_snapshot!(String::from_utf8(page).unwrap());
    }
}
