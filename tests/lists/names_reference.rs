//! What lists of domain names say of a question, by a scan of all names and by a map of them, held
//! against what becomes of a query. The fuzz target `names` includes this file.

use std::collections::HashMap;

use xdp_common::packet::LinkType;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;
use xdpctl::judgement::{RunTimeEntries, judge};
use xdpctl::ruleset::domains::{DomainAction, DomainList, DomainName, ListedName, Names};
use xdpctl::ruleset::{Guards, Ruleset};

/// A name in lower case as it stands in a message, without the root's label.
pub type Name = Vec<u8>;

pub fn name(labels: &[&[u8]]) -> Name {
    labels.iter().flat_map(|label| [&[label.len() as u8], *label].concat()).collect()
}

/// The name without its leftmost label; `None` of the root.
fn parent(name: &[u8]) -> Option<&[u8]> {
    name.get(1 + usize::from(*name.first()?)..)
}

/// A list's names, and whether each stands for those below it alone.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    pub names: Vec<(Name, bool)>,
    pub qtypes: Option<Vec<u16>>,
    pub passes: bool,
}

impl Listed {
    pub fn of(names: impl IntoIterator<Item = Name>) -> Self {
        Self { names: names.into_iter().map(|name| (name, false)).collect(), ..Self::default() }
    }

    pub fn below(names: impl IntoIterator<Item = Name>) -> Self {
        Self { names: names.into_iter().map(|name| (name, true)).collect(), ..Self::default() }
    }
}

/// Lists with their image, and where each of their names stands.
pub struct Compiled<'l> {
    lists: &'l [Listed],
    image: Image,
    counters: Vec<CounterId>,
    /// By the name: the lists that have it for itself, and those that have it for what is below it,
    /// in their order.
    of_names: HashMap<&'l [u8], [Vec<usize>; 2]>,
}

impl<'l> Compiled<'l> {
    pub fn new(lists: &'l [Listed]) -> Self {
        let ruleset = ruleset(lists);
        let metadata = Metadata::unbound(&ruleset);
        let image = Image::build(&ruleset, 1, &metadata).expect("a ruleset within the limits");
        let counters = metadata.counted.iter().map(|it| CounterId::new(it.number)).collect();
        let mut of_names: HashMap<&[u8], [Vec<usize>; 2]> = HashMap::new();
        for (number, list) in lists.iter().enumerate() {
            for (name, below_only) in &list.names {
                let [itself, below] = of_names.entry(name).or_default();
                below.push(number);
                if !below_only {
                    itself.push(number);
                }
            }
        }
        Self { lists, image, counters, of_names }
    }

    /// The list that decides about a question.
    pub fn found(&self, name: &[u8], qtype: u16) -> Option<usize> {
        let frame = query(name, qtype);
        let entries = RunTimeEntries::default();
        let answer = judge(&self.image, &entries, LinkType::Ethernet, &frame);
        assert_eq!(answer.unreadable, None, "{name:02x?}");
        let place = self.counters.iter().position(|counter| *counter == answer.domain);
        let passes = place.is_none_or(|place| self.lists[place].passes);
        let expected = match passes {
            true => (Verdict::Pass, Reason::Default),
            false => (Verdict::Drop, Reason::Domain),
        };
        assert_eq!((answer.verdict, answer.reason), expected, "{name:02x?}");
        place
    }

    /// By the name and its parents, from the longest on.
    fn expected(&self, name: &[u8], qtype: u16) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        let mut suffix = Some(&lower[..]);
        let mut below = 0;
        while let Some(name) = suffix {
            if let Some(lists) = self.of_names.get(name) {
                let mut lists = lists[below].iter();
                if let Some(list) = lists.find(|list| self.looks_at(**list, qtype)) {
                    return Some(*list);
                }
            }
            below = 1;
            suffix = parent(name);
        }
        None
    }

    /// The same by a scan of all names.
    pub fn scanned(&self, name: &[u8], qtype: u16) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        let mut suffixes = vec![];
        let mut suffix = Some(&lower[..]);
        while let Some(name) = suffix {
            suffixes.push(name);
            suffix = parent(name);
        }
        let mut best: Option<(usize, usize)> = None;
        for (number, list) in self.lists.iter().enumerate() {
            if !self.looks_at(number, qtype) {
                continue;
            }
            for (listed, below_only) in &list.names {
                let place = suffixes.iter().position(|suffix| suffix == listed);
                if let Some(above) = place
                    && !(*below_only && above == 0)
                    && best.is_none_or(|(_, best)| above < best)
                {
                    best = Some((number, above));
                }
            }
        }
        best.map(|(number, _)| number)
    }

    fn looks_at(&self, list: usize, qtype: u16) -> bool {
        self.lists[list].qtypes.as_ref().is_none_or(|qtypes| qtypes.contains(&qtype))
    }

    pub fn compare(&self, name: &[u8], qtype: u16) {
        let found = self.found(name, qtype);
        assert_eq!(found, self.expected(name, qtype), "{name:02x?}, type {qtype}");
    }

    /// Asks for a listed name, its parent, and names below and beside it.
    pub fn compare_around(&self, name: &[u8]) {
        self.compare(name, 1);
        self.compare(&name.to_ascii_uppercase(), 1);
        if let Some(parent) = parent(name) {
            self.compare(parent, 1);
            // Another first label, of the same length and of another.
            let mut other = name.to_vec();
            other[1] ^= 1;
            self.compare(&other, 1);
            let shorter = [&[name[0] - 1], &name[2..]].concat();
            self.compare(if name[0] == 1 { parent } else { &shorter }, 1);
        }
        if name.len() + 2 <= 254 {
            self.compare(&[b"\x01a", name].concat(), 1);
        }
    }
}

/// A ruleset of these lists.
fn ruleset(lists: &[Listed]) -> Ruleset {
    let list = |(number, listed): (usize, &Listed)| {
        let mut names = Names::default();
        for (name, below_only) in &listed.names {
            let name = DomainName::of_wire(name);
            let listed = ListedName { name, below_only: *below_only, file: 0, line: 1 };
            names.push(listed).expect("room for a name");
        }
        DomainList {
            name: format!("list-{number}"),
            file: 0,
            line: 1,
            column: 1,
            action: if listed.passes { DomainAction::Pass } else { DomainAction::Drop },
            qtypes: listed.qtypes.clone(),
            strict: false,
            guards: Guards::default(),
            names,
        }
    };
    let domains = lists.iter().enumerate().map(list).collect();
    Ruleset { domains, ..Ruleset::default() }
}

/// A frame with a query over IPv4.
fn query(name: &[u8], qtype: u16) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(name);
    message.push(0);
    message.extend(qtype.to_be_bytes());
    message.extend([0, 1]);
    let udp = (8 + message.len() as u16).to_be_bytes();
    let total = (28 + message.len() as u16).to_be_bytes();
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0xc0, 0, 0, 53, udp[0], udp[1], 0, 0]);
    frame.extend(message);
    frame
}

/// Compares all the names of small lists, and what is around them, with a scan too.
pub fn compare_small(lists: &[Listed], qtypes: &[u16]) {
    let compiled = Compiled::new(lists);
    for (name, _) in lists.iter().flat_map(|list| &list.names) {
        compiled.compare_around(name);
        for qtype in qtypes {
            assert_eq!(compiled.found(name, *qtype), compiled.scanned(name, *qtype), "{name:02x?}");
            assert_eq!(compiled.expected(name, *qtype), compiled.scanned(name, *qtype));
        }
    }
}
