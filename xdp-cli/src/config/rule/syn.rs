//! A rule that answers SYNs matches nothing else, whatever it says: what else it would match, nobody could answer.

use super::super::report::Report;
use super::super::table::{Placed, TomlTable};
use super::Conditions;
use super::field::TCP;
use crate::ruleset::{Protocol, TcpFlags};

/// SYN and ACK.
const ASKED: u8 = 0x12;
const SYN: u8 = 0x02;

/// Narrows the conditions to the first packets of TCP's connections, and returns the protocol. `at` is the
/// action's place. Reports conditions that leave none of these.
pub(super) fn narrow(
    table: &TomlTable<'_>,
    at: usize,
    conditions: &mut Conditions,
    report: &mut Report<'_>,
) -> Option<Protocol> {
    let tcp = Protocol::Number(TCP);
    let hint = "only the first packets of TCP's connections are answered so: leave it out, or choose \
                another action";
    if let Some(protocol) = &conditions.protocol
        && protocol.value.first() != Some(&tcp)
    {
        let message =
            format!("{}: action = \"syncookie\" with another protocol than tcp", table.title);
        report.error(protocol.at, message, hint);
        return Some(tcp);
    }
    conditions.protocol.get_or_insert(Placed { at, value: vec![tcp] });
    let flags =
        conditions.tcp_flags.get_or_insert(Placed { at, value: TcpFlags { mask: 0, value: 0 } });
    if flags.value.mask & ASKED & (flags.value.value ^ SYN) != 0 {
        let message = format!(
            "{}: action = \"syncookie\" with tcp_flags that no first packet of a connection has",
            table.title
        );
        report.error(flags.at, message, hint);
    }
    flags.value.mask |= ASKED;
    flags.value.value = flags.value.value & !ASKED | SYN;
    Some(tcp)
}
