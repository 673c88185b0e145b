//! Asks a configuration what it would do with a frame. It is compiled and judges here, and need not
//! be in force.

use std::path::Path;

use xdp_common::packet::LinkType;

use crate::commands::{Failure, Session, configuration};
use crate::datapath::error::Error;
use crate::image::Image;
use crate::image::metadata::Metadata;
use crate::judgement::names::Names;
use crate::judgement::{self, RunTimeEntries};
use crate::views::explain::Explained;
use crate::views::explain::entries::ListedEntries;

/// A compiled configuration.
pub(super) struct Compiled {
    image: Image,
    names: Names,
    link_type: LinkType,
}

impl Compiled {
    pub(super) fn read(
        path: &Path,
        link_type: LinkType,
        session: &mut Session<'_>,
    ) -> Result<Self, Failure> {
        let loaded = configuration::load(path, session)?;
        session.reporter.diagnostics(&loaded.warnings);
        let metadata = Metadata::unbound(&loaded.ruleset);
        let image = Image::build(&loaded.ruleset, 1, &metadata).map_err(|error| {
            let told = Error::from(error.told(&loaded.ruleset, path));
            session.reporter.error(&told.message, told.hint.as_deref());
            Failure::Configuration
        })?;
        let entries = Some(ListedEntries::of(loaded.ruleset));
        // The configuration may be for another machine, whose interfaces have other indexes.
        let names = Names::new(metadata, entries, |_| None);
        Ok(Self { image, names, link_type })
    }

    pub(super) fn asks_about_questions(&self) -> bool {
        self.names.ask_about_questions()
    }

    pub(super) fn ask(&mut self, frame: &[u8]) -> Explained {
        let none = RunTimeEntries::default();
        judgement::explain(&self.image, &mut self.names, &none, self.link_type, frame)
    }
}
