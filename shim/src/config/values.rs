//! Parsers of configuration values: durations and sizes with units, choices, lists, tables.
//!
//! Each parser's error describes the expected form. Durations and sizes are parsed by `handlers::config_value`, as in
//! the Lambda functions.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use handlers::config_value;

use super::ConfigValue;

/// A parsed value, or a description of the expected form.
pub type ParseResult<T> = Result<T, String>;

/// Accepts any text.
pub(super) fn parse_text(value: &ConfigValue) -> ParseResult<String> {
    match value {
        ConfigValue::Text(text) => Ok(text.clone()),
        ConfigValue::List(_) | ConfigValue::Table(_) => Err("must be a single value, not a list or table".to_owned()),
    }
}

/// Accepts text that satisfies `allowed`; `rule` describes it in the error.
pub(super) fn parse_text_where(value: &ConfigValue, allowed: impl Fn(&str) -> bool, rule: &str) -> ParseResult<String> {
    parse_text(value).and_then(|text| if allowed(&text) { Ok(text) } else { Err(format!("must be {rule}")) })
}

/// Parses text with `FromStr`; `rule` describes the form in the error.
pub(super) fn parse_from_str<T: FromStr>(value: &ConfigValue, rule: &str) -> ParseResult<T> {
    parse_text(value)?.trim().parse().map_err(|_| format!("must be {rule}"))
}

/// Parses a whole number of at least 1.
pub(super) fn parse_count<T: FromStr + PartialOrd + From<u8>>(value: &ConfigValue) -> ParseResult<T> {
    const RULE: &str = "a whole number of at least 1";
    let number: T = parse_from_str(value, RULE)?;
    if number >= T::from(1) { Ok(number) } else { Err(format!("must be {RULE}")) }
}

/// Parses one of several words.
pub(super) fn parse_choice<T: Copy>(value: &ConfigValue, words: &[(&str, T)]) -> ParseResult<T> {
    let text = parse_text(value)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let list: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let near =
            nearest_name(&text, list.iter().copied()).map(|word| format!("; did you mean {word}?")).unwrap_or_default();
        format!("must be one of {}{near}", list.join(", "))
    })
}

/// Parses `true` or `false`.
pub(super) fn parse_bool(value: &ConfigValue) -> ParseResult<bool> {
    parse_choice(value, &[("true", true), ("false", false)])
}

/// Parses a duration such as `500ms`, `30s`, `1h30m`.
pub(super) fn parse_duration_value(value: &ConfigValue) -> ParseResult<Duration> {
    config_value::parse_duration(&parse_text(value)?)
}

/// Parses the maximum age of retained messages.
pub(super) fn parse_retention_age(value: &ConfigValue) -> ParseResult<Duration> {
    config_value::parse_retention_age(&parse_text(value)?)
}

/// Parses the accepted clock difference between the issuer of tokens and this server.
pub(super) fn parse_leeway(value: &ConfigValue) -> ParseResult<Duration> {
    config_value::parse_leeway(&parse_text(value)?)
}

/// Parses a duration of at least 1 ms.
pub(super) fn parse_positive_duration(value: &ConfigValue) -> ParseResult<Duration> {
    let duration = parse_duration_value(value)?;
    if duration >= Duration::from_millis(1) {
        Ok(duration)
    } else {
        Err("must be a duration of at least 1ms".to_owned())
    }
}

/// Parses a duration of at least 1 ms, or `off`.
pub(super) fn parse_duration_or_off(value: &ConfigValue) -> ParseResult<Option<Duration>> {
    match parse_text(value)?.as_str() {
        "off" => Ok(None),
        _ => parse_positive_duration(value).map(Some).map_err(|rule| format!("{rule}, or off")),
    }
}

/// Parses a size such as `2KiB` or `1MiB` into bytes.
pub(super) fn parse_size(value: &ConfigValue) -> ParseResult<usize> {
    config_value::parse_size(&parse_text(value)?)
}

/// Parses a list: an array in the file, otherwise items separated by commas or line breaks. Empty items are skipped.
pub(super) fn parse_list(value: &ConfigValue) -> ParseResult<Vec<String>> {
    let items = match value {
        ConfigValue::List(items) => items.clone(),
        ConfigValue::Text(text) => text.split([',', '\n']).map(str::to_owned).collect(),
        ConfigValue::Table(_) => return Err("must be a list, not a table".to_owned()),
    };
    Ok(items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

/// Parses a table: a TOML table in the file, otherwise `name=value,name=value`.
pub(super) fn parse_table(value: &ConfigValue) -> ParseResult<BTreeMap<String, String>> {
    let ConfigValue::Table(pairs) = value else {
        let pairs = parse_list(value)?.into_iter().map(|pair| match pair.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err("must be pairs such as name=value,other=value".to_owned()),
        });
        return pairs.collect();
    };
    Ok(pairs.clone())
}

/// Returns the most similar candidate, or `None` if none is similar enough for a typing error.
pub(super) fn nearest_name<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler similarity: 1.0 for equal texts. Suggestions below 0.8 are mostly wrong.
    const MIN_SIMILARITY: f64 = 0.8;
    let scored = candidates.map(|candidate| (strsim::jaro_winkler(text, candidate), candidate));
    scored
        .filter(|(score, _)| *score >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
