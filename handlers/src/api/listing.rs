//! Who is connected and where: connections, rooms, the members of a room, and ending a connection.
//!
//! Invariant: a connection of another tenant is answered like one that does not exist.

use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use serde::Serialize;

use super::caller::Caller;
use super::json;
use super::problem::Problem;
use super::query::Query;
use crate::app::App;
use crate::audience::Audience;
use crate::channel::ChannelName;
use crate::id::{ConnectionId, Name, UserId};
use crate::identity::Role;
use crate::ports::{CloseReason, Connection, Delivered, Page, Timestamp};

/// Most entries of one page of a listing; the next page is one call away.
pub(super) const PAGE: usize = 500;

/// A connection as callers see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    connection: ConnectionId,
    user: UserId,
    role: Role,
    connected_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_expires_at: Option<i64>,
    channels: Vec<ChannelName>,
}

#[derive(Serialize)]
struct Listing {
    connections: Vec<Listed>,
    next: Option<String>,
    total: u64,
}

#[derive(Serialize)]
struct Room {
    room: Name,
    connections: u64,
}

#[derive(Serialize)]
struct Rooms {
    rooms: Vec<Room>,
    next: Option<String>,
}

impl From<Connection> for Listed {
    fn from(connection: Connection) -> Self {
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

impl From<Page<Connection>> for Listing {
    fn from(page: Page<Connection>) -> Self {
        let connections = page.items.into_iter().map(Listed::from).collect();
        Self { connections, next: page.next, total: page.total }
    }
}

/// `GET /v1/connections`: of one user, role or channel, or all.
pub(super) async fn connections(app: &App, caller: &Caller, uri: &Uri) -> Result<Response<Bytes>, Problem> {
    let query = Query::parse(uri, &["user", "role", "channel", "limit", "after"])?;
    let audience = audience(caller, &query)?;
    page(app, &audience, &query).await
}

/// `GET /v1/rooms/{room}/members`: the connections that joined, none when there is no such room.
pub(super) async fn members(app: &App, caller: &Caller, room: Name, uri: &Uri) -> Result<Response<Bytes>, Problem> {
    let query = Query::parse(uri, &["limit", "after"])?;
    let channel = ChannelName::Room(room).within(caller.tenant.clone());
    page(app, &Audience::Channel(channel), &query).await
}

async fn page(app: &App, audience: &Audience, query: &Query) -> Result<Response<Bytes>, Problem> {
    let page = app.connections.members(audience, query.text("after"), query.limit(PAGE)?).await?;
    Ok(json(&Listing::from(page)))
}

fn audience(caller: &Caller, query: &Query) -> Result<Audience, Problem> {
    let tenant = || caller.tenant.clone();
    let user = query.parsed("user", UserId::parse)?.map(|user| Audience::User(tenant(), user));
    let role = query.parsed("role", role)?.map(|role| Audience::Role(tenant(), role));
    let channel = query.parsed("channel", ChannelName::parse)?.map(|name| Audience::Channel(name.within(tenant())));
    let mut chosen = [user, role, channel].into_iter().flatten();
    match (chosen.next(), chosen.next()) {
        (_, Some(_)) => Err(Problem::parameter("user", "only one of user, role and channel can be asked for")),
        (Some(audience), None) => Ok(audience),
        (None, None) => Ok(Audience::Channel(ChannelName::Everyone.within(tenant()))),
    }
}

fn role(text: &str) -> Result<Role, &'static str> {
    Role::parse(text).ok_or("a role is 'user', 'admin' or 'service'")
}

/// `GET /v1/rooms`: the rooms that somebody is in. The store lists rooms before topics, so the first topic ends it.
pub(super) async fn rooms(app: &App, caller: &Caller, uri: &Uri) -> Result<Response<Bytes>, Problem> {
    let query = Query::parse(uri, &["limit", "after"])?;
    let limit = query.limit(PAGE)?;
    let page = app.connections.occupied_channels(&caller.tenant, query.text("after"), limit).await?;
    let listed = page.items.len();
    let rooms: Vec<_> = page
        .items
        .into_iter()
        .filter_map(|occupied| match occupied.name {
            ChannelName::Room(room) => Some(Room { room, connections: occupied.connections }),
            _ => None,
        })
        .collect();
    let next = page.next.filter(|_| rooms.len() == listed);
    Ok(json(&Rooms { rooms, next }))
}

/// `DELETE /v1/connections/{connection}`.
pub(super) async fn kick(app: &App, caller: &Caller, id: &ConnectionId) -> Result<Response<Bytes>, Problem> {
    of_tenant(app, caller, id).await?;
    match app.delivery.close(id, CloseReason::Kicked).await? {
        Delivered::Gone => Err(gone()),
        Delivered::To(_) => {
            tracing::info!(connection.id = %id, "connection kicked");
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
    }
}

/// Makes sure that the connection is the caller's tenant's.
pub(super) async fn of_tenant(app: &App, caller: &Caller, id: &ConnectionId) -> Result<(), Problem> {
    match app.connections.find(id).await? {
        Some(connection) if connection.identity.tenant == caller.tenant => Ok(()),
        _ => Err(gone()),
    }
}

/// The connection is not open.
pub(super) fn gone() -> Problem {
    Problem::not_found("no such connection is open")
}
