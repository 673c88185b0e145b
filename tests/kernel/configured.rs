//! Where rulesets come from, and what they have to be beside those in force.

use crate::lab::bench::{Bench, JUDGED};

/// Status and output, without the folder.
fn told(bench: &Bench, args: &[&str]) -> String {
    let output = bench.xdpctl(args);
    let text = format!("status {}\n{}{}", output.status, output.stdout, output.stderr);
    text.replace(bench.directory().to_str().expect("UTF-8"), "DIR")
}

/// Lines of so many addresses.
fn addresses(number: usize) -> String {
    (0..number).map(|last| format!("10.0.0.{last}\n")).collect()
}

#[test]
fn a_list_that_shrank_too_much_keeps_the_ruleset_in_force() {
    let mut bench = Bench::new();
    bench.write("list.txt", &addresses(100));
    bench.attach(
        "[[blocklist]]\nname = \"feed\"\nfiles = [\"list.txt\"]\nmax_shrink = \"50%\"\n\
         min_entries = 10\n",
    );
    let in_force = || {
        let status = bench.xdpctl(["status", JUDGED, "--json"]).success().json();
        (status[0]["generation"].clone(), status[0]["entries"]["ipv4"].clone())
    };
    let (generation, _) = in_force();
    for (number, said) in [
        (
            49,
            "error: DIR/in0.toml:2: blocklist \"feed\": 49 entries, where 100 are in force, and \
             max_shrink is 50%",
        ),
        (9, "error: DIR/in0.toml:2:8: blocklist \"feed\": 9 entries, and min_entries is 10"),
        (
            0,
            "error: DIR/in0.toml:3:10: blocklist \"feed\": the list file \"DIR/list.txt\" holds no",
        ),
    ] {
        bench.write("list.txt", &addresses(number));
        let replace = ["attach", JUDGED, "--replace"];
        for args in [&["reload"][..], &["reload", JUDGED], &replace] {
            let told = told(&bench, args);
            assert!(told.starts_with(&format!("status 2\n{said}")), "{args:?}: {told}");
        }
        assert_eq!(in_force(), (generation.clone(), 100.into()));
    }
    bench.write("list.txt", &addresses(50));
    bench.xdpctl(["reload", JUDGED]).success();
    assert_eq!(in_force().1, 50);
}
