//! The sets of connections that audiences are made of.
//!
//! Invariant: no set is empty; the last connection takes its set with it, so that names that clients made up leave nothing
//! behind. Every operation is logarithmic in the number of connections, and in what it returns.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Bound;

use foldhash::HashMap;

use crate::audience::Group;
use crate::channel::ChannelName;
use crate::id::{ConnectionId, TenantId, UserId};
use crate::identity::Role;
use crate::ports::OccupiedChannel;

type ConnectionIds = BTreeSet<ConnectionId>;

/// All sets, by tenant.
#[derive(Default)]
pub(super) struct MembershipIndex {
    tenants: HashMap<TenantId, TenantIndex>,
}

#[derive(Default)]
struct TenantIndex {
    all: ConnectionIds,
    users: BTreeMap<UserId, ConnectionIds>,
    roles: BTreeMap<Role, ConnectionIds>,
    joined: BTreeMap<ChannelName, ConnectionIds>,
}

impl MembershipIndex {
    /// The tenant's name as the index holds it.
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

    /// The first `limit` connections of the union behind `after`, ascending, each once.
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

    /// How many connections the union has.
    pub(super) fn count_members(&self, groups: &[Group]) -> u64 {
        if let [group] = groups {
            return self.group_members(group).map_or(0, |ids| ids.len() as u64);
        }
        let mut sets: Vec<&ConnectionIds> = groups.iter().filter_map(|group| self.group_members(group)).collect();
        sets.sort_by_key(|ids| std::cmp::Reverse(ids.len()));
        // Only what the larger sets do not have counts of a smaller one; the largest, counted whole, is never walked.
        let new_in = |at: usize| sets[at].iter().filter(|id| !sets[..at].iter().any(|ids| ids.contains(id))).count();
        let count = (0..sets.len()).map(|at| if at == 0 { sets[0].len() } else { new_in(at) }).sum::<usize>();
        count as u64
    }

    /// The first `limit` joined channels of a tenant behind `after`, and how many there are in all.
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

    /// Whether no connection is in any set.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    fn group_members(&self, group: &Group) -> Option<&ConnectionIds> {
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

fn remove_from_group<K: Ord>(entry: Entry<'_, K, ConnectionIds>, id: &ConnectionId) {
    if let Entry::Occupied(mut ids) = entry {
        ids.get_mut().remove(id);
        if ids.get().is_empty() {
            ids.remove();
        }
    }
}
