//! Every command, with each of its calls refused in turn: a test is a row, and [`row`](super::row) says what
//! has to hold for it.

use super::row::{Leaves, Row};
use super::stand::Stand;
use crate::lab::bench::JUDGED;

#[test]
fn attach() {
    Stand::new().check(&Row {
        args: &["attach", JUDGED, "-c", "OLD", "--mode", "native"],
        prepare: Stand::detached,
        leaves: Leaves::AsItWas,
    });
}

/// Loading the program and its ruleset, and with it most of the calls, comes before the link, and is
/// the same in each mode: [`attach`] has that refused.
#[test]
fn attach_in_generic_mode() {
    let stand = Stand::new();
    stand.detached();
    let native = stand.args(&["attach", JUDGED, "-c", "OLD", "--mode", "native"]);
    let native = stand.run(&native, None);
    native.output.success();
    let row = Row {
        args: &["attach", JUDGED, "-c", "OLD", "--mode", "generic"],
        prepare: Stand::detached,
        leaves: Leaves::AsItWas,
    };
    stand.check_but(&row, &native.calls);
}

#[test]
fn attach_replace() {
    Stand::new().check(&Row {
        args: &["attach", "--replace", JUDGED, "-c", "NEW"],
        prepare: Stand::attached,
        leaves: Leaves::AsItWas,
    });
}

#[test]
fn reload() {
    Stand::new().check(&Row {
        args: &["reload", JUDGED, "-c", "NEW"],
        prepare: Stand::attached,
        leaves: Leaves::AsItWas,
    });
}

/// What the filter goes on with has to be loaded before; [`reload`] has the rest refused.
#[test]
fn reload_to_names() {
    let stand = Stand::new();
    stand.attached();
    let known = stand.run(&stand.args(&["reload", JUDGED, "-c", "NEW"]), None);
    known.output.success();
    let row = Row {
        args: &["reload", JUDGED, "-c", "NAMES"],
        prepare: Stand::attached_anew,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known.calls);
}

/// As [`reload_to_names`]: the first limit takes memory of its own, too.
#[test]
fn reload_to_limits() {
    let stand = Stand::new();
    stand.attached();
    let known = stand.run(&stand.args(&["reload", JUDGED, "-c", "NEW"]), None);
    known.output.success();
    let row = Row {
        args: &["reload", JUDGED, "-c", "LIMITED"],
        prepare: Stand::attached_anew,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known.calls);
}

/// As [`reload_to_limits`].
#[test]
fn reload_to_blocks() {
    let stand = Stand::new();
    stand.attached();
    let known = stand.run(&stand.args(&["reload", JUDGED, "-c", "NEW"]), None);
    known.output.success();
    let row = Row {
        args: &["reload", JUDGED, "-c", "BLOCKING"],
        prepare: Stand::attached_anew,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known.calls);
}

/// What a rule that answers SYNs needs: its program, the kernel's setting and this host's addresses.
/// [`reload_to_names`] has the rest refused.
#[test]
fn reload_to_syn_cookies() {
    let stand = Stand::with_listener();
    stand.attached_anew();
    let known = stand.known_to_syn_cookies(&["reload", JUDGED, "-c", "NAMES"]);
    let row = Row {
        args: &["reload", JUDGED, "-c", "SYN_COOKIES"],
        prepare: Stand::attached_anew,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known);
}

/// As [`reload_to_syn_cookies`].
#[test]
fn attach_with_syn_cookies() {
    let stand = Stand::with_listener();
    stand.detached();
    let args = ["attach", JUDGED, "-c", "NAMES", "--mode", "native"];
    let known = stand.known_to_syn_cookies(&args);
    let row = Row {
        args: &["attach", JUDGED, "-c", "SYN_COOKIES", "--mode", "native"],
        prepare: Stand::detached,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known);
}

/// As [`attach`], but for what lists of names need.
#[test]
fn attach_with_names() {
    let stand = Stand::new();
    stand.detached();
    let known = stand.run(&stand.args(&["attach", JUDGED, "-c", "OLD", "--mode", "native"]), None);
    known.output.success();
    let row = Row {
        args: &["attach", JUDGED, "-c", "NAMES", "--mode", "native"],
        prepare: Stand::detached,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known.calls);
}

/// As [`attach_replace`].
#[test]
fn attach_replace_with_names() {
    let stand = Stand::new();
    stand.attached();
    let args = stand.args(&["attach", "--replace", JUDGED, "-c", "NEW"]);
    let known = stand.run(&args, None);
    known.output.success();
    let row = Row {
        args: &["attach", "--replace", JUDGED, "-c", "NAMES"],
        prepare: Stand::attached,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known.calls);
}

/// As [`attach`], but for the program at the egress. Where that cannot be had, replies are known by sockets alone, and a
/// warning says so.
#[test]
fn attach_with_replies() {
    let stand = Stand::new();
    stand.detached();
    let known = stand.run(&stand.args(&["attach", JUDGED, "-c", "OLD", "--mode", "native"]), None);
    known.output.success();
    let row = Row {
        args: &["attach", JUDGED, "-c", "REPLIES", "--mode", "native"],
        prepare: Stand::detached,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known.calls);
}

/// As [`attach_with_replies`].
#[test]
fn reload_to_replies() {
    let stand = Stand::new();
    stand.attached();
    let known = stand.run(&stand.args(&["reload", JUDGED, "-c", "NEW"]), None);
    known.output.success();
    let row = Row {
        args: &["reload", JUDGED, "-c", "REPLIES"],
        prepare: Stand::attached_anew,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known.calls);
}

/// What is at the egress is taken off once the next ruleset is in force.
#[test]
fn reload_from_replies() {
    let stand = Stand::new();
    stand.attached();
    let known = stand.run(&stand.args(&["reload", JUDGED, "-c", "NEW"]), None);
    known.output.success();
    let row = Row {
        args: &["reload", JUDGED, "-c", "NEW"],
        prepare: Stand::with_replies,
        leaves: Leaves::AsItWas,
    };
    stand.check_new(&row, &known.calls);
}

#[test]
fn detach_with_replies() {
    Stand::new().check(&Row {
        args: &["detach", JUDGED],
        prepare: Stand::with_replies,
        leaves: Leaves::AsItWasOrNothing,
    });
}

#[test]
fn reload_dry_run() {
    Stand::new().check(&Row {
        args: &["reload", "--dry-run", JUDGED, "-c", "NEW"],
        prepare: Stand::attached,
        leaves: Leaves::Looked,
    });
}

/// Where no process waits any more.
#[test]
fn confirm_a_ruleset() {
    Stand::new().check(&Row {
        args: &["confirm", JUDGED],
        prepare: Stand::tried,
        leaves: Leaves::AsItWas,
    });
}

#[test]
fn confirm_an_attachment() {
    Stand::new().check(&Row {
        args: &["confirm", JUDGED],
        prepare: Stand::attached_unconfirmed,
        leaves: Leaves::AsItWas,
    });
}

#[test]
fn bypass_on() {
    Stand::new().check(&Row {
        args: &["bypass", JUDGED, "on"],
        prepare: Stand::not_bypassed,
        leaves: Leaves::AsItWas,
    });
}

#[test]
fn bypass_off() {
    Stand::new().check(&Row {
        args: &["bypass", JUDGED, "off"],
        prepare: Stand::bypassed,
        leaves: Leaves::AsItWas,
    });
}

/// `top` has no row: it needs a terminal, and what it asks of the kernel, `stats`, `capture` and
/// `block` ask too.
#[test]
fn capture() {
    Stand::with_traffic().check(&Row {
        args: &["capture", JUDGED, "--count", "1"],
        prepare: Stand::attached,
        leaves: Leaves::Looked,
    });
}

#[test]
fn detach() {
    Stand::new().check(&Row {
        args: &["detach", JUDGED],
        prepare: Stand::attached,
        leaves: Leaves::AsItWasOrNothing,
    });
}

#[test]
fn block() {
    Stand::new().check(&Row {
        args: &["block", JUDGED, "10.9.1.0/24", "2001:db8:9::1", "--for", "1h", "--note", "new"],
        prepare: Stand::without_entries,
        leaves: Leaves::AsItWas,
    });
}

/// Replaces an entry of the other kind.
#[test]
fn allow() {
    Stand::new().check(&Row {
        args: &["allow", JUDGED, "10.9.0.1", "10.9.1.0/24"],
        prepare: Stand::without_entries,
        leaves: Leaves::AsItWas,
    });
}

#[test]
fn unblock() {
    Stand::new().check(&Row {
        args: &["unblock", JUDGED, "10.9.0.1", "2001:db8:9::1"],
        prepare: Stand::with_entries,
        leaves: Leaves::AsItWas,
    });
}

/// Of a source that a rule blocked.
#[test]
fn unblock_what_a_rule_put() {
    Stand::new().check(&Row {
        args: &["unblock", JUDGED, "10.7.7.7", "2001:db8:7::/64"],
        prepare: Stand::with_caught,
        leaves: Leaves::AsItWas,
    });
}

#[test]
fn bans_of_a_rule() {
    Stand::new().check(&Row {
        args: &["bans", JUDGED, "--owner", "rule:trap", "--json"],
        prepare: Stand::with_caught,
        leaves: Leaves::Looked,
    });
}

#[test]
fn bans() {
    Stand::new().check(&Row {
        args: &["bans", JUDGED, "--json"],
        prepare: Stand::with_entries,
        leaves: Leaves::Looked,
    });
}

#[test]
fn bans_flush() {
    Stand::new().check(&Row {
        args: &["bans", "--all-interfaces", "--flush"],
        prepare: Stand::with_entries,
        leaves: Leaves::AsItWas,
    });
}

#[test]
fn stats() {
    Stand::new().check(&Row {
        args: &["stats", "--once", "--json"],
        prepare: Stand::attached,
        leaves: Leaves::Looked,
    });
}

#[test]
fn status() {
    Stand::new().check(&Row {
        args: &["status", "--json"],
        prepare: Stand::with_entries,
        leaves: Leaves::Looked,
    });
}

#[test]
fn metrics() {
    Stand::new().check(&Row {
        args: &["metrics", "--textfile", "METRICS"],
        prepare: Stand::with_entries,
        leaves: Leaves::Looked,
    });
}

#[test]
fn show() {
    Stand::new().check(&Row {
        args: &["show", "--json"],
        prepare: Stand::attached,
        leaves: Leaves::Looked,
    });
}

#[test]
fn explain() {
    Stand::new().check(&Row {
        args: &["explain", JUDGED, "--source", "10.1.2.3", "--destination", "10.0.0.2", "--json"],
        prepare: Stand::attached,
        leaves: Leaves::Looked,
    });
}

/// The entry that decides is in the kernel, not in the kept ruleset.
#[test]
fn explain_a_run_time_entry() {
    Stand::new().check(&Row {
        args: &["explain", JUDGED, "--source", "10.9.1.1", "--destination", "10.0.0.2", "--json"],
        prepare: Stand::with_entries,
        leaves: Leaves::Looked,
    });
}

#[test]
fn lookup() {
    Stand::new().check(&Row {
        args: &["lookup", JUDGED, "10.9.0.1", "--json"],
        prepare: Stand::with_entries,
        leaves: Leaves::Looked,
    });
}

#[test]
fn limits() {
    Stand::new().check(&Row {
        args: &["limits", JUDGED, "--json"],
        prepare: Stand::with_limits,
        leaves: Leaves::Looked,
    });
}

#[test]
fn services() {
    Stand::new().check(&Row {
        args: &["services", JUDGED, "--json"],
        prepare: Stand::serving,
        leaves: Leaves::Looked,
    });
}

#[test]
fn backend() {
    Stand::new().check(&Row {
        args: &["backend", JUDGED, "web", "b1", "down", "--note", "by hand"],
        prepare: Stand::serving,
        leaves: Leaves::AsItWas,
    });
}

/// A check that cannot be made says nothing of the backend.
#[test]
fn health() {
    Stand::new().check(&Row {
        args: &["health", JUDGED, "--once"],
        prepare: Stand::serving,
        leaves: Leaves::AsItWas,
    });
}

/// Nor does one whose packets cannot be sent the service's way.
#[test]
fn health_through_a_service() {
    Stand::new().check(&Row {
        args: &["health", JUDGED, "--once"],
        prepare: Stand::serving_through,
        leaves: Leaves::AsItWas,
    });
}
