//! `[policy] replies`.

use super::{Setup, ruleset};
use crate::config::written;
use crate::image::Image;
use crate::image::metadata::Metadata;
use crate::image::nic;
use crate::ruleset::{Replies, ReplyUdp};

#[test]
fn replies_are_read_and_written() {
    let policy = |text: &str| ruleset(&format!("[policy]\n{text}\n")).policy;
    let judged = policy("default = \"drop\"\nreplies = \"judge\"");
    assert_eq!((judged.replies, judged.asks_replies()), (Replies::Judge, false));
    let passed = policy("default = \"drop\"\nreplies = \"pass\"");
    assert_eq!((passed.replies, passed.replies_udp), (Replies::Pass, ReplyUdp::Sent));
    assert!(passed.asks_replies() && passed.asks_by_port());
    assert!(!passed.always_asks_by_port());
    let ephemeral = policy("default = \"drop\"\nreplies = \"pass\"\nreplies_udp = \"ephemeral\"");
    assert!(ephemeral.asks_by_port() && ephemeral.always_asks_by_port());
    let connected = policy("default = \"drop\"\nreplies = \"pass\"\nreplies_udp = \"connected\"");
    assert!(connected.asks_replies() && !connected.asks_by_port());
    let keys = |policy| -> Vec<&str> { written::policy(policy).iter().map(|it| it.key).collect() };
    assert_eq!(keys(&judged), ["default", "malformed", "fragments"]);
    assert_eq!(keys(&passed), ["default", "malformed", "fragments", "replies", "replies_udp"]);
}

#[test]
fn what_changes_nothing_is_warned_of_and_what_is_wrong_refused() {
    let setup = Setup::new(&[]);
    insta::assert_snapshot!(setup.said("[policy]\nreplies = \"pass\"\n"));
    insta::assert_snapshot!(
        setup.said(
            "[policy]\ndefault = \"drop\"\nreplies = \"judge\"\nreplies_udp = \"connected\"\n"
        )
    );
    insta::assert_snapshot!(
        setup.said("[policy]\ndefault = \"drop\"\nreplies = \"drop\"\nreplies_udp = 53\n")
    );
}

/// The image has the ports, and a NIC has no sockets.
#[test]
fn replies_in_an_image_and_on_a_nic() {
    let passed = ruleset("[policy]\ndefault = \"drop\"\nreplies = \"pass\"\n");
    let mut metadata = Metadata::unbound(&passed);
    assert!(metadata.passes_replies);
    metadata.reply_ports = (1..=20).map(|nth| (nth * 100, nth * 100 + 50)).collect();
    let image = Image::build(&passed, 1, &metadata).expect("it fits");
    let ports = image.header().reply_ports;
    assert_eq!((ports[0], ports[15]), (150 << 16 | 100, 1_650 << 16 | 1_600));
    let unfit = nic::fits(&passed).expect_err("no sockets there");
    assert_eq!(
        unfit.to_string(),
        "a NIC cannot hold replies = \"pass\", since it knows no sockets"
    );
}
