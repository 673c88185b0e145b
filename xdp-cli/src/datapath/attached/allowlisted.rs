//! Whether an allowlist in force may let in what an entry blocks.

use xdp_common::filter::effect::Effect;
use xdp_common::filter::lists;
use xdp_common::image::{Header, Lines as _};
use xdp_common::packet::{Network, Packet};

use crate::config::prefix::IpPrefix;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::image::Mapped;
use crate::image::metadata::Kind;

/// Whether an allowlist in force may hold some of these prefixes, or a part of one. A single
/// address is looked up in the image, as the program does it, so that blocking one after the other
/// never reads whole lists. For a shorter prefix the answer is yes as soon as there is an
/// allowlist.
///
/// # Errors
///
/// Where the image in force cannot be read.
pub fn may_be(attachment: &Attachment, prefixes: &[IpPrefix]) -> Result<bool> {
    let (maps, in_force) = attachment.readable()?;
    if !in_force.metadata.counted.iter().any(|counted| counted.kind == Kind::Allowlist) {
        return Ok(false);
    }
    if prefixes.iter().any(|prefix| !prefix.is_host()) {
        return Ok(true);
    }
    let what = "look an address up in the ruleset in force";
    let Some(image) = Mapped::in_force(&maps.ruleset).context(what)? else { return Ok(false) };
    let Some(header) = image.block(0).map(Header::of) else { return Ok(false) };
    Ok(prefixes.iter().any(|prefix| {
        let (network, source) = match *prefix {
            IpPrefix::V4(prefix) => (Network::IPV4, [prefix.address.into(), 0]),
            IpPrefix::V6(prefix) => {
                (Network::IPV6, [(prefix.address >> 64) as u64, prefix.address as u64])
            }
        };
        let packet = Packet { network, source, ..Packet::LEFT_BEHIND };
        let mut effect = Effect::LEFT_BEHIND;
        lists::allow(&image, header, &packet, &mut effect).is_break()
    }))
}
