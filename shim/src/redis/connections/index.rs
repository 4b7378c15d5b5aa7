//! The sets of connection ids that audiences are made of: one sorted set per group, in a slot of its own.
//!
//! Each connection stands in a set twice, both times with score 0, so that the set is ordered by its texts: as `c{id}`, for
//! pages in the order of ids, and as `e{end}{id}`, for finding what has ended without looking at anything else. A set names
//! what the records say, sooner or later: it is written after them, and what a listing finds to be untrue is taken out.

use handlers::audience::Group;
use handlers::channel::ChannelName;
use handlers::id::{ConnectionId, TenantId};
use handlers::limits;
use handlers::ports::Timestamp;
use redis::Pipeline;

use crate::redis::RedisClient;

/// Most ended entries that are looked for at a time.
pub(super) const MAX_EXPIRED_PER_QUERY: usize = 500;
/// How long a set lives after its last entry was added: no entry outlives its connection.
const INDEX_TTL_MS: u128 = limits::CONNECTION_RECORD_TTL.as_millis();

/// The key of a group's set.
pub(super) fn group_key(redis: &RedisClient, group: &Group) -> String {
    let tag = match group {
        Group::User(tenant, user) => format!("user/{tenant}/{user}"),
        Group::Role(tenant, role) => format!("role/{tenant}/{}", role.as_str()),
        Group::Tenant(tenant) => format!("tenant/{tenant}"),
        Group::Joined(channel) => format!("joined/{channel}"),
    };
    redis.prefixed_key(&format!("index:{{{tag}}}"))
}

/// The key of a tenant's occupied channels.
pub(super) fn occupied_key(redis: &RedisClient, tenant: &TenantId) -> String {
    redis.prefixed_key(&format!("occupied:{{{tenant}}}"))
}

/// Puts a connection into a set: two commands.
pub(super) fn add_connection(pipeline: &mut Pipeline, key: &str, id: &ConnectionId, end: Timestamp) {
    pipeline.cmd("ZADD").arg(key).arg(0).arg(id_entry(id)).arg(0).arg(expiry_entry(end, id));
    pipeline.cmd("PEXPIRE").arg(key).arg(INDEX_TTL_MS.to_string());
}

/// Takes a connection out of a set: one command.
pub(super) fn remove_connection(pipeline: &mut Pipeline, key: &str, id: &ConnectionId, end: Timestamp) {
    pipeline.cmd("ZREM").arg(key).arg(id_entry(id)).arg(expiry_entry(end, id));
}

/// Notes that a channel has members: two commands.
pub(super) fn add_occupied_channel(pipeline: &mut Pipeline, key: &str, channel: &ChannelName) {
    pipeline.cmd("ZADD").arg(key).arg(0).arg(channel.to_string());
    pipeline.cmd("PEXPIRE").arg(key).arg(INDEX_TTL_MS.to_string());
}

/// Asks for what has ended in a set, at most [`MAX_EXPIRED_PER_QUERY`] entries.
pub(super) fn query_expired(pipeline: &mut Pipeline, key: &str, now: Timestamp) {
    let (from, to) = ("[e", format!("(e{:016}", now.0.saturating_add(1).max(0)));
    pipeline.cmd("ZRANGEBYLEX").arg(key).arg(from).arg(to).arg("LIMIT").arg(0).arg(MAX_EXPIRED_PER_QUERY);
}

/// Takes what [`query_expired`] found out of a set.
pub(super) fn remove_expired(pipeline: &mut Pipeline, key: &str, entries: &[String]) {
    if entries.is_empty() {
        return;
    }
    let command = pipeline.cmd("ZREM").arg(key);
    for entry in entries {
        // "e", 16 digits, the id.
        command.arg(entry).arg(format!("c{}", entry.get(17..).unwrap_or_default()));
    }
}

/// Asks for the first ids of a set behind `after`.
pub(super) fn query_page(pipeline: &mut Pipeline, key: &str, after: Option<&str>, limit: usize) {
    let from = after.map_or_else(|| "[c".to_owned(), |after| format!("(c{after}"));
    pipeline.cmd("ZRANGEBYLEX").arg(key).arg(from).arg("(d").arg("LIMIT").arg(0).arg(limit);
}

/// Asks how many connections a set has.
pub(super) fn query_count(pipeline: &mut Pipeline, key: &str) {
    pipeline.cmd("ZLEXCOUNT").arg(key).arg("[c").arg("(d");
}

/// Takes a connection out of a set whose end is not known; what says when it ends goes when it does.
pub(super) fn remove_id_entry(pipeline: &mut Pipeline, key: &str, id: &ConnectionId) {
    pipeline.cmd("ZREM").arg(key).arg(id_entry(id));
}

/// The entry of an id.
pub(super) fn id_entry(id: &ConnectionId) -> String {
    format!("c{id}")
}

fn expiry_entry(end: Timestamp, id: &ConnectionId) -> String {
    format!("e{:016}{id}", end.0.max(0))
}
