//! Making a subject's image as the command line does, and what that costs.

use std::time::{Duration, Instant};

use serde::Serialize;
use xdpctl::config;
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;
use xdpctl::ruleset::Ruleset;

use crate::Result;
use crate::case::Subject;
use crate::testbed::REDIRECT_SLOT;

/// One row of the table of images.
#[derive(Clone, Debug, Serialize)]
pub struct Build {
    pub name: &'static str,
    /// Reading the configuration and its lists.
    pub read_ms: f64,
    /// Making the image from them.
    pub compile_ms: f64,
    /// Putting it in force.
    pub load_ms: f64,
    pub image_kib: usize,
}

/// A ruleset's image.
pub struct Compiled {
    image: Image,
    read: Duration,
    compile: Duration,
}

impl Compiled {
    pub fn new(subject: &Subject) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        for (number, text) in subject.files.iter().enumerate() {
            std::fs::write(directory.path().join(format!("{number}.txt")), text)?;
        }
        let path = directory.path().join("bench.toml");
        std::fs::write(&path, &subject.text)?;

        let start = Instant::now();
        let loaded = config::load(&path);
        let read = start.elapsed();
        let ruleset = loaded.ruleset.ok_or_else(|| {
            let mistakes: Vec<String> =
                loaded.diagnostics.errors.iter().take(3).map(ToString::to_string).collect();
            format!("the benchmark's own configuration is refused: {}", mistakes.join("; "))
        })?;

        let start = Instant::now();
        let image = Image::build(&ruleset, 1, &metadata(&ruleset))?;
        Ok(Self { image, read, compile: start.elapsed() })
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn build(&self, name: &'static str, load: Duration) -> Build {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        Build {
            name,
            read_ms: milliseconds(self.read),
            compile_ms: milliseconds(self.compile),
            load_ms: milliseconds(load),
            image_kib: size_of_val(self.image.blocks()) / 1024,
        }
    }
}

/// All redirects go to the one slot that the testbed fills.
fn metadata(ruleset: &Ruleset) -> Metadata {
    let mut metadata = Metadata::unbound(ruleset);
    for redirect in &mut metadata.redirects {
        redirect.slot = REDIRECT_SLOT;
    }
    metadata
}
