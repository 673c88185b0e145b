//! Limits of rules.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The limit of a rule, which matches only what is over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub rate: Rate,
    /// Packets, or bytes where the rate is of bits: what may come at once.
    pub burst: u64,
    pub per: Per,
}

/// How much in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Packets or bits, at least 1.
    pub amount: u64,
    pub of: Quantity,
    pub time: Time,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantity {
    Packets,
    Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Time {
    Second,
    Minute,
    Hour,
    Day,
}

impl Time {
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// As it is written behind a rate.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }
}

/// Which packets share a limit: all of the rule, or those with the same first bits of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Per {
    Rule,
    Source(Lengths),
    Destination(Lengths),
}

/// How many bits of an address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    pub v4: u8,
    pub v6: u8,
}

impl Default for Lengths {
    /// An IPv4 address, and what a single IPv6 host usually has: RFC 4291, section 2.5.4, gives each link a /64, in
    /// which a host takes as many addresses as it likes (RFC 8981).
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl Per {
    /// Whether it looks at an address, which only IP packets have.
    pub const fn asks_ip(self) -> bool {
        !matches!(self, Self::Rule)
    }

    /// The same for all addresses: how many bits; `None` for a rule.
    pub const fn lengths(self) -> Option<Lengths> {
        match self {
            Self::Rule => None,
            Self::Source(lengths) | Self::Destination(lengths) => Some(lengths),
        }
    }
}

impl Rate {
    /// What a second of it is worth, in packets or bytes: rounded up.
    pub const fn a_second(self) -> u64 {
        let amount = match self.of {
            Quantity::Packets => self.amount,
            Quantity::Bits => self.amount.div_ceil(8),
        };
        amount.div_ceil(self.time.seconds())
    }
}

/// Bytes of the longest Ethernet frame that is not a jumbo frame: one with a tag.
pub const FULL_FRAME: u64 = 1_518;

/// What may come at once where a configuration does not say it: a second's worth, and at least one packet.
pub fn default_burst(rate: Rate) -> u64 {
    match rate.of {
        Quantity::Packets => rate.a_second(),
        Quantity::Bits => rate.a_second().max(FULL_FRAME),
    }
}

/// A number with the largest of these units that leaves no fraction.
fn in_units(f: &mut fmt::Formatter<'_>, number: u64, units: [&str; 4]) -> fmt::Result {
    let (mut number, mut unit) = (number, 0);
    while number > 0 && number.is_multiple_of(1_000) && unit + 1 < units.len() {
        number /= 1_000;
        unit += 1;
    }
    write!(f, "{number}{}", units[unit])
}

/// As it is written in a configuration.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Quantity::Packets => self.amount.fmt(f)?,
            Quantity::Bits => in_units(f, self.amount, ["bit", "kbit", "Mbit", "Gbit"])?,
        }
        write!(f, "/{}", self.time.as_str())
    }
}

/// As it is written in a configuration.
impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "rule",
            Self::Source(_) => "source",
            Self::Destination(_) => "destination",
        })?;
        let usual = Lengths::default();
        match self.lengths() {
            None => Ok(()),
            Some(lengths) if lengths == usual => Ok(()),
            Some(Lengths { v4, v6 }) if v6 == usual.v6 => write!(f, "/{v4}"),
            Some(Lengths { v4, v6 }) => write!(f, "/{v4},{v6}"),
        }
    }
}

/// A burst as it is written in a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Burst(pub u64, pub Quantity);

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Quantity::Packets => self.0.fmt(f),
            Quantity::Bits => in_units(f, self.0, ["B", "kB", "MB", "GB"]),
        }
    }
}

impl Limit {
    pub const fn written_burst(&self) -> Burst {
        Burst(self.burst, self.rate.of)
    }
}
