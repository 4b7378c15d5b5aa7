//! Texts into values: durations and sizes with units, choices, lists.
//!
//! Every function answers what would have been right, so that a mistake can be mended without the documentation. A number
//! without a unit is refused: nobody has to guess whether `5` are seconds or milliseconds.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use super::Value;

/// Parsed, or what would have been right.
pub type Parsed<T> = Result<T, String>;

/// Any text.
pub(super) fn text(value: &Value) -> Parsed<String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::List(_) | Value::Table(_) => Err("takes one value, not a list or table".to_owned()),
    }
}

/// A text of which `allowed` is true; `rule` says what that means.
pub(super) fn text_where(value: &Value, allowed: impl Fn(&str) -> bool, rule: &str) -> Parsed<String> {
    text(value).and_then(|text| if allowed(&text) { Ok(text) } else { Err(format!("must be {rule}")) })
}

/// Whatever `FromStr` takes; `what` says what that is.
pub(super) fn parsed<T: FromStr>(value: &Value, what: &str) -> Parsed<T> {
    text(value)?.trim().parse().map_err(|_| format!("must be {what}"))
}

/// A whole number of at least 1.
pub(super) fn count<T: FromStr + PartialOrd + From<u8>>(value: &Value) -> Parsed<T> {
    const RULE: &str = "a whole number of at least 1";
    let number: T = parsed(value, RULE)?;
    if number >= T::from(1) { Ok(number) } else { Err(format!("must be {RULE}")) }
}

/// One of several words.
pub(super) fn choice<T: Copy>(value: &Value, words: &[(&str, T)]) -> Parsed<T> {
    let text = text(value)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let list: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let near =
            nearest(&text, list.iter().copied()).map(|word| format!("; did you mean {word}?")).unwrap_or_default();
        format!("must be one of {}{near}", list.join(", "))
    })
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Parsed<bool> {
    choice(value, &[("true", true), ("false", false)])
}

/// A duration such as `500ms`, `30s`, `1h30m`.
pub(super) fn duration(value: &Value) -> Parsed<Duration> {
    parse_duration(&text(value)?)
}

/// Parses a duration with its unit: `500ms`, `30s`, `5m`, `12h`, `30d`, or several of them such as `1h30m`. The Lambda functions
/// read the same variables with the same crate.
///
/// # Errors
/// The expected form.
pub fn parse_duration(text: &str) -> Parsed<Duration> {
    humantime::parse_duration(text.trim())
        .map_err(|_| "must be a duration with a unit: 500ms, 30s, 5m, 12h or 30d".to_owned())
}

/// A size in bytes such as `2KiB` or `1MiB`.
pub(super) fn size(value: &Value) -> Parsed<usize> {
    let text = text(value)?;
    let has_unit = text.trim_end().ends_with(|c: char| c.is_ascii_alphabetic());
    let size = text.trim().parse::<ByteSize>().ok().filter(|size| has_unit && size.as_u64() > 0);
    size.and_then(|size| usize::try_from(size.as_u64()).ok())
        .ok_or_else(|| "must be a size with a unit: 512B, 2KiB or 1MiB".to_owned())
}

/// A list: an array in the file, `a,b` or lines elsewhere. Empty items are left out.
pub(super) fn list(value: &Value) -> Parsed<Vec<String>> {
    let items = match value {
        Value::List(items) => items.clone(),
        Value::Text(text) => text.split([',', '\n']).map(str::to_owned).collect(),
        Value::Table(_) => return Err("takes a list, not a table".to_owned()),
    };
    Ok(items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

/// A table: one in the file, `name=value,name=value` elsewhere.
pub(super) fn table(value: &Value) -> Parsed<BTreeMap<String, String>> {
    let Value::Table(pairs) = value else {
        let pairs = list(value)?.into_iter().map(|pair| match pair.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err("takes pairs such as name=value,other=value".to_owned()),
        });
        return pairs.collect();
    };
    Ok(pairs.clone())
}

/// The candidate most like `text`, when it is like enough to be a typing mistake.
pub(super) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler: 1.0 is equal; below 0.8 suggestions become guesses.
    const ALIKE: f64 = 0.8;
    let scored = candidates.map(|candidate| (strsim::jaro_winkler(text, candidate), candidate));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}
