//! Connections whose `$disconnect` this pod has to run, in memory.

use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;

/// Attempts per `$disconnect` while Redis is available. After that many failures, the
/// cause is the handler and not an outage.
const MAX_OWN_DISCONNECT_ATTEMPTS: u8 = 8;

/// Connections that are registered in Redis or being registered.
pub(in crate::cluster) struct RegisteredConnections {
    connections: DashMap<GatewayId, RegisteredConnection, RandomState>,
    max_connections: usize,
}

/// The application's record of a connection in Redis, as far as this pod knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordState {
    /// `$connect` has not stored it, or it is unknown whether it has.
    Unknown,
    /// Stored by `$connect`.
    Stored,
    /// `$disconnect` is deleting it.
    Ending,
    /// Deleted by `$disconnect`.
    Removed,
}

struct RegisteredConnection {
    facts: Arc<ConnectionFacts>,
    record: RecordState,
    pending_disconnect: Option<Box<PendingDisconnect>>,
}

/// An ended connection whose `$disconnect` has not run successfully.
struct PendingDisconnect {
    cause: CloseCause,
    attempts: u8,
}

impl RegisteredConnections {
    pub(in crate::cluster) fn new(max_connections: usize) -> Self {
        Self { connections: DashMap::default(), max_connections }
    }

    /// Adds a connection. Returns `false`, and adds nothing, when there are `max_connections`. Concurrent calls may
    /// exceed that number by one each.
    pub(in crate::cluster) fn insert_within_limit(&self, facts: &Arc<ConnectionFacts>) -> bool {
        let within_limit = self.connections.len() < self.max_connections;
        if within_limit {
            self.insert(facts);
        }
        within_limit
    }

    /// Adds a connection, also beyond `max_connections`.
    pub(in crate::cluster) fn insert(&self, facts: &Arc<ConnectionFacts>) {
        let connection =
            RegisteredConnection { facts: facts.clone(), record: RecordState::Unknown, pending_disconnect: None };
        self.connections.insert(facts.connection_id, connection);
    }

    pub(in crate::cluster) fn contains(&self, id: GatewayId) -> bool {
        self.connections.contains_key(&id)
    }

    pub(in crate::cluster) fn remove(&self, id: GatewayId) {
        self.connections.remove(&id);
    }

    /// Removes all connections. Returns how many there were.
    pub(in crate::cluster) fn remove_all(&self) -> usize {
        let count = self.connections.len();
        self.connections.clear();
        count
    }

    pub(in crate::cluster) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(in crate::cluster) fn ids(&self) -> Vec<GatewayId> {
        self.connections.iter().map(|connection| *connection.key()).collect()
    }

    pub(in crate::cluster) fn find_facts(&self, id: GatewayId) -> Option<Arc<ConnectionFacts>> {
        Some(self.connections.get(&id)?.facts.clone())
    }

    /// Calls `each` for every connection. Callbacks must not block for long: a part of the map is locked.
    pub(in crate::cluster) fn for_each(&self, mut each: impl FnMut(&ConnectionFacts)) {
        self.connections.iter().for_each(|connection| each(&connection.facts));
    }

    /// Records that `$connect` has stored the application's record.
    pub(in crate::cluster) fn mark_record_stored(&self, id: GatewayId) {
        self.set_record_state(id, RecordState::Stored);
    }

    /// Returns whether the application's record of an open connection has been stored.
    pub(in crate::cluster) fn has_stored_record(&self, id: GatewayId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.record == RecordState::Stored)
    }

    /// Records that `$disconnect` deletes the application's record. Returns whether there has to be one.
    pub(in crate::cluster) fn begin_record_removal(&self, id: GatewayId) -> bool {
        let Some(mut connection) = self.connections.get_mut(&id) else { return false };
        let expected = matches!(connection.record, RecordState::Stored | RecordState::Ending);
        if expected {
            connection.record = RecordState::Ending;
        }
        expected
    }

    /// Records that `$disconnect` has deleted the application's record.
    pub(in crate::cluster) fn mark_record_removed(&self, id: GatewayId) {
        self.set_record_state(id, RecordState::Removed);
    }

    fn set_record_state(&self, id: GatewayId, record: RecordState) {
        if let Some(mut connection) = self.connections.get_mut(&id) {
            connection.record = record;
        }
    }

    /// Marks the connection as ended, with no attempt of its `$disconnect`. Returns `false` when there is no such
    /// connection.
    pub(in crate::cluster) fn mark_ended(&self, id: GatewayId, cause: &CloseCause) -> bool {
        let Some(mut connection) = self.connections.get_mut(&id) else { return false };
        connection.pending_disconnect = Some(Box::new(PendingDisconnect { cause: cause.clone(), attempts: 0 }));
        true
    }

    /// Returns the event data of a `$disconnect` that has not run successfully.
    pub(in crate::cluster) fn find_pending_disconnect(
        &self,
        id: GatewayId,
    ) -> Option<(Arc<ConnectionFacts>, CloseCause)> {
        let connection = self.connections.get(&id)?;
        Some((connection.facts.clone(), connection.pending_disconnect.as_ref()?.cause.clone()))
    }

    /// Counts a failed attempt of a `$disconnect`. Returns `true` when it was the last one.
    pub(in crate::cluster) fn record_failed_attempt(&self, id: GatewayId) -> bool {
        let Some(mut connection) = self.connections.get_mut(&id) else { return true };
        connection.pending_disconnect.as_mut().is_none_or(|pending| {
            pending.attempts += 1;
            pending.attempts >= MAX_OWN_DISCONNECT_ATTEMPTS
        })
    }
}

#[cfg(test)]
mod tests {
    use gateway::api::WebSocketApi;
    use gateway::event::RequestIdentity;

    use super::*;
    use crate::config::Config;
    use crate::wiring::api_definition;

    fn facts(sequence: u32) -> Arc<ConnectionFacts> {
        let config = Config::for_tests();
        let api = WebSocketApi::new(api_definition(&config.api, &config.throttle)).unwrap();
        Arc::new(ConnectionFacts {
            api: Arc::new(api),
            connection_id: GatewayId::for_connection(sequence.into(), 1),
            domain_name: "localhost".into(),
            connected_at: 0,
            identity: RequestIdentity { iam: None, api_key: None, user_agent: None, source_ip: "127.0.0.1".into() },
            authorizer: None,
        })
    }

    #[test]
    fn the_limit_applies_to_new_connections_and_not_to_reclaimed_ones() {
        let connections = RegisteredConnections::new(1);
        assert!(connections.insert_within_limit(&facts(1)));
        assert!(!connections.insert_within_limit(&facts(2)));
        connections.insert(&facts(3));
        assert_eq!(connections.len(), 2);
        assert!(!connections.contains(facts(2).connection_id));
        assert_eq!(connections.remove_all(), 2);
    }

    #[test]
    fn a_disconnect_is_pending_once_its_connection_has_ended_and_has_eight_attempts() {
        let (connections, facts) = (RegisteredConnections::new(1), facts(1));
        let id = facts.connection_id;
        assert!(!connections.mark_ended(id, &CloseCause::ConnectionLost), "the connection is unknown");
        connections.insert(&facts);
        assert!(connections.find_pending_disconnect(id).is_none(), "the connection is open");
        assert!(connections.mark_ended(id, &CloseCause::ConnectionLost));
        assert_eq!(connections.find_pending_disconnect(id).unwrap().1, CloseCause::ConnectionLost);
        let attempts = (1..).find(|_| connections.record_failed_attempt(id));
        assert_eq!(attempts, Some(MAX_OWN_DISCONNECT_ATTEMPTS));
    }

    #[test]
    fn a_record_is_expected_from_its_connect_until_its_disconnect_has_deleted_it() {
        let (connections, facts) = (RegisteredConnections::new(1), facts(1));
        let id = facts.connection_id;
        connections.mark_record_stored(id);
        connections.insert(&facts);
        assert!(!connections.has_stored_record(id) && !connections.begin_record_removal(id), "$connect has not run");
        connections.mark_record_stored(id);
        assert!(connections.has_stored_record(id));
        assert!(connections.begin_record_removal(id) && !connections.has_stored_record(id));
        assert!(connections.begin_record_removal(id), "the first attempt failed");
        connections.mark_record_removed(id);
        assert!(!connections.begin_record_removal(id));
    }
}
