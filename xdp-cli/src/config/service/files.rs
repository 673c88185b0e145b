//! `files = ["lists/web.backends"]`: files of backends. Each is read once, for all services that name
//! it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use xdp_common::capacity::{MAX_BACKENDS_OF_ONE, MAX_FILES};

use super::super::file::{FileKey, Files};
use super::super::list::files::{UNREADABLE, tell};
use super::super::listfile::backends::{BackendLine, scan};
use super::super::listfile::content;
use super::super::prefix;
use super::super::report::{Report, quote};
use super::super::table::{Placed, TomlTable};
use super::spot::{BackendRead, InFile, Keys, Spot};
use super::unfit::unfit;
use crate::diagnostic::Diagnostic;
use crate::ruleset::services::Backend;

/// The files of a ruleset, and what those of backends hold.
pub(in super::super) struct BackendFiles<'f> {
    files: &'f dyn Files,
    /// All files of the ruleset, in the order of their numbers.
    paths: Vec<PathBuf>,
    read: HashMap<FileKey, Option<Rc<FileRead>>>,
}

struct FileRead {
    number: u16,
    path: Rc<Path>,
    backends: Vec<BackendLine>,
}

impl<'f> BackendFiles<'f> {
    /// `paths` are the files that have a number already.
    pub(in super::super) fn new(files: &'f dyn Files, paths: Vec<PathBuf>) -> Self {
        Self { files, paths, read: HashMap::new() }
    }

    /// All files, in the order of their numbers.
    pub(in super::super) fn into_paths(self) -> Vec<PathBuf> {
        self.paths
    }

    /// The backends of the files that a service names.
    pub(super) fn of(
        &mut self,
        table: &mut TomlTable<'_>,
        report: &mut Report<'_>,
    ) -> Vec<BackendRead> {
        let hint = "write paths, such as [\"lists/web.backends\"]";
        let mut backends = Vec::new();
        let mut seen: Vec<u16> = Vec::new();
        for name in table.strings("files", hint, report) {
            let title = &table.title;
            if name.value.is_empty() {
                let hint = "write a path, relative to the configuration's folder or absolute";
                report.error(name.at, format!("{title}: \"\" is not a path"), hint);
                continue;
            }
            let Some(file) = self.file(title, name, report) else { continue };
            if seen.contains(&file.number) {
                let shown = quote(name.value, 200);
                report.error(
                    name.at,
                    format!("{title}: the file {shown} is named twice"),
                    "once will do",
                );
                continue;
            }
            seen.push(file.number);
            backends.extend(file.backends.iter().filter_map(|line| {
                let in_file =
                    InFile { path: file.path.clone(), line: line.line, column: line.column };
                let spot = Spot { at: name.at, keys: Keys::default(), in_file: Some(in_file) };
                let address = line.address;
                if let Ok(parsed) = prefix::parse(&address.to_string())
                    && let Some(what) = unfit(&parsed.prefix)
                {
                    let hint = "write the address of one host, such as 10.0.0.1";
                    spot.error(format!("{title}: {address} is {what}"), hint, report);
                    return None;
                }
                let own = line.name.clone();
                let value = Backend {
                    name: own.unwrap_or_else(|| Backend::default_name(address, line.port)),
                    address,
                    port: line.port,
                    weight: line.weight,
                    state: line.state,
                    next_hop: None,
                    file: file.number,
                    line: line.line,
                };
                Some(BackendRead { spot, value })
            }));
        }
        backends
    }

    fn file(
        &mut self,
        title: &str,
        name: Placed<&str>,
        report: &mut Report<'_>,
    ) -> Option<Rc<FileRead>> {
        let folder = report.path(name.at).parent().unwrap_or(Path::new(""));
        let path = folder.join(name.value);
        let key = FileKey::of(self.files, &path);
        if let Some(read) = self.read.get(&key) {
            return read.clone();
        }
        let read = self.read_file(title, &path, name, report).map(Rc::new);
        self.read.insert(key, read.clone());
        read
    }

    fn read_file(
        &mut self,
        title: &str,
        path: &Path,
        name: Placed<&str>,
        report: &mut Report<'_>,
    ) -> Option<FileRead> {
        let shown = quote(&path.to_string_lossy(), 200);
        let refuse = |why: &str, hint: &str, report: &mut Report<'_>| {
            report.error(name.at, format!("{title}: the file {shown} {why}"), hint);
        };
        let known = self.paths.iter().position(|known| known == path);
        if known.is_none() && self.paths.len() == MAX_FILES {
            refuse("is one too many", &format!("{MAX_FILES} different files are the most"), report);
            return None;
        }
        // It fits, since there are no more than 2^16.
        let number = known.unwrap_or(self.paths.len()) as u16;
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                refuse(&format!("cannot be read: {error}"), error.hint(), report);
                return None;
            }
        };
        let text = match content::read(bytes) {
            Ok(text) => text,
            Err(no_list) => {
                refuse(&no_list.message("backends"), no_list.hint(), report);
                return None;
            }
        };
        if known.is_none() {
            self.paths.push(path.to_owned());
        }
        if text.tail {
            let told = Diagnostic {
                file: path.to_owned(),
                line: 0,
                column: 0,
                message: "what follows its gzip data is not gzip's, and was left aside".into(),
                hint: Some("`gzip -t` says so too; fetch the file again".into()),
                excerpt: None,
            };
            report.warning_elsewhere(name.at, told);
        }
        let (backends, more, faults) = scan(&text.data, MAX_BACKENDS_OF_ONE);
        if more {
            let why = format!("has more than {MAX_BACKENDS_OF_ONE} backends");
            refuse(&why, "write two services, or put several backends behind one address", report);
        }
        if backends.is_empty() && faults.total == 0 {
            refuse("holds no backend", "see whether it was written whole", report);
        }
        let mut found = Vec::new();
        tell(path, faults, UNREADABLE, &mut found);
        for diagnostic in found {
            report.elsewhere(name.at, diagnostic);
        }
        Some(FileRead { number, path: path.into(), backends })
    }
}
