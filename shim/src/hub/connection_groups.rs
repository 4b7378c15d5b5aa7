//! Which connections belong to which group.
//!
//! Invariant: a group without members has no entry. Iteration holds the lock of one shard and calls back without waiting.

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

/// Connections by group.
#[derive(Default)]
pub struct ConnectionGroups {
    groups: DashMap<Group, GroupMembers, RandomState>,
    /// Who is told when a group gets its first member or loses its last one; nobody where there is one process only.
    peer_router: OnceLock<Arc<dyn PeerRouter>>,
}

impl ConnectionGroups {
    /// Tells `watcher` from now on. The first one stays.
    pub fn set_peer_router(&self, watcher: Arc<dyn PeerRouter>) {
        let _ = self.peer_router.set(watcher);
    }

    /// Who is told.
    pub fn peer_router(&self) -> Option<&Arc<dyn PeerRouter>> {
        self.peer_router.get()
    }

    /// Adds a connection to groups.
    pub fn add_to_groups(&self, groups: impl IntoIterator<Item = Group>, handle: &Arc<Connection>) {
        for group in groups {
            self.insert_member(group, handle);
        }
    }

    /// Whether a group has members.
    pub fn has_members(&self, group: &Group) -> bool {
        self.groups.contains_key(group)
    }

    /// Takes a connection out of groups.
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

    /// Adds a connection to a room's or topic's readers; `false` when it was there.
    pub fn join_channel(&self, channel: &Channel, handle: &Arc<Connection>) -> bool {
        self.insert_member(Group::Joined(channel.clone()), handle)
    }

    /// Takes a connection out of a room's or topic's readers.
    pub fn leave_channel(&self, channel: &Channel, id: GatewayId) {
        self.remove_from_groups([Group::Joined(channel.clone())], id);
    }

    /// Calls `each` once for every connection in the union of `groups`.
    pub fn for_each_member(&self, groups: &[Group], mut each: impl FnMut(&Arc<Connection>)) {
        for position in 0..groups.len() {
            self.for_each_in_group(groups, position, &mut each);
        }
    }

    /// Calls `each` for every connection in the group at `position` that is in none of the groups before it.
    pub fn for_each_in_group(&self, groups: &[Group], position: usize, mut each: impl FnMut(&Arc<Connection>)) {
        let Some((group, before)) = groups.get(position).zip(groups.get(..position)) else { return };
        let Some(members) = self.groups.get(group) else { return };
        for handle in members.values() {
            let seen = position > 0 && belongs_to_any(handle, before);
            if !seen {
                each(handle);
            }
        }
    }

    /// Puts a connection into a group; `false` when it was there.
    fn insert_member(&self, group: Group, handle: &Arc<Connection>) -> bool {
        let entry = self.groups.entry(group);
        if matches!(entry, dashmap::Entry::Vacant(_)) {
            self.notify_membership(entry.key());
        }
        entry.or_default().insert(handle.id, handle.clone()).is_none()
    }

    fn notify_membership(&self, group: &Group) {
        if let Some(watcher) = self.peer_router.get() {
            watcher.membership_changed(group);
        }
    }
}

/// Unions are made of identity groups only (a user and a role), so the handle itself tells whether it was met before.
fn belongs_to_any(handle: &Connection, groups: &[Group]) -> bool {
    let Some(membership) = Membership::of(handle) else { return false };
    let own = membership.identity.groups();
    groups.iter().any(|group| own.contains(group))
}
