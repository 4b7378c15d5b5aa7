//! Checks before the authorizer and `$connect`: rate limits, API keys, and signatures of APIs with IAM authorization
//! (CON-1, section 2.3 of the catalogue).
//!
//! The checks read only this process's configuration, so a rejection costs no function call.

use std::net::IpAddr;

use gateway::api::{ApiKeySource, AuthorizationType, WebSocketApi};
use gateway::authorizer::AuthorizerContext;
use gateway::event::{ApiKey, IamCaller};
use gateway::handshake::{EventHeaders, QueryParameters, Rejection};
use gateway::iam::{IamAction, SignedRequest};
use http::HeaderMap;

use super::{HandshakeContext, UpgradeRequest};
use crate::access::{BudgetExceededError, RejectionCost};
use crate::functions::ApiIntegration;

/// Checks that the handshake has the required parameters of `$connect`.
pub(super) fn check_parameters(
    context: &HandshakeContext,
    headers: &EventHeaders,
    query: &QueryParameters,
) -> Result<(), Rejection> {
    let api = &context.sessions.integration.api;
    if api.has_required_parameters(headers, query) { Ok(()) } else { Err(Rejection::MissingParameter) }
}

/// Counts an accepted handshake against the rate limits of its user, of requests and of new connections.
pub(super) fn check_rates(context: &HandshakeContext, user: Option<&AuthorizerContext>) -> Result<(), Rejection> {
    if context.access.throttle.admits_handshake(user) { Ok(()) } else { Err(Rejection::Throttled) }
}

/// Checks that the authorizer may be invoked. One in this process verifies a token in microseconds and is always
/// invoked; a function is not, for an address whose budget of rejections is used up and above the rate of new
/// connections.
pub(super) fn check_authorization_rate(context: &HandshakeContext, client: IpAddr) -> Result<(), Rejection> {
    if context.sessions.integration.functions.authorizes_in_process() {
        return Ok(());
    }
    let within_budget = context.access.rejections.check_budget(client, RejectionCost::Request).is_ok();
    if within_budget && context.access.throttle.admits_authorization() { Ok(()) } else { Err(Rejection::Throttled) }
}

/// Counts a handshake that was rejected up to the authorizer against the budget of the client's address.
pub(super) fn charge_rejection(
    context: &HandshakeContext,
    client: IpAddr,
    rejection: Rejection,
) -> Result<(), BudgetExceededError> {
    use Rejection::{ApiKey, BadUpgrade, Denied, NotAnUpgrade, Signature, Unauthorized, UnknownStage, UrlTooLong};
    match rejection {
        UnknownStage | NotAnUpgrade | BadUpgrade | UrlTooLong | ApiKey | Unauthorized | Denied | Signature(_) => {
            context.access.rejections.charge_rejection(client, RejectionCost::Request)
        }
        Rejection::Throttled
        | Rejection::MissingParameter
        | Rejection::AuthorizerMisconfigured
        | Rejection::Handler(_)
        | Rejection::Integration(_)
        | Rejection::Unavailable => Ok(()),
    }
}

/// Returns the client's API key, when the API requires one in a header.
pub(super) fn key_from_header(context: &HandshakeContext, headers: &HeaderMap) -> Result<Option<ApiKey>, Rejection> {
    if !requires_key_from(&context.sessions.integration.api, ApiKeySource::Header) {
        return Ok(None);
    }
    let presented = headers.get("x-api-key").ok_or(Rejection::ApiKey)?;
    context.access.keys.find_key(presented.as_bytes()).map(Some).ok_or(Rejection::ApiKey)
}

/// Returns the client's API key, when the API reads it from the authorizer's result (AU-14).
pub(super) fn key_from_authorizer(
    context: &HandshakeContext,
    authorizer: Option<&AuthorizerContext>,
) -> Result<Option<ApiKey>, Rejection> {
    if !requires_key_from(&context.sessions.integration.api, ApiKeySource::Authorizer) {
        return Ok(None);
    }
    let presented = authorizer.and_then(AuthorizerContext::usage_identifier_key).ok_or(Rejection::ApiKey)?;
    context.access.keys.find_key(presented.as_bytes()).map(Some).ok_or(Rejection::ApiKey)
}

/// Verifies the signature and the caller's policy and returns the caller, when the API has IAM authorization.
pub(super) fn verify_caller(
    context: &HandshakeContext,
    request: &UpgradeRequest,
) -> Result<Option<IamCaller>, Rejection> {
    let ApiIntegration { api, clock, .. } = &context.sessions.integration;
    if api.authorization != AuthorizationType::Iam {
        return Ok(None);
    }
    let query = request.query.as_deref();
    let signed = SignedRequest { method: "GET", path: &request.path, query, headers: &request.headers };
    let caller = context.access.credentials.verify(signed, b"", &api.region, clock.now().0);
    let caller = caller.map_err(Rejection::Signature)?;
    if caller.policy.allows(IamAction::Invoke, &api.connect_arn()) {
        Ok(Some(caller.identity.clone()))
    } else {
        Err(Rejection::Denied)
    }
}

fn requires_key_from(api: &WebSocketApi, source: ApiKeySource) -> bool {
    api.api_key_required && api.key_source == source
}
