//! Outcome of an authorizer's result for the handshake (AU-4 to AU-10).
//!
//! ```text
//! Allow policy           → $connect                   fails with "Unauthorized"      → 401
//! Deny, or no match      → 403                        fails otherwise, not a policy,
//!                                                     no principal, bad context, > 8 KB → 500
//! ```
//! Authorization fails closed: only a well-formed allow accepts a connection.

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerResponse;
use serde_json::{Map, Value};

use super::context::AuthorizerContext;
use crate::api::WebSocketApi;
use crate::handshake::Rejection;
use crate::policy::{self, PolicyDecision};

/// Error of an authorizer invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizerInvocationError {
    /// The function failed with this message; only the exact message `Unauthorized` means 401 (AU-5).
    Function(String),
    /// The function took longer than the quota.
    TimedOut,
    /// The function could not be invoked, crashed, or was throttled.
    NotInvokable,
    /// The result is not a policy (AU-6).
    Malformed,
}

/// Reason why the result of an authorizer is not a policy. It contains no values, which may be user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizerFormatError {
    #[error("the result is not a JSON object")]
    NotAnObject,
    #[error("the result has no principalId, which must be a string that is not empty")]
    NoPrincipal,
    #[error("the result has no policyDocument with a list of statements, each with Effect, Action and Resource")]
    NoPolicy,
    #[error("context is not an object of strings, numbers and booleans")]
    InvalidContext,
    #[error(
        "the result has {bytes} bytes of JSON, but API Gateway accepts at most {limit}: return a smaller context, such as \
         the key of a record instead of its contents"
    )]
    TooLarge {
        /// Size of the result in bytes.
        bytes: usize,
        /// Maximum size in bytes.
        limit: usize,
    },
}

impl From<AuthorizerFormatError> for AuthorizerInvocationError {
    fn from(_: AuthorizerFormatError) -> Self {
        Self::Malformed
    }
}

/// Outcome of the authorizer for the handshake.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthorizerOutcome {
    /// The handshake continues; later events contain the context.
    Allow(AuthorizerContext),
    /// 403: the policy denies or does not allow the connection's ARN.
    Denied,
    /// 401: the function failed with `Unauthorized`.
    Unauthorized,
    /// 500: the function failed or its result is not a policy. The reason is that of a result which was returned, and
    /// `None` when the invocation failed.
    Misconfigured(Option<AuthorizerFormatError>),
}

impl Rejection {
    /// Returns the rejection of an authorizer outcome; `None` when it allows the connection.
    #[must_use]
    pub const fn from_authorizer(outcome: &AuthorizerOutcome) -> Option<Self> {
        match outcome {
            AuthorizerOutcome::Allow(_) => None,
            AuthorizerOutcome::Denied => Some(Self::Denied),
            AuthorizerOutcome::Unauthorized => Some(Self::Unauthorized),
            AuthorizerOutcome::Misconfigured(_) => Some(Self::AuthorizerMisconfigured),
        }
    }
}

/// Returns the outcome of a typed result, for an authorizer in this process. `latency_ms` is the authorizer's run time.
///
/// The size limit applies to the JSON form of the result (AU-10).
#[must_use]
pub fn authorizer_outcome(
    api: &WebSocketApi,
    result: Result<ApiGatewayCustomAuthorizerResponse, AuthorizerInvocationError>,
    latency_ms: u32,
) -> AuthorizerOutcome {
    match result {
        Ok(response) => match check_size(&response, api.quotas.authorizer_result_bytes) {
            Ok(()) => evaluate_response(api, response, latency_ms),
            Err(reason) => AuthorizerOutcome::Misconfigured(Some(reason)),
        },
        Err(AuthorizerInvocationError::Function(message)) if message == "Unauthorized" => {
            AuthorizerOutcome::Unauthorized
        }
        Err(_) => AuthorizerOutcome::Misconfigured(None),
    }
}

/// Returns the outcome of a result in JSON.
#[must_use]
pub fn authorizer_outcome_from_json(api: &WebSocketApi, result: &[u8], latency_ms: u32) -> AuthorizerOutcome {
    match parse_authorizer_response(result, api.quotas.authorizer_result_bytes) {
        Ok(response) => evaluate_response(api, response, latency_ms),
        Err(reason) => AuthorizerOutcome::Misconfigured(Some(reason)),
    }
}

/// Parses a result in JSON with API Gateway's grammar, which is more lenient than that of `aws_lambda_events`. The result
/// may have at most `limit` bytes (AU-10).
///
/// # Errors
/// [`AuthorizerFormatError`] with the reason, when the result is too large or not a policy of a principal.
pub fn parse_authorizer_response(
    result: &[u8],
    limit: usize,
) -> Result<ApiGatewayCustomAuthorizerResponse, AuthorizerFormatError> {
    if result.len() > limit {
        return Err(AuthorizerFormatError::TooLarge { bytes: result.len(), limit });
    }
    let response = parse_response(result)?;
    if response.principal_id.as_deref().is_none_or(str::is_empty) {
        return Err(AuthorizerFormatError::NoPrincipal);
    }
    let is_flat = match &response.context {
        Value::Null => true,
        Value::Object(members) => members.values().all(|value| !value.is_array() && !value.is_object()),
        _ => false,
    };
    if is_flat { Ok(response) } else { Err(AuthorizerFormatError::InvalidContext) }
}

fn evaluate_response(
    api: &WebSocketApi,
    response: ApiGatewayCustomAuthorizerResponse,
    latency_ms: u32,
) -> AuthorizerOutcome {
    let Some(principal_id) = response.principal_id.filter(|principal| !principal.is_empty()) else {
        return AuthorizerOutcome::Misconfigured(Some(AuthorizerFormatError::NoPrincipal));
    };
    let Ok(context) = AuthorizerContext::from_result(&principal_id, response.context, latency_ms) else {
        return AuthorizerOutcome::Misconfigured(Some(AuthorizerFormatError::InvalidContext));
    };
    match policy::evaluate_policy(&response.policy_document, policy::INVOKE_ACTION, &api.connect_arn()) {
        PolicyDecision::Allow => {
            AuthorizerOutcome::Allow(context.with_usage_identifier_key(response.usage_identifier_key))
        }
        PolicyDecision::Deny => AuthorizerOutcome::Denied,
    }
}

fn parse_response(result: &[u8]) -> Result<ApiGatewayCustomAuthorizerResponse, AuthorizerFormatError> {
    let mut members: Map<String, Value> =
        serde_json::from_slice(result).map_err(|_| AuthorizerFormatError::NotAnObject)?;
    let policy = members.remove("policyDocument").and_then(policy::parse_policy);
    let policy = policy.ok_or(AuthorizerFormatError::NoPolicy)?;
    let mut response = ApiGatewayCustomAuthorizerResponse::default();
    response.principal_id = members.get("principalId").and_then(Value::as_str).map(str::to_owned);
    response.usage_identifier_key = members.get("usageIdentifierKey").and_then(Value::as_str).map(str::to_owned);
    response.context = members.remove("context").unwrap_or_default();
    response.policy_document = policy;
    Ok(response)
}

/// Checks that the result's JSON has at most `limit` bytes. It is serialized only when the upper bound exceeds the limit,
/// which is rare, because this runs for every connection.
fn check_size(response: &ApiGatewayCustomAuthorizerResponse, limit: usize) -> Result<(), AuthorizerFormatError> {
    if max_json_bytes(response).is_some_and(|max| max <= limit) {
        return Ok(());
    }
    let bytes = json_bytes(response);
    if bytes <= limit { Ok(()) } else { Err(AuthorizerFormatError::TooLarge { bytes, limit }) }
}

/// Returns an upper bound of the JSON size, for a flat context and statements without conditions; otherwise `None`.
fn max_json_bytes(response: &ApiGatewayCustomAuthorizerResponse) -> Option<usize> {
    /// The longest escape of one byte, `\u001f`.
    const MAX_ESCAPED_BYTES: usize = 6;
    /// Upper bound of the names and punctuation of a member or statement, and of a number.
    const FRAMING_BYTES: usize = 160;
    let text = |text: &str| text.len() * MAX_ESCAPED_BYTES + FRAMING_BYTES;
    let option = |value: &Option<String>| value.as_deref().map_or(FRAMING_BYTES, text);
    let mut bytes = option(&response.principal_id) + option(&response.usage_identifier_key) + FRAMING_BYTES;
    for (name, value) in response.context.as_object()? {
        bytes += text(name) + value.as_str().map_or(FRAMING_BYTES, text);
        if value.is_array() || value.is_object() {
            return None;
        }
    }
    bytes += option(&response.policy_document.version);
    for statement in &response.policy_document.statement {
        if statement.condition.is_some() || !statement.other.is_empty() {
            return None;
        }
        bytes +=
            FRAMING_BYTES + statement.action.iter().chain(&statement.resource).map(|name| text(name)).sum::<usize>();
    }
    Some(bytes)
}

fn json_bytes(response: &ApiGatewayCustomAuthorizerResponse) -> usize {
    let mut count = ByteCounter(0);
    match serde_json::to_writer(&mut count, response) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
