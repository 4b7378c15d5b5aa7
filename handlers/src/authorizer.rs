//! The REQUEST authorizer of the `$connect` route: a token in, an IAM policy and the caller's identity out.
//!
//! It runs once per connection; what it found travels as the authorizer context of every later event. A token is taken
//! from, in this order, `Authorization: Bearer`, the subprotocol list (`twinway.v1, bearer.<token>`, all that a browser
//! can set), and the query's `token`. The token itself never reaches a log, an error or a `Debug` output.

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

pub use self::claims::{JwtClaims, MintError, mint_hs256};
pub use self::keys::{
    Algorithm, KeySet, KeySetError, KeySource, KeySourceError, MAX_KEYS_PER_DOCUMENT, MIN_SECRET_BYTES, VerificationKey,
};
pub use self::token::{ExpiryPolicy, MAX_TOKEN_BYTES, TokenError, TokenSettings, TokenVerifier};
use crate::identity::Identity;
use crate::ports::Timestamp;

/// The subprotocol that a client offers beside its token and that `$connect` answers with.
pub const SUBPROTOCOL: &str = "twinway.v1";
/// What a subprotocol that carries a token begins with.
pub const BEARER_SUBPROTOCOL_PREFIX: &str = "bearer.";
/// The query parameter that carries a token where nothing else can.
pub const TOKEN_PARAMETER: &str = "token";

/// The version of the IAM policy language.
const POLICY_VERSION: &str = "2012-10-17";

/// The authorizer.
pub struct Authorizer {
    /// Decides whom a token names.
    pub verifier: Arc<TokenVerifier>,
}

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizerError {
    /// No token, or one that is not good. API Gateway answers 401 to exactly this text and 500 to any other ("Lambda
    /// authorizers", API Gateway guide).
    #[error("Unauthorized")]
    Unauthorized,
    /// The verdict could not be reached: a 500, because the token may be good.
    #[error("could not reach a verdict on the token")]
    KeysUnavailable(#[source] KeySourceError),
    /// The event names no resource: this is not a REQUEST authorizer's event.
    #[error("the event has no methodArn")]
    MissingResource,
}

impl Authorizer {
    /// Verifies the request's token at `now` and allows the resource it asks for, whatever the role. The request is read
    /// at once; the future holds its token and its resource.
    ///
    /// # Errors
    /// [`AuthorizerError`], whose text API Gateway turns into 401 or 500.
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
        tracing::info!(token.error = "missing", "connection refused");
        return Err(AuthorizerError::Unauthorized);
    };
    match verifier.verify(token, now).await {
        Ok(identity) => Ok(allow_response(&identity, resource)),
        Err(TokenError::KeysUnavailable(source)) => Err(AuthorizerError::KeysUnavailable(source)),
        Err(refused) => {
            tracing::info!(token.error = refused.reason_code(), "connection refused");
            Err(AuthorizerError::Unauthorized)
        }
    }
}

/// The token of an `Authorization: Bearer` header; the scheme's case does not matter (RFC 9110, section 11.1).
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(AUTHORIZATION).iter().find_map(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

/// The token among the subprotocols that a client offers.
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

fn allow_response(identity: &Identity, resource: &str) -> ApiGatewayCustomAuthorizerResponse {
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
    response.context = identity.to_context().into_iter().collect();
    response
}

#[cfg(test)]
mod tests;
