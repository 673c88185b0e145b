//! What becomes of a packet, and why.

macro_rules! counted_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The one of that number; `None` where there is none.
            #[inline(always)]
            pub const fn of(number: u32) -> Option<Self> {
                $(if number == Self::$variant as u32 {
                    return Some(Self::$variant);
                })*
                None
            }

            /// The name in JSON and in print.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

counted_enum! {
    /// What becomes of a packet.
    Verdict {
        Pass => "pass",
        Drop => "drop",
        /// Sent back out of the interface that it came in by: action `bounce` of a rule.
        Tx => "tx",
        Redirect => "redirect",
        /// The program itself failed.
        Aborted => "aborted",
    }
}

counted_enum! {
    /// What decided a packet. Every packet has exactly one.
    Reason {
        Malformed => "malformed",
        /// A run-time entry of `xdpctl allow`.
        Allowed => "allowed",
        /// A run-time entry of `xdpctl block`.
        Banned => "banned",
        Arp => "arp",
        Allowlist => "allowlist",
        Blocklist => "blocklist",
        Domain => "domain",
        Rule => "rule",
        Fragment => "fragment",
        Default => "default",
        Bypass => "bypass",
        /// A service took the packet.
        Service => "service",
        /// It answers what this host has open.
        Reply => "reply",
    }
}
