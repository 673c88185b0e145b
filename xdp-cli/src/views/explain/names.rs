//! Finds the name of a list that decided about a DNS message. The program knows only the list.

use std::collections::HashMap;

use crate::ruleset::Ruleset;
use crate::ruleset::domains::{DomainAction, DomainList, DomainName};
use crate::ruleset::name_index::NameIndex;

/// A name of a list, as it is written in a configuration, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePlace {
    pub entry: String,
    pub file: String,
    pub line: u32,
}

/// A name of a list that holds the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldName {
    /// The name of the list.
    pub list: String,
    pub action: DomainAction,
    /// The question types that the list looks at; `None` if at all.
    pub qtypes: Option<Vec<u16>>,
    pub place: NamePlace,
}

/// Indexes of the names of lists, each made when its list is first asked.
#[derive(Default)]
pub(super) struct NameIndexes(HashMap<usize, NameIndex>);

impl NameIndexes {
    /// The most specific entry of the list of that name that holds a name, which may be in whatever
    /// case. `None` if there is none, or the list does not look at that question type.
    pub(super) fn deciding(
        &mut self,
        ruleset: &Ruleset,
        list: &str,
        queried: DomainName<'_>,
        qtype: u16,
    ) -> Option<NamePlace> {
        let number = ruleset.domains.iter().position(|one| one.name == list)?;
        let list = &ruleset.domains[number];
        let looks = list.qtypes.as_ref().is_none_or(|types| types.contains(&qtype));
        let found = self.holding_in(number, list, queried).into_iter().next();
        found.filter(|_| looks).and_then(|entry| place(ruleset, list, entry))
    }

    /// Every entry that holds a name, in the order in which they would decide if all lists looked at
    /// its question type: the most specific first, and of equally specific ones that of the list
    /// that comes first.
    pub(super) fn holding(&mut self, ruleset: &Ruleset, queried: DomainName<'_>) -> Vec<HeldName> {
        let mut held = Vec::new();
        for (number, list) in ruleset.domains.iter().enumerate() {
            for entry in self.holding_in(number, list, queried) {
                let labels = list.names.get(entry).map_or(0, |it| it.name.labels().count());
                let Some(place) = place(ruleset, list, entry) else { continue };
                let (name, qtypes) = (list.name.clone(), list.qtypes.clone());
                let one = HeldName { list: name, action: list.action, qtypes, place };
                // `example.org` and `*.example.org` are equally specific for what is below.
                held.push((labels, one));
            }
        }
        // The sort is stable: equal entries stay in the order of the lists in the file.
        held.sort_by_key(|(labels, _)| std::cmp::Reverse(*labels));
        held.into_iter().map(|(_, held)| held).collect()
    }

    fn holding_in(
        &mut self,
        number: usize,
        list: &DomainList,
        queried: DomainName<'_>,
    ) -> Vec<usize> {
        let index = self.0.entry(number).or_insert_with(|| NameIndex::of(&list.names));
        // A label's length is never that of a capital letter.
        let wire = queried.wire().to_ascii_lowercase();
        index.holding(&list.names, DomainName::of_wire(&wire))
    }
}

fn place(ruleset: &Ruleset, list: &DomainList, entry: usize) -> Option<NamePlace> {
    let listed = list.names.get(entry)?;
    let file = ruleset.files.get(usize::from(listed.file));
    let file = file.map_or_else(|| "?".to_owned(), |file| file.to_string_lossy().into_owned());
    Some(NamePlace { entry: listed.to_string(), file, line: listed.line })
}
