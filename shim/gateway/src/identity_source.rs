//! Identity sources: request parameters that a handshake must have before its authorizer runs (AU-2).

use http::HeaderName;

/// Members of `$context` that can be identity sources, because handshakes have them.
const CONTEXT_NAMES: [&str; 6] =
    ["apiId", "connectionId", "domainName", "identity.sourceIp", "identity.userAgent", "stage"];
/// The only member of [`CONTEXT_NAMES`] that a handshake may lack.
pub(crate) const USER_AGENT: &str = "identity.userAgent";

/// REQUEST authorizer of `$connect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAuthorizer {
    /// Parameters that must be present before the authorizer runs.
    pub identity_sources: Vec<IdentitySource>,
}

/// A request parameter that a handshake must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// `route.request.header.NAME`
    Header(HeaderName),
    /// `route.request.querystring.NAME`
    QueryString(String),
    /// `stageVariables.NAME`
    StageVariable(String),
    /// `context.NAME`
    Context(String),
}

/// Error of parsing an identity source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "identity source {0:?} must be route.request.header.NAME, route.request.querystring.NAME, stageVariables.NAME \
     or context.NAME"
)]
pub struct IdentitySourceError(String);

impl IdentitySource {
    /// Parses an identity source.
    ///
    /// # Errors
    /// [`IdentitySourceError`] when `text` has none of the four forms, or an empty or invalid name.
    pub fn parse(text: &str) -> Result<Self, IdentitySourceError> {
        let parsed = if let Some(name) = text.strip_prefix("route.request.header.") {
            HeaderName::from_bytes(name.as_bytes()).ok().map(Self::Header)
        } else if let Some(name) = text.strip_prefix("route.request.querystring.") {
            (!name.is_empty()).then(|| Self::QueryString(name.to_owned()))
        } else if let Some(name) = text.strip_prefix("stageVariables.") {
            (!name.is_empty()).then(|| Self::StageVariable(name.to_owned()))
        } else {
            let known = text.strip_prefix("context.").filter(|name| CONTEXT_NAMES.contains(name));
            known.map(|name| Self::Context(name.to_owned()))
        };
        parsed.ok_or_else(|| IdentitySourceError(text.to_owned()))
    }
}
