//! Identity sources: what an API's definition says that a handshake must carry before its authorizer is asked (AU-2).

use http::HeaderName;

/// Members of `$context` that a handshake has, so that they can be identity sources.
const CONTEXT_NAMES: [&str; 6] =
    ["apiId", "connectionId", "domainName", "identity.sourceIp", "identity.userAgent", "stage"];
/// The one of them that a handshake may lack.
pub(crate) const USER_AGENT: &str = "identity.userAgent";

/// The authorizer of `$connect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAuthorizer {
    /// What must be present before it runs.
    pub identity_sources: Vec<IdentitySource>,
}

/// One thing a handshake must carry.
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

/// A text that is no identity source of a WebSocket API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "identity source {0:?} must be route.request.header.NAME, route.request.querystring.NAME, stageVariables.NAME \
     or context.NAME"
)]
pub struct IdentitySourceError(String);

impl IdentitySource {
    /// Parses `text`.
    ///
    /// # Errors
    /// [`IdentitySourceError`] when it has none of the four forms, or an empty or impossible name.
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
