//! Who gets a message, as a value.
//!
//! [`Delivery`](crate::ports::Delivery) takes an audience and not a list of connections: in pods a broadcast is one publish
//! and one encoded frame, whatever the number of sockets.

use crate::channel::{Channel, ChannelName};
use crate::id::{ConnectionId, TenantId, UserId};
use crate::identity::{Identity, Role};

/// A set of connections, named and not listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// One connection.
    Connection(ConnectionId),
    /// Every connection of one user.
    User(TenantId, UserId),
    /// Every connection of one role.
    Role(TenantId, Role),
    /// The readers of one channel: for a conversation the user and all admins, for everyone the whole tenant, for a
    /// room or topic the connections that joined.
    Channel(Channel),
}

/// The elementary sets that audiences are unions of, and under which a connection is indexed.
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

/// An audience, resolved to what an index can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedAudience {
    /// Exactly this connection.
    Connection(ConnectionId),
    /// The union of these groups; a connection in two of them counts once.
    Groups(Vec<Group>),
}

impl Audience {
    /// What an index has to look up.
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
    /// The groups that a connection belongs to by being who it is; rooms and topics come on top.
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

    /// Whether messages of `channel` reach the identity without a `join` or `subscribe`.
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
    fn rooms_and_topics_reach_only_those_who_joined() {
        assert!(!reaches(&channel("room:lobby"), &identity("root", Role::Admin)));
        assert!(reaches(&channel("everyone"), &identity("bob", Role::User)));
    }

    #[test]
    fn tenants_do_not_mix() {
        let other = ChannelName::Everyone.in_tenant(TenantId::parse("other").unwrap());
        assert!(!reaches(&other, &identity("bob", Role::User)));
    }
}
