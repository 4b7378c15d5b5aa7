//! Index of the connections of each group.
//!
//! A group without members has no entry. Iteration holds the lock of one map shard, so callbacks must not block.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::id::GatewayId;
use handlers::audience::Group;
use handlers::channel::Channel;

use super::membership::Membership;
use super::peers::PeerRouter;
use crate::connection::Connection;

type GroupMembers = HashMap<GatewayId, Arc<Connection>, RandomState>;

/// Connections by group, and the peers to notify of membership changes.
#[derive(Default)]
pub struct ConnectionGroups {
    groups: DashMap<Group, GroupMembers, RandomState>,
    /// Notified when a group gets its first member or loses its last one. Unset in a single process.
    peer_router: OnceLock<Arc<dyn PeerRouter>>,
}

impl ConnectionGroups {
    /// Sets the peer router. Only the first call has an effect.
    pub fn set_peer_router(&self, peer_router: Arc<dyn PeerRouter>) {
        let _ = self.peer_router.set(peer_router);
    }

    /// Returns the peer router, or `None` in a single process.
    pub fn peer_router(&self) -> Option<&Arc<dyn PeerRouter>> {
        self.peer_router.get()
    }

    pub fn add_to_groups(&self, groups: impl IntoIterator<Item = Group>, connection: &Arc<Connection>) {
        for group in groups {
            self.insert_member(group, connection);
        }
    }

    /// Returns whether the group has members.
    pub fn has_members(&self, group: &Group) -> bool {
        self.groups.contains_key(group)
    }

    pub fn remove_from_groups(&self, groups: impl IntoIterator<Item = Group>, id: GatewayId) {
        for group in groups {
            if let dashmap::Entry::Occupied(mut entry) = self.groups.entry(group) {
                entry.get_mut().remove(&id);
                if entry.get().is_empty() {
                    self.notify_membership(entry.key());
                    entry.remove();
                }
            }
        }
    }

    /// Adds a connection to the readers of a room or topic. Returns `false` if it was already a reader.
    pub fn join_channel(&self, channel: &Channel, connection: &Arc<Connection>) -> bool {
        self.insert_member(Group::Joined(channel.clone()), connection)
    }

    /// Removes a connection from the readers of a room or topic.
    pub fn leave_channel(&self, channel: &Channel, id: GatewayId) {
        self.remove_from_groups([Group::Joined(channel.clone())], id);
    }

    /// Calls `each` once for every connection in the union of `groups`.
    pub fn for_each_member(&self, groups: &[Group], mut each: impl FnMut(&Arc<Connection>)) {
        for index in 0..groups.len() {
            self.for_each_in_group(groups, index, &mut each);
        }
    }

    /// Calls `each` for every connection in `groups[index]` that is in none of the groups before it.
    pub fn for_each_in_group(&self, groups: &[Group], index: usize, mut each: impl FnMut(&Arc<Connection>)) {
        let Some((group, preceding)) = groups.get(index).zip(groups.get(..index)) else { return };
        let Some(members) = self.groups.get(group) else { return };
        for connection in members.values() {
            let visited = index > 0 && belongs_to_any(connection, preceding);
            if !visited {
                each(connection);
            }
        }
    }

    /// Adds a connection to a group. Returns `false` if it was already a member.
    fn insert_member(&self, group: Group, connection: &Arc<Connection>) -> bool {
        let entry = self.groups.entry(group);
        if matches!(entry, dashmap::Entry::Vacant(_)) {
            self.notify_membership(entry.key());
        }
        entry.or_default().insert(connection.id, connection.clone()).is_none()
    }

    fn notify_membership(&self, group: &Group) {
        if let Some(peer_router) = self.peer_router.get() {
            peer_router.membership_changed(group);
        }
    }
}

/// Returns whether a connection belongs to one of `groups`. Checks the identity groups only, which is sufficient
/// because a union of several groups consists of identity groups (a user and a role).
fn belongs_to_any(connection: &Connection, groups: &[Group]) -> bool {
    let Some(membership) = Membership::of(connection) else { return false };
    let own = membership.identity.groups();
    groups.iter().any(|group| own.contains(group))
}
