//! `[service.check]`.

use std::time::Duration;

use super::{Setup, ruleset};
use crate::config::written;
use crate::ruleset::services::check::{Check, Http, IfUnwatched, Probe, Through, Tls};

/// A configuration with a service on port 80, with this in its table, and with this check.
fn configuration(service: &str, check: &str) -> String {
    format!(
        "[services]\nseed = \"b3duIHNlZWQgb2YgdGVzdHM=\"\n[[service]]\nname = \"web\"\n\
         address = \"192.0.2.10\"\nprotocol = \"tcp\"\nmode = \"nat\"\n{service}\n\
         [service.check]\n{check}\n[[service.backend]]\nname = \"b1\"\naddress = \"10.0.0.1\"\n"
    )
}

/// The check that a configuration has; written down, it is read as the same.
fn check(keys: &str) -> Check {
    let check_of = |keys: &str| {
        let ruleset = ruleset(&configuration("port = 80", keys));
        ruleset.services[0].check.clone().unwrap()
    };
    let check = check_of(keys);
    let lines = written::check(&check).into_iter().map(|it| format!("{} = {}\n", it.key, it.value));
    assert_eq!(check_of(&lines.collect::<String>()), check);
    check
}

#[test]
fn what_is_left_out() {
    let check = check("type = \"tcp\"");
    let expected = Check {
        probe: Probe::Tcp { send: None, expect: None },
        through: Through::Backend,
        port: None,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        fall: 3,
        rise: 2,
        if_unwatched: IfUnwatched::Keep,
    };
    assert_eq!(check, expected);
    assert_eq!(check.deadline(), None);
}

#[test]
fn every_key() {
    let http = check(
        "type = \"https\"\nthrough = \"backend\"\nport = 8443\npath = \"/healthz?a=%20\"\n\
         host = \"www.example.org\"\nstatus = [\"200-204\", 404, 301, \"302\"]\nbody = \"o\\tk\"\n\
         verify = true\ninterval = \"500ms\"\ntimeout = \"250ms\"\nfall = 255\nrise = 1\n\
         if_unwatched = \"up\"",
    );
    let expected = Check {
        probe: Probe::Http(Http {
            tls: Some(Tls { verify: true }),
            host: Some("www.example.org".to_owned()),
            path: "/healthz?a=%20".to_owned(),
            status: vec![(200, 204), (301, 302), (404, 404)],
            body: Some("o\tk".to_owned()),
        }),
        through: Through::Backend,
        port: Some(8443),
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(250),
        fall: 255,
        rise: 1,
        if_unwatched: IfUnwatched::Up,
    };
    assert_eq!(http, expected);
    assert_eq!(http.deadline(), Some(Duration::from_millis(258 * 500 + 250)));
    let said = |text: &str| Some(text.to_owned());
    let udp = check("type = \"udp\"\nport = 53\nsend = \"\\u0000\\u0001\"\nexpect = \"\\u0001\"");
    assert_eq!(udp.probe, Probe::Udp { send: said("\0\u{1}"), expect: said("\u{1}") });
    assert_eq!(check("type = \"icmp\"").probe, Probe::Icmp);
    let exec = check("type = \"exec\"\ncommand = [\"/bin/true\"]");
    assert_eq!(exec.probe, Probe::Exec { command: vec!["/bin/true".to_owned()] });
    let through = |text: &str| check(&format!("type = \"icmp\"{text}")).through;
    assert_eq!(through(""), Through::Backend);
    assert_eq!(through("\nthrough = \"backend\""), Through::Backend);
    assert_eq!(through("\nthrough = \"service\""), Through::Service);
    let quick = check("type = \"http\"\ninterval = \"100ms\"");
    assert_eq!(quick.timeout, quick.interval, "the usual timeout is longer");
}

/// The check's own port, the backend's, the service's first.
#[test]
fn which_port() {
    let port = |service: &str, check: &str, backend: &str| {
        let text = configuration(service, check) + backend;
        let service = ruleset(&text).services.swap_remove(0);
        service.checked_at(service.check.as_ref().unwrap(), &service.backends[0]).1
    };
    assert_eq!(port("port = 80", "type = \"tcp\"\nport = 7", "port = 8080\n"), 7);
    assert_eq!(port("port = 80", "type = \"tcp\"", "port = 8080\n"), 8080);
    assert_eq!(port("port = [443, 80]", "type = \"tcp\"", ""), 80);
    assert_eq!(port("", "type = \"icmp\"", ""), 0);
    assert_eq!(port("", "type = \"exec\"\ncommand = [\"/x\"]", ""), 0);
}

#[test]
fn refused() {
    let setup = Setup::new(&[]);
    let mut all = String::new();
    let mut refuse = |service: &str, check: &str| {
        let said = setup.said(configuration(service, check));
        assert!(said.contains("error: "), "accepted: {check}");
        all.push_str(&format!("## {}\n{said}\n", check.replace('\n', "; ")));
    };
    for keys in [
        "",
        "type = \"ping\"",
        "type = 1",
        "type = \"tcp\"\nintervall = \"2s\"",
        "type = \"tcp\"\nthrough = \"vip\"",
        "type = \"tcp\"\npath = \"/\"\nstatus = 200\nverify = true",
        "type = \"icmp\"\nport = 80\nsend = \"x\"",
        "type = \"http\"\ncommand = [\"/bin/true\"]\nverify = false\nexpect = \"x\"",
        "type = \"exec\"\nexpect = \"x\"",
        "type = \"exec\"\ncommand = \"/bin/true\"",
        "type = \"exec\"\ncommand = []",
        "type = \"exec\"\ncommand = [\"check\", \"-v\"]",
        "type = \"exec\"\ncommand = [\"/bin/sh\", 1, \"a\\u0000b\"]",
        "type = \"tcp\"\nport = 0",
        "type = \"tcp\"\nport = 65536",
        "type = \"tcp\"\nport = [80, 443]",
        "type = \"http\"\npath = \"healthz\"",
        "type = \"http\"\npath = \"/a b\"",
        "type = \"http\"\npath = \"/a#b\"",
        "type = \"http\"\nhost = \"\"",
        "type = \"http\"\nhost = \"http://example.org/\"",
        "type = \"http\"\nstatus = []",
        "type = \"http\"\nstatus = [200, 99, 600, \"2xx\", \"299-200\", \"200-\", true]",
        "type = \"http\"\nbody = \"\"",
        "type = \"udp\"\nsend = \"\"",
        "type = \"udp\"\nexpect = 1",
        "type = \"tcp\"\ninterval = 2",
        "type = \"tcp\"\ninterval = \"9ms\"",
        "type = \"tcp\"\ninterval = \"2 h\"",
        "type = \"tcp\"\ntimeout = \"3s\"",
        "type = \"tcp\"\ninterval = \"1s\"\ntimeout = \"1001ms\"",
        "type = \"tcp\"\nfall = 0\nrise = 256",
        "type = \"tcp\"\nif_unwatched = \"down\"",
    ] {
        refuse("port = 80", keys);
    }
    refuse("", "type = \"tcp\"");
    refuse("check = \"tcp\"", "type = \"tcp\"");
    insta::assert_snapshot!(all);
    let text = configuration("port = 80\ncheck = 1", "").replace("[service.check]", "");
    insta::assert_snapshot!(setup.said(text), @r#"error: DIR/x.toml:9:9: service "web": check must be a table, found the integer 1 (write [service.check] below [[service]], and its keys below that)"#);
}
