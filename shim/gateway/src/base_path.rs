//! Base paths of custom domains: the paths under which clients connect and backends call `@connections`.
//!
//! A mapping has no relation to the name of the stage; an empty one is the bare domain (CX-1). With several levels API
//! Gateway converts the names of all headers to lower case (developer guide, `websocket-api-mappings`).

use percent_encoding::percent_decode_str;

/// Maximum characters of a base path (developer guide, `websocket-api-mappings`).
const MAX_CHARS: usize = 300;
/// Characters of a base path in addition to letters and digits.
const FURTHER_CHARACTERS: &[u8] = b"$-_.+!*'()";

/// A validated base path, without slashes at its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePath(Box<str>);

/// Error of parsing a base path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "base path {0:?} must have at most 300 characters: letters, digits and $-_.+!*'() in one or more levels separated by \
     '/'; an empty one is the bare domain"
)]
pub struct BasePathError(String);

/// The path under which a request arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedPath {
    /// The name of the stage, as on the default endpoint.
    Stage,
    /// A base path of a custom domain.
    BasePath {
        /// Whether it has several levels, so that header names are in lower case.
        has_levels: bool,
    },
}

impl BasePath {
    /// Parses a base path; slashes at its ends are ignored.
    ///
    /// # Errors
    /// [`BasePathError`] for more than 300 characters, an empty level or another character.
    pub fn parse(text: &str) -> Result<Self, BasePathError> {
        let path = text.trim_matches('/');
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || FURTHER_CHARACTERS.contains(&byte);
        let is_level = |level: &str| !level.is_empty() && level.bytes().all(allowed);
        let is_valid = path.is_empty() || (path.len() <= MAX_CHARS && path.split('/').all(is_level));
        if is_valid { Ok(Self(path.into())) } else { Err(BasePathError(text.to_owned())) }
    }

    /// Returns the path; empty for the bare domain.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the path has several levels.
    #[must_use]
    pub fn has_levels(&self) -> bool {
        self.0.contains('/')
    }
}

/// Returns what `path` (as received, percent-encoded, with or without slashes at its ends) is for an API with the stage
/// `stage` and these base paths.
pub(crate) fn match_path(path: &str, stage: &str, base_paths: &[BasePath]) -> Option<RequestedPath> {
    let path = path.trim_start_matches('/').trim_end_matches('/');
    if path == stage {
        return Some(RequestedPath::Stage);
    }
    if base_paths.is_empty() {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let found = base_paths.iter().find(|base| *base.0 == *decoded)?;
    Some(RequestedPath::BasePath { has_levels: found.has_levels() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cx_1_base_paths_have_levels_of_allowed_characters() {
        for (text, parsed) in
            [("", ""), ("/", ""), ("v1", "v1"), ("/orders/", "orders"), ("a/b/$-_.+!*'()", "a/b/$-_.+!*'()")]
        {
            assert_eq!(BasePath::parse(text).unwrap().as_str(), parsed);
        }
        for text in ["a//b", "a b", "ü", "a?b", "@connections", &"x".repeat(301)] {
            assert!(BasePath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cx_1_a_request_names_the_stage_or_a_base_path() {
        let paths = ["", "v1", "a/b", "x(y)"].map(|text| BasePath::parse(text).unwrap());
        let base = |has_levels| Some(RequestedPath::BasePath { has_levels });
        let found = |path| match_path(path, "prod", &paths);
        assert_eq!((found("/prod"), found("/prod/")), (Some(RequestedPath::Stage), Some(RequestedPath::Stage)));
        assert_eq!(
            (found("/"), found("/v1"), found("/a/b"), found("/x%28y)")),
            (base(false), base(false), base(true), base(false))
        );
        assert_eq!((found("/a"), found("/v1/a"), found("/other")), (None, None, None));
        assert_eq!(match_path("/", "prod", &[]), None);
    }
}
