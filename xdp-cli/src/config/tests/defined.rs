//! Names for prefixes and ports.

use std::fmt::Write;

use super::{Setup, ruleset};
use crate::ruleset::Prefix;
use xdp_common::capacity::MAX_DEFINED;

#[test]
fn names_stand_for_prefixes_and_ports() {
    let ruleset = ruleset(
        "[[rule]]\nname = \"r\"\nsource = [\"$web\", \"::2\"]\ndestination = [\"10.0.0.1\", \"$all\"]\n\
         destination_port = [\"$http\", 22]\nsource_port = \"$high\"\naction = \"drop\"\n\
         [[allowlist]]\nname = \"a\"\nprefixes = [\"198.51.100.1\", \"$web\"]\n\
         [define]\nhttp = [80, \"8000-8100\"]\nhigh = \"1024-65535\"\nall = [\"$web\", \"::1\"]\n\
         web = [\"192.0.2.10\",\n\"192.0.2.16/28\"]\n",
    );
    let matches = &ruleset.rules[0].matches;
    let v4 = |last: u32, length| Prefix { address: 0xc000_0200 | last, length };
    let web = [v4(10, 32), v4(16, 28)];
    assert_eq!(matches.source.as_ref().unwrap().v4, web);
    let destination = matches.destination.as_ref().unwrap();
    assert_eq!(destination.v4[1..], web);
    assert_eq!((destination.v4[0].address, destination.v6.len()), (0x0a00_0001, 1));
    assert_eq!(matches.destination_port, Some(vec![(80, 80), (8000, 8100), (22, 22)]));
    assert_eq!(matches.source_port, Some(vec![(1024, 65535)]));
    // The line of an entry is that of its definition.
    let lines: Vec<_> = ruleset.allowlists[0].v4.iter().map(|entry| entry.line).collect();
    assert_eq!(lines, [10, 15, 16]);
}

#[test]
fn names_of_other_files_are_known() {
    let setup = Setup::new(&[
        ("common.toml", b"[define]\nweb = [\"192.0.2.10\"]\n[[rule]]\nname = \"c\"\nsource = \"$own\"\naction = \"drop\"\n"),
    ]);
    let own = "include = [\"common.toml\"]\n[[rule]]\nname = \"r\"\nsource = \"$web\"\n\
               action = \"drop\"\n[define]\nown = \"10.0.0.1\"\n";
    assert_eq!(setup.said(own), "");
    insta::assert_snapshot!(setup.said(format!("{own}web = 80\n")), @r#"error: DIR/x.toml:8:1: [define]: "web" is defined in line 2 of "DIR/common.toml" already (a name is defined once, over all files)"#);
}

#[test]
fn mistakes() {
    let setup = Setup::new(&[]);
    let rule = "[[rule]]\nname = \"r\"\naction = \"drop\"\n";
    let said: String = [
        ("not defined", format!("[define]\nweb = 80\n{rule}destination_port = \"$wbe\"\n")),
        ("one of many", format!("{rule}source = [\"$a\", \"10.0.0.1\", \"$b\"]\n")),
        ("another one", format!("[define]\nweb = 80\nmail = 25\n{rule}source_port = [\"$dns\"]\n")),
        (
            "in a list",
            "[[blocklist]]\nname = \"b\"\nmin_entries = 9\nprefixes = [\"$bad\"]\n".into(),
        ),
        (
            "a list's name alone",
            "[define]\nx = \"::1\"\n[[blocklist]]\nname = \"b\"\nprefixes = \"$x\"\n".into(),
        ),
        ("a port where a prefix stands", format!("[define]\nweb = 80\n{rule}source = \"$web\"\n")),
        (
            "a bad prefix",
            format!("[define]\nweb = [\"10.0.0.1\", \"10.0.0.256\"]\n{rule}source = \"$web\"\n"),
        ),
        ("where no names stand", format!("[define]\nx = 1\n{rule}vlan = \"$x\"\n")),
        ("values of other types", "[define]\na = true\nb = [1.5, 2]\nc = []\n[define.d]\n".into()),
        (
            "what hangs on one that is wrong",
            format!("[define]\na = [true]\nb = \"$a\"\n{rule}source = [\"$b\"]\n"),
        ),
        ("not a name", "[define]\n\"a b\" = 1\n\"\" = 2\n".into()),
        ("not a table", "define = 5\n".into()),
        (
            "of itself",
            "[define]\na = \"$a\"\nb = [\"$c\", 1]\nc = \"$d\"\nd = [\"$b\", \"$x\", \"$b\"]\n"
                .into(),
        ),
    ]
    .iter()
    .map(|(title, text)| format!("## {title}\n{text}\n{}\n", setup.said(text)))
    .collect();
    insta::assert_snapshot!(said);
}

/// Each name stands for the one before it twice: a few lines could fill all memory.
#[test]
fn what_names_stand_for_is_bounded() {
    let setup = Setup::new(&[]);
    let deep = |number: usize| {
        let mut text = String::from("[define]\nn0 = 1\n");
        for number in 1..number {
            writeln!(text, "n{number} = \"$n{}\"", number - 1).unwrap();
        }
        setup.said(text)
    };
    assert_eq!(deep(100), "");
    // In the opposite order, each name is resolved while the one before it is.
    let mut text = String::from("[define]\n");
    for number in 0..17 {
        writeln!(text, "n{number} = \"$n{}\"", number + 1).unwrap();
    }
    insta::assert_snapshot!(setup.said(format!("{text}n17 = 1\n")), @r#"error: DIR/x.toml:17:7: [define]: "n15": more than 16 names inside each other (name the values themselves)"#);

    let ports = "1, ".repeat(100_000);
    let uses = MAX_DEFINED / 100_000 + 2;
    let rules: String = (0..uses)
        .map(|number| {
            format!("[[rule]]\nname = \"r{number}\"\naction = \"drop\"\nsource_port = \"$p\"\n")
        })
        .collect();
    insta::assert_snapshot!(setup.said(format!("[define]\np = [{ports}]\n{rules}")), @r#"
    error: DIR/x.toml:166:15: rule "r40": with it, names stand for more than 4000000 values (put prefixes into a list)
    error: DIR/x.toml:170:15: rule "r41": with it, names stand for more than 4000000 values (put prefixes into a list)
    "#);
}
