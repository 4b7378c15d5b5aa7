//! Which connections belong to which group.
//!
//! Invariant: a group without members has no entry. Iteration holds the lock of one shard and calls back without waiting.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use gateway::id::GatewayId;
use handlers::audience::Group;
use handlers::channel::Channel;

use crate::session::handle::Handle;

/// Connections by group.
#[derive(Default)]
pub struct Index {
    groups: DashMap<Group, HashMap<GatewayId, Arc<Handle>, RandomState>, RandomState>,
}

impl Index {
    /// Adds a connection to groups.
    pub fn add(&self, groups: impl IntoIterator<Item = Group>, handle: &Arc<Handle>) {
        for group in groups {
            self.groups.entry(group).or_default().insert(handle.id, handle.clone());
        }
    }

    /// Takes a connection out of groups.
    pub fn remove(&self, groups: impl IntoIterator<Item = Group>, id: GatewayId) {
        for group in groups {
            if let dashmap::Entry::Occupied(mut entry) = self.groups.entry(group) {
                entry.get_mut().remove(&id);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        }
    }

    /// Adds a connection to a room's or topic's readers; `false` when it was there.
    pub fn join(&self, channel: &Channel, handle: &Arc<Handle>) -> bool {
        let mut members = self.groups.entry(Group::Joined(channel.clone())).or_default();
        members.insert(handle.id, handle.clone()).is_none()
    }

    /// Takes a connection out of a room's or topic's readers.
    pub fn leave(&self, channel: &Channel, id: GatewayId) {
        self.remove([Group::Joined(channel.clone())], id);
    }

    /// Calls `each` once for every connection in the union of `groups`.
    pub fn for_each(&self, groups: &[Group], mut each: impl FnMut(&Arc<Handle>)) {
        for (position, group) in groups.iter().enumerate() {
            let Some(members) = self.groups.get(group) else { continue };
            for handle in members.values() {
                let seen = position > 0 && belongs_to_any(handle, &groups[..position]);
                if !seen {
                    each(handle);
                }
            }
        }
    }
}

/// Unions are made of identity groups only (a user and a role), so the handle itself tells whether it was met before.
fn belongs_to_any(handle: &Handle, groups: &[Group]) -> bool {
    let Some(identity) = &handle.identity else { return false };
    let own = identity.groups();
    groups.iter().any(|group| own.contains(group))
}
