//! `metrics`: scraped by hand, over TCP and over a Unix socket, by good clients and by bad ones.

mod served;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::served::{Answer, Scraped, Served};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::{icmp4, udp4, udp6};
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Traffic};

const RULES: &str = r#"
    [[allowlist]]
    name = "office"
    prefixes = ["10.2.0.0/16"]
    [[blocklist]]
    name = "bad"
    prefixes = ["10.1.0.0/16", "2001:db8:1::/48"]
    [[rule]]
    name = "dns"
    protocol = "udp"
    destination_port = 53
    action = "drop"
    [[rule]]
    name = "mirror"
    protocol = "icmp"
    action = "redirect"
    to = "out0"
"#;

/// An attached bench; its metrics are served on the namespace's own loopback address.
fn attached() -> (Bench, Served) {
    let mut bench = Bench::new();
    bench.attach(RULES);
    let served = Served::start(&bench);
    (bench, served)
}

const OPEN: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

#[test]
fn what_stats_and_status_say_is_what_is_scraped() {
    let (bench, served) = attached();
    let port = bench.port("src0");
    port.send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    port.send(&udp4("10.2.0.1", "192.0.2.1", 1, 53).build());
    port.send(&udp4("10.3.0.1", "192.0.2.1", 1, 53).build());
    port.send(&udp6("2001:db8:1::1", "2001:db8::1", 1, 1).build());
    port.send(&icmp4("10.3.0.1", "192.0.2.1", 8).build());
    port.send(&udp4("10.3.0.1", "192.0.2.1", 1, 1).build());
    let sample = bench.await_count(6);
    bench.xdpctl(["block", JUDGED, "10.9.0.1"]).success();

    let scraped = served.get(&bench, "*/*");
    scraped.assert_is(&sample);
    let status = &bench.xdpctl(["status", "--json"]).statuses()[0];
    let value = |name: &str| scraped.value(&format!("xdpctl_{name}{{interface=\"in0\"}}"));
    for kind in ["ipv4", "ipv6", "domains", "rules", "bans"] {
        let series = format!("xdpctl_entries{{interface=\"in0\",kind=\"{kind}\"}}");
        assert_eq!(Some(scraped.value(&series)), status["entries"][kind].as_f64(), "{kind}");
    }
    assert_eq!(Some(value("map_bytes")), status["map_bytes"].as_f64());
    assert_eq!(value("problems"), status["problems"].as_array().expect("an array").len() as f64);
    assert_eq!([value("filtering"), value("link_up"), value("bypass")], [1.0, 1.0, 0.0]);
    assert_eq!(value("scrape_success"), 1.0);
    assert!(scraped.has("xdpctl_interface_info{interface=\"in0\",mode=\"native\"}"));
    assert_eq!(
        scraped.value(
            "xdpctl_list_entries{interface=\"in0\",name=\"bad\",kind=\"blocklist\",family=\"ipv6\"}"
        ),
        1.0
    );
    let loaded = humantime(status["loaded_at"].as_str().expect("a time"));
    // Each command computes it from two clocks, and may have to wait between reading them.
    assert!((value("ruleset_loaded_timestamp_seconds") - loaded).abs() < 0.5);
    // The ruleset came with the attachment, some milliseconds later on a busy machine.
    let attached = value("attached_timestamp_seconds");
    assert!(attached <= loaded + 0.5 && loaded - attached < 60.0, "{attached} {loaded}");
    // The kernel measures nothing unless it is told to.
    assert!(!scraped.has("xdpctl_program_runs_total{interface=\"in0\"}"));

    // The same in the other format.
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {OPEN}\r\n\r\n");
    let open = served.ask(&bench, &request);
    assert_eq!(
        open.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.body.ends_with("\n# EOF\n"), "{}", open.body);
    assert_eq!(Scraped::of(&open), scraped);

    // What goes on after this.
    bench.xdpctl(["bypass", JUDGED, "on"]).success();
    bench.lab().ip("dut", ["link", "set", "out0", "down"]);
    bench.xdpctl(["reload", JUDGED]).success();
    let scraped = served.get(&bench, "*/*");
    let value = |name: &str| scraped.value(&format!("xdpctl_{name}{{interface=\"in0\"}}"));
    assert_eq!(value("bypass"), 1.0);
    let problems = bench.xdpctl(["status", "--json"]).statuses()[0]["problems"].clone();
    let problems = problems.as_array().expect("an array").len();
    assert!(problems >= 2 && value("problems") == problems as f64, "{problems}");
    assert_eq!(value("ruleset_generation"), 2.0);
    assert!(value("ruleset_loaded_timestamp_seconds") >= value("attached_timestamp_seconds"));
    scraped.assert_is(&bench.sample());
    assert_eq!(served.end(Signal::SIGTERM), "");
}

/// Seconds since 1970 of a time as JSON has it.
fn humantime(text: &str) -> f64 {
    let mut date = std::process::Command::new("date");
    date.args(["--utc", "+%s.%N", "--date", text]);
    let output = Background::start(date).wait(EVENT).expect("it ends");
    output.success().stdout.trim().parse().expect("a number")
}

#[test]
fn interfaces_come_and_go_while_it_runs() {
    let bench = Bench::new();
    let served = Served::start(&bench);
    let file = bench.write("in0.toml", RULES);
    let file = file.to_str().expect("UTF-8");
    let nothing = served.get(&bench, "*/*");
    assert_eq!(nothing.sum("xdpctl_filtering"), 0.0);
    assert_eq!(nothing.value("xdpctl_scrape_errors_total"), 0.0);

    bench.xdpctl(["attach", "in0", "-c", file]).success();
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    served.get(&bench, "*/*").assert_is(&bench.await_count(1));
    bench.xdpctl(["attach", "out0", "-c", file]).success();
    let both = served.get(&bench, "*/*");
    assert_eq!(both.sum("xdpctl_filtering"), 2.0);
    assert_eq!(both.sum("xdpctl_packets_total{interface=\"in0\""), 1.0);

    bench.xdpctl(["detach", "in0"]).success();
    let one = served.get(&bench, "*/*");
    assert!(!one.0.keys().any(|series| series.contains("in0")), "{one:#?}");
    assert!(one.has("xdpctl_filtering{interface=\"out0\"}"));

    // Counters begin anew.
    bench.xdpctl(["attach", "in0", "-c", file]).success();
    let again = served.get(&bench, "*/*");
    assert_eq!(again.sum("xdpctl_packets_total{interface=\"in0\""), 0.0);
    let attached =
        |scraped: &Scraped| scraped.value("xdpctl_attached_timestamp_seconds{interface=\"in0\"}");
    assert!(attached(&again) > attached(&both));

    // The interface itself goes, and another one of its name comes.
    bench.lab().ip("dut", ["link", "delete", "in0"]);
    let gone = served.get(&bench, "*/*");
    assert_eq!(gone.value("xdpctl_filtering{interface=\"in0\"}"), 0.0);
    assert_eq!(gone.value("xdpctl_link_up{interface=\"in0\"}"), 0.0);
    assert!(gone.value("xdpctl_problems{interface=\"in0\"}") >= 1.0);
    bench.lab().ip("dut", ["link", "add", "in0", "type", "veth", "peer", "name", "other"]);
    bench.xdpctl(["attach", "in0", "-c", file]).success();
    let two = served.get(&bench, "*/*");
    assert_eq!(two.value("xdpctl_filtering{interface=\"in0\"}"), 1.0);
    assert_eq!(served.end(Signal::SIGINT), "");
}

#[test]
fn pages_and_what_there_is_not() {
    let (bench, served) = attached();
    let ask = |line: &str| served.ask(&bench, &format!("{line}\r\nHost: x\r\n\r\n"));
    let front = ask("GET / HTTP/1.1");
    assert_eq!(
        (front.status, front.headers["content-type"].as_str()),
        (200, "text/html; charset=utf-8")
    );
    assert!(front.body.contains("href=\"/metrics\""), "{front:?}");
    let plain = ask("GET /metrics HTTP/1.0");
    assert_eq!(plain.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(plain.headers["connection"], "close");
    let head = ask("HEAD /metrics HTTP/1.1");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.headers["content-length"], plain.body.len().to_string());
    assert_eq!(ask("GET /metrics?name=x HTTP/1.1").status, 200);
    for (line, status) in [
        ("GET /other HTTP/1.1", 404),
        ("GET /metrics/ HTTP/1.1", 404),
        ("POST /other HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 405),
        ("DELETE / HTTP/1.1", 405),
        ("GET / HTTP/9.9", 400),
    ] {
        assert_eq!(ask(line).status, status, "{line}");
    }
    assert_eq!(ask("PUT / HTTP/1.1").headers["allow"], "GET, HEAD");
    // One that sends a body gets its answer all the same.
    let post = format!("POST / HTTP/1.1\r\nContent-Length: 9999\r\n\r\n{}", "x".repeat(9999));
    assert_eq!(served.ask(&bench, &post).status, 405);
}

/// More clients than there are places, all of which do nothing or do it wrong; a good one is answered,
/// and commands run.
#[test]
fn slow_and_hostile_clients_keep_nobody_out() {
    let (bench, mut served) = attached();
    let hostile: [&[u8]; 7] = [
        b"",
        b"G",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ",
        // They ask and do not read the answer.
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nx",
    ];
    let mut held = Vec::new();
    for round in 0..6 {
        for bytes in hostile {
            let mut stream = served.connect(&bench);
            // The server may have ended it already.
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
        let scraped = served.get(&bench, "*/*");
        assert!(scraped.has("xdpctl_filtering{interface=\"in0\"}"), "round {round}");
        bench.xdpctl(["reload", JUDGED]).success();
    }
    assert_eq!(
        served.get(&bench, "*/*").value("xdpctl_ruleset_generation{interface=\"in0\"}"),
        7.0
    );

    // They gave up their places to those that came after them, and not when their time was over:
    // then this one would have been told so.
    let mut told = Vec::new();
    held[0].read_to_end(&mut told).expect("ended");
    assert_eq!(String::from_utf8_lossy(&told), "");

    // Headers without end are not read to their end.
    let mut stream = served.connect(&bench);
    let (mut sent, line) = (0, [b'a'; 1024]);
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: ");
    while sent < 64 << 20 && stream.write_all(&line).is_ok() {
        sent += line.len();
    }
    assert!(sent < 64 << 20, "all of it was taken");
    let long = served.ask(&bench, &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(9000)));
    assert_eq!(long.status, 431);
    let many = served.ask(&bench, &format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)));
    assert_eq!(many.status, 431);

    // The end does not wait for them.
    let mut last = served.connect(&bench);
    last.write_all(b"GET /met").expect("taken");
    served.server.signal(Signal::SIGTERM);
    let begun = Instant::now();
    let output = served.server.wait(EVENT).expect("it ends");
    assert_eq!(output.success().stderr, "", "after {:?}", begun.elapsed());
    drop(held);
}

/// A client that does not get to its end is told so, and its place is free again.
#[test]
fn a_request_has_a_time() {
    let (bench, served) = attached();
    let mut slow = served.connect(&bench);
    slow.write_all(b"GET /metrics HTTP/1.1\r\n").expect("taken");
    let drip = {
        let mut slow = slow.try_clone().expect("a copy");
        thread::spawn(move || {
            // A header line now and then does not give it more time.
            while slow.write_all(b"A: b\r\n").is_ok() {
                thread::sleep(Duration::from_millis(500));
            }
        })
    };
    // Whatever it still sends may reset the connection once it was answered.
    let mut bytes = Vec::new();
    let ended = slow.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.starts_with("HTTP/1.1 408 ") || ended.is_err(), "{ended:?} {text}");
    slow.shutdown(Shutdown::Both).ok();
    drip.join().expect("the dripping thread");
    served.get(&bench, "*/*");

    // One that is only silent gets its answer for sure.
    let mut silent = served.connect(&bench);
    silent.write_all(b"GET /metrics HTTP/1.1\r\n").expect("taken");
    assert_eq!(Answer::read(&mut silent).status, 408);
}

/// Scrapes side by side with reloads and traffic: each of them whole, and none back in time.
#[test]
fn scrapes_beside_reloads_and_traffic() {
    let (bench, served) = attached();
    let other =
        bench.write("other.toml", "[[blocklist]]\nname = \"other\"\nprefixes = [\"10.1.0.0/24\"]");
    let frames =
        [udp4("10.1.0.1", "192.0.2.1", 1, 1).build(), udp4("10.3.0.1", "192.0.2.1", 1, 53).build()];
    let traffic = Traffic::start(bench.lab().port("src", "src0"), frames);
    let done = AtomicBool::new(false);
    let counts = thread::scope(|scope| {
        let scraper = || {
            let (mut count, mut packets, mut generation) = (0, 0.0, 0.0);
            while !done.load(Ordering::Relaxed) {
                let scraped = served.get(&bench, if count % 2 == 0 { "*/*" } else { OPEN });
                let of = |name: &str| scraped.sum(&format!("{name}{{interface=\"in0\""));
                let now = of("xdpctl_packets_total");
                assert_eq!(now, of("xdpctl_reason_packets_total"));
                assert!(now >= packets, "{packets} went back to {now}");
                packets = now;
                let now = of("xdpctl_ruleset_generation");
                assert!(now >= generation, "{generation} went back to {now}");
                generation = now;
                count += 1;
            }
            count
        };
        let scrapers: Vec<_> = (0..3).map(|_| scope.spawn(scraper)).collect();
        let files = [
            other.to_str().expect("UTF-8"),
            bench.directory().join("in0.toml").to_str().expect("UTF-8"),
        ]
        .map(str::to_owned);
        for turn in 0..20 {
            bench.xdpctl(["reload", JUDGED, "-c", &files[turn % 2]]).success();
        }
        done.store(true, Ordering::Relaxed);
        scrapers.into_iter().map(|one| one.join().expect("a scraper")).sum::<u32>()
    });
    traffic.stop();
    assert!(counts > 0);
    let scraped = served.get(&bench, "*/*");
    assert_eq!(scraped.value("xdpctl_scrape_errors_total"), 0.0);
    scraped.assert_is(&bench.sample());
    assert_eq!(served.end(Signal::SIGTERM), "");
}

/// Somebody pinned something else where a link was.
#[test]
fn an_interface_that_cannot_be_read_does_not_hide_the_others() {
    let (bench, served) = attached();
    let sample = bench.sample();
    let file = bench.directory().join("in0.toml");
    let file = file.to_str().expect("UTF-8");
    bench.xdpctl(["attach", "out0", "-c", file]).success();
    let pins = bench.lab().pins("dut", bench.lab().ifindex("dut", "out0"));
    fs::rename(pins.join("link"), pins.join("other")).expect("renamed");
    fs::hard_link(pins.join("program"), pins.join("link")).expect("a link");
    for errors in [1.0, 2.0] {
        let scraped = served.get(&bench, "*/*");
        scraped.assert_is(&sample);
        assert_eq!(scraped.value("xdpctl_scrape_success{interface=\"in0\"}"), 1.0);
        assert_eq!(scraped.value("xdpctl_scrape_success{interface=\"out0\"}"), 0.0);
        assert!(!scraped.has("xdpctl_filtering{interface=\"out0\"}"));
        assert_eq!(scraped.value("xdpctl_scrape_errors_total"), errors);
    }
    let path = bench.directory().join("out.prom");
    let output = bench.xdpctl([Path::new("metrics"), Path::new("--textfile"), &path]);
    assert!(output.success().stderr.starts_with("warning: out0: cannot use "), "{}", output.stderr);
    let written = Scraped::parse(&fs::read_to_string(&path).expect("written"));
    assert_eq!(written, served.get(&bench, "*/*").lasting());

    fs::remove_file(pins.join("link")).expect("removed");
    fs::rename(pins.join("other"), pins.join("link")).expect("renamed");
    let scraped = served.get(&bench, "*/*");
    assert_eq!(scraped.value("xdpctl_scrape_success{interface=\"out0\"}"), 1.0);
    assert_eq!(scraped.value("xdpctl_filtering{interface=\"out0\"}"), 1.0);
    // Said once, not at each scrape.
    let said = served.end(Signal::SIGTERM);
    assert_eq!(said.matches("warning: out0: cannot use ").count(), 1, "{said}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn over_a_unix_socket() {
    let mut bench = Bench::new();
    bench.attach(RULES);
    let path = bench.directory().join("metrics.sock");
    let listen = format!("unix:{}", path.display());
    let start = || {
        let server = bench.lab().spawn_xdpctl("dut", ["metrics", "--listen", &listen]);
        assert_eq!(server.lines(1, EVENT)[0], format!("serving metrics on {listen} until Ctrl-C"));
        server
    };
    let get = || {
        let mut stream = UnixStream::connect(&path).expect("a connection");
        stream.set_read_timeout(Some(patient(EVENT))).expect("a limit");
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("taken");
        Scraped::of(&Answer::read(&mut stream))
    };
    let mut server = start();
    assert_eq!(mode(&path), 0o660);
    get().assert_is(&bench.sample());
    let second = bench.xdpctl(["metrics", "--listen", &listen]);
    assert!(second.expect_status(1).stderr.contains("another process listens there"), "{second:?}");
    get();
    server.signal(Signal::SIGTERM);
    server.wait(EVENT).expect("it ends").success();
    assert!(!path.exists());

    // What a killed one leaves is replaced.
    let mut killed = start();
    killed.signal(Signal::SIGKILL);
    killed.wait(EVENT).expect("it ends").expect_status(128 + 9);
    assert!(fs::symlink_metadata(&path).expect("left").file_type().is_socket());
    let mut server = start();
    get();
    // What another one has put there meanwhile stays.
    fs::remove_file(&path).expect("removed");
    let other = UnixListener::bind(&path).expect("another socket");
    server.signal(Signal::SIGINT);
    server.wait(EVENT).expect("it ends").success();
    assert!(path.exists());
    drop(other);
    fs::remove_file(&path).expect("removed");

    fs::write(&path, "mine").expect("a file");
    let refused = bench.xdpctl(["metrics", "--listen", &listen]);
    assert!(refused.expect_status(1).stderr.contains("is no socket"), "{refused:?}");
    assert_eq!(fs::read_to_string(&path).expect("still there"), "mine");
    let nowhere = bench.xdpctl(["metrics", "--listen", &format!("{listen}/x/y")]);
    assert!(nowhere.expect_status(1).stderr.contains("cannot listen on unix:"), "{nowhere:?}");
}

#[test]
fn a_port_that_is_taken() {
    let bench = Bench::new();
    bench.lab().ip("dut", ["link", "set", "lo", "up"]);
    let taken = bench.lab().namespace("dut").enter(|| TcpListener::bind("127.0.0.1:9920"));
    let taken = taken.expect("a port");
    // The default.
    let refused = bench.xdpctl(["metrics", "--listen"]);
    let said = &refused.expect_status(1).stderr;
    assert!(said.starts_with("error: cannot listen on 127.0.0.1:9920: "), "{said}");
    assert!(said.contains("choose another port"), "{said}");
    drop(taken);
    let foreign = bench.xdpctl(["metrics", "--listen", "192.0.2.77:1"]);
    assert!(foreign.expect_status(1).stderr.contains("no interface of this network namespace"));
}

#[test]
fn into_a_file() {
    let mut bench = Bench::new();
    bench.attach(RULES);
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    let sample = bench.await_count(1);
    let path = bench.directory().join("xdpctl.prom");
    let to = |path: &Path| -> Vec<PathBuf> {
        ["metrics".into(), "--textfile".into(), path.to_owned()].into()
    };
    fs::write(&path, "before").expect("a file");
    let before = fs::metadata(&path).expect("there").ino();
    // Whatever the mask is: node_exporter is another user.
    let mut shell = bench.lab().command("dut", "sh");
    shell.args(["-c", "umask 077; exec \"$0\" metrics --textfile \"$1\""]);
    shell.arg(env!("CARGO_BIN_EXE_xdpctl")).arg(&path);
    let output = Background::start(shell).wait(EVENT).expect("it ends");
    assert_eq!((output.success().stdout.as_str(), output.stderr.as_str()), ("", ""));
    assert_eq!(mode(&path), 0o644);
    assert_ne!(fs::metadata(&path).expect("there").ino(), before, "written in place");
    let written = Scraped::parse(&fs::read_to_string(&path).expect("UTF-8"));
    written.assert_is(&sample);
    assert!(!written.has("xdpctl_scrape_errors_total"));

    // Nothing lies about, here and where it failed.
    let directory = bench.directory().join("directory.prom");
    fs::create_dir(&directory).expect("a directory");
    let refused = bench.xdpctl(to(&directory));
    assert!(refused.expect_status(1).stderr.starts_with("error: cannot write "), "{refused:?}");
    let nowhere = bench.xdpctl(to(&bench.directory().join("no/x.prom")));
    nowhere.expect_status(1);
    let mut there: Vec<_> = fs::read_dir(bench.directory())
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    there.sort();
    assert_eq!(there, ["directory.prom", "in0.toml", "xdpctl.prom"]);

    // A full disk leaves what was there.
    let text = fs::read_to_string(&path).expect("UTF-8");
    let mut limited = bench.lab().command("dut", "sh");
    limited.args(["-c", "ulimit -f 1; exec \"$0\" metrics --textfile \"$1\""]);
    limited.arg(env!("CARGO_BIN_EXE_xdpctl")).arg(&path);
    let output = Background::start(limited).wait(EVENT).expect("it ends");
    output.expect_status(1);
    assert_eq!(fs::read_to_string(&path).expect("UTF-8"), text);
    let left = fs::read_dir(bench.directory()).expect("readable").count();
    assert_eq!(left, there.len());
}

/// While somebody holds BPF_ENABLE_STATS, the kernel measures every program.
#[test]
fn how_long_the_program_runs() {
    let (bench, served) = attached();
    let measuring = enable_statistics();
    let before = bench.sample().total().packets;
    for _ in 0..100 {
        bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    }
    bench.await_count(before + 100);
    drop(measuring);
    let scraped = served.get(&bench, OPEN);
    // Another program of the same may have been measured too: at least these.
    assert!(scraped.value("xdpctl_program_runs_total{interface=\"in0\"}") >= 100.0);
    assert!(scraped.value("xdpctl_program_run_seconds_total{interface=\"in0\"}") > 0.0);
}

fn enable_statistics() -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd as _;
    /// BPF_ENABLE_STATS, with BPF_STATS_RUN_TIME in the attributes.
    const ENABLE_STATS: libc::c_int = 32;
    let attributes = [0u32; 4];
    // SAFETY: the command reads a u32, zero for run times, and gives a descriptor or an error.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, ENABLE_STATS, attributes.as_ptr(), size_of_val(&attributes))
    };
    let fd = i32::try_from(fd).expect("a descriptor");
    assert!(fd >= 0, "BPF_ENABLE_STATS: {}", io::Error::last_os_error());
    // SAFETY: the kernel has just given this descriptor to nobody else.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}
