//! Check of a handshake for the identity sources of its authorizer (AU-2).
//!
//! A missing or empty source means 401 without an invocation. Without sources the function always runs (AU-3).

use crate::api::WebSocketApi;
use crate::handshake::{EventHeaders, QueryParameters};
use crate::identity_source::{IdentitySource, RequestAuthorizer, USER_AGENT};

impl IdentitySource {
    /// Returns whether the handshake has the parameter, and it is not empty.
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

impl WebSocketApi {
    /// Returns whether the handshake has all required parameters of `$connect`. If not, the client gets 400.
    #[must_use]
    pub fn has_required_parameters(&self, headers: &EventHeaders, query: &QueryParameters) -> bool {
        self.required_parameters.iter().all(|parameter| parameter.is_present(self, headers, query))
    }
}

impl RequestAuthorizer {
    /// Returns whether the handshake has every identity source. If not, the client gets 401 and the function is not
    /// invoked.
    #[must_use]
    pub fn may_run(&self, api: &WebSocketApi, headers: &EventHeaders, query: &QueryParameters) -> bool {
        self.identity_sources.iter().all(|source| source.is_present(api, headers, query))
    }
}
