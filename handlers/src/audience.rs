//! Audiences: named sets of connections that a message is delivered to.
//!
//! [`Delivery`](crate::ports::Delivery) takes an audience instead of a list of connections, so a pod publishes a
//! broadcast once, with one encoded frame, whatever the number of sockets.

use crate::channel::{Channel, ChannelName};
use crate::id::{ConnectionId, TenantId, UserId};
use crate::identity::{Identity, Role};

/// A set of connections, identified by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// One connection.
    Connection(ConnectionId),
    /// Every connection of one user.
    User(TenantId, UserId),
    /// Every connection of one role.
    Role(TenantId, Role),
    /// The readers of one channel. For a conversation: the user and all admins; for `everyone`: the whole tenant; for a
    /// room or topic: the connections that joined it.
    Channel(Channel),
}

/// Elementary sets of connections, by which indexes store them. An audience is a union of groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// The connections of one user.
    User(TenantId, UserId),
    /// The connections of one role.
    Role(TenantId, Role),
    /// The connections that joined a room or topic.
    Joined(Channel),
    /// Every connection of the tenant.
    Tenant(TenantId),
}

/// The groups of an audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedAudience {
    Connection(ConnectionId),
    /// The union of these groups. A connection in two of them counts once.
    Groups(Vec<Group>),
}

impl Audience {
    /// Returns the groups, or the connection, that the audience consists of.
    #[must_use]
    pub fn resolve(&self) -> ResolvedAudience {
        match self {
            Self::Connection(id) => ResolvedAudience::Connection(id.clone()),
            Self::User(tenant, user) => ResolvedAudience::Groups(vec![Group::User(tenant.clone(), user.clone())]),
            Self::Role(tenant, role) => ResolvedAudience::Groups(vec![Group::Role(tenant.clone(), *role)]),
            Self::Channel(channel) => ResolvedAudience::Groups(channel_groups(channel)),
        }
    }
}

fn channel_groups(channel: &Channel) -> Vec<Group> {
    let tenant = &channel.tenant;
    match &channel.name {
        ChannelName::Conversation(user) => {
            vec![Group::User(tenant.clone(), user.clone()), Group::Role(tenant.clone(), Role::Admin)]
        }
        ChannelName::Everyone => vec![Group::Tenant(tenant.clone())],
        ChannelName::Room(_) | ChannelName::Topic(_) => vec![Group::Joined(channel.clone())],
    }
}

impl Identity {
    /// Returns the groups of a connection with this identity. Joined rooms and topics are separate groups.
    #[must_use]
    pub fn groups(&self) -> [Group; 3] {
        [
            Group::User(self.tenant.clone(), self.user.clone()),
            Group::Role(self.tenant.clone(), self.role),
            Group::Tenant(self.tenant.clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::default_tenant()
    }

    fn identity(user: &str, role: Role) -> Identity {
        Identity { tenant: tenant(), user: UserId::parse(user).unwrap(), role, expires_at: None }
    }

    fn channel(name: &str) -> Channel {
        ChannelName::parse(name).unwrap().in_tenant(tenant())
    }

    /// Returns whether the identity receives messages of `channel` without `join` or `subscribe`.
    fn reaches(channel: &Channel, identity: &Identity) -> bool {
        let ResolvedAudience::Groups(groups) = Audience::Channel(channel.clone()).resolve() else { return false };
        groups.iter().any(|group| identity.groups().contains(group))
    }

    #[test]
    fn a_conversation_reaches_its_user_and_all_admins() {
        assert!(reaches(&channel("conversation:alice"), &identity("alice", Role::User)));
        assert!(reaches(&channel("conversation:alice"), &identity("root", Role::Admin)));
        assert!(!reaches(&channel("conversation:alice"), &identity("bob", Role::User)));
    }

    #[test]
    fn rooms_reach_only_joined_connections_and_everyone_reaches_all() {
        assert!(!reaches(&channel("room:lobby"), &identity("root", Role::Admin)));
        assert!(reaches(&channel("everyone"), &identity("bob", Role::User)));
    }

    #[test]
    fn tenants_do_not_mix() {
        let other = ChannelName::Everyone.in_tenant(TenantId::parse("other").unwrap());
        assert!(!reaches(&other, &identity("bob", Role::User)));
    }
}
