//! Finds one value in a JSON text without building the document.
//!
//! Invariant: the whole text is checked to be one JSON value, but only the object on the path is looked into and
//! nothing is copied unless a string has escapes. With duplicate keys the last one counts, as in most parsers (RT-13).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The text is not one JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// The value at `path` in the object `text`, as API Gateway turns it into text (RT-3); `None` where the path leads
/// nowhere.
pub fn find<'b>(text: &'b str, path: &[Box<str>]) -> Result<Option<Cow<'b, str>>, NotJson> {
    let mut at = None;
    let mut within = text;
    for name in path {
        match member(within, name)? {
            Some(value) => (at, within) = (Some(value), value.get()),
            None => return Ok(None),
        }
    }
    Ok(at.and_then(|value| stringify(value.get())))
}

/// The last member called `name` of the object `text`; `None` when `text` is no object or has no such member.
fn member<'b>(text: &'b str, name: &str) -> Result<Option<&'b RawValue>, NotJson> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let found = Member(name).deserialize(&mut parser).map_err(|_| NotJson)?;
    parser.end().map_err(|_| NotJson)?;
    Ok(found)
}

/// Strings lose their quotes, numbers stay as written, arrays become `[item1, item2]`, objects stay JSON, `null` is
/// nothing.
fn stringify(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' if raw.contains('\\') => serde_json::from_str(raw).ok().map(Cow::Owned),
        b'"' => raw.get(1..raw.len() - 1).map(Cow::Borrowed),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(raw).ok().map(|items| Cow::Owned(list(&items))),
        b'n' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// Nested arrays stay JSON text: stringifying them in turn would let a message choose the depth of our recursion.
fn list(items: &[&RawValue]) -> String {
    let mut text = String::from("[");
    for (position, item) in items.iter().enumerate() {
        text.push_str(if position == 0 { "" } else { ", " });
        let raw = item.get();
        text.push_str(&if raw.starts_with('[') { Cow::Borrowed(raw) } else { stringify(raw).unwrap_or("null".into()) });
    }
    text.push(']');
    text
}

struct Member<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(matches) = members.next_key_seed(KeyIs(self.0))? {
            if matches {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Compares a key in place of copying it.
struct KeyIs<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
