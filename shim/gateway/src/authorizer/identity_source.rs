//! Whether a handshake carries what its authorizer needs (AU-2).
//!
//! Invariant: a source that is missing or empty means 401 without an invocation; no sources means the function always
//! runs (AU-3).

use crate::api::WebSocketApi;
use crate::handshake::{EventHeaders, QueryParameters};
use crate::identity_source::{IdentitySource, RequestAuthorizer, USER_AGENT};

impl IdentitySource {
    fn is_present(&self, api: &WebSocketApi, headers: &EventHeaders, query: &QueryParameters) -> bool {
        match self {
            Self::Header(name) => headers.last_value(name).is_some_and(|value| !value.is_empty()),
            Self::QueryString(name) => query.last_value(name).is_some_and(|value| !value.is_empty()),
            Self::StageVariable(name) => api.stage.variables.get(name).is_some_and(|value| !value.is_empty()),
            Self::Context(name) if name == USER_AGENT => headers.last_value(&http::header::USER_AGENT).is_some(),
            Self::Context(_) => true,
        }
    }
}

impl RequestAuthorizer {
    /// Whether the handshake carries every identity source; if not, the client gets 401 and the function is not
    /// invoked.
    #[must_use]
    pub fn may_run(&self, api: &WebSocketApi, headers: &EventHeaders, query: &QueryParameters) -> bool {
        self.identity_sources.iter().all(|source| source.is_present(api, headers, query))
    }
}
