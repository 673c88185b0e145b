//! Mistakes in a command line. clap reports them; here they get hints, and the arguments that they
//! repeat are made safe to print.

use std::ffi::OsString;

use clap::Error;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};

use crate::notation::{plain, steers};

/// Commands of other tools, and what does the same here.
const SYNONYMS: [(&str, &str); 42] = [
    ("ban", "block"),
    ("banip", "block"),
    ("deny", "block"),
    ("drop", "block"),
    ("blacklist", "block"),
    ("add", "block"),
    ("permit", "allow"),
    ("accept", "allow"),
    ("whitelist", "allow"),
    ("unban", "unblock"),
    ("unbanip", "unblock"),
    ("remove", "unblock"),
    ("delete", "unblock"),
    ("del", "unblock"),
    ("list", "bans"),
    ("ls", "bans"),
    ("banned", "bans"),
    ("load", "attach"),
    ("start", "attach"),
    ("up", "attach"),
    ("unload", "detach"),
    ("stop", "detach"),
    ("down", "detach"),
    ("flush", "detach"),
    ("restart", "reload"),
    ("update", "reload"),
    ("refresh", "reload"),
    ("validate", "check"),
    ("verify", "check"),
    ("test", "check"),
    ("counters", "stats"),
    ("trace", "explain"),
    ("search", "lookup"),
    ("dump", "capture"),
    ("tcpdump", "capture"),
    ("sniff", "capture"),
    ("log", "monitor"),
    ("logs", "monitor"),
    ("events", "monitor"),
    ("watch", "monitor"),
    ("prometheus", "metrics"),
    ("exporter", "metrics"),
];

/// Adds to an error the command that was meant, if another tool's word was given for a command, and
/// takes away hints that lead nowhere.
pub fn suggest(mut error: Error) -> Error {
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && flag == "--json"
    {
        // clap takes it for a value that is to be written behind `--`.
        error.remove(ContextKind::Suggested);
    }
    let word = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word.to_lowercase(),
        _ => return error,
    };
    if let Some((_, meant)) = SYNONYMS.iter().find(|(other, _)| *other == word) {
        let meant = ContextValue::Strings(vec![(*meant).to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
    if word == "version" {
        error.remove(ContextKind::SuggestedSubcommand);
        let meant = StyledStr::from("`xdpctl --version` prints the version");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![meant]));
    }
    error
}

/// Whether the answer to these arguments was to be JSON.
pub fn is_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|it| *it != "--").any(|it| it == "--json")
}

/// What clap says of a mistake, without colours, as a message and a hint: its tips, or else the
/// usage.
pub fn told(error: &Error) -> (String, Option<String>) {
    let text = error.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    let tips = rest.lines().filter_map(|line| line.trim_start().strip_prefix("tip: "));
    let usage = rest.lines().find_map(|line| line.strip_prefix("Usage: "));
    let tips: Vec<&str> = tips.collect();
    let hint = match (tips.is_empty(), usage) {
        (false, _) => Some(tips.join("; ")),
        (true, Some(usage)) => Some(format!("`{usage}`")),
        (true, None) => None,
    };
    (lines.join(" "), hint)
}

/// Escapes in an error what controls a terminal. The error stays as it is if no argument has
/// anything of that kind.
pub fn harmless(mut error: Error, arguments: &[OsString]) -> Error {
    let steering = |argument: &OsString| argument.to_string_lossy().chars().any(steers);
    if !arguments.iter().any(steering) {
        return error;
    }
    let kinds: Vec<ContextKind> = error.context().map(|(kind, _)| kind).collect();
    for kind in kinds {
        if let Some(value) = error.remove(kind) {
            error.insert(kind, harmless_value(value));
        }
    }
    error
}

fn harmless_value(value: ContextValue) -> ContextValue {
    // Styles are escape sequences, which cannot be told from those of an argument in the text.
    let unstyled = |text: StyledStr| StyledStr::from(plain(&text.to_string()));
    match value {
        ContextValue::String(text) => ContextValue::String(plain(&text)),
        ContextValue::Strings(texts) => {
            ContextValue::Strings(texts.iter().map(|text| plain(text)).collect())
        }
        ContextValue::StyledStrs(texts) => {
            ContextValue::StyledStrs(texts.into_iter().map(unstyled).collect())
        }
        // The usage repeats no argument that was given.
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn mistakes_as_messages_and_hints() {
        let said = |arguments: &[&str]| {
            let arguments: Vec<OsString> =
                ["xdpctl"].iter().chain(arguments).map(OsString::from).collect();
            let error = Cli::try_parse_from(&arguments).expect_err("a wrong command line");
            let (message, hint) = super::told(&harmless(suggest(error), &arguments));
            format!("{message}\n{}\n", hint.unwrap_or_default())
        };
        let all = [
            said(&["ban", "--json"]),
            said(&["version", "--json"]),
            said(&["attach", "eth0", "--json"]),
            said(&["bans", "--json"]),
            said(&["bans", "eth0", "--jsno"]),
            said(&["stats", "--count", "x\ny", "--json"]),
            said(&["explain", "--config", "x", "--json"]),
            said(&["explain", "eth0", "--packet", ""]),
            said(&["explain", "eth0", "--packet", " "]),
        ];
        insta::assert_snapshot!(all.concat(), @r"
        unrecognized subcommand 'ban'
        a similar subcommand exists: 'block'
        unrecognized subcommand 'version'
        `xdpctl --version` prints the version
        unexpected argument '--json' found
        `xdpctl attach <IFACE>`
        the following required arguments were not provided: <IFACE>
        `xdpctl bans --json <IFACE>`
        unexpected argument '--jsno' found
        a similar argument exists: '--json'
        invalid value 'x\ny' for '--count <N>': invalid digit found in string

        the following required arguments were not provided: <--packet <HEX>|--pcap <FILE>|--source <ADDRESS>>
        `xdpctl explain --config <FILE> --json <--packet <HEX>|--pcap <FILE>|--source <ADDRESS>> [IFACE]`
        invalid value '' for '--packet <HEX>': there are no bytes in it

        invalid value ' ' for '--packet <HEX>': there are no bytes in it
        ");
    }

    #[test]
    fn json_is_asked_for_before_the_end_of_options() {
        let ask =
            |arguments: &[&str]| is_json(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(ask(&["xdpctl", "bans", "--json"]));
        assert!(!ask(&["xdpctl", "bans", "--", "--json"]));
        assert!(!ask(&["--json", "bans"]));
    }

    /// What a wrong command line prints on a terminal with colours.
    fn told(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> =
            ["xdpctl"].iter().chain(arguments).map(OsString::from).collect();
        let error = Cli::try_parse_from(&arguments).expect_err("a wrong command line");
        harmless(error, &arguments).render().ansi().to_string()
    }

    /// The text without clap's own colours and line feeds; panics at any other control character.
    fn text(told: &str) -> String {
        let mut text = String::new();
        let mut rest = told;
        while let Some(at) = rest.find("\u{1b}[") {
            text.push_str(&rest[..at]);
            let sequence = &rest[at + 2..];
            let end = sequence.find('m').expect("a sequence that sets a style");
            let digits = |c: char| c.is_ascii_digit() || c == ';';
            assert!(sequence[..end].chars().all(digits), "{told:?}");
            rest = &sequence[end + 1..];
        }
        (text + rest).replace('\n', " ")
    }

    #[test]
    fn arguments_are_shown_escaped() {
        for steering in
            ["\u{1b}[2J", "\u{1b}]0;x\u{7}", "\r", "\n", "\u{7f}", "\u{9b}2J", "\u{202e}"]
        {
            let wrong = format!("x{steering}y");
            let flag = format!("--{wrong}");
            for arguments in [
                &[wrong.as_str()][..],
                &["status", &flag],
                &["status", "eth0", &wrong],
                &["stats", "--count", &wrong],
                &["stats", "--interval", &wrong],
                &["attach", "eth0", "--mode", &wrong],
                &["block", "eth0", "192.0.2.1", "--note", &wrong],
                &["block", "eth0", "192.0.2.1", "--for", &wrong],
                &["lookup", "eth0", &wrong],
                &["explain", "eth0", "--packet", &wrong],
                &["explain", "eth0", "--source", &wrong],
            ] {
                let told = text(&told(arguments));
                assert!(!told.chars().any(steers), "{arguments:?}: {told:?}");
                assert!(told.contains(&plain(&wrong)), "{arguments:?}: {told:?}");
            }
        }
    }

    #[test]
    fn commands_of_other_tools_are_known() {
        let said = |word: &str| {
            let error = Cli::try_parse_from(["xdpctl", word, "eth0"]).expect_err("no such command");
            suggest(error).to_string()
        };
        insta::assert_snapshot!(said("ban"), @r"
        error: unrecognized subcommand 'ban'

          tip: a similar subcommand exists: 'block'

        Usage: xdpctl [OPTIONS] <COMMAND>

        For more information, try '--help'.
        ");
        assert!(said("Unban").contains("'unblock'"), "{}", said("Unban"));
        // clap itself corrects a misspelt command.
        assert!(said("bock").contains("'block'"), "{}", said("bock"));
        let command = <Cli as clap::CommandFactory>::command();
        let is_one = |name: &str| command.get_subcommands().any(|it| it.get_name() == name);
        for (word, meant) in SYNONYMS {
            assert!(is_one(meant) && !is_one(word), "{word}");
        }
    }

    #[test]
    fn a_suggestion_is_shown_escaped() {
        let told = text(&told(&["block", "eth0", "--\u{9b}2J\u{202e}"]));
        assert!(told.contains("tip: to pass '--\\u{9b}2J\\u{202e}' as a value"), "{told:?}");
        assert!(!told.chars().any(steers), "{told:?}");
    }

    #[test]
    fn what_is_harmless_stays_as_it_is() {
        let arguments = ["xdpctl", "status", "--jsno"].map(OsString::from);
        let error = || Cli::try_parse_from(&arguments).expect_err("no such flag");
        let styled = |error: Error| error.render().ansi().to_string();
        assert_eq!(styled(harmless(error(), &arguments)), styled(error()));
    }
}
