//! Finds out what a ruleset would cut off before it is in force, so that nobody locks themselves
//! out.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use xdp_common::packet::LinkType;

use super::{Session, holders};
use crate::config::prefix::IpPrefix;
use crate::datapath::attached::allowlisted;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::persisted::Persisted;
use crate::datapath::error::Error;
use crate::datapath::host::addresses::{self, Address};
use crate::datapath::host::interface::Interface;
use crate::datapath::host::ssh::{self, Connection};
use crate::datapath::host::{routes, serving};
use crate::datapath::maps::dynamic;
use crate::datapath::maps::handles::Maps;
use crate::image::Image;
use crate::image::metadata::Metadata;
use crate::judgement::RunTimeEntries;
use crate::judgement::names::{RunTime, full};
use crate::judgement::reach::checks::{self, Checked};
use crate::judgement::reach::connection::Cut;
use crate::judgement::reach::role::{Role, Warning, names_ipv6};
use crate::judgement::reach::{Ground, decider};
use crate::notation::{plain, word};
use crate::ruleset::{PolicyAction, Ruleset};
use crate::views::entries::{Kind, Listed};
use crate::views::explain::entries::Address as PacketAddress;

/// A ruleset that is about to be put on an interface.
pub struct Coming<'a> {
    pub interface: &'a Interface,
    pub ruleset: &'a Ruleset,
    pub image: &'a Image,
    pub metadata: &'a Metadata,
    /// The maps of the attachment in force, if any, for its run-time entries.
    pub maps: Option<&'a Maps>,
    /// The run-time entries that are put back with it, if any.
    pub persisted: Option<&'a Persisted>,
}

impl Coming<'_> {
    /// The run-time entry that will decide about an address, if one does.
    fn entries(&self, ip: IpAddr) -> RunTimeEntries {
        let address = full(packet_address(ip));
        let in_force = self.maps.and_then(|maps| dynamic::deciding(maps, address).ok().flatten());
        let deciding = in_force.or_else(|| self.persisted?.deciding(&address));
        entries_of(ip, deciding)
    }
}

/// Builds an image to judge by. A ruleset for a NIC has none of its own, but the same verdicts.
pub fn image_of(ruleset: &Ruleset) -> Result<(Image, Metadata), Error> {
    let metadata = Metadata::unbound(ruleset);
    let file = ruleset.files.first().map_or(Path::new(""), PathBuf::as_path);
    let image = Image::build(ruleset, 1, &metadata).map_err(|error| error.told(ruleset, file))?;
    Ok((image, metadata))
}

/// The error that a ruleset would cut off the connection that this command runs in. `None` if not,
/// or if that cannot be found out.
pub fn cut_off(coming: &Coming<'_>) -> Option<Error> {
    let Ok(link_type) = coming.interface.link_type() else { return None };
    let connections = ssh::connections();
    if connections.is_empty() {
        return None;
    }
    let interfaces = Interface::all().unwrap_or_default();
    let addresses = addresses::all().unwrap_or_default();
    connections.iter().find_map(|connection| {
        let vlan = comes_by(connection, coming.interface, &interfaces, &addresses)?;
        let Connection { peer, own, .. } = connection;
        let entries = coming.entries(peer.ip());
        let cut = ground(coming, &entries, link_type).cuts(*peer, *own, vlan)?;
        let name = plain(&coming.interface.name);
        let done = done_by(&cut, connection);
        let entry = cut.explained.entry.as_deref();
        if let (Some(_), "banned", Some(entry)) = (coming.persisted, cut.explained.reason, entry) {
            let as_word = word(&coming.interface.name);
            return Some(
                Error::new(format!(
                    "on {name}, {done}: `block --persist` put it, and this attach puts it back"
                ))
                .hint(format!(
                    "let {} in by an [[allowlist]], which is asked first; or say `--force`, and in \
                         the same line `&& xdpctl unblock {as_word} {entry}`, which removes it",
                    peer.ip()
                )),
            );
        }
        Some(Error::new(format!("on {name}, {done}")).hint(format!(
            "let {} in, by an [[allowlist]] for example (or, where a service takes it, name the \
             service's ports), or say `--force`",
            peer.ip()
        )))
    })
}

/// What cuts a connection off, as a sentence.
fn done_by(cut: &Cut, Connection { peer, own, evidence }: &Connection) -> String {
    let what = if cut.is_itself {
        format!("the connection that this command runs in, from {peer} to {own}")
    } else {
        format!(
            "every new connection from {} to {own}, where the one that this command runs in goes",
            peer.ip()
        )
    };
    let does = match cut.explained.verdict {
        "redirect" | "tx" => "sends away",
        _ => "drops",
    };
    format!("{} {does} {what} (by {evidence})", decider(&cut.explained))
}

/// The connections that this command runs in and whose peers one of these sorted prefixes holds.
pub fn connections_from(prefixes: &[IpPrefix]) -> Vec<Connection> {
    let mut connections = ssh::connections();
    connections.retain(|connection| holding(prefixes, connection.peer.ip()).is_some());
    connections
}

/// The error that blocking these sorted prefixes would cut off one of these connections. `None` if
/// something lets it in before, or if that cannot be found out.
pub fn cut_off_by_block(
    attachment: &Attachment,
    prefixes: &[IpPrefix],
    owner: &str,
    connections: &[Connection],
) -> Option<Error> {
    let interface = attachment.interface()?;
    let interfaces = Interface::all().unwrap_or_default();
    let addresses = addresses::all().unwrap_or_default();
    connections.iter().find_map(|connection| {
        let Connection { peer, own, evidence } = connection;
        comes_by(connection, &interface, &interfaces, &addresses)?;
        let by = holding(prefixes, peer.ip())?;
        if is_let_in(attachment, prefixes, &by, owner, peer.ip()).unwrap_or(true) {
            return None;
        }
        let (name, peer_ip) = (plain(&interface.name), peer.ip());
        let as_word = word(&interface.name);
        Some(
            Error::new(format!(
                "on {name}, a block of {by} would cut off the connection that this command runs in, \
                 from {peer} to {own} (by {evidence})"
            ))
            .hint(format!(
                "leave {by} out; or let {peer_ip} in first, by `xdpctl allow {as_word} {peer_ip}` or an \
                 [[allowlist]]; or say `--force`"
            )),
        )
    })
}

/// Refuses to remove run-time entries that let in the connection that this command runs in, where nothing
/// else does; with `force`, only warns of it.
pub fn keep_let_in(
    interface: Option<&str>,
    all: bool,
    is_removed: impl Fn(&Listed) -> bool,
    force: bool,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    let connections = ssh::connections();
    if connections.is_empty() {
        return Ok(());
    }
    let Some(namespace) = Namespace::look()? else { return Ok(()) };
    let attached = namespace.attachments()?;
    let chosen = holders::chosen(&attached, interface, all)?;
    let cut = chosen.attachments.into_iter().find_map(|attachment| {
        // What cannot be found out refuses nothing.
        cut_off_by_removal(&namespace, attachment, &is_removed, &connections).ok().flatten()
    });
    match cut {
        Some(error) if force => session.reporter.warning(&error.message, None),
        Some(error) => return Err(error),
        None => {}
    }
    Ok(())
}

fn cut_off_by_removal(
    namespace: &Namespace,
    attachment: &Attachment,
    is_removed: &impl Fn(&Listed) -> bool,
    connections: &[Connection],
) -> Result<Option<Error>, Error> {
    let Some(interface) = attachment.interface() else { return Ok(None) };
    let interfaces = Interface::all().unwrap_or_default();
    let addresses = addresses::all().unwrap_or_default();
    for connection in connections {
        let Connection { peer, own, .. } = connection;
        let Some(vlan) = comes_by(connection, &interface, &interfaces, &addresses) else {
            continue;
        };
        let held =
            dynamic::holding(attachment.readable()?.0, None, full(packet_address(peer.ip())))?;
        // The first decides.
        let Some(deciding) = held.first().filter(|it| it.kind == Kind::Allow && is_removed(it))
        else {
            continue;
        };
        let left = held.iter().find(|it| !is_removed(it)).map(|it| (it.prefix, it.kind));
        if left.is_some_and(|(_, kind)| kind == Kind::Allow) {
            continue;
        }
        let in_force = attachment.in_force_now()?;
        let Some(kept) = namespace.kept_ruleset(attachment.key(), &in_force)? else { continue };
        let (image, metadata) = image_of(&kept.ruleset)?;
        let coming = Coming {
            interface: &interface,
            ruleset: &kept.ruleset,
            image: &image,
            metadata: &metadata,
            maps: None,
            persisted: None,
        };
        let entries = entries_of(peer.ip(), left);
        let link_type = attachment.link_type()?;
        let Some(cut) = ground(&coming, &entries, link_type).cuts(*peer, *own, vlan) else {
            continue;
        };
        let (name, prefix) = (plain(&interface.name), deciding.prefix);
        return Ok(Some(
            Error::new(format!(
                "on {name}, without the run-time entry {prefix}, which allows it, {}",
                done_by(&cut, connection)
            ))
            .hint(format!(
                "leave {prefix} out; or let {} in first, by an [[allowlist]] for example; or say \
                 `--force`",
                peer.ip()
            )),
        ));
    }
    Ok(None)
}

/// Whether an address is let in although these prefixes, of which `by` is the longest that holds
/// it, are blocked by that owner: by an allowlist, or by a run-time entry that the owner's new one
/// does not replace.
fn is_let_in(
    attachment: &Attachment,
    prefixes: &[IpPrefix],
    by: &IpPrefix,
    owner: &str,
    address: IpAddr,
) -> Result<bool, Error> {
    let address = full(packet_address(address));
    if allowlisted::may_be(attachment, &[address])? {
        return Ok(true);
    }
    let held = dynamic::holding(attachment.readable()?.0, None, address)?;
    let is_replaced = |it: &Listed| it.owner == owner && prefixes.binary_search(&it.prefix).is_ok();
    // The longest decides, and of those as long an allow.
    let deciding = held.iter().find(|it| !is_replaced(it));
    let at_least = |it: &Listed| it.prefix.length() >= by.length();
    Ok(deciding.is_some_and(|it| it.kind == Kind::Allow && at_least(it)))
}

/// The longest of these sorted prefixes that holds an address.
fn holding(prefixes: &[IpPrefix], address: IpAddr) -> Option<IpPrefix> {
    let address = full(packet_address(address));
    let lengths = (0..=address.length()).rev();
    lengths.map(|length| address.shortened(length)).find(|it| prefixes.binary_search(it).is_ok())
}

/// Warnings of what a ruleset takes away from its interface.
pub fn warnings(coming: &Coming<'_>) -> Vec<Warning> {
    let Ok(link_type) = coming.interface.link_type() else { return Vec::new() };
    let role = role(coming.interface);
    let entries = RunTimeEntries::default();
    let ground = ground(coming, &entries, link_type);
    let mut warnings = ground.warnings(&role);
    warnings.extend(lost_check(coming, &ground));
    warnings.extend(may_cut(coming, link_type));
    warnings
}

/// Warns of checks whose answers come in by the interface and are dropped.
fn lost_check(coming: &Coming<'_>, ground: &Ground<'_>) -> Option<Warning> {
    let mut checked = checks::checked(coming.ruleset).peekable();
    checked.peek()?;
    let index = coming.interface.index;
    let addresses = addresses::all().ok()?;
    checked.find_map(|(service, backend)| {
        let is_v6 = backend.address.is_ipv6();
        let mut own = addresses.iter().filter(|it| it.ifindex == index && it.ip.is_ipv6() == is_v6);
        let own = own.find(|it| it.ip.is_ipv4() || !serving::is_own(it.ip))?.ip;
        let warning = ground.lost_check(&Checked { service, backend, own })?;
        // The kernel is asked about those alone.
        let by = routes::interface_to(backend.address, None).ok().flatten();
        (by == Some(index)).then_some(warning)
    })
}

/// Warns of a rule that would take away what comes over a connection that this command runs in, or block its peer,
/// were it over the rule's limit.
fn may_cut(coming: &Coming<'_>, link_type: LinkType) -> Option<Warning> {
    if !coming.metadata.counted.iter().any(|counted| counted.limit.is_some()) {
        return None;
    }
    let connections = ssh::connections();
    let interfaces = Interface::all().unwrap_or_default();
    let addresses = addresses::all().unwrap_or_default();
    connections.iter().find_map(|connection| {
        let Connection { peer, own, evidence } = connection;
        let vlan = comes_by(connection, coming.interface, &interfaces, &addresses)?;
        let entries = coming.entries(peer.ip());
        let found = ground(coming, &entries, link_type).may_cut(*peer, *own, vlan)?;
        let (rule, peer, rate) = (plain(&found.rule), peer.ip(), found.limit.rate);
        Some(Warning {
            message: match found.blocks {
                true => format!(
                    "rule \"{rule}\" blocks {peer}, where the connection that this command runs in comes \
                     from (by {evidence}), as soon as it is over {rate}"
                ),
                false => format!(
                    "rule \"{rule}\" takes away what {peer} sends over the connection that this command \
                     runs in (by {evidence}), as long as it is over {rate}"
                ),
            },
            hint: format!("let {peer} in by an [[allowlist]], which is asked before the rules"),
        })
    })
}

/// The same warnings for a configuration that is only checked. They are for the interface that the
/// file is named after, as with `attach`; if there is none, those that hold for any interface.
pub fn warnings_of_file(
    file: &Path,
    ruleset: &Ruleset,
    image: &Image,
    metadata: &Metadata,
) -> Vec<Warning> {
    let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if let Ok(interface) = Interface::by_name(name) {
        let coming =
            Coming { interface: &interface, ruleset, image, metadata, maps: None, persisted: None };
        return warnings(&coming);
    }
    if ruleset.policy.default != PolicyAction::Drop || !names_ipv6(ruleset) {
        return Vec::new();
    }
    let entries = RunTimeEntries::default();
    let link_type = LinkType::Ethernet;
    let ground =
        Ground { image, metadata, ruleset, entries: &entries, link_type, mac: [0; 6], mtu: 1500 };
    let any = Role {
        name: "what it lets in".to_owned(),
        v6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
        ..Role::default()
    };
    ground.warnings(&any)
}

fn ground<'a>(coming: &Coming<'a>, entries: &'a RunTimeEntries, link_type: LinkType) -> Ground<'a> {
    Ground {
        image: coming.image,
        metadata: coming.metadata,
        ruleset: coming.ruleset,
        entries,
        link_type,
        mac: coming.interface.mac.unwrap_or_default(),
        mtu: coming.interface.mtu,
    }
}

fn packet_address(ip: IpAddr) -> PacketAddress {
    match ip {
        IpAddr::V4(v4) => PacketAddress::V4(v4.to_bits()),
        IpAddr::V6(v6) => PacketAddress::V6(v6.to_bits()),
    }
}

/// The run-time entry that decides about an address, if one does.
fn entries_of(ip: IpAddr, deciding: Option<(IpPrefix, Kind)>) -> RunTimeEntries {
    let mut entries = RunTimeEntries::default();
    if let Some((prefix, kind)) = deciding {
        entries.insert(
            packet_address(ip),
            RunTime { prefix, kind, expires_in_seconds: None, note: None, owner: None },
        );
    }
    entries
}

/// Whether the frames of a connection come in by an interface: its own address is on it, or replies
/// leave by it. Then the VLAN tag of these frames, if they have one.
fn comes_by(
    connection: &Connection,
    interface: &Interface,
    interfaces: &[Interface],
    addresses: &[Address],
) -> Option<Option<u16>> {
    let Connection { peer, own, .. } = connection;
    let at = |ip: IpAddr| addresses.iter().filter(move |address| address.ip == ip);
    // Packets of this host to itself go through lo, whatever address they are sent to.
    if at(peer.ip()).next().is_some() && interface.name != "lo" {
        return None;
    }
    let back = routes::interface_to(peer.ip(), Some(own.ip())).ok().flatten();
    at(own.ip())
        .map(|address| address.ifindex)
        .chain(back)
        .find_map(|index| tag_on(interface, index, interfaces, 0))
}

/// Whether frames for the interface with that index come in by another one below it, as those of a
/// VLAN or a bridge do. Then the VLAN tag that they have there, if any.
fn tag_on(
    interface: &Interface,
    index: u32,
    interfaces: &[Interface],
    depth: u32,
) -> Option<Option<u16>> {
    /// The greatest depth of interfaces on top of each other (MAX_NEST_DEV,
    /// include/linux/netdevice.h).
    const DEEPEST: u32 = 8;

    if index == interface.index {
        return Some(None);
    }
    if depth == DEEPEST {
        return None;
    }
    let upper = interfaces.iter().find(|upper| upper.index == index)?;
    let below =
        upper.link.filter(|_| upper.link_netns.is_none() && upper.kind.as_deref() != Some("veth"));
    let ports = interfaces.iter().filter(|port| port.master == Some(index)).map(|port| port.index);
    let tag = below
        .into_iter()
        .chain(ports)
        .find_map(|lower| tag_on(interface, lower, interfaces, depth + 1))?;
    Some(tag.or(upper.vlan))
}

/// What this host uses an interface for, as far as that can be found out.
fn role(interface: &Interface) -> Role {
    if interface.name == "lo" {
        return Role::default();
    }
    let addresses = addresses::all().unwrap_or_default();
    let own = || addresses.iter().filter(|address| address.ifindex == interface.index);
    let v4 = |address: &Address| match address.ip {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    };
    let v6 = |address: &Address| match address.ip {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    };
    let defaults = routes::defaults().unwrap_or_default();
    let mut by_it = defaults.iter().filter(|route| route.ifindex == interface.index);
    let is_v4 = by_it.clone().any(|route| !route.is_v6);
    let gateways: Vec<Ipv4Addr> = by_it
        .clone()
        .filter_map(|route| match route.gateway {
            Some(IpAddr::V4(gateway)) => Some(gateway),
            _ => None,
        })
        .collect();
    // Dynamic addresses from router advertisements have shorter prefixes.
    let by_dhcp = |address: &&Address| address.is_dynamic && address.prefix_length == 128;
    Role {
        name: interface.name.clone(),
        v4: own().find_map(v4),
        v6: own().find_map(v6),
        default_v4: is_v4.then_some(gateways),
        default_v6: by_it.any(|route| route.is_v6),
        leased_v4: own().filter(|address| address.is_dynamic).find_map(v4),
        leased_v6: own().filter(by_dhcp).find_map(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32) -> Interface {
        Interface { index, ..Interface::default() }
    }

    /// eth0 and eth1 are ports of bond0; on bond0 is VLAN 7, and on that macvlan0. And there is a
    /// veth, whose link is its peer.
    #[test]
    fn frames_for_what_stands_above_come_in_below_under_its_tag() {
        let kind = |kind: &str| Some(kind.to_owned());
        let port = |index| Interface { master: Some(3), ..interface(index) };
        let bond0 = interface(3);
        let (link, vlan) = (Some(3), Some(7));
        let vlan7 = Interface { link, vlan, kind: kind("vlan"), ..interface(4) };
        let macvlan0 = Interface { link: Some(4), kind: kind("macvlan"), ..interface(5) };
        let veth = Interface { link: Some(1), kind: kind("veth"), ..interface(6) };
        let moved = Interface { link_netns: Some(0), ..Interface { index: 7, ..vlan7.clone() } };
        let all = [port(1), port(2), bond0, vlan7, macvlan0, veth, moved];
        for (lower, upper, tag) in [
            (1, 1, Some(None)),
            (1, 3, Some(None)),
            (2, 4, Some(Some(7))),
            (1, 5, Some(Some(7))),
            (4, 5, Some(None)),
            (4, 1, None),
            (1, 6, None),
            // The interface below is in another network namespace, and the index is one of that.
            (3, 7, None),
            (1, 9, None),
        ] {
            assert_eq!(tag_on(&interface(lower), upper, &all, 0), tag, "{upper} by {lower}");
        }
        // The search ends even in a circle, which no kernel makes.
        let circle = [
            Interface { link: Some(2), ..interface(1) },
            Interface { link: Some(1), ..interface(2) },
        ];
        assert_eq!(tag_on(&interface(3), 1, &circle, 0), None);
    }
}
