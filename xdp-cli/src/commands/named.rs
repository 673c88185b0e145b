//! The names of what an attached program decides by.

use super::Session;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::in_force::InForce;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::host::interface::Interface;
use crate::judgement::names::Names;
use crate::views::explain::entries::ListedEntries;

/// The names of a ruleset in force: of its lists and rules, and of its entries too if it is still
/// kept beside the pins. Warns where it is not.
pub(super) fn names(
    namespace: &Namespace,
    attachment: &Attachment,
    in_force: &InForce,
    session: &mut Session<'_>,
) -> Names {
    let kept = match namespace.kept_ruleset(attachment.key(), in_force) {
        Ok(Some(kept)) => Some(kept),
        Ok(None) => {
            session.reporter.warning(
                "the ruleset in force is not kept any more: its entries cannot be named",
                Some("`xdpctl reload` keeps it again"),
            );
            None
        }
        Err(error) => {
            session.reporter.warning(
                &format!("{}; entries cannot be named", error.message),
                error.hint.as_deref(),
            );
            None
        }
    };
    let entries = kept.map(|kept| ListedEntries::of(kept.ruleset));
    Names::new(in_force.metadata.clone(), entries, interface_name)
}

fn interface_name(index: u32) -> Option<String> {
    Interface::by_index(index).ok().map(|interface| interface.name)
}
