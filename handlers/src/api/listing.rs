//! Listings of connections, rooms and room members.
//!
//! A connection of another tenant is reported as missing.

use bytes::Bytes;
use http::{Response, Uri};
use serde::Serialize;

use super::caller::ApiCaller;
use super::json_response;
use super::problem::ProblemDetails;
use super::query::ListingQuery;
use crate::app::MessagingApp;
use crate::audience::Audience;
use crate::channel::ChannelName;
use crate::id::{ConnectionId, LocalName, UserId};
use crate::identity::Role;
use crate::ports::{ClientConnection, Page, Timestamp};

/// Maximum entries of one page of a listing.
pub(super) const MAX_LISTING_ENTRIES: usize = 500;

/// A connection in a response.
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
    room: LocalName,
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

/// `GET /v1/connections`: lists the connections of one user, role or channel, or of the whole tenant.
pub(super) async fn list_connections(
    app: &MessagingApp,
    caller: &ApiCaller,
    uri: &Uri,
) -> Result<Response<Bytes>, ProblemDetails> {
    let query = ListingQuery::parse(uri, &["user", "role", "channel", "limit", "after"])?;
    let audience = requested_audience(caller, &query)?;
    list_audience(app, &audience, &query).await
}

/// `GET /v1/rooms/{room}/members`: lists the connections that joined; an empty list if there is no such room.
pub(super) async fn list_room_members(
    app: &MessagingApp,
    caller: &ApiCaller,
    room: LocalName,
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
    let user = query.parse_value("user", UserId::parse_or_encode)?.map(|user| Audience::User(tenant(), user));
    let role = query.parse_value("role", parse_role)?.map(|role| Audience::Role(tenant(), role));
    let channel =
        query.parse_value("channel", ChannelName::parse)?.map(|name| Audience::Channel(name.in_tenant(tenant())));
    let mut audiences = [user, role, channel].into_iter().flatten();
    match (audiences.next(), audiences.next()) {
        (_, Some(_)) => Err(ProblemDetails::invalid_parameter("user", "use at most one of user, role and channel")),
        (Some(audience), None) => Ok(audience),
        (None, None) => Ok(Audience::Channel(ChannelName::Everyone.in_tenant(tenant()))),
    }
}

fn parse_role(text: &str) -> Result<Role, &'static str> {
    Role::parse(text).ok_or("must be 'user', 'admin' or 'service'")
}

/// `GET /v1/rooms`: lists rooms with members. The store orders rooms before topics, so the first topic ends the
/// listing.
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

/// Checks that the connection belongs to the caller's tenant.
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

/// Returns 404 for a connection that is not open.
pub(super) fn connection_not_found() -> ProblemDetails {
    ProblemDetails::not_found("the connection does not exist or is closed")
}
