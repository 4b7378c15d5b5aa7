//! The REQUEST authorizer of `$connect`: when it runs, and what its result means (developer guide,
//! `apigateway-websocket-api-lambda-auth`, `api-gateway-lambda-authorizer-output`).
//!
//! Invariant: fail closed. Only a result of the documented shape whose policy allows the connection's ARN lets it in;
//! an explicit deny wins, a condition we cannot evaluate never allows, a missing identity source never reaches the
//! function. There is no cache, because WebSocket APIs have none (AU-11).

mod context;
mod identity_source;
mod outcome;

pub use crate::identity_source::{IdentitySource, IdentitySourceError, RequestAuthorizer};
pub use context::{AuthorizerContext, ContextValue};
pub use outcome::{
    AuthorizerInvocationError, AuthorizerOutcome, authorizer_outcome, authorizer_outcome_from_json,
    parse_authorizer_response,
};

#[cfg(test)]
mod tests;
