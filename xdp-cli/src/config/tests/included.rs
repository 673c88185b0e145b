//! Configurations in several files.

use std::fs;
use std::os::unix::fs::symlink;

use super::Setup;
use crate::ruleset::PolicyAction;

fn rule(name: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\naction = \"drop\"\nvlan = {}\n", name.as_bytes()[0])
}

#[test]
fn tables_of_what_is_included_come_first() {
    let common = "include = [\"more/last.toml\"]\n".to_owned()
        + &rule("common")
        + "[[blocklist]]\nname = \"a\"\nprefixes = [\n\"10.0.0.1\"]\nfiles = [\"here.txt\"]\n";
    let last = rule("last") + "[policy]\ndefault = \"drop\"\n";
    let setup = Setup::new(&[
        ("lists/common.toml", common.as_bytes()),
        ("lists/here.txt", b"10.0.0.2\n"),
        ("second.toml", rule("second").as_bytes()),
    ]);
    fs::create_dir(setup.path().join("lists/more")).unwrap();
    fs::write(setup.path().join("lists/more/last.toml"), last).unwrap();
    let text = "include = [\"lists/common.toml\", \"second.toml\"]\n".to_owned() + &rule("own");
    assert_eq!(setup.said(&text), "");
    let loaded = setup.load(&text);
    assert_eq!(loaded.text, text);
    let ruleset = loaded.ruleset.unwrap();
    let rules: Vec<_> =
        ruleset.rules.iter().map(|rule| (rule.name.as_str(), rule.file, rule.line)).collect();
    assert_eq!(rules, [("last", 2, 2), ("common", 1, 3), ("second", 3, 2), ("own", 0, 3)]);
    assert_eq!(ruleset.policy.default, PolicyAction::Drop);
    let list = &ruleset.blocklists[0];
    assert_eq!((list.file, list.line), (1, 7));
    let origins: Vec<_> = list.v4.iter().map(|entry| (entry.file, entry.line)).collect();
    assert_eq!(origins, [(1, 9), (4, 1)]);
    let files =
        ["x.toml", "lists/common.toml", "lists/more/last.toml", "second.toml", "lists/here.txt"];
    assert_eq!(ruleset.files, files.map(|name| setup.path().join(name)));
}

#[test]
fn mistakes_are_told_in_the_file_that_has_them() {
    let setup = Setup::new(&[
        (
            "bad.toml",
            b"[policy]\ndefault = \"dorp\"\n[[rule]]\nname = \"r\"\nsource_port = 99999\n",
        ),
        ("broken.toml", b"[arp]\naction = drop\n[[rule]]\nname = \"s\"\n"),
        ("not-text.toml", b"# \xff"),
        ("named.toml", b"[arp]\n[[rule]]\nname = \"own\"\naction = \"pass\"\n"),
    ]);
    let text = "include = [\"bad.toml\", \"broken.toml\",\n\"not-text.toml\", \"none.toml\", \"\", 5,\n\
                \"named.toml\"]\n[policy]\n[[rule]]\nname = \"own\"\naction = \"dropp\"\n";
    insta::assert_snapshot!(setup.said(text));
    // A name that is not defined may be defined in the missing file.
    let text = "include = [\"none.toml\"]\n[[blocklist]]\nname = \"b\"\nprefixes = [\"$x\"]\n";
    assert_eq!(setup.said(text).lines().count(), 1);
    insta::assert_snapshot!(setup.said("include = \"bad.toml\"\n"), @r#"error: DIR/x.toml:1:11: configuration: include must be an array of strings, found the string "bad.toml" (write ["bad.toml"])"#);
}

#[test]
fn circles_are_refused() {
    let setup = Setup::new(&[
        ("a.toml", b"include = [\"b.toml\"]\n"),
        ("b.toml", b"\ninclude = [\"lists/link\"]\n"),
        ("itself.toml", b"include = [\"./itself.toml\"]\n"),
    ]);
    symlink("../a.toml", setup.path().join("lists/link")).unwrap();
    let said =
        ["include = [\"a.toml\"]\n", "include = [\"itself.toml\"]\n", "include = [\"x.toml\"]\n"]
            .map(|text| setup.said(text))
            .concat();
    insta::assert_snapshot!(said);
}

#[test]
fn a_file_is_included_once() {
    let setup =
        Setup::new(&[("a.toml", b"include = [\"b.toml\"]\n"), ("b.toml", rule("b").as_bytes())]);
    let said = setup.said("include = [\"a.toml\", \"./b.toml\"]\n")
        + &setup.said("include = [\n\"b.toml\",\n\"b.toml\"]\n");
    insta::assert_snapshot!(said, @r#"
    error: DIR/x.toml:1:22: include: "./b.toml" is included already, in line 1 of "DIR/a.toml" (include it once, before whatever needs it)
    error: DIR/x.toml:3:1: include: "b.toml" is included already, in line 2 (include it once, before whatever needs it)
    "#);
}

#[test]
fn depth_and_number_are_bounded() {
    let setup = Setup::new(&[]);
    for number in 0..70 {
        let path = setup.path().join(format!("{number}.toml"));
        fs::write(path, format!("include = [\"{}.toml\"]\n", number + 1)).unwrap();
        fs::write(setup.path().join(format!("lists/{number}.toml")), "").unwrap();
    }
    insta::assert_snapshot!(setup.said("include = [\"0.toml\"]\n"), @r#"error: DIR/7.toml:1:12: include: "8.toml" is more than 8 files deep in others (include it from a file further up)"#);
    let many = |number: usize| {
        let names: Vec<_> = (0..number).map(|it| format!("\"lists/{it}.toml\"")).collect();
        setup.said(format!("include = [\n{}]\n", names.join(",\n")))
    };
    assert_eq!(many(64), "");
    insta::assert_snapshot!(many(66), @r#"error: DIR/x.toml:66:1: include: "lists/64.toml" is one file too many (64 included files are the most)"#);
}
