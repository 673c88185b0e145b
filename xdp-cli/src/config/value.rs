//! One value of a configuration.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::report::{Report, bare, quote};

/// A value of the tree, with where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'t> {
    pub(super) at: usize,
    end: usize,
    /// The place at which its file begins.
    base: usize,
    pub(super) value: &'t DeValue<'t>,
}

impl<'t> Value<'t> {
    /// A value of the file that begins at `base`.
    pub(super) fn new(base: usize, value: &'t Spanned<DeValue<'t>>) -> Self {
        let Range { start, end } = value.span();
        Self { at: base + start, end: base + end, base, value: value.get_ref() }
    }

    /// Whether it was written: the parser puts another one, at the start of the file, where it could
    /// not read a value.
    pub(super) fn is_written(&self) -> bool {
        self.end > self.base
    }

    /// `a string "x"`: the type with its article, and the value as it was written.
    pub(super) fn found(&self, report: &Report<'_>) -> String {
        let kind = match self.value {
            DeValue::String(text) => return format!("the string {}", quote(text, 60)),
            DeValue::Table(_) => return "a table".into(),
            DeValue::Array(_) => return "an array".into(),
            DeValue::Integer(_) => "the integer",
            DeValue::Float(_) => "the float",
            DeValue::Boolean(_) => "the boolean",
            DeValue::Datetime(_) => "the date or time",
        };
        format!("{kind} {}", self.raw(report))
    }

    /// The value as it was written, without quotes around it.
    pub(super) fn raw(&self, report: &Report<'_>) -> String {
        bare(report.text(self.at..self.end), 60)
    }

    /// The values of an array, or the value itself.
    pub(super) fn one_or_more(self) -> Vec<Value<'t>> {
        match self.value {
            DeValue::Array(values) => values.iter().map(|it| Value::new(self.base, it)).collect(),
            _ => vec![self],
        }
    }
}

/// An integer as `i128`, which holds each that one could mean.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}
