//! One value of a configuration.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use super::report::{Report, bare, quote};

/// A value of the tree, with its place.
#[derive(Clone, Copy)]
pub(super) struct Value<'t> {
    pub(super) at: usize,
    end: usize,
    /// The place at which its file begins.
    base: usize,
    pub(super) value: &'t DeValue<'t>,
}

impl<'t> Value<'t> {
    /// A value of the file that begins at the place `base`.
    pub(super) fn new(base: usize, value: &'t Spanned<DeValue<'t>>) -> Self {
        let Range { start, end } = value.span();
        Self { at: base + start, end: base + end, base, value: value.get_ref() }
    }

    /// Whether the value really stands in the file. Where the parser could not read a value, it
    /// puts another one, at the start of the file.
    pub(super) fn is_written(&self) -> bool {
        self.end > self.base
    }

    /// The type with its article and the value as it was written, such as `a string "x"`.
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

    /// The value as it was written, with no quotes added around it.
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

/// An integer as `i128`, which is large enough for every key; `None` if even that is not.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}
