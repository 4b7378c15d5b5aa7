//! The connection store: records of open connections with their identity and joined channels.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{BoxError, Timestamp};
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName};
use crate::id::{ConnectionId, TenantId};
use crate::identity::Identity;

/// Record of an open connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientConnection {
    /// Id assigned by the gateway.
    pub id: ConnectionId,
    pub identity: Identity,
    /// Time of the handshake by the gateway's clock.
    pub connected_at: Timestamp,
    /// Joined rooms and topics. The conversation and `everyone` are not listed, because they follow from the identity.
    pub channels: BTreeSet<Channel>,
}

/// Result of [`ConnectionStore::change_channels`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelChange {
    /// The change was applied.
    Applied {
        /// Record after the change.
        connection: ClientConnection,
        /// Channels of the record before the change.
        before: BTreeSet<Channel>,
    },
    /// Nothing was changed: the connection would exceed
    /// [`MAX_CHANNELS_PER_CONNECTION`](crate::limits::MAX_CHANNELS_PER_CONNECTION) channels. A change without joins
    /// never returns it.
    LimitReached,
    /// Nothing was changed: the connection has no record.
    NotFound,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Items, at most as many as requested, in an order that is stable from page to page.
    pub items: Vec<T>,
    /// Token of the next page; `None` on the last page.
    pub next: Option<String>,
    /// Number of items on all pages, counted when this page was read.
    pub total: u64,
}

/// A room or topic with members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OccupiedChannel {
    /// Name within the requested tenant.
    pub name: ChannelName,
    /// Number of connections that joined it.
    pub connections: u64,
}

/// An error of a [`ConnectionStore`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unavailable or overloaded; a retry may succeed. Clients receive `unavailable`.
    #[error("the connection store is unavailable")]
    Unavailable(#[source] BoxError),
    /// The page token was not returned by this store.
    #[error("the page token is invalid")]
    InvalidPageToken,
    /// Any other failure; a retry does not help.
    #[error("the connection store ({adapter}) failed")]
    Backend {
        /// Name of the adapter.
        adapter: &'static str,
        /// Error of the underlying technology.
        #[source]
        source: BoxError,
    },
}

/// Records of open connections.
///
/// *Expiry*: a record expires [`CONNECTION_RECORD_TTL`](crate::limits::CONNECTION_RECORD_TTL) after its `connected_at`.
/// An expired record is absent for every method, whether or not it was already deleted. *Consistency*: every call sees
/// the effects of earlier completed calls for the same connection; listings may lag by the replication delay of the
/// adapter. *Retries*: an adapter retries safe operations within its own deadline; callers do not retry.
///
/// ```
/// # use std::collections::BTreeSet;
/// # use std::sync::Arc;
/// # use handlers::audience::Audience;
/// # use handlers::channel::ChannelName;
/// # use handlers::id::{ConnectionId, TenantId, UserId};
/// # use handlers::identity::{Identity, Role};
/// # use handlers::memory::{ManualClock, MemoryConnections};
/// # use handlers::ports::{ClientConnection, Clock, ConnectionStore, Timestamp};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
/// let store = MemoryConnections::new(clock.clone());
/// let tenant = TenantId::default_tenant();
/// let alice = UserId::parse("alice")?;
/// let identity = Identity { tenant: tenant.clone(), user: alice, role: Role::User, expires_at: None };
/// let id = ConnectionId::parse("abcDEF-_1234567=")?;
/// let record = ClientConnection { id: id.clone(), identity, connected_at: clock.now(), channels: BTreeSet::new() };
/// store.put_connection(&record).await?;
///
/// let lobby = ChannelName::parse("room:lobby")?.in_tenant(tenant);
/// store.change_channels(&id, std::slice::from_ref(&lobby), &[]).await?;
/// assert_eq!(store.list_members(&Audience::Channel(lobby), None, 100).await?.total, 1);
///
/// assert!(store.delete_connection(&id).await?.is_some());
/// assert!(store.delete_connection(&id).await?.is_none(), "only one caller handles the end");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// Writes a record. An existing record with the same id is replaced, including its channels.
    async fn put_connection(&self, connection: &ClientConnection) -> Result<(), StoreError>;

    /// Returns the record, or `None` if there is none.
    async fn find_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError>;

    /// Deletes the record and returns it. Exactly one of several concurrent callers receives `Some`; that caller
    /// handles the connection's end.
    async fn delete_connection(&self, id: &ConnectionId) -> Result<Option<ClientConnection>, StoreError>;

    /// Joins and leaves channels atomically, at most [`MAX_CHANNELS_PER_FRAME`](crate::limits::MAX_CHANNELS_PER_FRAME)
    /// in total: the result states whether all changes or none were applied. Joining a channel again, or
    /// leaving one that is not joined, changes nothing.
    async fn change_channels(
        &self,
        id: &ConnectionId,
        join: &[Channel],
        leave: &[Channel],
    ) -> Result<ChannelChange, StoreError>;

    /// Lists the connections of an audience ordered by id: at most `limit` (at least 1), starting after the page token
    /// `after`.
    async fn list_members(
        &self,
        audience: &Audience,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<ClientConnection>, StoreError>;

    /// Lists the tenant's rooms and topics with members, ordered by name: at most `limit`, starting after the page
    /// token `after`.
    async fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, StoreError>;
}
