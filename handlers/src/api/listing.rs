//! Who is connected and where: connections, rooms, the members of a room, and ending a connection.
//!
//! Invariant: a connection of another tenant is answered like one that does not exist.

use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use serde::Serialize;

use super::caller::ApiCaller;
use super::json_response;
use super::problem::ProblemDetails;
use super::query::ListingQuery;
use crate::app::MessagingApp;
use crate::audience::Audience;
use crate::channel::ChannelName;
use crate::id::{ConnectionId, Name, UserId};
use crate::identity::Role;
use crate::ports::{ClientConnection, CloseReason, DeliveryOutcome, Page, Timestamp};

/// Most entries of one page of a listing; the next page is one call away.
pub(super) const MAX_LISTING_ENTRIES: usize = 500;

/// A connection as callers see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedConnection {
    connection: ConnectionId,
    user: UserId,
    role: Role,
    connected_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_expires_at: Option<i64>,
    channels: Vec<ChannelName>,
}

#[derive(Serialize)]
struct ConnectionListing {
    connections: Vec<ListedConnection>,
    next: Option<String>,
    total: u64,
}

#[derive(Serialize)]
struct ListedRoom {
    room: Name,
    connections: u64,
}

#[derive(Serialize)]
struct RoomListing {
    rooms: Vec<ListedRoom>,
    next: Option<String>,
}

impl From<ClientConnection> for ListedConnection {
    fn from(connection: ClientConnection) -> Self {
        Self {
            connection: connection.id,
            user: connection.identity.user,
            role: connection.identity.role,
            connected_at: connection.connected_at,
            token_expires_at: connection.identity.expires_at.map(|seconds| seconds.saturating_mul(1_000)),
            channels: connection.channels.into_iter().map(|channel| channel.name).collect(),
        }
    }
}

impl From<Page<ClientConnection>> for ConnectionListing {
    fn from(page: Page<ClientConnection>) -> Self {
        let connections = page.items.into_iter().map(ListedConnection::from).collect();
        Self { connections, next: page.next, total: page.total }
    }
}

/// `GET /v1/connections`: of one user, role or channel, or all.
pub(super) async fn list_connections(
    app: &MessagingApp,
    caller: &ApiCaller,
    uri: &Uri,
) -> Result<Response<Bytes>, ProblemDetails> {
    let query = ListingQuery::parse(uri, &["user", "role", "channel", "limit", "after"])?;
    let audience = requested_audience(caller, &query)?;
    list_audience(app, &audience, &query).await
}

/// `GET /v1/rooms/{room}/members`: the connections that joined, none when there is no such room.
pub(super) async fn list_room_members(
    app: &MessagingApp,
    caller: &ApiCaller,
    room: Name,
    uri: &Uri,
) -> Result<Response<Bytes>, ProblemDetails> {
    let query = ListingQuery::parse(uri, &["limit", "after"])?;
    let channel = ChannelName::Room(room).in_tenant(caller.tenant.clone());
    list_audience(app, &Audience::Channel(channel), &query).await
}

async fn list_audience(
    app: &MessagingApp,
    audience: &Audience,
    query: &ListingQuery,
) -> Result<Response<Bytes>, ProblemDetails> {
    let page = app
        .connections
        .list_members(audience, query.raw_value("after"), query.page_limit(MAX_LISTING_ENTRIES)?)
        .await?;
    Ok(json_response(&ConnectionListing::from(page)))
}

fn requested_audience(caller: &ApiCaller, query: &ListingQuery) -> Result<Audience, ProblemDetails> {
    let tenant = || caller.tenant.clone();
    let user = query.parse_value("user", UserId::parse)?.map(|user| Audience::User(tenant(), user));
    let role = query.parse_value("role", parse_role)?.map(|role| Audience::Role(tenant(), role));
    let channel =
        query.parse_value("channel", ChannelName::parse)?.map(|name| Audience::Channel(name.in_tenant(tenant())));
    let mut chosen = [user, role, channel].into_iter().flatten();
    match (chosen.next(), chosen.next()) {
        (_, Some(_)) => {
            Err(ProblemDetails::invalid_parameter("user", "only one of user, role and channel can be asked for"))
        }
        (Some(audience), None) => Ok(audience),
        (None, None) => Ok(Audience::Channel(ChannelName::Everyone.in_tenant(tenant()))),
    }
}

fn parse_role(text: &str) -> Result<Role, &'static str> {
    Role::parse(text).ok_or("a role is 'user', 'admin' or 'service'")
}

/// `GET /v1/rooms`: the rooms that somebody is in. The store lists rooms before topics, so the first topic ends it.
pub(super) async fn list_rooms(
    app: &MessagingApp,
    caller: &ApiCaller,
    uri: &Uri,
) -> Result<Response<Bytes>, ProblemDetails> {
    let query = ListingQuery::parse(uri, &["limit", "after"])?;
    let limit = query.page_limit(MAX_LISTING_ENTRIES)?;
    let page = app.connections.occupied_channels(&caller.tenant, query.raw_value("after"), limit).await?;
    let listed = page.items.len();
    let rooms: Vec<_> = page
        .items
        .into_iter()
        .filter_map(|occupied| match occupied.name {
            ChannelName::Room(room) => Some(ListedRoom { room, connections: occupied.connections }),
            _ => None,
        })
        .collect();
    let next = page.next.filter(|_| rooms.len() == listed);
    Ok(json_response(&RoomListing { rooms, next }))
}

/// `DELETE /v1/connections/{connection}`.
pub(super) async fn kick_connection(
    app: &MessagingApp,
    caller: &ApiCaller,
    id: &ConnectionId,
) -> Result<Response<Bytes>, ProblemDetails> {
    check_tenant(app, caller, id).await?;
    match app.delivery.close_connection(id, CloseReason::Kicked).await? {
        DeliveryOutcome::ConnectionGone => Err(connection_not_found()),
        DeliveryOutcome::Delivered(_) => {
            tracing::info!(connection.id = %id, "connection kicked");
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
    }
}

/// Makes sure that the connection is the caller's tenant's.
pub(super) async fn check_tenant(
    app: &MessagingApp,
    caller: &ApiCaller,
    id: &ConnectionId,
) -> Result<(), ProblemDetails> {
    match app.connections.find_connection(id).await? {
        Some(connection) if connection.identity.tenant == caller.tenant => Ok(()),
        _ => Err(connection_not_found()),
    }
}

/// The connection is not open.
pub(super) fn connection_not_found() -> ProblemDetails {
    ProblemDetails::not_found("no such connection is open")
}
