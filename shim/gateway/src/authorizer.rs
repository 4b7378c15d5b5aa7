//! The REQUEST authorizer of `$connect`: when it runs, and what its result means (developer guide,
//! `apigateway-websocket-api-lambda-auth`, `api-gateway-lambda-authorizer-output`).
//!
//! Invariant: fail closed. Only a result of the documented shape whose policy allows the connection's ARN lets it in;
//! an explicit deny wins, a condition we cannot evaluate never allows, a missing identity source never reaches the
//! function. There is no cache, because WebSocket APIs have none (AU-11).

mod context;
mod outcome;
mod source;

pub use crate::identity_source::{Authorizer, IdentitySource, InvalidIdentitySource};
pub use context::{AuthorizerContext, ContextValue};
pub use outcome::{AuthorizerFailure, AuthorizerOutcome, outcome, outcome_from_json, response_from_json};

#[cfg(test)]
mod tests;
