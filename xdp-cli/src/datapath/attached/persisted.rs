//! The run-time entries that outlive a restart: a file for each interface, by its name, in `/var/lib`.
//!
//! The kernel alone says what is in force. The file says what the next attach puts back. It is
//! written before an entry is put into the kernel's maps, so that no entry is in force that was
//! promised to stay and would not. It is replaced as a whole, so that a command that is stopped
//! anywhere leaves either the old file or the new one. If it is stopped between the file and the
//! maps, the file has entries that are not in force: `bans` warns of them, `unblock` and
//! `bans --flush` remove them like any other. Deadlines are by the wall clock, because the kernel's
//! clock begins anew with each boot.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::prefix::{IpPrefix, parse};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::netns;
use crate::datapath::maps::dynamic::{Order, Store};
use crate::datapath::sys::private_dir;
use crate::notation::millis;
use crate::views::entries::{Kind, Listed};

const BASE: &str = "/var/lib";
/// The directories below it: the product, and the version of the layout of its state. Below these
/// stands a directory for each network namespace.
const PRODUCT: &str = "xdpctl";
const LAYOUT: &str = "v1";
/// What follows the interface's name in the name of a file, and of one that is still being written.
const ENDING: &str = ".entries.json";
const NEW: &str = ".entries.new";
/// Version of the file's format.
const VERSION: u32 = 1;

/// The entries of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persisted {
    /// `None` in a network namespace without a name: after a restart nothing would find it again.
    namespace: Option<String>,
    interface: String,
    entries: BTreeMap<(IpPrefix, String), Kept>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    kind: Kind,
    /// Milliseconds since 1970; `None` where it does not end.
    ends: Option<u64>,
    created: u64,
    note: Option<String>,
}

impl Kept {
    fn is_live(&self, now: u64) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

/// The file, as JSON.
#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    entries: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
struct Item {
    prefix: String,
    owner: String,
    kind: Kind,
    ends: Option<u64>,
    created: u64,
    note: Option<String>,
}

impl Persisted {
    /// Reads the entries of an interface of the caller's network namespace.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, is not root's alone, or is not what xdpctl wrote.
    pub fn read(interface: &str) -> Result<Self> {
        let namespace = netns::lasting_name()?;
        let mut read =
            Self { namespace, interface: interface.to_owned(), entries: BTreeMap::new() };
        let Some(names) = read.names() else { return Ok(read) };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Some(directory) = private_dir::existing(Path::new(BASE), &names)? else {
            return Ok(read);
        };
        let name = format!("{interface}{ENDING}");
        if let Some(bytes) = private_dir::read_file(&directory, &name)? {
            read.entries = decode(&bytes).ok_or_else(|| {
                let path = directory.join(&name);
                Error::new(format!("{} is not what xdpctl wrote", path.display())).hint(format!(
                    "run-time entries that outlive a restart are kept there: remove it (`rm {}`) and \
                     put them again",
                    path.display()
                ))
            })?;
        }
        Ok(read)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes what an owner asks for, in the place of what it asked for before. Always returns
    /// `true`, as [`Self::remove`] does where it changed something.
    ///
    /// # Errors
    ///
    /// In a network namespace without a name.
    pub fn put(&mut self, prefixes: &[IpPrefix], order: &Order) -> Result<bool> {
        if self.namespace.is_none() {
            return Err(Error::new(
                "the network namespace has no name by which its entries could be found after a restart",
            )
            .hint("omit `--persist`, or use a namespace of `ip netns add NAME`"));
        }
        let created = millis(order.created);
        let life = order.life.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let ends = life.map(|life| created.saturating_add(life));
        let kept = Kept { kind: order.kind, ends, created, note: order.note.clone() };
        for prefix in prefixes {
            self.entries.insert((*prefix, order.owner.clone()), kept.clone());
        }
        Ok(true)
    }

    /// Forgets entries, of one owner or of all. Returns whether there were some.
    pub fn remove(&mut self, prefixes: &[IpPrefix], owner: Option<&str>) -> bool {
        let before = self.entries.len();
        if before > 0 {
            self.entries.retain(|(prefix, of), _| {
                owner.is_some_and(|owner| owner != of) || prefixes.binary_search(prefix).is_err()
            });
        }
        self.entries.len() != before
    }

    /// Forgets the entries of one owner, or all. Returns whether the file is to be written: there
    /// were some, or none is left, and then a file that a killed command was writing may be.
    pub fn clear(&mut self, owner: Option<&str>) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(_, of), _| owner.is_some_and(|owner| owner != of));
        self.entries.len() != before || self.is_empty()
    }

    /// Which of these prefixes, which are sorted, have an entry that has not ended, of one owner or
    /// of any. Sorted, each once.
    pub fn having(&self, prefixes: &[IpPrefix], owner: Option<&str>) -> Vec<IpPrefix> {
        let is_meant = |(prefix, of): &(IpPrefix, &str)| {
            owner.is_none_or(|owner| owner == *of) && prefixes.binary_search(prefix).is_ok()
        };
        let mut having: Vec<IpPrefix> =
            self.live().filter(is_meant).map(|(prefix, _)| prefix).collect();
        having.dedup();
        having
    }

    /// The prefixes of entries that have not ended, of one owner or of all, and that are not in
    /// force: `in_force` are all that are. One for each owner, sorted.
    pub fn not_in_force(&self, in_force: &[Listed], owner: Option<&str>) -> Vec<IpPrefix> {
        let there: HashSet<(IpPrefix, &str)> =
            in_force.iter().map(|listed| (listed.prefix, listed.owner.as_str())).collect();
        self.live()
            .filter(|(_, of)| owner.is_none_or(|owner| owner == *of))
            .filter(|entry| !there.contains(entry))
            .map(|(prefix, _)| prefix)
            .collect()
    }

    /// The entry that decides about an address, a prefix of full length, once these are put back: as in
    /// the kernel, the longest that has not ended, and of those as long an allow.
    pub fn deciding(&self, address: &IpPrefix) -> Option<(IpPrefix, Kind)> {
        let now = millis(SystemTime::now());
        let holds = |prefix: &IpPrefix| {
            prefix.family() == address.family() && address.shortened(prefix.length()) == *prefix
        };
        let live = self.entries.iter().filter(|(_, kept)| kept.is_live(now));
        let holding = live.filter(|((prefix, _), _)| holds(prefix));
        let deciding = holding
            .max_by_key(|((prefix, _), kept)| (prefix.length(), kept.kind == Kind::Allow))?;
        Some((deciding.0.0, deciding.1.kind))
    }

    /// The entries that have not ended, with their owners, sorted.
    fn live(&self) -> impl Iterator<Item = (IpPrefix, &str)> {
        let now = millis(SystemTime::now());
        let live = self.entries.iter().filter(move |(_, kept)| kept.is_live(now));
        live.map(|((prefix, owner), _)| (*prefix, owner.as_str()))
    }

    /// Writes the file, without entries that have ended. Where none is left, the file is removed.
    ///
    /// # Errors
    ///
    /// Where that is not possible: then the file is what it was.
    pub fn write(&self) -> Result<()> {
        let Some(names) = self.names() else { return Ok(()) };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (base, now) = (Path::new(BASE), millis(SystemTime::now()));
        let live = self.entries.iter().filter(|(_, kept)| kept.is_live(now));
        let items: Vec<Item> = live
            .map(|((prefix, owner), kept)| Item {
                prefix: prefix.to_string(),
                owner: owner.clone(),
                kind: kept.kind,
                ends: kept.ends,
                created: kept.created,
                note: kept.note.clone(),
            })
            .collect();
        let file = format!("{}{ENDING}", self.interface);
        if items.is_empty() {
            if let Some(directory) = private_dir::existing(base, &names)? {
                // A command that was killed may have left the file that it was writing.
                for file in [file, format!("{}{NEW}", self.interface)] {
                    match fs::remove_file(directory.join(&file)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(error)
                                .context(format!("remove {}", directory.join(&file).display()));
                        }
                        _ => {}
                    }
                }
                private_dir::remove_if_empty(base, &names)?;
            }
            return Ok(());
        }
        let directory = private_dir::create(base, &names)?;
        let path = directory.join(&file);
        let contents = serde_json::to_vec(&Contents { version: VERSION, entries: items });
        write_whole(&directory, &path, &format!("{}{NEW}", self.interface), contents)
            .context(format!("keep run-time entries in {}", path.display()))
    }

    /// Puts all entries that have not ended into the maps of a program that is about to be
    /// attached. Returns how many these are.
    ///
    /// # Errors
    ///
    /// Where one of them cannot be put; those before it stay.
    pub fn restore(&self, store: &mut Store<'_>) -> Result<u64> {
        let now = SystemTime::now();
        // Entries that one command put are put back by one call.
        let mut alike: Vec<(&str, &Kept, Vec<IpPrefix>)> = Vec::new();
        let mut all: Vec<(&(IpPrefix, String), &Kept)> = self.entries.iter().collect();
        all.sort_by_key(|((_, owner), it)| {
            (owner, it.created, it.ends, it.kind.as_str(), &it.note)
        });
        for ((prefix, owner), kept) in all {
            match alike.last_mut() {
                Some((of, it, prefixes)) if *of == owner && *it == kept => prefixes.push(*prefix),
                _ => alike.push((owner, kept, vec![*prefix])),
            }
        }
        let mut restored = 0;
        for (owner, kept, prefixes) in alike {
            let left = |ends| (UNIX_EPOCH + Duration::from_millis(ends)).duration_since(now).ok();
            let life = match kept.ends.map(left) {
                None => None,
                Some(Some(life)) if !life.is_zero() => Some(life),
                // It has ended.
                Some(_) => continue,
            };
            let order = Order {
                owner: owner.to_owned(),
                kind: kept.kind,
                life,
                note: kept.note.clone(),
                created: UNIX_EPOCH + Duration::from_millis(kept.created),
            };
            store.put(&prefixes, &order)?;
            restored += prefixes.len() as u64;
        }
        Ok(restored)
    }

    fn names(&self) -> Option<[String; 3]> {
        let namespace = self.namespace.clone()?;
        Some([PRODUCT.to_owned(), LAYOUT.to_owned(), namespace])
    }
}

/// Replaces the file as a whole, so that a loss of power leaves either the old one or the new one.
fn write_whole(
    directory: &PathBuf,
    path: &Path,
    new: &str,
    contents: serde_json::Result<Vec<u8>>,
) -> std::result::Result<(), private_dir::Error> {
    let told = |source| private_dir::Error::Io { action: "write", path: path.to_owned(), source };
    let contents = contents.map_err(io::Error::other).map_err(told)?;
    let mut file = private_dir::create_file(directory, new)?;
    let mut write = || -> io::Result<()> {
        file.write_all(&contents)?;
        file.sync_all()?;
        fs::rename(directory.join(new), path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(told)
}

/// The entries in a file of these bytes; `None` where this version did not write it.
fn decode(bytes: &[u8]) -> Option<BTreeMap<(IpPrefix, String), Kept>> {
    let contents: Contents = serde_json::from_slice(bytes).ok()?;
    if contents.version != VERSION {
        return None;
    }
    let entry = |item: Item| {
        let Item { prefix, owner, kind, ends, created, note } = item;
        Some(((parse(&prefix).ok()?.prefix, owner), Kept { kind, ends, created, note }))
    };
    contents.entries.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(owner: &str, kind: Kind, life: Option<Duration>) -> Order {
        let created = UNIX_EPOCH + Duration::from_secs(1_769_860_800);
        Order { owner: owner.to_owned(), kind, life, note: Some("é".to_owned()), created }
    }

    fn prefixes(texts: &[&str]) -> Vec<IpPrefix> {
        texts.iter().map(|text| parse(text).unwrap().prefix).collect()
    }

    fn named() -> Persisted {
        let namespace = Some("host".to_owned());
        Persisted { namespace, interface: "eth0".to_owned(), entries: BTreeMap::new() }
    }

    #[test]
    fn the_longest_entry_decides_and_of_those_as_long_an_allow() {
        let mut kept = named();
        let now = SystemTime::now();
        let put = |kept: &mut Persisted, prefix: &str, owner: &str, kind, life| {
            let order = Order { created: now, ..order(owner, kind, life) };
            kept.put(&prefixes(&[prefix]), &order).unwrap();
        };
        let day = Some(Duration::from_secs(86_400));
        put(&mut kept, "10.0.0.0/8", "cli", Kind::Block, None);
        put(&mut kept, "10.1.0.0/16", "cli", Kind::Allow, day);
        put(&mut kept, "10.1.0.0/16", "sshd", Kind::Block, None);
        put(&mut kept, "10.1.0.7", "cli", Kind::Block, day);
        // It ended at once.
        put(&mut kept, "10.2.0.1", "cli", Kind::Allow, Some(Duration::ZERO));
        put(&mut kept, "2001:db8::/32", "cli", Kind::Block, None);
        for (address, deciding) in [
            ("10.0.0.1", Some(("10.0.0.0/8", Kind::Block))),
            ("10.1.0.1", Some(("10.1.0.0/16", Kind::Allow))),
            ("10.1.0.7", Some(("10.1.0.7/32", Kind::Block))),
            ("10.2.0.1", Some(("10.0.0.0/8", Kind::Block))),
            ("11.0.0.1", None),
            ("2001:db8::1", Some(("2001:db8::/32", Kind::Block))),
            ("2001:db9::1", None),
        ] {
            let found = kept.deciding(&parse(address).unwrap().prefix);
            let found = found.map(|(prefix, kind)| (prefix.to_string(), kind));
            assert_eq!(found, deciding.map(|(it, kind)| (it.to_owned(), kind)), "{address}");
        }
    }

    #[test]
    fn of_one_owner_the_last_command_counts() {
        let mut kept = named();
        let (sshd, web) = (order("sshd", Kind::Block, None), order("web", Kind::Block, None));
        let one = prefixes(&["10.0.0.1"]);
        let both = prefixes(&["10.0.0.1", "2001:db8::/48"]);
        assert!(kept.put(&both, &sshd).unwrap());
        assert!(kept.put(&one, &web).unwrap());
        assert!(kept.put(&one, &order("web", Kind::Allow, Some(Duration::from_secs(5)))).unwrap());
        assert_eq!(kept.entries.len(), 3);
        let web = &kept.entries[&(one[0], "web".to_owned())];
        assert_eq!((web.kind, web.ends), (Kind::Allow, Some(1_769_860_805_000)));
        assert!(kept.remove(&one, Some("sshd")));
        assert!(!kept.remove(&one, Some("sshd")));
        assert_eq!(kept.entries.len(), 2);
        assert!(kept.remove(&both, None));
        assert!(kept.is_empty());

        let mut nameless = Persisted { namespace: None, ..named() };
        assert!(nameless.put(&one, &sshd).is_err());
    }

    #[test]
    fn what_is_kept_and_not_in_force_is_found() {
        let mut kept = named();
        let both = prefixes(&["10.0.0.1", "10.0.0.2"]);
        kept.put(&both, &order("sshd", Kind::Block, None)).unwrap();
        kept.put(&both[..1], &order("web", Kind::Block, None)).unwrap();
        // That one has ended.
        let ended = prefixes(&["10.0.0.3"]);
        kept.put(&ended, &order("web", Kind::Block, Some(Duration::from_secs(1)))).unwrap();
        let listed = Listed {
            prefix: both[0],
            kind: Kind::Allow,
            expires_in_seconds: None,
            note: None,
            owner: "sshd".to_owned(),
            created: UNIX_EPOCH,
            packets: 0,
        };
        assert_eq!(kept.not_in_force(&[listed], None), both);
        assert_eq!(kept.not_in_force(&[], Some("web")), both[..1]);
        assert_eq!(kept.having(&both, None), both);
        assert_eq!(kept.having(&both, Some("web")), both[..1]);
        assert_eq!(kept.having(&ended, None), []);
        assert!(!kept.clear(Some("cli")));
        assert!(kept.clear(Some("web")));
        assert_eq!(kept.entries.len(), 2);
        assert!(kept.clear(None));
        assert!(kept.is_empty());
    }

    #[test]
    fn only_what_was_written_is_read() {
        let text = br#"{"version":1,"entries":[{"prefix":"10.0.0.0/8","owner":"cli",
            "kind":"block","ends":5,"created":1,"note":null}]}"#;
        let kept = Kept { kind: Kind::Block, ends: Some(5), created: 1, note: None };
        let (prefix, owner) = (prefixes(&["10.0.0.0/8"])[0], "cli".to_owned());
        assert_eq!(decode(text), Some(BTreeMap::from([((prefix, owner), kept)])));
        let text = String::from_utf8(text.to_vec()).unwrap();
        for (before, after) in
            [("\"version\":1", "\"version\":2"), ("10.0.0.0/8", "10.0.0.0/33"), ("block", "deny")]
        {
            assert_eq!(decode(text.replace(before, after).as_bytes()), None, "{after}");
        }
        assert_eq!(decode(b""), None);
    }
}
