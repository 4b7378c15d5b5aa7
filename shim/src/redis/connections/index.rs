//! Index sets of connection ids, from which audiences are listed: one sorted set per group, each in its own slot.
//!
//! A set has two entries for each connection, both with score 0, so that the set is ordered lexicographically: `c{id}`,
//! for pages in the order of ids, and `e{expiry}{id}`, for finding expired connections without reading the rest. Sets
//! are eventually consistent with the records: they are written after them, and a listing removes wrong entries.

use handlers::audience::Group;
use handlers::channel::ChannelName;
use handlers::id::{ConnectionId, TenantId};
use handlers::limits;
use handlers::ports::Timestamp;
use redis::Pipeline;

use crate::redis::RedisClient;

/// Maximum number of expired entries per query.
pub(super) const MAX_EXPIRED_PER_QUERY: usize = 500;
/// Lifetime of a set after its last addition. No entry outlives its connection.
const INDEX_TTL_MS: u128 = limits::CONNECTION_RECORD_TTL.as_millis();

/// Returns the key of a group's set.
pub(super) fn group_key(redis: &RedisClient, group: &Group) -> String {
    let tag = match group {
        Group::User(tenant, user) => format!("user/{tenant}/{user}"),
        Group::Role(tenant, role) => format!("role/{tenant}/{}", role.as_str()),
        Group::Tenant(tenant) => format!("tenant/{tenant}"),
        Group::Joined(channel) => format!("joined/{channel}"),
    };
    redis.prefixed_key(&format!("index:{{{tag}}}"))
}

/// Returns the key of a tenant's occupied channels.
pub(super) fn occupied_key(redis: &RedisClient, tenant: &TenantId) -> String {
    redis.prefixed_key(&format!("occupied:{{{tenant}}}"))
}

/// Adds a connection to a set: two commands.
pub(super) fn add_connection(pipeline: &mut Pipeline, key: &str, id: &ConnectionId, expires_at: Timestamp) {
    pipeline.cmd("ZADD").arg(key).arg(0).arg(id_entry(id)).arg(0).arg(expiry_entry(expires_at, id));
    pipeline.cmd("PEXPIRE").arg(key).arg(INDEX_TTL_MS.to_string());
}

/// Removes a connection from a set: one command.
pub(super) fn remove_connection(pipeline: &mut Pipeline, key: &str, id: &ConnectionId, expires_at: Timestamp) {
    pipeline.cmd("ZREM").arg(key).arg(id_entry(id)).arg(expiry_entry(expires_at, id));
}

/// Adds a channel to the occupied channels: two commands.
pub(super) fn add_occupied_channel(pipeline: &mut Pipeline, key: &str, channel: &ChannelName) {
    pipeline.cmd("ZADD").arg(key).arg(0).arg(channel.to_string());
    pipeline.cmd("PEXPIRE").arg(key).arg(INDEX_TTL_MS.to_string());
}

/// Queries the expired entries of a set, at most [`MAX_EXPIRED_PER_QUERY`].
pub(super) fn query_expired(pipeline: &mut Pipeline, key: &str, now: Timestamp) {
    let (from, to) = ("[e", format!("(e{:016}", now.0.saturating_add(1).max(0)));
    pipeline.cmd("ZRANGEBYLEX").arg(key).arg(from).arg(to).arg("LIMIT").arg(0).arg(MAX_EXPIRED_PER_QUERY);
}

/// Removes from a set the entries that [`query_expired`] returned.
pub(super) fn remove_expired(pipeline: &mut Pipeline, key: &str, entries: &[String]) {
    if entries.is_empty() {
        return;
    }
    let command = pipeline.cmd("ZREM").arg(key);
    for entry in entries {
        // Layout: "e", 16 digits, the id.
        command.arg(entry).arg(format!("c{}", entry.get(17..).unwrap_or_default()));
    }
}

/// Queries the first ids of a set that follow `after`.
pub(super) fn query_page(pipeline: &mut Pipeline, key: &str, after: Option<&str>, limit: usize) {
    let from = after.map_or_else(|| "[c".to_owned(), |after| format!("(c{after}"));
    pipeline.cmd("ZRANGEBYLEX").arg(key).arg(from).arg("(d").arg("LIMIT").arg(0).arg(limit);
}

/// Queries the number of connections in a set.
pub(super) fn query_count(pipeline: &mut Pipeline, key: &str) {
    pipeline.cmd("ZLEXCOUNT").arg(key).arg("[c").arg("(d");
}

/// Removes the id entry of a connection whose expiry is not known. Its expiry entry is removed when it expires.
pub(super) fn remove_id_entry(pipeline: &mut Pipeline, key: &str, id: &ConnectionId) {
    pipeline.cmd("ZREM").arg(key).arg(id_entry(id));
}

/// Returns the entry of an id.
pub(super) fn id_entry(id: &ConnectionId) -> String {
    format!("c{id}")
}

fn expiry_entry(expires_at: Timestamp, id: &ConnectionId) -> String {
    format!("e{:016}{id}", expires_at.0.max(0))
}
