//! What an authorizer's answer means for the handshake (AU-4 to AU-10).
//!
//! ```text
//! Allow policy           → go on with $connect        fails with "Unauthorized"      → 401
//! Deny, or no match      → 403                        fails otherwise, not a policy,
//!                                                     no principal, bad context, > 8 KB → 500
//! ```
//! Invariant: fail closed; nothing but a well-formed allow lets a connection in.

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerResponse;
use serde_json::{Map, Value};

use super::context::AuthorizerContext;
use crate::api::Api;
use crate::handshake::Rejection;
use crate::policy::{self, Decision};

/// Why an authorizer gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizerFailure {
    /// The function failed with this message; exactly `Unauthorized` means 401 (AU-5).
    Function(String),
    /// It took longer than the quota.
    TimedOut,
    /// It could not be invoked, crashed, or was throttled.
    NotInvokable,
    /// What it returned is no policy (AU-6).
    Malformed,
}

/// What becomes of the handshake.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthorizerOutcome {
    /// It goes on; later events carry the context.
    Allow(AuthorizerContext),
    /// 403: the policy denies or does not allow the connection's ARN.
    Denied,
    /// 401: the function said so.
    Unauthorized,
    /// 500: the function failed or its result is not a policy.
    Misconfigured,
}

impl Rejection {
    /// The rejection for an authorizer outcome; `None` when it allows the connection.
    #[must_use]
    pub const fn from_authorizer(outcome: &AuthorizerOutcome) -> Option<Self> {
        match outcome {
            AuthorizerOutcome::Allow(_) => None,
            AuthorizerOutcome::Denied => Some(Self::Denied),
            AuthorizerOutcome::Unauthorized => Some(Self::Unauthorized),
            AuthorizerOutcome::Misconfigured => Some(Self::AuthorizerMisconfigured),
        }
    }
}

/// The outcome of a result that never left the process. `latency_ms` is how long the authorizer took.
///
/// Its size is that of the JSON it would have been (AU-10).
#[must_use]
pub fn outcome(
    api: &Api,
    result: Result<ApiGatewayCustomAuthorizerResponse, AuthorizerFailure>,
    latency_ms: u32,
) -> AuthorizerOutcome {
    match result {
        Ok(response) if !fits(&response, api.quotas.authorizer_result_bytes) => AuthorizerOutcome::Misconfigured,
        Ok(response) => judge(api, response, latency_ms),
        Err(AuthorizerFailure::Function(message)) if message == "Unauthorized" => AuthorizerOutcome::Unauthorized,
        Err(_) => AuthorizerOutcome::Misconfigured,
    }
}

/// The outcome of a result that came as JSON.
#[must_use]
pub fn outcome_from_json(api: &Api, result: &[u8], latency_ms: u32) -> AuthorizerOutcome {
    if result.len() > api.quotas.authorizer_result_bytes {
        return AuthorizerOutcome::Misconfigured;
    }
    match parse(result) {
        Some(response) => judge(api, response, latency_ms),
        None => AuthorizerOutcome::Misconfigured,
    }
}

/// Reads a result that came as JSON, by API Gateway's grammar rather than the stricter one of the public type.
///
/// # Errors
/// [`AuthorizerFailure::Malformed`] when it is no policy.
pub fn response_from_json(result: &[u8]) -> Result<ApiGatewayCustomAuthorizerResponse, AuthorizerFailure> {
    parse(result).ok_or(AuthorizerFailure::Malformed)
}

fn judge(api: &Api, response: ApiGatewayCustomAuthorizerResponse, latency_ms: u32) -> AuthorizerOutcome {
    let Some(principal_id) = response.principal_id.filter(|principal| !principal.is_empty()) else {
        return AuthorizerOutcome::Misconfigured;
    };
    let Ok(context) = AuthorizerContext::from_result(&principal_id, response.context, latency_ms) else {
        return AuthorizerOutcome::Misconfigured;
    };
    match policy::evaluate(&response.policy_document, policy::INVOKE, &api.connect_arn()) {
        Decision::Allow => AuthorizerOutcome::Allow(context.with_usage_identifier_key(response.usage_identifier_key)),
        Decision::Deny => AuthorizerOutcome::Denied,
    }
}

fn parse(result: &[u8]) -> Option<ApiGatewayCustomAuthorizerResponse> {
    let mut members: Map<String, Value> = serde_json::from_slice(result).ok()?;
    let policy = policy::parse(members.remove("policyDocument")?)?;
    let mut response = ApiGatewayCustomAuthorizerResponse::default();
    response.principal_id = members.get("principalId").and_then(Value::as_str).map(str::to_owned);
    response.usage_identifier_key = members.get("usageIdentifierKey").and_then(Value::as_str).map(str::to_owned);
    response.context = members.remove("context").unwrap_or_default();
    response.policy_document = policy;
    Some(response)
}

/// Whether the result's JSON has at most `limit` bytes. It is written out and counted only when the lengths of its texts
/// leave that open, which is seldom: this runs for every connection.
fn fits(response: &ApiGatewayCustomAuthorizerResponse, limit: usize) -> bool {
    most_json_bytes(response).is_some_and(|most| most <= limit) || json_bytes(response) <= limit
}

/// No less than the result's JSON has, for a flat context and plain statements; `None` for anything else.
fn most_json_bytes(response: &ApiGatewayCustomAuthorizerResponse) -> Option<usize> {
    /// The longest escape of one byte, `\u001f`.
    const ESCAPED: usize = 6;
    /// Names and punctuation of a member, a number, or the frame of a statement and of the whole.
    const FRAME: usize = 160;
    let text = |text: &str| text.len() * ESCAPED + FRAME;
    let option = |value: &Option<String>| value.as_deref().map_or(FRAME, text);
    let mut most = option(&response.principal_id) + option(&response.usage_identifier_key) + FRAME;
    for (name, value) in response.context.as_object()? {
        most += text(name) + value.as_str().map_or(FRAME, text);
        if value.is_array() || value.is_object() {
            return None;
        }
    }
    most += option(&response.policy_document.version);
    for statement in &response.policy_document.statement {
        if statement.condition.is_some() || !statement.other.is_empty() {
            return None;
        }
        most += FRAME + statement.action.iter().chain(&statement.resource).map(|name| text(name)).sum::<usize>();
    }
    Some(most)
}

fn json_bytes(response: &ApiGatewayCustomAuthorizerResponse) -> usize {
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, response) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
