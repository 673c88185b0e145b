//! The programs of the filter, by their places in the map `STAGES`: each can go on with another,
//! and does not come back.
//!
//! The filter itself is loaded at attach. The kernel takes about as long to verify all the others,
//! and most rulesets need none of them. So they come in groups, and a group is loaded when a
//! ruleset that needs it is about to be put in force.

use crate::image::flag;
use crate::packet::LinkType;

/// The filter itself, which begins anew. It stands there as soon as another program does.
pub const FILTER: u32 = 0;
/// The program that reads the question of a DNS message, and asks the lists of names about it.
pub const QUESTION: u32 = 1;
/// The program that goes on with the search for a long name.
pub const NAMES: u32 = 2;
/// The program that goes on from there: rules, and what follows them.
pub const RULES: u32 = 3;
/// The program that finds the service and the backend of a packet, where [`FAST`] does not.
pub const SERVICES: u32 = 4;
/// The program that sends it there.
pub const SERVE: u32 = 5;
/// The program that finds what an ICMP message is about, and answers or translates it.
pub const ICMP: u32 = 6;
/// The program that answers a packet with an ICMP error.
pub const REJECT: u32 = 7;
/// The program that asks the limits of rules, and the rules behind them.
pub const LIMITS: u32 = 8;
/// The program that asks whether a packet answers what this host has open.
pub const REPLIES: u32 = 9;
/// The program that blocks the source of a packet.
pub const CATCH: u32 = 10;
/// The program that answers a SYN with a cookie.
pub const SYN_COOKIE: u32 = 11;
/// The program that sends most packets of services where they go, and is asked before the others.
pub const FAST: u32 = 12;
/// How many places there are.
pub const COUNT: usize = 13;

/// The name of the filter in the programs' object, for links of that type.
pub const fn filter_name(link_type: LinkType) -> &'static str {
    match link_type {
        LinkType::Ethernet => "xdpctl",
        LinkType::Raw => "xdpctl_raw",
    }
}

/// Programs beside the filter that a ruleset needs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// For lists of names.
    Names,
    /// For services.
    Services,
    /// For rules with limits.
    Limits,
    /// For replies.
    Replies,
    /// For rules that block sources.
    Catch,
    /// For rules that answer SYNs.
    SynCookie,
}

impl Group {
    pub const ALL: [Self; 6] =
        [Self::Names, Self::Services, Self::Limits, Self::Replies, Self::Catch, Self::SynCookie];

    /// The programs, with their places. Groups may share programs.
    pub const fn programs(self) -> &'static [(u32, &'static str)] {
        match self {
            Self::Names => {
                &[(QUESTION, "xdpctl_question"), (NAMES, "xdpctl_names"), (RULES, "xdpctl_rules")]
            }
            Self::Services => &[
                (FAST, "xdpctl_fast"),
                (SERVICES, "xdpctl_services"),
                (SERVE, "xdpctl_serve"),
                (ICMP, "xdpctl_icmp"),
                (REJECT, "xdpctl_reject"),
            ],
            Self::Limits => &[(LIMITS, "xdpctl_limits")],
            Self::Replies => &[(REPLIES, "xdpctl_replies")],
            Self::Catch => &[(CATCH, "xdpctl_catch")],
            Self::SynCookie => &[(SYN_COOKIE, "xdpctl_syn_cookie")],
        }
    }

    /// What a ruleset needs that needs this group and no other.
    pub const fn alone(self) -> Needs {
        Needs { flags: self.flag() }
    }

    /// The flag of the image of a ruleset that needs them, see [`flag`].
    const fn flag(self) -> u32 {
        match self {
            Self::Names => flag::DOMAINS,
            Self::Services => flag::SERVICES,
            Self::Limits => flag::LIMITS,
            Self::Replies => flag::REPLIES,
            Self::Catch => flag::CATCHES,
            Self::SynCookie => flag::SYN_COOKIES,
        }
    }
}

/// The groups that a ruleset needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The groups' flags.
    flags: u32,
}

impl Needs {
    pub const NONE: Self = Self { flags: 0 };
    pub const ALL: Self = Self::of(u32::MAX);

    /// Of the ruleset with these flags in the header of its image.
    pub const fn of(flags: u32) -> Self {
        let mut known = 0;
        let mut nth = 0;
        while nth < Group::ALL.len() {
            known |= Group::ALL[nth].flag();
            nth += 1;
        }
        Self { flags: flags & known }
    }

    /// Of two rulesets.
    pub const fn and(self, other: Self) -> Self {
        Self { flags: self.flags | other.flags }
    }

    pub const fn is_empty(self) -> bool {
        self.flags == 0
    }

    /// Whether these are all that the others are, and perhaps more.
    pub const fn cover(self, other: Self) -> bool {
        other.flags & !self.flags == 0
    }

    /// The groups themselves.
    pub fn groups(self) -> impl Iterator<Item = Group> + Clone {
        Group::ALL.into_iter().filter(move |group| self.flags & group.flag() != 0)
    }

    /// The programs that are needed beside the filter, with their places, each once.
    pub fn programs(self) -> impl Iterator<Item = (u32, &'static str)> {
        (FILTER + 1..COUNT as u32).filter_map(move |wanted| {
            let mut programs = self.groups().flat_map(|group| group.programs());
            programs.find(|(place, _)| *place == wanted).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ruleset_needs_what_its_flags_say() {
        assert_eq!(Needs::of(0), Needs::NONE);
        let all = flag::DOMAINS
            | flag::SERVICES
            | flag::LIMITS
            | flag::REPLIES
            | flag::CATCHES
            | flag::SYN_COOKIES;
        assert_eq!(Needs::of(!all), Needs::NONE);
        assert_eq!(Needs::NONE.programs().count(), 0);
        let names = Needs::of(flag::DOMAINS | flag::RULES);
        assert_eq!(names, Needs::of(flag::DOMAINS));
        let places: Vec<u32> = names.programs().map(|(place, _)| place).collect();
        assert_eq!(places, [QUESTION, NAMES, RULES]);
        assert!(names.cover(Needs::NONE) && names.cover(names) && !Needs::NONE.cover(names));
        assert_eq!(Needs::NONE.and(names), names);
        assert!(Needs::ALL.groups().eq(Group::ALL) && names.groups().eq([Group::Names]));
        assert_eq!(Group::Names.alone(), names);
    }

    #[test]
    fn every_place_but_the_filters_has_one_program() {
        let places = Needs::ALL.programs().map(|(place, _)| place);
        assert!(places.eq(FILTER + 1..COUNT as u32));
    }
}
