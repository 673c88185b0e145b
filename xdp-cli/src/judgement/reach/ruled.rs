//! A ruleset that tests ask.

use xdp_common::packet::LinkType;

use super::Ground;
use super::role::{Role, Warning};
use crate::config::load;
use crate::image::Image;
use crate::image::metadata::Metadata;
use crate::judgement::RunTimeEntries;
use crate::ruleset::Ruleset;

pub(super) struct Ruled {
    ruleset: Ruleset,
    metadata: Metadata,
    image: Image,
}

impl Ruled {
    pub(super) fn by(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        let loaded = load(&path);
        let mut ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        ruleset.files = vec!["c.toml".into()];
        let metadata = Metadata::unbound(&ruleset);
        let image = Image::build(&ruleset, 1, &metadata).unwrap();
        Self { ruleset, metadata, image }
    }

    pub(super) fn ground<'a>(
        &'a self,
        entries: &'a RunTimeEntries,
        link_type: LinkType,
    ) -> Ground<'a> {
        let Self { ruleset, metadata, image } = self;
        let mac = [2, 0, 0, 0, 0, 9];
        Ground { image, metadata, ruleset, entries, link_type, mac, mtu: 1400 }
    }

    pub(super) fn warned(&self, role: &Role) -> Vec<Warning> {
        let entries = RunTimeEntries::default();
        self.ground(&entries, LinkType::Ethernet).warnings(role)
    }
}
