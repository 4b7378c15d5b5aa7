//! The open connections of this process, by id.

use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::id::GatewayId;

use super::Connection;

/// Every connection that can take frames: from the moment its `101` is granted until its session has decided to end.
/// Clones share it.
#[derive(Clone, Default)]
pub struct ConnectionIndex {
    connections: Arc<DashMap<GatewayId, Arc<Connection>, RandomState>>,
}

impl ConnectionIndex {
    /// Adds a connection.
    pub fn insert(&self, connection: &Arc<Connection>) {
        self.connections.insert(connection.id, connection.clone());
    }

    /// Removes a connection. Posts to it are answered "gone" from here on.
    pub fn remove(&self, id: GatewayId) {
        self.connections.remove(&id);
    }

    /// Returns the connection with this id, while it is open.
    pub fn find(&self, id: GatewayId) -> Option<Arc<Connection>> {
        self.connections.get(&id).map(|connection| connection.value().clone())
    }

    /// Returns every connection that is open now.
    pub fn all_connections(&self) -> Vec<Arc<Connection>> {
        self.connections.iter().map(|connection| connection.value().clone()).collect()
    }

    /// Returns how many connections are open.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Returns whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}
