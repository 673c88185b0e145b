//! Rules that never match.

use super::Setup;

/// The warnings about rules with these conditions, which are named "a", "b" and so on.
fn said(conditions: &[&str]) -> String {
    let rules: String = (b'a'..)
        .zip(conditions)
        .map(|(name, keys)| {
            format!("[[rule]]\nname = \"{}\"\naction = \"drop\"\n{keys}\n", char::from(name))
        })
        .collect();
    Setup::new(&[]).said(rules)
}

#[test]
fn rules_behind_one_that_matches_everything() {
    insta::assert_snapshot!(said(&["vlan = 1", "", "vlan = 2"]), @r#"warning: DIR/x.toml:6:8: rule "b" matches every packet: those behind it never match: "c" (put it last, or give it a condition)"#);
    insta::assert_snapshot!(said(&["", "vlan = 1", "", "vlan = 2", "vlan = 3", "vlan = 4", "vlan = 5"]), @r#"warning: DIR/x.toml:2:8: rule "a" matches every packet: those behind it never match: "b", "c", "d", "e", "f" and 1 more (put it last, or give it a condition)"#);
    assert_eq!(said(&["vlan = 1", "vlan = 2", ""]), "");
}

#[test]
fn rules_behind_one_that_covers_them() {
    for (wide, narrow) in [
        ("protocol = 'tcp'", "protocol = 'tcp'\ndestination_port = 22"),
        ("protocol = 'tcp'", "tcp_flags = 'syn'"),
        ("protocol = 1", "protocol = 'icmp'\nicmp_type = 8"),
        ("destination_port = '1-100'", "protocol = 'udp'\ndestination_port = [5, '10-20']"),
        ("source = ['10.0.0.0/8', '::/0']", "source = ['10.1.0.0/16', '::1']"),
        ("destination = '0.0.0.0/0'", "destination = '10.0.0.1'\nvlan = 'none'"),
        ("tcp_flags = 'syn'", "tcp_flags = 'syn,!ack'"),
        ("vlan = [1, 2]", "vlan = 2\nprotocol = 47"),
        ("dscp = ['ef', 0]", "dscp = 'be'"),
        ("source_mac = '02:00:00:00:00:01'", "source_mac = '02:00:00:00:00:01'"),
        ("protocol = 'icmpv6'\nicmp_type = [1, 2]", "protocol = 'icmpv6'\nicmp_type = 2"),
        ("length = ['100-200', 40]", "length = ['110-120', 40]"),
        ("ttl = '0-10'", "ttl = 1\nnot_length = 40"),
        ("fragment = true", "fragment = 'later'"),
        ("not_fragment = true", "fragment = false\nttl = 1"),
        ("fragment = true", "not_fragment = false"),
        ("not_source = '10.1.0.0/16'", "source = ['10.2.0.0/16', '::1']"),
        ("not_source = '10.1.0.0/16'", "not_source = ['10.0.0.0/8', '::1']"),
        ("not_source_port = 22", "source_port = [21, '23-30']"),
        ("not_destination_port = 22", "not_destination_port = '20-22'\nprotocol = 'tcp'"),
        ("not_protocol = 'icmp'", "protocol = 'icmpv6'"),
        ("not_protocol = 'icmp'", "not_protocol = [1, 'udp']"),
        ("protocol = 'tcp'", "not_tcp_flags = 'syn'"),
        ("not_tcp_flags = 'syn,ack'", "not_tcp_flags = 'syn'"),
        ("not_tcp_flags = 'syn,ack'", "tcp_flags = '!ack'"),
        ("not_vlan = 'none'", "vlan = 7"),
        ("not_vlan = 'none'", "not_vlan = 7"),
        ("not_vlan = 7", "not_vlan = [7, 8]"),
        ("not_vlan = 7", "vlan = 8"),
        ("not_dscp = 'ef'", "dscp = [0, 10]"),
        ("not_ttl = 1", "ttl = '2-9'"),
        ("not_length = '0-99'", "not_length = ['0-50', '0-99']"),
        ("not_source_mac = '02:00:00:00:00:01'", "source_mac = '02:00:00:00:00:02'"),
    ] {
        let said = said(&[wide, narrow]);
        assert!(said.contains("rule \"b\" never matches: rule \"a\" in line 2 "), "{wide}: {said}");
    }
    insta::assert_snapshot!(said(&["vlan = 1", "vlan = [1, 2]", "vlan = 2"]), @r#"warning: DIR/x.toml:10:8: rule "c" never matches: rule "b" in line 6 has matched all of it (put the narrower rule first, or leave it out)"#);
}

#[test]
fn rules_that_match_something_else_too() {
    for (one, other) in [
        ("protocol = 'tcp'", "destination_port = 22"),
        ("protocol = 'icmp'", "protocol = 1"),
        ("destination_port = 22", "protocol = 'tcp'"),
        ("destination_port = '0-65535'", "source = '10.0.0.1'"),
        ("source = '10.0.0.0/8'", "source = ['10.1.0.0/16', '11.0.0.1']"),
        ("source = '10.0.0.0/8'", "source = ['10.1.0.0/16', '::1']"),
        ("source = '0.0.0.0/0'", "vlan = 1"),
        ("source = '10.1.0.0/16'", "source = '10.0.0.0/8'"),
        ("source = '10.0.0.1'", "destination = '10.0.0.1'"),
        ("tcp_flags = 'syn,!ack'", "tcp_flags = 'syn'"),
        ("vlan = 'none'", "vlan = 0"),
        ("source_port = [1, 3]", "source_port = [1, 2, 3]"),
        ("length = '100-200'", "length = '150-201'"),
        ("ttl = 1", "not_ttl = '2-255'\nfragment = true"),
        ("fragment = false", "source_port = 1"),
        ("fragment = 'first'", "fragment = true"),
        ("not_source = '10.1.0.0/16'", "source = ['10.2.0.0/16', '10.0.0.0/8']"),
        ("not_source = '10.1.0.0/16'", "not_source = '10.1.0.0/17'"),
        ("not_source = '10.1.0.0/16'", "vlan = 1"),
        ("not_source_port = 22", "destination_port = 22"),
        ("not_source_port = 22", "source_port = '20-23'"),
        ("not_protocol = 'icmp'", "protocol = 1"),
        ("not_protocol = [1, 'udp']", "not_protocol = 'icmp'"),
        ("not_tcp_flags = 'syn'", "not_tcp_flags = 'syn,ack'"),
        ("not_tcp_flags = 'syn'", "protocol = 'tcp'"),
        ("not_vlan = 7", "not_vlan = 'none'"),
        ("not_vlan = 7", "vlan = 'none'"),
        ("not_vlan = 'none'", "source_mac = '02:00:00:00:00:01'"),
        ("not_vlan = 7", "vlan = [7, 8]"),
        ("not_source_mac = '02:00:00:00:00:01'", "protocol = 'tcp'"),
    ] {
        assert_eq!(said(&[one, other]), "", "{one} | {other}");
    }
}

/// Thousands of rules with thousands of prefixes each would be compared with each other.
#[test]
fn comparing_ends() {
    let prefixes: String =
        (0..2000).map(|it| format!("'10.0.{}.{}',", it / 256, it % 256)).collect();
    let rules: String = (0..300)
        .map(|it| {
            let own = format!("'11.0.{}.{}'", it / 256, it % 256);
            format!("[[rule]]\nname = 'r{it}'\naction = 'drop'\nsource = [{prefixes}{own}]\n")
        })
        .collect();
    assert_eq!(Setup::new(&[]).said(rules), "");
}
