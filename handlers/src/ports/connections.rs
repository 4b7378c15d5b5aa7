//! The connection store: who is connected, as whom, in which channels.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{BoxError, Timestamp};
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName};
use crate::id::{ConnectionId, TenantId};
use crate::identity::Identity;

/// What is known of an open connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientConnection {
    /// The gateway's id of it.
    pub id: ConnectionId,
    /// Who connected.
    pub identity: Identity,
    /// When, by the gateway's clock.
    pub connected_at: Timestamp,
    /// The rooms and topics it joined. Its conversation and `everyone` are not listed: it belongs to them anyway.
    pub channels: BTreeSet<Channel>,
}

/// What became of a change of joined channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelChange {
    /// It took effect.
    Applied {
        /// The record as it is then.
        connection: ClientConnection,
        /// The channels that it had right before.
        before: BTreeSet<Channel>,
    },
    /// Nothing was changed: the connection would be in more than
    /// [`MAX_CHANNELS_PER_CONNECTION`](crate::limits::MAX_CHANNELS_PER_CONNECTION) channels. Never the answer to a change that joins
    /// nothing.
    LimitReached,
    /// Nothing was changed: the connection is not there.
    NotFound,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for, in an order that stays the same from page to page.
    pub items: Vec<T>,
    /// What to ask the next page with; `None` when there is none.
    pub next: Option<String>,
    /// How many there are on all pages, counted when this page was read.
    pub total: u64,
}

/// A channel that somebody joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OccupiedChannel {
    /// Its name within the tenant that was asked for.
    pub name: ChannelName,
    /// How many connections joined it.
    pub connections: u64,
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away or overloaded; the same call may succeed later. Callers tell the client `unavailable`.
    #[error("the connection store is unavailable")]
    Unavailable(#[source] BoxError),
    /// A continuation that this store never gave out.
    #[error("the page token is not one that a listing returned")]
    InvalidPageToken,
    /// Anything else; retrying does not help.
    #[error("the connection store ({adapter}) failed")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// The technology's error.
        #[source]
        source: BoxError,
    },
}

/// Who is connected.
///
/// *Expiry*: a record is gone [`CONNECTION_RECORD_TTL`](crate::limits::CONNECTION_RECORD_TTL) after its `connected_at`; an expired
/// record is absent for every method, swept or not. *Consistency*: what a call returned is seen by every later call that
/// names the same connection; a listing may lag behind by the adapter's replication. *Retries*: an adapter retries what
/// is safe to retry within its own deadline; callers do not.
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// Records a connection. A record with the same id is replaced whole, its channels too.
    async fn put_connection(&self, connection: &ClientConnection) -> Result<(), StoreError>;

    /// The record, `None` when there is none.
    async fn find_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError>;

    /// Removes the record and returns it. Of several callers at once exactly one gets `Some`: that one owns what follows
    /// from the connection's end.
    async fn delete_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError>;

    /// Adds and removes joined channels in one step, at most
    /// [`MAX_CHANNELS_PER_FRAME`](crate::limits::MAX_CHANNELS_PER_FRAME) together: all of them or, told by the answer, none. Adding what
    /// is there and removing what is not change nothing.
    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<ChannelChange, StoreError>;

    /// The connections of an audience, ordered by id, at most `limit` (at least 1) after the page token `after`.
    async fn list_members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ClientConnection>, StoreError>;

    /// The tenant's rooms and topics that have members, ordered by name, at most `limit` after the page token `after`.
    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError>;
}
