//! Cases of `replies = "pass"`: what answers the host's own sockets and what does not, beside the same without,
//! and beside one bare lookup of a socket.

use xdp_common::stats::verdict::Reason;

use crate::case::{Beside, Case, DEFAULT_DROP, Goal, Group, Subject};
use crate::cases::any_v4;
use crate::prototype::Prototype;
use crate::sockets;

const REPLIES: &str = "replies = \"pass\"\n";
/// Decides all of the generator's packets from sources alone.
const RULE: &str = "[[rule]]\nname = \"udp\"\nprotocol = \"udp\"\naction = \"drop\"\n";

fn with_sockets(text: &str) -> Subject {
    Subject::plain(text).with(Beside::Sockets)
}

pub fn groups() -> Vec<Group> {
    use Reason::{Default, Reply, Rule};

    let group = |name, make, cases| Group { subject: Some((name, make)), cases };
    let beside = |over, of| Goal::Times { over, of, at_most: 1.0 };
    vec![
        group(
            "replies off",
            || with_sockets(DEFAULT_DROP),
            vec![
                Case::dropped("replies off, forged TCP", |_| sockets::forged_tcp(), Default),
                Case::dropped("replies off, forged UDP", |_| sockets::forged_udp(), Default),
                Case::dropped(
                    "replies off, stray ACK to a listener",
                    |_| sockets::stray(),
                    Default,
                ),
            ],
        ),
        group(
            "replies, a bare lookup",
            || with_sockets("").instead(Prototype::Lookup),
            vec![
                Case::dropped(
                    "replies, a bare lookup, forged TCP",
                    |_| sockets::forged_tcp(),
                    Default,
                ),
                Case::dropped(
                    "replies, a bare lookup, forged UDP",
                    |_| sockets::forged_udp(),
                    Default,
                ),
                Case::passed("replies, a bare lookup, a listener", |_| sockets::stray(), Reply),
                Case::passed("replies, a bare lookup, TCP", |_| sockets::replies_tcp(), Reply),
                Case::passed("replies, a bare lookup, UDP", |_| sockets::replies_udp(), Reply),
            ],
        ),
        group(
            "replies on",
            || with_sockets(&format!("{DEFAULT_DROP}{REPLIES}")),
            vec![
                Case::dropped("replies on, forged TCP", |_| sockets::forged_tcp(), Default)
                    .goal(beside("replies off, forged TCP", "replies, a bare lookup, forged TCP")),
                Case::dropped("replies on, forged UDP", |_| sockets::forged_udp(), Default)
                    .goal(beside("replies off, forged UDP", "replies, a bare lookup, forged UDP")),
                Case::dropped("replies on, stray ACK to a listener", |_| sockets::stray(), Default),
                Case::passed("replies on, TCP, to bare pass", |_| sockets::replies_tcp(), Reply)
                    .goal(Goal::Floor(2.0)),
                Case::passed("replies on, UDP, to bare pass", |_| sockets::replies_udp(), Reply)
                    .goal(Goal::Floor(2.0)),
                Case::passed(
                    "replies on, UDP not connected, to bare pass",
                    |_| sockets::replies_waiting(),
                    Reply,
                )
                .goal(Goal::Floor(2.0)),
            ],
        ),
        group(
            "replies off, decided by a rule",
            || with_sockets(&format!("{DEFAULT_DROP}{RULE}")),
            vec![Case::dropped("replies off, decided by a rule", any_v4, Rule)],
        ),
        group(
            "replies on, decided by a rule",
            || with_sockets(&format!("{DEFAULT_DROP}{REPLIES}{RULE}")),
            vec![
                Case::dropped("replies on, decided by a rule", any_v4, Rule)
                    .goal(Goal::Case("replies off, decided by a rule", 1.03)),
            ],
        ),
    ]
}
