//! Manual pages.

use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub struct Manual {
    /// The page
    #[arg(value_enum, value_name = "PAGE", default_value_t = ManPage::Command)]
    pub page: ManPage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManPage {
    /// The command and its options: xdpctl(8)
    #[value(name = "xdpctl", alias = "8")]
    Command,
    /// Configurations, with every key: xdpctl.toml(5)
    #[value(name = "xdpctl.toml", alias = "5")]
    Configuration,
}
