//! Lookup of one value in a JSON text without building the document.
//!
//! The whole text is checked to be one JSON value, but only the objects on the path are parsed, and nothing is copied
//! unless a string has escapes. The last of duplicate keys wins, as in most parsers (RT-13).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Insignificant whitespace of JSON (RFC 8259, section 2).
const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The text is not one JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJsonError;

/// Returns the value at `path` in the object `text`, converted to text as by API Gateway (RT-3); `None` if the path
/// does not exist.
pub fn find_value<'b>(text: &'b str, path: &[Box<str>]) -> Result<Option<Cow<'b, str>>, NotJsonError> {
    let mut found = None;
    let mut object = text;
    for name in path {
        match find_member(object, name)? {
            Some(value) => (found, object) = (Some(value), value.get()),
            None => return Ok(None),
        }
    }
    Ok(found.and_then(|value| stringify_value(value.get())))
}

/// Returns the last member `name` of the object `text`; `None` when `text` is not an object or has no such member.
fn find_member<'b>(text: &'b str, name: &str) -> Result<Option<&'b RawValue>, NotJsonError> {
    if text.trim_start_matches(WHITESPACE).starts_with('{')
        && let Ok(found) = scan_object(text, MemberVisitor { name, keys: KeyDecoding::Text })
    {
        return Ok(found);
    }
    // Not an object, not JSON, or an object with a lone surrogate in a key, which JSON allows and UTF-8 cannot
    // represent. Keys can be read as bytes, but serde_json does not validate those, so the whole text is validated
    // first.
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) if text.trim_start_matches(WHITESPACE).starts_with('{') => {
            scan_object(text, MemberVisitor { name, keys: KeyDecoding::Bytes })
        }
        Ok(_) => Ok(None),
        Err(_) => Err(NotJsonError),
    }
}

fn scan_object<'b>(text: &'b str, member: MemberVisitor<'_>) -> Result<Option<&'b RawValue>, NotJsonError> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let found = parser.deserialize_map(member).map_err(|_| NotJsonError)?;
    parser.end().map_err(|_| NotJsonError)?;
    Ok(found)
}

/// Converts a value to text: strings without quotes, numbers as written, arrays as `[item1, item2]`, objects as JSON,
/// `null` as `None`.
fn stringify_value(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' if raw.contains('\\') => serde_json::from_str(raw).ok().map(Cow::Owned),
        b'"' => raw.get(1..raw.len() - 1).map(Cow::Borrowed),
        b'[' => serde_json::from_str::<Vec<&RawValue>>(raw).ok().map(|items| Cow::Owned(stringify_array(&items))),
        b'n' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// Converts an array to text. Nested arrays stay JSON, because converting them would let a message choose the recursion
/// depth.
fn stringify_array(items: &[&RawValue]) -> String {
    let mut text = String::from("[");
    for (position, item) in items.iter().enumerate() {
        text.push_str(if position == 0 { "" } else { ", " });
        let raw = item.get();
        text.push_str(&if raw.starts_with('[') {
            Cow::Borrowed(raw)
        } else {
            stringify_value(raw).unwrap_or("null".into())
        });
    }
    text.push(']');
    text
}

/// Decoding of an object's keys.
#[derive(Clone, Copy)]
enum KeyDecoding {
    Text,
    Bytes,
}

struct MemberVisitor<'n> {
    name: &'n str,
    keys: KeyDecoding,
}

impl<'de> Visitor<'de> for MemberVisitor<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(matches) = members.next_key_seed(KeyMatcher(&self))? {
            if matches {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a key without copying it.
struct KeyMatcher<'m>(&'m MemberVisitor<'m>);

impl<'de> DeserializeSeed<'de> for KeyMatcher<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        match self.0.keys {
            KeyDecoding::Text => deserializer.deserialize_str(self),
            KeyDecoding::Bytes => deserializer.deserialize_bytes(self),
        }
    }
}

impl Visitor<'_> for KeyMatcher<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0.name)
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<bool, E> {
        Ok(key == self.0.name.as_bytes())
    }
}
