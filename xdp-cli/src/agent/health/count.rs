//! Whether a backend is up, by what its last checks found.

/// Counts what checks of one backend find, in a row. Nothing is known before there were enough of
/// one kind: a daemon that has just been started takes nothing out, and puts nothing in, by one
/// check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    fall: u8,
    rise: u8,
    is_up: Option<bool>,
    /// Whether that is known from these checks, and not from an earlier daemon's.
    is_own: bool,
    last: Option<bool>,
    in_a_row: u32,
}

impl Count {
    /// `before` is what is known already, if anything.
    pub fn new(fall: u8, rise: u8, before: Option<bool>) -> Self {
        Self { fall, rise, is_up: before, is_own: false, last: None, in_a_row: 0 }
    }

    /// Counts one more check. Returns whether it decided something that was not known, or that only
    /// an earlier daemon had found.
    pub fn add(&mut self, is_ok: bool) -> bool {
        if self.last != Some(is_ok) {
            (self.last, self.in_a_row) = (Some(is_ok), 0);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let enough = if is_ok { self.rise } else { self.fall };
        if self.in_a_row < enough.into() || (self.is_own && self.is_up == Some(is_ok)) {
            return false;
        }
        (self.is_up, self.is_own) = (Some(is_ok), true);
        true
    }

    /// Whether the backend is up; `None` as long as that is not known.
    pub fn is_up(&self) -> Option<bool> {
        self.is_up
    }

    /// The same, but only what these checks have decided.
    pub fn decided(&self) -> Option<bool> {
        self.is_up.filter(|_| self.is_own)
    }

    /// How many of the last checks found the same.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known after each of these checks: `+` and `-` are the checks, and of the result `?`
    /// is unknown, `u` up, `d` down, in capitals where the check decided it.
    #[track_caller]
    fn row(fall: u8, rise: u8, before: Option<bool>, checks: &str, expected: &str) {
        let mut count = Count::new(fall, rise, before);
        let found: String = checks
            .chars()
            .map(|check| {
                let decided = count.add(check == '+');
                let letter = count.is_up().map_or('?', |is_up| if is_up { 'u' } else { 'd' });
                if decided { letter.to_ascii_uppercase() } else { letter }
            })
            .collect();
        assert_eq!(found, expected, "fall {fall}, rise {rise}, {before:?}: {checks}");
    }

    #[test]
    fn in_a_row() {
        row(3, 2, None, "++", "?U");
        row(3, 2, None, "---", "??D");
        row(3, 2, None, "--+--+--", "????????");
        row(3, 2, None, "+-+-+-++", "???????U");
        row(3, 2, None, "++---+++--+---", "?UuuDdUuuuuuuD");
        row(1, 1, None, "+-+--", "UDUDd");
        row(255, 1, None, "+--------", "Uuuuuuuuu");
    }

    /// After a restart, what was known stays known until checks say otherwise; and it is said again
    /// once, since the map that it stands in may be a new one.
    #[test]
    fn a_restart_decides_nothing_at_once() {
        row(3, 2, Some(true), "--", "uu");
        row(3, 2, Some(true), "---", "uuD");
        row(3, 2, Some(true), "++++", "uUuu");
        row(3, 2, Some(false), "+-+", "ddd");
        row(3, 2, Some(false), "++", "dU");
        row(3, 2, Some(false), "----", "ddDd");
    }

    #[test]
    fn how_many_in_a_row() {
        let mut count = Count::new(3, 2, None);
        let row: Vec<u32> = [true, true, false, false, false, false, true]
            .map(|it| (count.add(it), count.in_a_row()).1)
            .into();
        assert_eq!(row, [1, 2, 1, 2, 3, 4, 1]);
        assert_eq!((count.decided(), count.is_up()), (Some(false), Some(false)));
        assert_eq!(Count::new(3, 2, Some(true)).decided(), None);
    }
}
