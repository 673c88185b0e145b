//! Programs that ask the server themselves.

use super::*;

/// What dig has to say of nothing in a message: its warnings begin so.
fn assert_no_warnings(output: &Output) {
    let warned = output.stdout.lines().any(|line| line.to_lowercase().contains("warning"));
    assert!(!warned, "{output:?}");
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn dig_gets_what_each_action_says() {
    let served = Served::new();
    for server in ["@192.0.2.53", "@2001:db8::53"] {
        for (name, expected) in [
            ("www.nx.example", "NXDOMAIN"),
            ("nx.example", "NXDOMAIN"),
            ("www.REFUSE.example", "REFUSED"),
        ] {
            let output = served.dig(&[server, name]);
            assert_eq!(status(output.success()), expected, "{output:?}");
            assert_eq!(flags(&output), ["qr", "rd", "ra"], "{output:?}");
            assert!(output.stdout.contains("QUERY: 1, ANSWER: 0, AUTHORITY: 0, ADDITIONAL: 1"));
            // dig sends a cookie, and gets none.
            assert!(output.stdout.contains("EDNS: version: 0, flags:; udp: 1232"), "{output:?}");
            assert!(!output.stdout.contains("COOKIE"), "{output:?}");
            assert_no_warnings(&output);
        }
        // Without recursion, with checking disabled, with DO and without EDNS.
        let output = served.dig(&[server, "+norec", "+cd", "+dnssec", "www.nx.example", "TXT"]);
        assert_eq!(status(output.success()), "NXDOMAIN");
        assert_eq!(flags(&output), ["qr", "ra", "cd"], "{output:?}");
        assert!(output.stdout.contains("EDNS: version: 0, flags: do; udp: 1232"), "{output:?}");
        let output = served.dig(&[server, "+noedns", "www.nx.example", "MX"]);
        assert_eq!(status(output.success()), "NXDOMAIN");
        assert!(output.stdout.contains("ADDITIONAL: 0"), "{output:?}");
        assert_no_warnings(&output);
        // A version of EDNS that is not there yet; dig asks again with what it is told.
        let newer = [server, "+edns=1", "+noednsneg", "www.nx.example"];
        assert_eq!(status(served.dig(&newer).success()), "BADVERS");
        let negotiated = served.dig(&[server, "+edns=1", "www.nx.example"]);
        assert_eq!(status(negotiated.success()), "NXDOMAIN");
        // Padding makes a query of several hundred bytes.
        let padded = served.dig(&[server, "+padding=468", "www.nx.example"]);
        assert_eq!(status(padded.success()), "NXDOMAIN");
        assert_no_warnings(&padded);

        // Truncated, and whole by TCP.
        let output = served.dig(&[server, "+ignore", "www.tcp.example"]);
        assert_eq!(status(output.success()), "NOERROR");
        assert_eq!(flags(&output), ["qr", "tc", "rd", "ra"], "{output:?}");
        let output = served.dig(&[server, "www.tcp.example"]);
        assert!(output.success().stdout.contains("Truncated, retrying in TCP mode"), "{output:?}");
        assert!(output.stdout.contains(ADDRESS), "{output:?}");

        // Type ANY is refused of every name, by UDP.
        let output = served.dig(&[server, "+notcp", "www.plain.example", "ANY"]);
        assert_eq!(status(output.success()), "REFUSED", "{output:?}");

        // 9: no reply.
        let output = served.dig(&[server, "www.drop.example"]);
        assert!(output.expect_status(9).stdout.contains("timed out"), "{output:?}");
        // TCP is not looked into.
        let output = served.dig(&[server, "+tcp", "+short", "www.drop.example"]);
        assert_eq!(output.success().stdout, "192.0.2.80\n");

        for name in ["www.plain.example", "good.nx.example"] {
            let output = served.dig(&[server, "+short", name]);
            assert_eq!(output.success().stdout, "192.0.2.80\n", "{name}");
        }
    }
    for list in ["exceptions", "any", "dropped", "denied", "refused", "by-tcp"] {
        assert!(served.counted(list) >= 2, "{list}: {:#?}", served.bench.sample());
    }
    assert_eq!(served.counted("exceptions"), 2);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn kdig_gets_what_each_action_says() {
    let served = Served::new();
    let kdig = |args: &[&str]| served.run("kdig", &[&["+timeout=2", "+retry=0"], args].concat());
    for server in ["@192.0.2.53", "@2001:db8::53"] {
        for (name, expected) in [("www.nx.example", "NXDOMAIN"), ("www.refuse.example", "REFUSED")]
        {
            for options in [&[][..], &["+edns"], &["+dnssec"], &["+edns", "+padding"], &["+cookie"]]
            {
                let output = kdig(&[&[server, name], options].concat());
                assert_eq!(status(output.success()), expected, "{output:?}");
                assert_eq!(flags(&output), ["qr", "rd", "ra"], "{output:?}");
                assert!(!output.stdout.contains("COOKIE"), "{output:?}");
                assert_eq!(output.stderr, "", "{output:?}");
            }
        }
        let output = kdig(&[server, "+edns=1", "www.nx.example"]);
        assert_eq!(status(&output), "BADVERS", "{output:?}");
        let output = kdig(&[server, "+short", "www.tcp.example"]);
        assert_eq!(output.success().stdout.trim_start(), "192.0.2.80\n", "{output:?}");
        assert!(output.stderr.contains("truncated reply"), "{output:?}");
        assert!(output.stderr.contains("retrying over TCP"), "{output:?}");
        let output = kdig(&[server, "+ignore", "www.tcp.example"]);
        assert_eq!(flags(&output), ["qr", "tc", "rd", "ra"], "{output:?}");
        let output = kdig(&[server, "www.drop.example"]);
        assert_ne!(output.status, 0, "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(said.contains("timeout"), "{said}");
        let output = kdig(&[server, "+short", "good.nx.example"]);
        assert_eq!(output.success().stdout, "192.0.2.80\n");
    }
}

/// Prints the addresses of its last argument, or the name of getaddrinfo(3)'s error.
const GETADDRINFO: &str = "
import socket, sys
names = {socket.EAI_NONAME: 'EAI_NONAME', socket.EAI_AGAIN: 'EAI_AGAIN', socket.EAI_FAIL: 'EAI_FAIL',
         socket.EAI_NODATA: 'EAI_NODATA'}
try:
    found = socket.getaddrinfo(sys.argv[1], None, socket.AF_INET, socket.SOCK_DGRAM)
    print(' '.join(sorted(address[4][0] for address in found)))
except socket.gaierror as error:
    print(names.get(error.errno, error))
";

/// With /etc/resolv.conf of these lines, for one command.
fn with_resolv_conf<'a>(file: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    [&["--mount", "--", "sh", "-c", script, file], command].concat()
}

/// The system's own resolver, which most programs use.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn glibc_gets_what_each_action_says() {
    let served = Served::new();
    for server in [SERVER, SERVER_V6] {
        let file = served.folder.path().join("resolv.conf");
        let lines = format!("nameserver {server}\noptions timeout:1 attempts:1\n");
        fs::write(&file, lines).expect("written");
        let file = file.to_str().expect("UTF-8");
        let getent = |name: &str| {
            served.run("unshare", &with_resolv_conf(file, &["getent", "ahosts", name]))
        };
        for name in ["www.plain.example", "good.nx.example", "www.tcp.example"] {
            let output = getent(name);
            assert!(output.success().stdout.contains(ADDRESS), "{output:?}");
            assert!(output.stdout.contains(ADDRESS_V6), "{output:?}");
        }
        for name in ["www.nx.example", "www.refuse.example", "www.drop.example"] {
            let output = getent(name);
            assert_eq!(output.expect_status(2).stdout, "", "{output:?}");
        }
        for (name, expected) in [
            ("www.plain.example", ADDRESS),
            ("www.tcp.example", ADDRESS),
            ("www.nx.example", "EAI_NONAME"),
            // "Try again": the name may be there, and nobody said so.
            ("www.refuse.example", "EAI_AGAIN"),
            ("www.drop.example", "EAI_AGAIN"),
        ] {
            let command = ["python3", "-c", GETADDRINFO, name];
            let output = served.run("unshare", &with_resolv_conf(file, &command));
            assert_eq!(output.success().stdout.trim_end(), expected, "{name}: {output:?}");
        }
    }
}

/// Of several servers, the next one is asked when one refuses or is silent, and not when one denies.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn glibc_asks_the_next_server_when_one_refuses() {
    let served = Served::new();
    let file = served.folder.path().join("resolv.conf");
    let forwarder = forwarders::start_plain(&served, 53);
    fs::write(
        &file,
        format!("nameserver {SERVER}\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
    )
    .expect("written");
    let file = file.to_str().expect("UTF-8");
    for (name, expected) in [
        ("www.refuse.example", ADDRESS),
        ("www.drop.example", ADDRESS),
        ("www.nx.example", "EAI_NONAME"),
    ] {
        let command = ["python3", "-c", GETADDRINFO, name];
        let output = served.run("unshare", &with_resolv_conf(file, &command));
        assert_eq!(output.success().stdout.trim_end(), expected, "{name}: {output:?}");
    }
    drop(forwarder);
}
