//! Index of connections by group.
//!
//! Invariant: no set is empty. A set is removed with its last connection, so that names invented by clients use no
//! memory afterwards. Every operation is logarithmic in the number of connections and linear in the size of its result.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Bound;

use foldhash::HashMap;

use crate::audience::Group;
use crate::channel::ChannelName;
use crate::id::{ConnectionId, TenantId, UserId};
use crate::identity::Role;
use crate::ports::OccupiedChannel;

type ConnectionIdSet = BTreeSet<ConnectionId>;

/// Member sets of all groups, by tenant.
#[derive(Default)]
pub(super) struct MembershipIndex {
    tenants: HashMap<TenantId, TenantIndex>,
}

#[derive(Default)]
struct TenantIndex {
    all: ConnectionIdSet,
    users: BTreeMap<UserId, ConnectionIdSet>,
    roles: BTreeMap<Role, ConnectionIdSet>,
    joined: BTreeMap<ChannelName, ConnectionIdSet>,
}

impl MembershipIndex {
    /// Returns the shared copy of a tenant id if the tenant is indexed.
    pub(super) fn shared_tenant(&self, tenant: &TenantId) -> TenantId {
        self.tenants.get_key_value(tenant).map_or_else(|| tenant.clone(), |(shared, _)| shared.clone())
    }

    pub(super) fn add_member(&mut self, group: Group, id: &ConnectionId) {
        let tenant = self.tenants.entry(tenant_of(&group).clone()).or_default();
        let ids = match group {
            Group::Tenant(_) => &mut tenant.all,
            Group::User(_, user) => tenant.users.entry(user).or_default(),
            Group::Role(_, role) => tenant.roles.entry(role).or_default(),
            Group::Joined(channel) => tenant.joined.entry(channel.name).or_default(),
        };
        ids.insert(id.clone());
    }

    pub(super) fn remove_member(&mut self, group: &Group, id: &ConnectionId) {
        let Some(tenant) = self.tenants.get_mut(tenant_of(group)) else { return };
        match group {
            Group::Tenant(_) => drop(tenant.all.remove(id)),
            Group::User(_, user) => remove_from_group(tenant.users.entry(user.clone()), id),
            Group::Role(_, role) => remove_from_group(tenant.roles.entry(*role), id),
            Group::Joined(channel) => remove_from_group(tenant.joined.entry(channel.name.clone()), id),
        }
        if tenant.is_empty() {
            self.tenants.remove(tenant_of(group));
        }
    }

    /// Returns the first `limit` connections of the union of `groups` after `after`, ascending, each once.
    pub(super) fn members_after(
        &self,
        groups: &[Group],
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Vec<ConnectionId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        if let [group] = groups {
            let ids = self.group_members(group).map(|ids| ids.range::<ConnectionId, _>((start, Bound::Unbounded)));
            return ids.into_iter().flatten().take(limit).cloned().collect();
        }
        // The first `limit` of the union are among the first `limit` of each set.
        let merged: BTreeSet<&ConnectionId> = groups
            .iter()
            .filter_map(|group| self.group_members(group))
            .flat_map(|ids| ids.range::<ConnectionId, _>((start, Bound::Unbounded)).take(limit))
            .collect();
        merged.into_iter().take(limit).cloned().collect()
    }

    /// Returns the number of connections in the union of `groups`.
    pub(super) fn count_members(&self, groups: &[Group]) -> u64 {
        if let [group] = groups {
            return self.group_members(group).map_or(0, |ids| ids.len() as u64);
        }
        let mut sets: Vec<&ConnectionIdSet> = groups.iter().filter_map(|group| self.group_members(group)).collect();
        sets.sort_by_key(|ids| std::cmp::Reverse(ids.len()));
        // Of each smaller set only ids that no larger set contains are counted. The largest set is counted by its
        // length.
        let new_in =
            |rank: usize| sets[rank].iter().filter(|id| !sets[..rank].iter().any(|ids| ids.contains(id))).count();
        let count = (0..sets.len()).map(|rank| if rank == 0 { sets[0].len() } else { new_in(rank) }).sum::<usize>();
        count as u64
    }

    /// Returns the first `limit` joined channels of a tenant after `after`, and the number of all joined channels.
    pub(super) fn occupied_channels(
        &self,
        tenant: &TenantId,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> (Vec<OccupiedChannel>, u64) {
        let Some(tenant) = self.tenants.get(tenant) else { return (Vec::new(), 0) };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let channels = tenant.joined.range::<ChannelName, _>((start, Bound::Unbounded)).take(limit);
        let occupied =
            channels.map(|(name, ids)| OccupiedChannel { name: name.clone(), connections: ids.len() as u64 });
        (occupied.collect(), tenant.joined.len() as u64)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    fn group_members(&self, group: &Group) -> Option<&ConnectionIdSet> {
        let tenant = self.tenants.get(tenant_of(group))?;
        match group {
            Group::Tenant(_) => Some(&tenant.all),
            Group::User(_, user) => tenant.users.get(user),
            Group::Role(_, role) => tenant.roles.get(role),
            Group::Joined(channel) => tenant.joined.get(&channel.name),
        }
    }
}

impl TenantIndex {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.users.is_empty() && self.roles.is_empty() && self.joined.is_empty()
    }
}

fn tenant_of(group: &Group) -> &TenantId {
    match group {
        Group::User(tenant, _) | Group::Role(tenant, _) | Group::Tenant(tenant) => tenant,
        Group::Joined(channel) => &channel.tenant,
    }
}

fn remove_from_group<K: Ord>(entry: Entry<'_, K, ConnectionIdSet>, id: &ConnectionId) {
    if let Entry::Occupied(mut ids) = entry {
        ids.get_mut().remove(id);
        if ids.get().is_empty() {
            ids.remove();
        }
    }
}
