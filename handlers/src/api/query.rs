//! The query string of a listing: known parameters, each at most once.
//!
//! A `+` stands for itself and not for a space: names contain it, and no parameter takes a space. Anything unknown is a
//! mistake rather than ignored, because a misspelt filter would list everything.

use http::Uri;
use percent_encoding::percent_decode_str;

use super::problem::ProblemDetails;

/// The parameters of one call.
#[derive(Debug)]
pub(super) struct ListingQuery {
    pairs: Vec<(&'static str, String)>,
}

impl ListingQuery {
    /// Reads the parameters; `known` are the ones that the endpoint takes.
    pub(super) fn parse(uri: &Uri, known: &[&'static str]) -> Result<Self, ProblemDetails> {
        let mut pairs: Vec<(&'static str, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            let Some(known) = known.iter().find(|known| **known == name) else {
                return Err(ProblemDetails::invalid_parameter(
                    &name,
                    format!("unknown; this listing takes {}", known.join(", ")),
                ));
            };
            if pairs.iter().any(|(given, _)| given == known) {
                return Err(ProblemDetails::invalid_parameter(known, "given twice"));
            }
            pairs.push((known, percent_decode_str(value).decode_utf8_lossy().into_owned()));
        }
        Ok(Self { pairs })
    }

    /// The parameter's text.
    pub(super) fn raw_value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// The parameter, read by `parse`.
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

    /// How many entries are wanted: `most` when nothing is said.
    pub(super) fn page_limit(&self, most: usize) -> Result<usize, ProblemDetails> {
        let limit = self.parse_value("limit", |text| match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(format!("must be a number from 1 to {most}")),
        })?;
        Ok(limit.unwrap_or(most))
    }
}
