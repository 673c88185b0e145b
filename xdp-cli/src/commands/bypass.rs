//! `xdpctl bypass`.

use super::{Failure, Session, told};
use crate::args::{Bypass, Switch};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::maps::dynamic::bypass;
use crate::event::What;
use crate::notation::{plain, word};

/// Lets everything pass, or makes the ruleset judge again.
pub fn run(args: &Bypass, session: &mut Session<'_>) -> Result<(), Failure> {
    let on = args.state == Switch::On;
    // Without the lock: whoever needs this cannot wait for another command.
    let (namespace, attachment) = super::look_at(&args.interface)?;
    let was_on = bypass::set(attachment.readable()?.0, on)?;
    drop(namespace);
    if on != was_on {
        told::tell([told::Done::to(&attachment, What::Bypass { on })]);
    }
    let name = plain(&attachment.name());
    let as_word = word(&name);
    let told = match (on, was_on) {
        (true, false) => {
            format!("bypass on {name}: everything passes, until `xdpctl bypass {as_word} off`")
        }
        (true, true) => format!("{name}: bypass is on already: everything passes"),
        (false, true) => format!("bypass off {name}: the ruleset judges again"),
        (false, false) => format!("{name}: bypass is off already: the ruleset judges"),
    };
    session.print_done(format_args!("{told}\n"));
    Ok(())
}

/// Warns that a ruleset was put in force while bypass is on, so that it judges nothing.
pub fn warn(attachment: &Attachment, session: &mut Session<'_>) {
    let on = attachment.readable().and_then(|(maps, _)| bypass::is_on(maps));
    if on.is_ok_and(|on| on) {
        let name = plain(&attachment.name());
        let as_word = word(&name);
        session.reporter.warning(
            &format!("{name}: bypass is on: everything passes, and the ruleset judges nothing"),
            Some(&format!("`xdpctl bypass {as_word} off` has it judge again")),
        );
    }
}
