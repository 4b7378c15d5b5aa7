//! Closing of one connection, or of all connections of a user.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Response, StatusCode, Uri};
use serde::Serialize;

use super::caller::ApiCaller;
use super::json_response;
use super::listing::{check_tenant, connection_not_found};
use super::problem::ProblemDetails;
use super::query::ListingQuery;
use crate::app::MessagingApp;
use crate::audience::Audience;
use crate::id::{ConnectionId, UserId};
use crate::ports::{CloseReason, DeliveryError, DeliveryOutcome};

/// Page size of the listing of a user's connections.
const KICKED_PAGE_SIZE: usize = 500;
/// Maximum connections that are closed concurrently; on AWS each is a request.
const MAX_CONCURRENT_CLOSES: usize = 16;

#[derive(Serialize)]
struct ClosedConnections {
    closed: u64,
}

/// `DELETE /v1/connections/{connection}`: closes a connection.
pub(super) async fn kick_connection(
    app: &MessagingApp,
    caller: &ApiCaller,
    id: &ConnectionId,
) -> Result<Response<Bytes>, ProblemDetails> {
    check_tenant(app, caller, id).await?;
    match app.delivery.close_connection(id, CloseReason::Kicked).await? {
        DeliveryOutcome::ConnectionGone => Err(connection_not_found()),
        DeliveryOutcome::Delivered(_) => {
            tracing::info!(connection.id = %id, "connection closed by api request");
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
    }
}

/// `DELETE /v1/connections?user={user}`: closes all connections of a user. `user` is required: a request without it
/// would close every connection of the tenant.
pub(super) async fn kick_user(
    app: &MessagingApp,
    caller: &ApiCaller,
    uri: &Uri,
) -> Result<Response<Bytes>, ProblemDetails> {
    let query = ListingQuery::parse(uri, &["user"])?;
    let user = query.parse_value("user", UserId::parse_or_encode)?;
    let user = user.ok_or_else(|| ProblemDetails::invalid_parameter("user", "is required: name the user"))?;
    let closed = close_user_connections(app, &Audience::User(caller.tenant.clone(), user)).await?;
    tracing::info!(connections = closed, "connections of a user closed by api request");
    Ok(json_response(&ClosedConnections { closed }))
}

/// Closes every connection of `audience` and returns their number. After an error the remaining ones are closed all the
/// same, and the error is returned: a repeated request finds only those that are still open.
pub(super) async fn close_user_connections(app: &MessagingApp, audience: &Audience) -> Result<u64, ProblemDetails> {
    let (mut closed, mut failed, mut after): (u64, Option<DeliveryError>, Option<String>) = (0, None, None);
    loop {
        let page = app.connections.list_members(audience, after.as_deref(), KICKED_PAGE_SIZE).await?;
        let closes = page
            .items
            .into_iter()
            .map(|record| async move { app.delivery.close_connection(&record.id, CloseReason::Kicked).await });
        let mut outcomes = stream::iter(closes).buffer_unordered(MAX_CONCURRENT_CLOSES);
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(DeliveryOutcome::Delivered(_)) => closed += 1,
                Ok(DeliveryOutcome::ConnectionGone) => {}
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        match (page.next, failed) {
            (Some(next), error) => (after, failed) = (Some(next), error),
            (None, Some(error)) => return Err(error.into()),
            (None, None) => return Ok(closed),
        }
    }
}
