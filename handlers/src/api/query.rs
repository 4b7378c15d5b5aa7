//! Query string of a listing: known parameters, each at most once.
//!
//! `+` is not decoded to a space, because names contain `+` and no parameter contains spaces. An unknown parameter is
//! an error, because ignoring a misspelled filter would list everything.

use http::Uri;
use percent_encoding::percent_decode_str;

use super::problem::ProblemDetails;

/// Query parameters of one request.
#[derive(Debug)]
pub(super) struct ListingQuery {
    pairs: Vec<(&'static str, String)>,
}

impl ListingQuery {
    /// Parses the query string. `known` are the parameters that the endpoint accepts.
    pub(super) fn parse(uri: &Uri, known: &[&'static str]) -> Result<Self, ProblemDetails> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            let Some(known) = known.iter().find(|known| **known == name) else {
                return Err(ProblemDetails::invalid_parameter(
                    &name,
                    format!("unknown parameter; this endpoint accepts {}", known.join(", ")),
                ));
            };
            if pairs.iter().any(|(given, _)| given == known) {
                return Err(ProblemDetails::invalid_parameter(known, "must be given at most once"));
            }
            pairs.push((known, percent_decode_str(value).decode_utf8_lossy().into_owned()));
        }
        Ok(Self { pairs })
    }

    /// Returns the text of a parameter.
    pub(super) fn raw_value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// Returns a parameter parsed by `parse`.
    pub(super) fn parse_value<T, E: ToString>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ProblemDetails> {
        self.raw_value(name)
            .map(parse)
            .transpose()
            .map_err(|error| ProblemDetails::invalid_parameter(name, error.to_string()))
    }

    /// Returns the parameter `limit`, or `max` if it is absent.
    pub(super) fn page_limit(&self, max: usize) -> Result<usize, ProblemDetails> {
        let limit = self.parse_value("limit", |text| match text.parse() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            _ => Err(format!("must be a number from 1 to {max}")),
        })?;
        Ok(limit.unwrap_or(max))
    }
}
