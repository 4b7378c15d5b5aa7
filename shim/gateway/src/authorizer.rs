//! REQUEST authorizer of `$connect`: its identity sources and the evaluation of its result (developer guide,
//! `apigateway-websocket-api-lambda-auth`, `api-gateway-lambda-authorizer-output`).
//!
//! Authorization fails closed. A connection is accepted only if the result has the documented shape and its policy
//! allows the connection's ARN. An explicit deny wins; a statement with a condition never allows; a handshake without a
//! required identity source is rejected without an invocation. Results are not cached, because WebSocket APIs do not
//! cache them (AU-11).

mod context;
mod identity_source;
mod outcome;

pub use crate::identity_source::{IdentitySource, IdentitySourceError, RequestAuthorizer};
pub use context::{AuthorizerContext, ContextValue};
pub use outcome::{
    AuthorizerFormatError, AuthorizerInvocationError, AuthorizerOutcome, authorizer_outcome,
    authorizer_outcome_from_json, parse_authorizer_response,
};

#[cfg(test)]
mod tests;
