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

use crate::redis::Redis;

/// Most ended entries that are looked for at a time.
pub(super) const ENDED_AT_ONCE: usize = 500;
/// How long a set lives after its last entry was added: no entry outlives its connection.
const LIFE_MS: u128 = limits::CONNECTION_TTL.as_millis();

/// The key of a group's set.
pub(super) fn key(redis: &Redis, group: &Group) -> String {
    let tag = match group {
        Group::User(tenant, user) => format!("user/{tenant}/{user}"),
        Group::Role(tenant, role) => format!("role/{tenant}/{}", role.as_str()),
        Group::Tenant(tenant) => format!("tenant/{tenant}"),
        Group::Joined(channel) => format!("joined/{channel}"),
    };
    redis.key(&format!("index:{{{tag}}}"))
}

/// The key of a tenant's occupied channels.
pub(super) fn occupied_key(redis: &Redis, tenant: &TenantId) -> String {
    redis.key(&format!("occupied:{{{tenant}}}"))
}

/// Puts a connection into a set: two commands.
pub(super) fn add(pipeline: &mut Pipeline, key: &str, id: &ConnectionId, end: Timestamp) {
    pipeline.cmd("ZADD").arg(key).arg(0).arg(by_id(id)).arg(0).arg(by_end(end, id));
    pipeline.cmd("PEXPIRE").arg(key).arg(LIFE_MS.to_string());
}

/// Takes a connection out of a set: one command.
pub(super) fn remove(pipeline: &mut Pipeline, key: &str, id: &ConnectionId, end: Timestamp) {
    pipeline.cmd("ZREM").arg(key).arg(by_id(id)).arg(by_end(end, id));
}

/// Notes that a channel has members: two commands.
pub(super) fn occupy(pipeline: &mut Pipeline, key: &str, channel: &ChannelName) {
    pipeline.cmd("ZADD").arg(key).arg(0).arg(channel.to_string());
    pipeline.cmd("PEXPIRE").arg(key).arg(LIFE_MS.to_string());
}

/// Asks for what has ended in a set, at most [`ENDED_AT_ONCE`] entries.
pub(super) fn ended(pipeline: &mut Pipeline, key: &str, now: Timestamp) {
    let (from, to) = ("[e", format!("(e{:016}", now.0.saturating_add(1).max(0)));
    pipeline.cmd("ZRANGEBYLEX").arg(key).arg(from).arg(to).arg("LIMIT").arg(0).arg(ENDED_AT_ONCE);
}

/// Takes what [`ended`] found out of a set.
pub(super) fn remove_ended(pipeline: &mut Pipeline, key: &str, entries: &[String]) {
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
pub(super) fn page(pipeline: &mut Pipeline, key: &str, after: Option<&str>, limit: usize) {
    let from = after.map_or_else(|| "[c".to_owned(), |after| format!("(c{after}"));
    pipeline.cmd("ZRANGEBYLEX").arg(key).arg(from).arg("(d").arg("LIMIT").arg(0).arg(limit);
}

/// Asks how many connections a set has.
pub(super) fn count(pipeline: &mut Pipeline, key: &str) {
    pipeline.cmd("ZLEXCOUNT").arg(key).arg("[c").arg("(d");
}

/// Takes a connection out of a set whose end is not known; what says when it ends goes when it does.
pub(super) fn forget(pipeline: &mut Pipeline, key: &str, id: &ConnectionId) {
    pipeline.cmd("ZREM").arg(key).arg(by_id(id));
}

/// The entry of an id.
pub(super) fn by_id(id: &ConnectionId) -> String {
    format!("c{id}")
}

fn by_end(end: Timestamp, id: &ConnectionId) -> String {
    format!("e{:016}{id}", end.0.max(0))
}
