//! Index of the open connections of this process, by connection id.

use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::id::GatewayId;

use super::Connection;

/// The connections that accept frames: from the accepted handshake (`101`) until the session decides to close. Clones
/// share the index.
#[derive(Clone, Default)]
pub struct ConnectionIndex {
    connections: Arc<DashMap<GatewayId, Arc<Connection>, RandomState>>,
}

impl ConnectionIndex {
    /// Adds a connection.
    pub fn insert(&self, connection: &Arc<Connection>) {
        self.connections.insert(connection.id, connection.clone());
    }

    /// Removes a connection. From then on `@connections` requests for it are answered with 410.
    pub fn remove(&self, id: GatewayId) {
        self.connections.remove(&id);
    }

    /// Returns the open connection with this id.
    pub fn find(&self, id: GatewayId) -> Option<Arc<Connection>> {
        self.connections.get(&id).map(|connection| connection.value().clone())
    }

    /// Returns a snapshot of all open connections.
    pub fn all_connections(&self) -> Vec<Arc<Connection>> {
        self.connections.iter().map(|connection| connection.value().clone()).collect()
    }

    /// Returns the number of open connections.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Returns whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}
