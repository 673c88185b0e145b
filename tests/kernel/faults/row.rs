//! One row of the table: a command, with each of its calls refused in turn.
//!
//! The command runs once for each call that it makes to the kernel, and that call is refused. Then
//! the command has to end with status 1 or 2 and a message, and everything is as it was; or it did
//! without the call, and everything is as it would have been.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::time::Instant;

use nix::errno::Errno;

use super::shim::{ASKED_FOR_ADDRESSES, Call, Kind, Ran, Refusal};
use super::stand::Stand;
use super::state::{State, stages};
use crate::lab::bench::JUDGED;
use crate::lab::facts::pinned;

/// If this environment variable is set, each call is refused, and not only the first and the last
/// of those that do the same, and those that no other row refuses.
const ALL: &str = "XDPCTL_FAULTS_ALL";

/// The errors with which calls are refused, in turn: the command has to cope with any.
fn errnos(kind: Kind) -> &'static [i32] {
    use libc::*;
    match kind {
        Kind::Bpf => &[ENOMEM, EPERM, EINVAL, EBUSY, ENOSPC, EINTR],
        Kind::Memory => &[ENOMEM, EAGAIN, EPERM],
        Kind::Network => &[ENOBUFS, EPERM, EINTR, ENOMEM],
        Kind::Files => &[EACCES, ENOSPC, EIO, EROFS, EMFILE, ENOMEM],
    }
}

/// A command of the table.
pub(super) struct Row {
    pub(super) args: &'static [&'static str],
    /// Sets up the state before the command.
    pub(super) prepare: fn(&Stand),
    pub(super) leaves: Leaves,
}

/// What a command may leave where it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Everything as it was.
    AsItWas,
    /// Everything as it was, or nothing attached at all: half way it cannot be undone.
    AsItWasOrNothing,
    /// Everything as it was, also where it succeeds. Then it prints what it would have printed.
    Looked,
}

impl Stand {
    /// Runs a row: all calls of all kinds. Panics at the end with everything that was wrong.
    #[track_caller]
    pub(super) fn check(&self, row: &Row) {
        self.check_calls(row, &[], has_effect);
    }

    /// As [`Self::check`], but none of the calls is refused that are among `known`, which another row
    /// refuses.
    #[track_caller]
    pub(super) fn check_new(&self, row: &Row, known: &[Call]) {
        self.check_calls(row, known, |_| false);
    }

    /// As [`Self::check`], but of the calls before the one that changes what is in force, those that
    /// are among `known`, which another row refuses, are not refused.
    #[track_caller]
    pub(super) fn check_but(&self, row: &Row, known: &[Call]) {
        self.check_calls(row, known, has_effect);
    }

    /// The calls of a command with `NAMES` that mean the same with `SYN_COOKIES`.
    #[track_caller]
    pub(super) fn known_to_syn_cookies(&self, args: &[&str]) -> Vec<Call> {
        let Ran { output, mut calls, .. } = self.run(&self.args(args), None);
        output.success();
        // Whoever asks for addresses without such a rule may go on without them.
        calls.retain(|call| call.name != ASKED_FOR_ADDRESSES);
        for call in &mut calls {
            call.name = call.name.replace("/names.toml", "/syn_cookies.toml");
        }
        calls
    }

    /// Those that are among `known` are not refused before the last call that is `effect`.
    #[track_caller]
    fn check_calls(&self, row: &Row, known: &[Call], effect: fn(&Call) -> bool) {
        let begun = Instant::now();
        let args = self.args(row.args);
        (row.prepare)(self);
        let from = State::of(&self.bench);
        let loaded = stages(&self.bench);
        let whole = self.run(&args, None);
        whole.output.success();
        let to = State::of(&self.bench);
        let mut table = Table {
            from,
            to,
            stdout: whole.output.stdout.clone(),
            failures: Vec::new(),
            messages: BTreeSet::new(),
        };
        let effect = whole.calls.iter().rposition(effect);
        let before_effect = &whole.calls[..effect.unwrap_or(whole.calls.len())];
        let (mut refused, mut spared) = (0, 0);
        let mut before = None;
        for kind in Kind::ALL {
            let calls: Vec<&Call> = whole.calls.iter().filter(|call| call.kind == kind).collect();
            let early = before_effect.iter().filter(|call| call.kind == kind).count();
            for nth in 0..calls.len() {
                let elsewhere = nth < early && env::var_os(ALL).is_none();
                if is_spared(&calls, nth) || elsewhere && known.contains(calls[nth]) {
                    spared += 1;
                    continue;
                }
                let errnos = errnos(kind);
                let refusal = Refusal { kind, nth, errno: errnos[nth % errnos.len()] };
                let known = before.take().unwrap_or_else(|| {
                    (row.prepare)(self);
                    State::of(&self.bench)
                });
                let ran = self.run(&args, Some(refusal));
                refused += usize::from(ran.refused.is_some());
                let after = State::of(&self.bench);
                table.judge(self, row.leaves, &known, &ran, refusal, &after);
                // What was loaded ahead of need does no harm, but then the next run does not load it.
                let is_as_before = after == known && stages(&self.bench) == loaded;
                before = is_as_before.then_some(after);
            }
        }
        println!(
            "xdpctl {}: {refused} calls refused, {spared} not, which are between others of the \
             same or refused in another row, {:.1} s",
            row.args.join(" "),
            begun.elapsed().as_secs_f64()
        );
        for message in &table.messages {
            println!("  {message}");
        }
        let mut text = String::new();
        for failure in &table.failures {
            let _ = write!(text, "\n\n- {failure}");
        }
        let count = table.failures.len();
        assert!(count == 0, "{count} of {refused} refused calls{text}\n");
    }
}

/// Whether a call changes what is in force. A link on interface -1 is aya's question of what the kernel
/// can do.
fn has_effect(call: &Call) -> bool {
    let is_link = call.name.starts_with("LINK_CREATE") && call.name != "LINK_CREATE on 4294967295";
    is_link || ["LINK_UPDATE", "MAP_UPDATE_ELEM RULESET"].contains(&call.name.as_str())
}

/// Whether a call is neither the first nor the last of those that do the same.
fn is_spared(calls: &[&Call], nth: usize) -> bool {
    env::var_os(ALL).is_none()
        && calls[..nth].contains(&calls[nth])
        && calls[nth + 1..].contains(&calls[nth])
}

struct Table {
    /// What the command found and left when nothing was refused.
    from: State,
    to: State,
    /// What it printed then.
    stdout: String,
    failures: Vec<String>,
    /// The first lines of all messages.
    messages: BTreeSet<String>,
}

impl Table {
    /// Whether it did what it does when nothing is refused. Where a target's driver takes no
    /// program, a command warns and does not fail.
    fn came_there(&self, before: &State, after: &State, stderr: &str) -> bool {
        if !stderr.contains("warning: what is redirected to out0 may be lost") {
            return after.came_like(before, &self.from, &self.to);
        }
        let without = |state: &State| {
            let mut state = state.clone();
            state.programs.retain(|(name, _)| name != "far0");
            state
        };
        without(after).came_like(&without(before), &without(&self.from), &without(&self.to))
    }

    fn judge(
        &mut self,
        stand: &Stand,
        leaves: Leaves,
        before: &State,
        ran: &Ran,
        refusal: Refusal,
        after: &State,
    ) {
        let Some(call) = &ran.refused else { return };
        let mut wrong = Vec::new();
        let output = &ran.output;
        match output.status {
            0 if leaves == Leaves::Looked => {
                if after != before {
                    wrong.push(format!("before {before:?}\n      after  {after:?}"));
                }
                let told = output.stdout.contains("cannot ") || output.stderr.contains("cannot ");
                if numberless(&output.stdout) != numberless(&self.stdout) && !told {
                    wrong.push(format!("status 0, but printed was\n{}", self.stdout));
                }
            }
            0 if self.came_there(before, after, &output.stderr) => {
                if after.is_attached() {
                    if output.stderr.contains("hint: the next `xdpctl reload` sees to it") {
                        stand.bench.xdpctl(["reload", JUDGED]).success();
                    }
                    wrong.extend(wrong_pins(stand, after));
                }
            }
            0 => wrong.push(format!(
                "status 0, but\n      before {before:?}\n      after  {after:?}\n      wanted {:?}",
                self.to
            )),
            1 | 2 => {
                let nothing = leaves == Leaves::AsItWasOrNothing && !after.is_attached();
                if before != after && !nothing {
                    wrong.push(format!(
                        "status {}, but\n      before {before:?}\n      after  {after:?}",
                        output.status
                    ));
                }
                wrong.extend(wrong_message(&output.stderr, refusal.errno));
                if nothing || !after.is_attached() {
                    wrong.extend(wrong_leftovers(stand));
                }
            }
            other => wrong.push(format!("status {other}")),
        }
        if output.stderr.contains("panicked") {
            wrong.push("it panicked".to_owned());
        }
        let first = output.stderr.lines().next().unwrap_or("(nothing is said)");
        self.messages.insert(format!("{} {first}", output.status));
        if !wrong.is_empty() {
            let Refusal { kind, nth, errno } = refusal;
            self.failures.push(format!(
                "{} refused with {:?} ({kind:?} {nth})\n    {}\n    stderr: {}\n    stdout: {}",
                call.name,
                Errno::from_raw(errno),
                wrong.join("\n    "),
                output.stderr.trim_end().replace('\n', "\n            "),
                output.stdout.trim_end()
            ));
        }
    }
}

/// The text with a letter in the place of each number but 0, because times and counters differ
/// between runs. Of large numbers, such as of memory, the first digits stay.
fn numberless(text: &str) -> String {
    // 0 in the first second.
    let text = text.replace("\"uptime_seconds\":0,", "\"uptime_seconds\":1,");
    let mut numberless = String::new();
    for part in text.split_inclusive(|character: char| !character.is_ascii_digit()) {
        let digits = part.trim_end_matches(|character: char| !character.is_ascii_digit());
        match digits {
            "" | "0" => numberless.push_str(digits),
            large if large.len() > 6 => numberless.push_str(&large[..2]),
            _ => numberless.push('N'),
        }
        numberless.push_str(&part[digits.len()..]);
    }
    numberless
}

/// An error says what could not be done, not only what the kernel said.
fn wrong_message(stderr: &str, errno: i32) -> Option<String> {
    let error = stderr.lines().find_map(|line| line.strip_prefix("error: "))?;
    let bare = Errno::from_raw(errno).desc();
    let said = error.split(&format!(": {bare}")).next().unwrap_or_default();
    (said.split(' ').count() < 3 || error.starts_with(bare))
        .then(|| "the message does not say what failed".to_owned())
}

/// Pins that are not those of the link, where they should be.
fn wrong_pins(stand: &Stand, after: &State) -> Option<String> {
    let lab = stand.bench.lab();
    let mut pins = pinned(&lab.pins("dut", lab.ifindex("dut", JUDGED)));
    // The pin of what is at the egress is there where that is, which only some rulesets want.
    let is_noted = pins.remove("egress").is_some();
    let at_egress = lab.at_egress("dut", JUDGED);
    if is_noted == at_egress.is_empty() {
        return Some(format!("at the egress: {at_egress:?}, its pin: {is_noted}"));
    }
    let program = after.program.map(u64::from);
    let whole = pins.len() == xdp_common::maps::Map::ALL.len() + 2;
    (!whole || pins.get("program").copied() != program).then(|| format!("pins: {pins:?}"))
}

/// What is still left after the next command, which has nothing else to do.
fn wrong_leftovers(stand: &Stand) -> Option<String> {
    let lab = stand.bench.lab();
    if lab.kept("dut").is_empty() {
        return None;
    }
    let output = stand.bench.xdpctl(["detach", "--all"]);
    let kept = lab.kept("dut");
    let programs: Vec<_> = [JUDGED, "far0", "out0"].map(|name| lab.programs("dut", name)).concat();
    let at_egress = lab.at_egress("dut", JUDGED);
    let any = !kept.is_empty() || !programs.is_empty() || !at_egress.is_empty();
    (any || output.status != 1)
        .then(|| format!("left behind: {kept:?} {programs:?} {at_egress:?} ({output:?})"))
}
