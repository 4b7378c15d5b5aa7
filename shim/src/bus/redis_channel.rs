//! Names of topics: one for each elementary group, one for each node, one for each running pod.
//!
//! Invariant: two groups never share a topic, because names hold neither `:` nor `/` (`handlers::id`). The link's key prefix
//! comes in front, so that two applications can share one Redis.

use handlers::audience::Group;

/// The topic on which the members of a group are reached.
#[must_use]
pub fn channel_of_group(group: &Group) -> String {
    match group {
        Group::User(tenant, user) => format!("bus:user:{tenant}/{user}"),
        Group::Role(tenant, role) => format!("bus:role:{tenant}/{}", role.as_str()),
        Group::Joined(channel) => format!("bus:joined:{channel}"),
        Group::Tenant(tenant) => format!("bus:tenant:{tenant}"),
    }
}

/// The topic on which whoever owns the connections of a node takes requests about them.
#[must_use]
pub fn channel_of_node(node: u16) -> String {
    format!("bus:node:{node}")
}

/// The topic of one running pod: its own heartbeat, and the replies to its requests.
#[must_use]
pub fn channel_of_pod(origin: u64) -> String {
    format!("bus:pod:{origin:016x}")
}

#[cfg(test)]
mod tests {
    use handlers::channel::Channel;
    use handlers::id::{TenantId, UserId};
    use handlers::identity::Role;

    use super::*;

    #[test]
    fn every_group_has_a_topic_of_its_own() {
        let tenant = TenantId::parse("acme").unwrap();
        let groups = [
            Group::User(tenant.clone(), UserId::parse("admin").unwrap()),
            Group::Role(tenant.clone(), Role::Admin),
            Group::Joined(Channel::from_key("acme/room:admin").unwrap()),
            Group::Joined(Channel::from_key("acme/topic:admin").unwrap()),
            Group::Tenant(tenant),
        ];
        let topics = groups.each_ref().map(channel_of_group);
        assert_eq!(
            topics,
            [
                "bus:user:acme/admin",
                "bus:role:acme/admin",
                "bus:joined:acme/room:admin",
                "bus:joined:acme/topic:admin",
                "bus:tenant:acme"
            ]
        );
    }
}
