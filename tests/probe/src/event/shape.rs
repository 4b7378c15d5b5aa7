//! Shape of an event: its JSON with placeholders for ids, times, addresses and host names.
//!
//! Key order, presence of keys and the JSON type of every value are preserved. Only complete values of a known form are
//! replaced.

use std::fmt::{self, Write as _};

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Keys whose values depend on the deployment or the client.
const VARYING_KEYS: [&str; 7] =
    ["Host", "domainName", "apiId", "sourceIp", "X-Forwarded-For", "Sec-WebSocket-Key", "methodArn"];

/// Replaces the varying values of an event by `<id>`, `<ms>`, `<time>`, `<trace>` or `<text>`.
///
/// # Errors
/// `raw` is not JSON.
pub fn shape(raw: &str) -> serde_json::Result<String> {
    let mut text = String::new();
    write_shape(serde_json::from_str(raw)?, "", &mut text)?;
    Ok(text)
}

/// Returns the keys of the object at `pointer`, in their order.
pub(super) fn keys(raw: &str, pointer: &str) -> Option<Vec<String>> {
    let mut object: &RawValue = serde_json::from_str(raw).ok()?;
    for name in pointer.split('/').skip(1) {
        object = members(object).ok()?.into_iter().find(|(key, _)| key == name)?.1;
    }
    Some(members(object).ok()?.into_iter().map(|(key, _)| key).collect())
}

fn write_shape(value: &RawValue, key: &str, text: &mut String) -> serde_json::Result<()> {
    match value.get().as_bytes().first() {
        Some(b'{') => {
            text.push('{');
            for (position, (key, member)) in members(value)?.into_iter().enumerate() {
                let separator = if position == 0 { "" } else { "," };
                let _ = write!(text, "{separator}{key:?}:");
                write_shape(member, &key, text)?;
            }
            text.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get())?;
            text.push('[');
            for (position, item) in items.into_iter().enumerate() {
                text.push_str(if position == 0 { "" } else { "," });
                write_shape(item, key, text)?;
            }
            text.push(']');
        }
        Some(b'"') => text.push_str(&string_shape(&serde_json::from_str::<String>(value.get())?, key, value.get())),
        _ => text.push_str(if is_time(value.get()) { "<ms>" } else { value.get() }),
    }
    Ok(())
}

fn string_shape(text: &str, key: &str, raw: &str) -> String {
    let placeholder = match text {
        "" => return raw.to_owned(),
        _ if is_id(text) => "<id>",
        _ if text.starts_with("Root=1-") => "<trace>",
        _ if text.len() == 26 && text.ends_with(" +0000") => "<time>",
        _ if VARYING_KEYS.contains(&key) => "<text>",
        _ => return raw.to_owned(),
    };
    format!("\"{placeholder}\"")
}

/// Returns whether a text has the form of API Gateway's ids: 16 characters, URL-safe base64 with one pad.
fn is_id(text: &str) -> bool {
    let body = text.strip_suffix('=').unwrap_or_default();
    body.len() == 15 && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Returns whether a number has the form of milliseconds since 1970 (from 2001).
fn is_time(number: &str) -> bool {
    number.len() == 13 && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn members(value: &RawValue) -> serde_json::Result<Vec<(String, &RawValue)>> {
    serde_json::Deserializer::from_str(value.get()).deserialize_map(Members)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_varying_values_are_replaced() {
        let raw = r#"{"b":{"requestId":"BFaVtH2HoAMFZEQ=","connectedAt":1731332735513,"n":7,"Host":["x.y"]},"a":"hello","c":""}"#;
        let expected = r#"{"b":{"requestId":"<id>","connectedAt":<ms>,"n":7,"Host":["<text>"]},"a":"hello","c":""}"#;
        assert_eq!(shape(raw).unwrap(), expected);
        assert_eq!(keys(raw, "").unwrap(), ["b", "a", "c"]);
        assert_eq!(keys(raw, "/b").unwrap(), ["requestId", "connectedAt", "n", "Host"]);
        assert_eq!(keys(raw, "/a"), None);
    }

    #[test]
    fn ids_end_with_a_pad() {
        assert!(is_id("V-M0CclhjoECETA=") && !is_id("V-M0CclhjoECETAx") && !is_id("V-M0CclhjoECET=="));
    }
}
