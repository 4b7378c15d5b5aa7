//! The REQUEST authorizer of the `$connect` route: verifies a token and returns an IAM policy with the caller's
//! identity.
//!
//! The authorizer runs once per connection; its result is the authorizer context of every later event. The token is
//! read from, in this order, `Authorization: Bearer`, the subprotocol list (`twinway.v1, bearer.<token>`, the only
//! header that browsers can set), and the query parameter `token`. The token is never written to a log, an error or
//! `Debug` output.

mod claim_mapping;
mod claims;
mod keys;
mod token;

use std::sync::Arc;

use aws_lambda_events::apigw::{
    ApiGatewayCustomAuthorizerPolicy, ApiGatewayCustomAuthorizerRequestTypeRequest, ApiGatewayCustomAuthorizerResponse,
};
use aws_lambda_events::iam::{IamPolicyEffect, IamPolicyStatement};
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

pub use self::claim_mapping::{ClaimKey, ClaimMapping, ClaimPath};
pub use self::claims::{JwtClaims, MintError, mint_hs256};
pub use self::keys::{
    Algorithm, KeySet, KeySetError, KeySource, KeySourceError, MAX_KEYS_PER_DOCUMENT, MIN_SECRET_BYTES, SECRET_COMMAND,
    SkippedKey, SkippedKeyReason, VerificationKey, check_secret, is_repetitive,
};
pub use self::token::{ExpiryPolicy, MAX_TOKEN_BYTES, TokenError, TokenSettings, TokenVerifier, VerifiedToken};
use crate::channel_policy::CHANNELS_KEY;
use crate::ports::Timestamp;

/// Prefix of the subprotocol that carries a token.
pub const BEARER_SUBPROTOCOL_PREFIX: &str = "bearer.";
/// Query parameter that carries a token, for clients that can set no header.
pub const TOKEN_PARAMETER: &str = "token";

/// Version of the IAM policy language.
const POLICY_VERSION: &str = "2012-10-17";

/// The REQUEST authorizer.
pub struct Authorizer {
    pub verifier: Arc<TokenVerifier>,
}

/// A rejected or failed authorization.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizerError {
    /// The token is missing or invalid. API Gateway answers 401 for exactly this text, and 500 for any other ("Lambda
    /// authorizers", API Gateway guide).
    #[error("Unauthorized")]
    Unauthorized,
    /// The verification keys are unavailable. Answered with 500, because the token may be valid.
    #[error("token verification failed")]
    KeysUnavailable(#[source] KeySourceError),
    /// The event has no resource: it is not an event of a REQUEST authorizer.
    #[error("the event has no methodArn")]
    MissingResource,
}

impl Authorizer {
    /// Verifies the token of the request at time `now` and allows the requested resource for every role. The request is
    /// read when the method is called; the future holds only its token and resource.
    ///
    /// # Errors
    /// [`AuthorizerError`], whose text API Gateway maps to 401 or 500.
    pub fn authorize(
        &self,
        request: ApiGatewayCustomAuthorizerRequestTypeRequest,
        now: Timestamp,
    ) -> impl Future<Output = Result<ApiGatewayCustomAuthorizerResponse, AuthorizerError>> + Send + use<> {
        let verifier = self.verifier.clone();
        let token = presented_token(&request).map(str::to_owned);
        let resource = request.method_arn;
        async move {
            let resource = resource.ok_or(AuthorizerError::MissingResource)?;
            verify_request(&verifier, token.as_deref(), &resource, now).await
        }
    }
}

async fn verify_request(
    verifier: &TokenVerifier,
    token: Option<&str>,
    resource: &str,
    now: Timestamp,
) -> Result<ApiGatewayCustomAuthorizerResponse, AuthorizerError> {
    let Some(token) = token else {
        tracing::info!(token.error = "missing", "handshake rejected");
        return Err(AuthorizerError::Unauthorized);
    };
    match verifier.verify_token(token, now).await {
        Ok(verified) => Ok(allow_response(&verified, resource)),
        Err(TokenError::KeysUnavailable(source)) => Err(AuthorizerError::KeysUnavailable(source)),
        Err(error) => {
            tracing::info!(token.error = error.reason_code(), "handshake rejected");
            Err(AuthorizerError::Unauthorized)
        }
    }
}

/// Returns the token of an `Authorization: Bearer` header. The scheme is case-insensitive (RFC 9110, section 11.1).
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(AUTHORIZATION).iter().find_map(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

/// Returns the token in the offered subprotocols.
fn subprotocol_token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(BEARER_SUBPROTOCOL_PREFIX))
}

fn presented_token(request: &ApiGatewayCustomAuthorizerRequestTypeRequest) -> Option<&str> {
    bearer_token(&request.headers)
        .or_else(|| bearer_token(&request.multi_value_headers))
        .or_else(|| subprotocol_token(&request.headers))
        .or_else(|| subprotocol_token(&request.multi_value_headers))
        .or_else(|| request.query_string_parameters.first(TOKEN_PARAMETER))
        .or_else(|| request.multi_value_query_string_parameters.first(TOKEN_PARAMETER))
        .filter(|token| !token.is_empty())
}

fn allow_response(verified: &VerifiedToken, resource: &str) -> ApiGatewayCustomAuthorizerResponse {
    let VerifiedToken { identity, issue, channels } = verified;
    let mut statement = IamPolicyStatement::default();
    statement.action = vec!["execute-api:Invoke".to_owned()];
    statement.effect = IamPolicyEffect::Allow;
    statement.resource = vec![resource.to_owned()];
    let mut policy = ApiGatewayCustomAuthorizerPolicy::default();
    policy.version = Some(POLICY_VERSION.to_owned());
    policy.statement = vec![statement];
    let mut response = ApiGatewayCustomAuthorizerResponse::default();
    response.principal_id = Some(identity.user.as_str().to_owned());
    response.policy_document = policy;
    let mut context = identity.to_context();
    // `$connect` compares them with the revocations.
    issue.extend_context(&mut context);
    if let Some(channels) = channels.context_value() {
        context.insert(CHANNELS_KEY.to_owned(), channels.into());
    }
    response.context = context.into_iter().collect();
    response
}

#[cfg(test)]
mod tests;
