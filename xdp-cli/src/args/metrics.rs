//! Where metrics go.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser as _};
use clap::{Args, ValueHint};

use crate::notation::plain;

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Metrics {
    /// Serve them over HTTP at /metrics until Ctrl-C: at an address and a port, 127.0.0.1:9920 if
    /// nothing follows, or on a Unix socket. It has neither passwords nor encryption; who reaches
    /// the address reads the names of rules and what they counted
    #[arg(
        long,
        value_name = "ADDR:PORT|unix:PATH",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:9920",
        value_parser = listen
    )]
    pub listen: Option<Listen>,
    /// Write them once to a file, whole, for node_exporter's textfile collector, which reads files
    /// whose names end in .prom
    #[arg(
        long,
        value_name = "PATH",
        value_hint = ValueHint::FilePath,
        value_parser = PathBufValueParser::new().try_map(textfile)
    )]
    pub textfile: Option<PathBuf>,
}

/// What to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err("the socket's path is missing: unix:/run/xdpctl-metrics.sock".to_owned()),
            path => Ok(Listen::Unix(PathBuf::from(path))),
        };
    }
    text.parse().map(Listen::Tcp).map_err(|_| {
        format!(
            "{} is no IP address with a port: it is written as 127.0.0.1:9920 or [::1]:9920, for all \
             addresses as [::]:9920, and a Unix socket as unix:/run/xdpctl-metrics.sock",
            plain(text)
        )
    })
}

fn textfile(path: PathBuf) -> Result<PathBuf, String> {
    let is_read = path.extension().is_some_and(|extension| extension == "prom");
    if is_read {
        return Ok(path);
    }
    Err("the file's name has to end in .prom: the collector reads no other files".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(args: &[&str]) -> Result<Metrics, String> {
        let cli = Cli::try_parse_from([&["xdpctl", "metrics"], args].concat());
        match cli.map(|cli| cli.command) {
            Ok(Command::Metrics(args)) => Ok(args),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn where_metrics_go() {
        let tcp = |text: &str| Some(Listen::Tcp(text.parse().unwrap()));
        let at = |args: &[&str]| parsed(args).unwrap().listen;
        assert_eq!(at(&["--listen"]), tcp("127.0.0.1:9920"));
        assert_eq!(at(&["--listen", "[::1]:0"]), tcp("[::1]:0"));
        assert_eq!(at(&["--listen", "unix:a/b.sock"]), Some(Listen::Unix("a/b.sock".into())));
        let file = parsed(&["--textfile", "a/b.prom"]).unwrap();
        assert_eq!((file.listen, file.textfile), (None, Some("a/b.prom".into())));
    }

    #[test]
    fn what_is_no_place() {
        for (args, said) in [
            (&[][..], "--listen"),
            (&["--listen", "--textfile", "a.prom"], "cannot be used with"),
            (&["--listen", "9920"], "127.0.0.1:9920"),
            (&["--listen", "localhost:9920"], "no IP address"),
            (&["--listen", "unix:"], "path is missing"),
            (&["--textfile", "a.txt"], "has to end in .prom"),
            (&["--textfile", ".prom"], "has to end in .prom"),
        ] {
            let error = parsed(args).unwrap_err();
            assert!(error.contains(said), "{args:?}: {error}");
        }
    }
}
