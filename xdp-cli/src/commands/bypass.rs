//! `xdpctl bypass`.

use super::{Failure, Session};
use crate::args::{Bypass, Switch};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::change::detach;
use crate::datapath::maps::dynamic::bypass;
use crate::notation::plain;

/// Lets everything pass, or has the ruleset judge again.
pub fn run(args: &Bypass, session: &mut Session<'_>) -> Result<(), Failure> {
    let on = args.state == Switch::On;
    let (name, was_on) = session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let attachment = attached.require_here(&args.interface)?;
        Ok((attachment.name(), bypass::set(attachment.readable()?.0, on)?))
    })?;
    let name = plain(&name);
    let told = match (on, was_on) {
        (true, false) => {
            format!("bypass on {name}: everything passes, until `xdpctl bypass {name} off`")
        }
        (true, true) => format!("bypass on {name} is on already: everything passes"),
        (false, true) => format!("bypass off {name}: the ruleset judges again"),
        (false, false) => format!("bypass on {name} is off already: the ruleset judges"),
    };
    session.print(format_args!("{told}\n"))
}

/// Says that a ruleset was put in force that judges nothing.
pub fn warn(attachment: &Attachment, session: &mut Session<'_>) {
    let on = attachment.readable().and_then(|(maps, _)| bypass::is_on(maps));
    if on.is_ok_and(|on| on) {
        let name = plain(&attachment.name());
        session.reporter.warning(
            &format!("bypass on {name} is on: everything passes, and the ruleset judges nothing"),
            Some(&format!("`xdpctl bypass {name} off` has it judge again")),
        );
    }
}
