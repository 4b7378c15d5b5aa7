//! Query of a handshake in events (QS-1, QS-2).
//!
//! Names and values are decoded exactly once: `+` is a space, an invalid escape stays as written, and bytes that are
//! not UTF-8 become U+FFFD. Names keep the order of their first occurrence. The URL quota limits the size.

use std::collections::HashMap;
use std::fmt;

use aws_lambda_events::query_map::QueryMap;
use percent_encoding::percent_decode_str;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Query parameters with all their values. `Debug` shows no values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct QueryParameters {
    entries: Vec<(String, Vec<String>)>,
}

impl QueryParameters {
    /// Parses a query without its `?`. Empty segments are skipped; a name without `=` has the value `""`.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let mut positions: HashMap<String, usize> = HashMap::new();
        let mut entries: Vec<(String, Vec<String>)> = Vec::new();
        for segment in query.split('&').filter(|segment| !segment.is_empty()) {
            let (name, value) = segment.split_once('=').unwrap_or((segment, ""));
            let name = decode_component(name);
            let position = *positions.entry(name).or_insert_with_key(|name| {
                entries.push((name.clone(), Vec::with_capacity(1)));
                entries.len() - 1
            });
            entries[position].1.push(decode_component(value));
        }
        Self { entries }
    }

    /// Returns whether there are no parameters; CONNECT events then have no query keys (EV-3).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the last value of `name`, which is the one in the single-valued map (QS-1).
    #[must_use]
    pub fn last_value(&self, name: &str) -> Option<&str> {
        let (_, values) = self.entries.iter().find(|(entry, _)| entry == name)?;
        values.last().map(String::as_str)
    }

    /// Returns the single-valued map for `aws_lambda_events`.
    #[must_use]
    pub fn to_single_value_map(&self) -> QueryMap {
        let last = |values: &Vec<String>| values.last().cloned().into_iter().collect::<Vec<_>>();
        self.entries.iter().map(|(name, values)| (name.clone(), last(values))).collect::<HashMap<_, _>>().into()
    }

    /// Returns the multi-valued map for `aws_lambda_events`.
    #[must_use]
    pub fn to_multi_value_map(&self) -> QueryMap {
        self.entries.iter().cloned().collect::<HashMap<_, _>>().into()
    }
}

fn decode_component(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// `queryStringParameters` in JSON.
pub(crate) struct SingleValueQuery<'q>(pub &'q QueryParameters);

/// `multiValueQueryStringParameters` in JSON.
pub(crate) struct MultiValueQuery<'q>(pub &'q QueryParameters);

impl Serialize for SingleValueQuery<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.entries.len()))?;
        for (name, values) in &self.0.entries {
            map.serialize_entry(name, values.last().map_or("", String::as_str))?;
        }
        map.end()
    }
}

impl Serialize for MultiValueQuery<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.entries.iter().map(|(name, values)| (name, values)))
    }
}

impl fmt::Debug for QueryParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryParameters").field("names", &self.entries.len()).finish()
    }
}
