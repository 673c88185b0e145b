//! Looks up ports and protocols by the names in `/etc/services` and `/etc/protocols` (services(5),
//! protocols(5)).
//!
//! Each file is read once, and only if a name needs it. The names in most rulesets are known
//! without them, since small systems have neither.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

use super::file::Files;
use super::prefix;
use super::spelling::closest;

const SERVICES: &str = "/etc/services";
const PROTOCOLS: &str = "/etc/protocols";

/// IANA, Service Name and Transport Protocol Port Number Registry.
const KNOWN_PORTS: [(&str, u16); 30] = [
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("submissions", 465),
    ("isakmp", 500),
    ("syslog", 514),
    ("submission", 587),
    ("ldaps", 636),
    ("domain-s", 853),
    ("imaps", 993),
    ("pop3s", 995),
    ("mysql", 3306),
    ("ms-wbt-server", 3389),
    ("postgresql", 5432),
];

/// IANA, Protocol Numbers, with Linux's names of some of them after IANA's.
const KNOWN_PROTOCOLS: [(&str, u8); 18] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("ipencap", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
];

/// The content of one of the files.
struct Database {
    /// By name: the numbers, each with what stands behind it, such as "tcp"; empty for nothing.
    entries: HashMap<String, Vec<(u16, String)>>,
    /// Why the file could not be read, worded for a hint.
    missing: Option<String>,
}

impl Database {
    fn read(path: &str, files: &dyn Files) -> Self {
        let bytes = match files.read(Path::new(path)) {
            Ok(bytes) => bytes,
            Err(error) => {
                let missing = format!("{path} cannot be read ({error})");
                return Self { entries: HashMap::new(), missing: Some(missing) };
            }
        };
        let mut entries: HashMap<String, Vec<(u16, String)>> = HashMap::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut fields = line.split_ascii_whitespace();
            let (Some(name), Some(number)) = (fields.next(), fields.next()) else { continue };
            let (number, of) = number.split_once('/').unwrap_or((number, ""));
            let Ok(number) = number.parse() else { continue };
            for name in std::iter::once(name).chain(fields) {
                entries.entry(name.to_owned()).or_default().push((number, of.to_owned()));
            }
        }
        Self { entries, missing: None }
    }
}

/// Looks up the names of ports and protocols.
pub(crate) struct Names<'f> {
    files: &'f dyn Files,
    services: OnceCell<Database>,
    protocols: OnceCell<Database>,
}

impl<'f> Names<'f> {
    pub(crate) fn new(files: &'f dyn Files) -> Self {
        Self { files, services: OnceCell::new(), protocols: OnceCell::new() }
    }

    /// The port of a service. If it has different ones for different protocols, `protocol` decides.
    /// The error is a hint.
    pub(super) fn port(&self, name: &str, protocol: Option<&str>) -> Result<u16, String> {
        self.port_or(name, protocol, "a port such as 53, or a range such as \"1024-65535\"")
    }

    /// The same, with a hint that says what else may stand there.
    pub(crate) fn port_or(
        &self,
        name: &str,
        protocol: Option<&str>,
        instead: &str,
    ) -> Result<u16, String> {
        let database = self.services.get_or_init(|| Database::read(SERVICES, self.files));
        let all = database.entries.get(name).map(Vec::as_slice).unwrap_or_default();
        let of_protocol = all.iter().find(|(_, of)| Some(of.as_str()) == protocol);
        if let Some((port, _)) = of_protocol.or(all.first()) {
            if of_protocol.is_none()
                && let Some((other, of)) = all.iter().find(|(other, _)| other != port)
            {
                return Err(format!(
                    "{SERVICES} has {port}/{} and {other}/{of}: write the number",
                    all[0].1
                ));
            }
            return Ok(*port);
        }
        if let Some((_, port)) = KNOWN_PORTS.iter().find(|(known, _)| *known == name) {
            return Ok(*port);
        }
        // A name of [define] may stand for either, and be used for the wrong one.
        if prefix::parse(name).is_ok() {
            return Err(format!("that is an address: write {instead}"));
        }
        let known = KNOWN_PORTS.iter().map(|(name, _)| *name);
        Err(hint(name, database, SERVICES, known, instead))
    }

    /// The number of a protocol. The error is a hint.
    pub(crate) fn protocol(&self, name: &str) -> Result<u8, String> {
        if let Some((_, number)) = KNOWN_PROTOCOLS.iter().find(|(known, _)| *known == name) {
            return Ok(*number);
        }
        // /etc/protocols has "ip" as pseudo protocol 0, which in a packet means IPv6's hop-by-hop
        // options.
        if matches!(name, "ip" | "IP" | "all" | "any") {
            return Err("leave protocol out to match every packet".into());
        }
        let database = self.protocols.get_or_init(|| Database::read(PROTOCOLS, self.files));
        let found = database.entries.get(name).and_then(|all| all.first());
        if let Some((number, _)) = found {
            return u8::try_from(*number)
                .map_err(|_| format!("{PROTOCOLS} has {number} for it, and 255 is the highest"));
        }
        let known = KNOWN_PROTOCOLS.iter().map(|(name, _)| *name);
        Err(hint(name, database, PROTOCOLS, known, "a protocol's name or a number of 0 to 255"))
    }
}

/// A hint for a name that is unknown.
fn hint<'n>(
    name: &str,
    database: &'n Database,
    path: &str,
    known: impl Iterator<Item = &'n str>,
    instead: &str,
) -> String {
    // Sorted, so that among equally close names always the same one is suggested.
    let mut names: Vec<&str> = database.entries.keys().map(String::as_str).collect();
    names.sort_unstable();
    match (closest(name, known.chain(names)), &database.missing) {
        (Some(meant), _) => format!("did you mean {meant:?}? It may be {instead}"),
        (None, Some(missing)) => format!("{missing}, so few names are known: write {instead}"),
        (None, None) => format!("{path} has no such name: write {instead}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::FileError;

    const SERVICES_TEXT: &str = "# a comment\nhttp\t\t80/tcp\t\twww # x\nwho 513/udp\nlogin 513/tcp\n\
         backup 100/tcp\nbackup 200/udp\nbad x/tcp\nssh 2222/tcp\n\nshort\n";

    fn on_disk(path: &Path) -> Result<Vec<u8>, FileError> {
        match path.to_str() {
            Some(SERVICES) => Ok(SERVICES_TEXT.into()),
            Some(PROTOCOLS) => Ok(b"xtp 36 XTP\nskip 57 SKIP # y\nip 0 IP\nbig 300\n".into()),
            _ => nothing(path),
        }
    }

    fn nothing(_: &Path) -> Result<Vec<u8>, FileError> {
        Err(FileError::Io(std::io::ErrorKind::NotFound.into()))
    }

    #[test]
    fn ports_by_name_and_alias() {
        let names = Names::new(&on_disk);
        for name in ["http", "www"] {
            assert_eq!(names.port(name, None), Ok(80));
        }
        assert_eq!(names.port("login", Some("udp")), Ok(513));
        assert_eq!(names.port("backup", Some("udp")), Ok(200));
        // The file takes precedence; names that it leaves out are known anyway.
        assert_eq!(names.port("ssh", None), Ok(2222));
        assert_eq!(names.port("https", None), Ok(443));
        let hints: Vec<_> =
            ["backup", "htttp", "nonsense", "bad", "short", "192.0.2.1", "2001:db8::/32"]
                .map(|name| names.port(name, None).unwrap_err())
                .into();
        insta::assert_snapshot!(hints.join("\n"), @r#"
        /etc/services has 100/tcp and 200/udp: write the number
        did you mean "http"? It may be a port such as 53, or a range such as "1024-65535"
        /etc/services has no such name: write a port such as 53, or a range such as "1024-65535"
        /etc/services has no such name: write a port such as 53, or a range such as "1024-65535"
        /etc/services has no such name: write a port such as 53, or a range such as "1024-65535"
        that is an address: write a port such as 53, or a range such as "1024-65535"
        that is an address: write a port such as 53, or a range such as "1024-65535"
        "#);
    }

    #[test]
    fn protocols_by_name_and_alias() {
        let names = Names::new(&on_disk);
        for (name, number) in [("gre", 47), ("SKIP", 57), ("xtp", 36), ("ipv6-icmp", 58)] {
            assert_eq!(names.protocol(name), Ok(number));
        }
        let hints: Vec<_> =
            ["ip", "all", "big", "tpc"].map(|name| names.protocol(name).unwrap_err()).into();
        insta::assert_snapshot!(hints.join("\n"), @r#"
        leave protocol out to match every packet
        leave protocol out to match every packet
        /etc/protocols has 300 for it, and 255 is the highest
        did you mean "tcp"? It may be a protocol's name or a number of 0 to 255
        "#);
    }

    #[test]
    fn without_the_files_the_best_known_names_are_known() {
        let names = Names::new(&nothing);
        assert_eq!((names.port("ssh", None), names.protocol("esp")), (Ok(22), Ok(50)));
        let hints = [names.port("nonsense", None), names.protocol("nonsense").map(u16::from)];
        let hints: Vec<_> = hints.into_iter().map(Result::unwrap_err).collect();
        insta::assert_snapshot!(hints.join("\n"), @r#"
        /etc/services cannot be read (entity not found), so few names are known: write a port such as 53, or a range such as "1024-65535"
        /etc/protocols cannot be read (entity not found), so few names are known: write a protocol's name or a number of 0 to 255
        "#);
    }

    #[test]
    fn a_file_is_read_once() {
        let reads = std::cell::Cell::new(0);
        let counting = |path: &Path| {
            reads.set(reads.get() + 1);
            on_disk(path)
        };
        let names = Names::new(&counting);
        for name in ["www", "who", "nonsense"] {
            let _ = (names.port(name, None), names.protocol(name));
        }
        assert_eq!(reads.get(), 2);
    }
}
