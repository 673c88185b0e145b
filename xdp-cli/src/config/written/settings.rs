//! The keys of one table as they are collected, with what several tables write alike.

use super::value::{Setting, Value, prefix_v4, prefix_v6};
use crate::ruleset::{Fragment, Prefixes, TCP_FLAGS, TcpFlags, Vlan};

/// Keys of one table, in the order in which they are written.
#[derive(Default)]
pub(super) struct Settings(pub(super) Vec<Setting>);

impl Settings {
    pub(super) fn add(&mut self, key: &'static str, value: Value) {
        self.0.push(Setting { key, value });
    }

    pub(super) fn several<T>(
        &mut self,
        key: &'static str,
        values: Option<&[T]>,
        value: impl Fn(&T) -> Value,
    ) where
        T: Clone + Ord,
    {
        let Some(values) = values else { return };
        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        self.add(key, Value::of(values.iter().map(value).collect()));
    }

    pub(super) fn prefixes(&mut self, key: &'static str, prefixes: Option<&Prefixes>) {
        if let Some(prefixes) = prefixes {
            self.add(key, Value::of(write_prefixes(prefixes)));
        }
    }

    pub(super) fn flags(&mut self, key: &'static str, flags: Option<TcpFlags>) {
        if let Some(flags) = flags {
            self.add(key, write_flags(flags));
        }
    }

    pub(super) fn vlan(&mut self, key: &'static str, vlan: Option<&Vlan>) {
        match vlan {
            Some(Vlan::Untagged) => self.add(key, Value::text("none")),
            Some(Vlan::Ids(ids)) => self.several(key, Some(ids), number),
            None => {}
        }
    }

    pub(super) fn fragment(&mut self, key: &'static str, fragment: Option<Fragment>) {
        let value = match fragment {
            Some(Fragment::None) => Value::Boolean(false),
            Some(Fragment::Any) => Value::Boolean(true),
            Some(Fragment::First) => Value::text("first"),
            Some(Fragment::Later) => Value::text("later"),
            None => return,
        };
        self.add(key, value);
    }
}

fn write_prefixes(prefixes: &Prefixes) -> Vec<Value> {
    let Prefixes { mut v4, mut v6 } = prefixes.clone();
    v4.sort_unstable();
    v4.dedup();
    v6.sort_unstable();
    v6.dedup();
    let v4 = v4.into_iter().map(prefix_v4);
    v4.chain(v6.into_iter().map(prefix_v6)).map(Value::Text).collect()
}

fn write_flags(flags: TcpFlags) -> Value {
    let asked = TCP_FLAGS.iter().enumerate().filter(|(bit, _)| flags.mask >> bit & 1 == 1);
    let words = asked.map(|(bit, flag)| {
        let not = if flags.value >> bit & 1 == 1 { "" } else { "!" };
        format!("{not}{flag}")
    });
    Value::Text(words.collect::<Vec<_>>().join(","))
}

pub(super) fn range<T: Copy + PartialEq + Into<u32>>(&(first, last): &(T, T)) -> Value {
    let (from, to) = (first.into(), last.into());
    if first == last { Value::Number(from) } else { Value::Text(format!("{from}-{to}")) }
}

pub(super) fn number<T: Copy + Into<u32>>(number: &T) -> Value {
    Value::Number((*number).into())
}
