//! `include = ["common.toml"]`: a configuration in several files.
//!
//! The files that a file includes come before its own tables, as if they were written at the top,
//! where `include` stands. Paths are relative to the folder of the file that they stand in.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use xdp_common::capacity::{MAX_INCLUDE_DEPTH, MAX_INCLUDES, MAX_TOKENS};

use super::file::{FileKey, Files};
use super::report::{Report, quote};
use super::source::Source;
use super::syntax;
use super::table::{Placed, TomlTable};

/// A file that was read, and room for the next one: a linked list. A file stays where it is in
/// memory, since trees borrow from it.
pub(super) struct Opened {
    source: Source,
    patched: OnceCell<String>,
    next: OnceCell<Box<Opened>>,
}

impl Opened {
    pub(super) fn new(source: Source) -> Self {
        Self { source, patched: OnceCell::new(), next: OnceCell::new() }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn into_source(self) -> Source {
        self.source
    }
}

/// The parsed content of a file, and the place at which the file begins (see [`Report`]).
pub(super) struct Tree<'s> {
    pub(super) base: usize,
    pub(super) table: DeTable<'s>,
}

/// The trees of a configuration and of all that it includes, in the order in which their tables
/// count.
pub(super) fn gather<'s>(
    opened: &'s Opened,
    files: &dyn Files,
    report: &mut Report<'s>,
) -> Vec<Tree<'s>> {
    let path = opened.source.path();
    let mut gathering = Gathering {
        files,
        last: opened,
        included: HashMap::from([(FileKey::of(files, path), 0)]),
        open: vec![path.to_owned()],
        is_full: false,
        tokens: MAX_TOKENS,
        trees: Vec::new(),
    };
    gathering.read(opened, 0, report);
    gathering.trees
}

struct Gathering<'s, 'f> {
    files: &'f dyn Files,
    last: &'s Opened,
    /// The place at which each file is included. The configuration itself is at 0, where no value
    /// of an `include` can stand.
    included: HashMap<FileKey, usize>,
    /// The files that are being read, each included by the one before it.
    open: Vec<PathBuf>,
    /// Whether there were too many files, which is reported once.
    is_full: bool,
    /// How many more tokens all files together may have.
    tokens: usize,
    trees: Vec<Tree<'s>>,
}

impl<'s> Gathering<'s, '_> {
    fn read(&mut self, opened: &'s Opened, base: usize, report: &mut Report<'s>) {
        let Opened { source, patched, .. } = opened;
        let table = syntax::parse(source, base, patched, &mut self.tokens, report);
        let folder = source.path().parent().map(Path::to_owned).unwrap_or_default();
        let hint = "write paths, such as [\"common.toml\"]";
        let names =
            TomlTable::new("configuration", base, 0, &table).strings("include", hint, report);
        for name in names {
            self.include(&folder, name, report);
        }
        self.trees.push(Tree { base, table });
    }

    fn include(&mut self, folder: &Path, name: Placed<&str>, report: &mut Report<'s>) {
        if !self.has_included(folder, name, report) {
            report.lack_file();
        }
    }

    /// Includes a file. Returns whether its content is known; if not, why has been reported.
    fn has_included(&mut self, folder: &Path, name: Placed<&str>, report: &mut Report<'s>) -> bool {
        let shown = quote(name.value, 200);
        if name.value.is_empty() {
            let hint = "write a path, relative to the folder of this file or absolute";
            report.error(name.at, format!("include: {shown} is not a path"), hint);
            return false;
        }
        let path = folder.join(name.value);
        let key = FileKey::of(self.files, &path);
        if let Some(&at) = self.included.get(&key) {
            let (why, hint) = match self.circle(&key) {
                Some(circle) => (format!("includes itself: {circle}"), "leave one of them out"),
                None => (
                    format!("is included already, in {}", report.line_seen_from(at, name.at)),
                    "include it once, before whatever needs it",
                ),
            };
            report.error(name.at, format!("include: {shown} {why}"), hint);
            return true;
        }
        if self.open.len() > MAX_INCLUDE_DEPTH {
            let message =
                format!("include: {shown} is more than {MAX_INCLUDE_DEPTH} files deep in others");
            report.error(name.at, message, "include it from a file further up");
            return false;
        }
        if self.included.len() > MAX_INCLUDES {
            if !self.is_full {
                self.is_full = true;
                let message = format!("include: {shown} is one file too many");
                let hint = format!("{MAX_INCLUDES} included files are the most");
                report.error(name.at, message, hint);
            }
            return false;
        }
        let bytes = match self.files.read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let shown = quote(&path.to_string_lossy(), 200);
                let message = format!("include: {shown} cannot be read: {error}");
                report.error(name.at, message, error.hint());
                return false;
            }
        };
        self.included.insert(key, name.at);
        let source = match Source::new(&path, bytes) {
            Ok(source) => source,
            Err(not_text) => {
                report.elsewhere(name.at, not_text);
                return false;
            }
        };
        let opened: &'s Opened = self.last.next.get_or_init(|| Box::new(Opened::new(source)));
        self.last = opened;
        let base = report.include(&opened.source);
        self.open.push(path);
        self.read(opened, base, report);
        self.open.pop();
        true
    }

    /// The chain of files from this one, if it is being read, back to itself; else `None`.
    fn circle(&self, key: &FileKey) -> Option<String> {
        let first = self.open.iter().position(|path| FileKey::of(self.files, path) == *key)?;
        let around = self.open[first..].iter().chain([&self.open[first]]);
        let names: Vec<_> = around.map(|path| quote(&path.to_string_lossy(), 200)).collect();
        Some(names.join(" includes "))
    }
}
