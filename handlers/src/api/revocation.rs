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
use crate::id::{TokenId, UserId};
use crate::ports::{Revocation, RevokedSubject, Timestamp};

/// Lifetime of a revocation that states none: longer than usual tokens are valid.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longest lifetime of a revocation.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Request body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RevocationRequest {
    user: Option<UserId>,
    token: Option<TokenId>,
    /// In seconds since 1970; now if absent.
    issued_before: Option<i64>,
    /// In seconds.
    expires_in: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RevocationResponse {
    /// Number of connections that are being closed.
    closed: u64,
    expires_at: Timestamp,
}

/// `POST /v1/revocations`: rejects the tokens of a user, or one token, from now on. Closes the connections of the user.
pub(super) async fn revoke(
    app: &MessagingApp,
    caller: &ApiCaller,
    body: &[u8],
) -> Result<Response<Bytes>, ProblemDetails> {
    let request: RevocationRequest = serde_json::from_slice(body).map_err(|error| invalid_body(&error))?;
    let (revocation, user) = request.into_revocation(caller, app.clock.now())?;
    app.access.revocations.put_revocation(&revocation).await?;
    let closed = match user {
        Some(user) => close_user_connections(app, &Audience::User(caller.tenant.clone(), user)).await?,
        None => 0,
    };
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
    let user = query.parse_value("user", UserId::parse)?.map(RevokedSubject::User);
    let token = query.parse_value("token", TokenId::parse)?.map(RevokedSubject::Token);
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
        now: Timestamp,
    ) -> Result<(Revocation, Option<UserId>), ProblemDetails> {
        let lifetime = self.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
        if lifetime.is_zero() || lifetime > MAX_LIFETIME {
            let detail = format!("must be a number of seconds from 1 to {}", MAX_LIFETIME.as_secs());
            return Err(invalid_field("#/expiresIn", detail));
        }
        let subject = match (&self.token, &self.user) {
            (Some(_), _) if self.issued_before.is_some() => {
                return Err(invalid_field("#/issuedBefore", "applies to the tokens of a user, not to one token"));
            }
            (Some(token), _) => RevokedSubject::Token(token.clone()),
            (None, Some(user)) => RevokedSubject::User(user.clone()),
            (None, None) => return Err(invalid_field("#", "must have 'user', 'token' or both")),
        };
        // Tokens issued within this second are rejected too.
        let issued_before = self.issued_before.unwrap_or_else(|| now.unix_seconds() + 1);
        let tenant = caller.tenant.clone();
        Ok((Revocation { tenant, subject, issued_before, expires_at: now.plus(lifetime) }, self.user))
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
