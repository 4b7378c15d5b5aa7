//! Names of the Redis channels of the bus: one per elementary group, one per node id, one per running pod.
//!
//! Two groups never share a Redis channel, because tenant, user and channel names contain neither `:` nor `/`
//! (`handlers::id`). The Redis client adds the prefix of the application and the number of the
//! database, so that two applications can share one Redis.

use handlers::audience::Group;

/// Returns the Redis channel of a group of connections.
#[must_use]
pub fn channel_of_group(group: &Group) -> String {
    match group {
        Group::User(tenant, user) => format!("bus:user:{tenant}/{user}"),
        Group::Role(tenant, role) => format!("bus:role:{tenant}/{}", role.as_str()),
        Group::Joined(channel) => format!("bus:joined:{channel}"),
        Group::Tenant(tenant) => format!("bus:tenant:{tenant}"),
    }
}

/// Returns the Redis channel for requests to the pod that holds a node id.
#[must_use]
pub fn channel_of_node(node: u16) -> String {
    format!("bus:node:{node}")
}

/// Returns the Redis channel of one running pod, for its own heartbeats and the replies to its requests.
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
    fn every_group_has_its_own_redis_channel() {
        let tenant = TenantId::parse("acme").unwrap();
        let groups = [
            Group::User(tenant.clone(), UserId::parse("admin").unwrap()),
            Group::Role(tenant.clone(), Role::Admin),
            Group::Joined(Channel::from_key("acme/room:admin").unwrap()),
            Group::Joined(Channel::from_key("acme/topic:admin").unwrap()),
            Group::Tenant(tenant),
        ];
        let redis_channels = groups.each_ref().map(channel_of_group);
        assert_eq!(
            redis_channels,
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
