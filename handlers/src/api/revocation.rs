//! Revocation of tokens: `POST /v1/revocations` and `DELETE /v1/revocations`.
//!
//! A revocation is written before the connections of the user are listed, and `$connect` reads it after it has written
//! the record of its connection. So every connection either is closed here, or is rejected there.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::caller::ApiCaller;
use super::json_response;
use super::kick::close_user_connections;
use super::problem::{ErrorLocation, FieldError, ProblemDetails};
use super::query::ListingQuery;
use crate::app::MessagingApp;
use crate::audience::Audience;
use crate::authorizer::TokenVerifier;
use crate::id::{TokenId, UserId};
use crate::ports::{Revocation, RevokedSubject, Timestamp};

/// Longest lifetime of a revocation, unless tokens are valid for longer.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Request body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RevocationRequest {
    /// A user id, or the subject of its tokens.
    user: Option<String>,
    /// The `jti` of a token.
    token: Option<String>,
    /// In seconds since 1970; after every token that was issued until now if absent.
    issued_before: Option<i64>,
    /// In seconds; until all revoked tokens have expired if absent.
    expires_in: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RevocationResponse {
    /// Number of connections that are being closed.
    closed: u64,
    expires_at: Timestamp,
}

/// `POST /v1/revocations`: rejects the tokens of a user, or one token, from now on. Closes the connections of the user,
/// which is required: connections are found by user, not by token.
pub(super) async fn revoke(
    app: &MessagingApp,
    verifier: &TokenVerifier,
    caller: &ApiCaller,
    body: &[u8],
) -> Result<Response<Bytes>, ProblemDetails> {
    let request: RevocationRequest = serde_json::from_slice(body).map_err(|error| invalid_body(&error))?;
    let (revocation, user) = request.into_revocation(caller, verifier, app.clock.now())?;
    app.access.revocations.put_revocation(&revocation).await?;
    let closed = close_user_connections(app, &Audience::User(caller.tenant.clone(), user)).await?;
    tracing::info!(connections = closed, "tokens revoked by api request");
    Ok(json_response(&RevocationResponse { closed, expires_at: revocation.expires_at }))
}

/// `DELETE /v1/revocations?user={user}` or `?token={jti}`: accepts the tokens again.
pub(super) async fn withdraw(
    app: &MessagingApp,
    caller: &ApiCaller,
    uri: &Uri,
) -> Result<Response<Bytes>, ProblemDetails> {
    let query = ListingQuery::parse(uri, &["user", "token"])?;
    let user = query.parse_value("user", UserId::parse_or_encode)?.map(RevokedSubject::User);
    let token = query.parse_value("token", TokenId::encode)?.map(RevokedSubject::Token);
    let subject = match (user, token) {
        (Some(subject), None) | (None, Some(subject)) => subject,
        _ => return Err(ProblemDetails::invalid_parameter("user", "use exactly one of user and token")),
    };
    if !app.access.revocations.delete_revocation(&caller.tenant, &subject).await? {
        return Err(ProblemDetails::not_found("there is no such revocation"));
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

impl RevocationRequest {
    /// Returns the revocation, and the user whose connections are to be closed.
    fn into_revocation(
        self,
        caller: &ApiCaller,
        verifier: &TokenVerifier,
        now: Timestamp,
    ) -> Result<(Revocation, UserId), ProblemDetails> {
        let default_lifetime = verifier.longest_validity().unwrap_or(MAX_LIFETIME);
        let lifetime = self.expires_in.map_or(default_lifetime, Duration::from_secs);
        let longest = default_lifetime.max(MAX_LIFETIME);
        if lifetime.is_zero() || lifetime > longest {
            let detail = format!("must be a number of seconds from 1 to {}", longest.as_secs());
            return Err(invalid_field("#/expiresIn", detail));
        }
        let issued_before = self.issued_before(verifier, now)?;
        let Some(user) = self.user else {
            let detail = "is required, also with 'token': the connections of the user are closed";
            return Err(invalid_field("#/user", detail));
        };
        let user = UserId::parse_or_encode(&user).map_err(|error| invalid_field("#/user", error.to_string()))?;
        let subject = match self.token {
            None => RevokedSubject::User(user.clone()),
            Some(token) => RevokedSubject::Token(
                TokenId::encode(&token).map_err(|error| invalid_field("#/token", error.to_string()))?,
            ),
        };
        let tenant = caller.tenant.clone();
        Ok((Revocation { tenant, subject, issued_before, expires_at: now.plus(lifetime) }, user))
    }

    /// Returns the time before which revoked tokens were issued. The default is later than the `iat` of every token that
    /// the server accepts now, also of an issuer whose clock is ahead.
    fn issued_before(&self, verifier: &TokenVerifier, now: Timestamp) -> Result<i64, ProblemDetails> {
        let latest = now.unix_seconds().saturating_add(verifier.leeway_seconds()).saturating_add(1);
        match self.issued_before {
            None => Ok(latest),
            Some(_) if self.token.is_some() => {
                Err(invalid_field("#/issuedBefore", "applies to the tokens of a user, not to one token"))
            }
            Some(given) if given > latest => {
                Err(invalid_field("#/issuedBefore", format!("must be in seconds since 1970, at most {latest}")))
            }
            Some(given) => Ok(given),
        }
    }
}

fn invalid_body(error: &serde_json::Error) -> ProblemDetails {
    match error.classify() {
        Category::Data => invalid_field("#", error.to_string()),
        _ => ProblemDetails::malformed(format!("not JSON at line {}, column {}", error.line(), error.column())),
    }
}

fn invalid_field(pointer: &str, detail: impl Into<String>) -> ProblemDetails {
    let location = ErrorLocation::Pointer(pointer.to_owned());
    ProblemDetails::invalid_fields(vec![FieldError { location, detail: detail.into() }])
}
