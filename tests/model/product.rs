//! The product's opinion: from TOML text through the loader and the compiler to the judgement of
//! a frame's bytes, everything but the kernel.

use xdp_common::counter::CounterId;
use xdp_common::image;
use xdp_common::judge::{Desk, judge};
use xdp_common::verdict::Verdict;
use xdpctl::image::Image;
use xdpctl::image::metadata::{Counted, Metadata, Redirect};
use xdpctl::ruleset::Target;

use super::bans::InMemory;
use super::config::{self, Config};
use super::judge::{self, Opinion, Sent};
use super::loading;

pub struct Product {
    image: Image,
    counted: Vec<Counted>,
    redirects: Vec<Redirect>,
    entries: InMemory,
}

impl Product {
    /// `Err` says why the product refuses the configuration.
    pub fn load(config: &Config) -> Result<Self, String> {
        let ruleset = loading::ruleset(config)?;
        let mut metadata = Metadata::unbound(&ruleset);
        for redirect in &mut metadata.redirects {
            // Not 0, and not in step with anything else.
            redirect.slot = 100 - redirect.slot;
        }
        let image = Image::build(&ruleset, 1, &metadata).map_err(|error| error.to_string())?;
        Ok(Self {
            image,
            counted: metadata.counted,
            redirects: metadata.redirects,
            entries: InMemory::of(config),
        })
    }

    pub fn judge(&self, frame: &[u8]) -> Opinion {
        let mut desk = Desk::LEFT_BEHIND;
        desk.read(frame);
        let judged = judge(&self.image, &self.entries, self.image.header(), &mut desk);
        let mut opinion = Opinion {
            verdict: judged.verdict.as_str(),
            reason: judged.reason.as_str(),
            counted: Vec::new(),
            sent: None,
        };
        opinion.counted.extend(self.named(judged.list));
        if let Some(action) = judged.action {
            opinion.sent = self.sent(judged.verdict, action);
            opinion.counted.extend(self.named(CounterId(action.counter)));
        }
        opinion
    }

    /// What the model and this say of a frame, if they differ.
    pub fn differs(&self, config: &Config, frame: &[u8]) -> Option<String> {
        let (model, product) = (judge::judge(config, frame), self.judge(frame));
        (model != product).then(|| format!("model   {model:?}\nproduct {product:?}"))
    }

    fn sent(&self, verdict: Verdict, action: &image::Action) -> Option<Sent> {
        let to = match verdict {
            Verdict::Tx => None,
            Verdict::Redirect => {
                let redirect = self.redirects.iter().find(|redirect| redirect.slot == action.slot);
                Some(match &redirect.expect("a slot belongs to a target").to {
                    Target::Name(name) => config::Target::Name(name.clone()),
                    Target::Index(index) => config::Target::Index(*index),
                })
            }
            _ => return None,
        };
        Some(Sent {
            to,
            source_mac: (action.set_source_mac != 0).then_some(action.source_mac),
            destination_mac: (action.set_destination_mac != 0).then_some(action.destination_mac),
        })
    }

    fn named(&self, counter: CounterId) -> Option<(&'static str, String)> {
        if counter == CounterId::NONE {
            return None;
        }
        let counted = self.counted.iter().find(|it| CounterId::new(it.number) == counter);
        let counted = counted.expect("a counter belongs to a list or a rule");
        Some((counted.kind.as_str(), counted.name.clone()))
    }
}

/// The same of a configuration that has yet to be loaded.
pub fn differs(config: &Config, frame: &[u8]) -> Option<String> {
    Product::load(config).ok()?.differs(config, frame)
}
