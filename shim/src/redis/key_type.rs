//! Types of the keys that this program writes, and the search for a key of another type.
//!
//! Redis reports a key of the wrong type (`WRONGTYPE`) without its name. Another program has written such a key, or
//! restored it, and every operation on it fails until it is gone. So the error names it, and stores that can rebuild it
//! move it out of the way.

use redis::{Pipeline, cmd};

use super::operation::{ConnectionClass, RedisClientInner, RedisOperation, RetryPolicy, parse_reply};
use super::slots::first_key;
use crate::redis::RedisClientError;

/// Types by the start and the end of a key's name without the prefix. The first match counts.
const KEY_TYPES: [(&str, &str, &str); 15] = [
    ("index:{", "", "zset"),
    ("occupied:{", "", "zset"),
    ("connection:{", "", "string"),
    ("revoked:", "", "string"),
    ("log:epoch", "", "string"),
    ("log:{", ":entries", "stream"),
    ("log:{", ":bounds", "hash"),
    ("log:{", ":ids", "hash"),
    ("{cluster}:leases", "", "zset"),
    ("{cluster}:fenced", "", "zset"),
    ("{cluster}:reaped", "", "zset"),
    ("{cluster}:data_epoch", "", "string"),
    ("{cluster}:nodes", "", "hash"),
    ("{cluster}:pending", "", "hash"),
    ("{cluster}:", "", "hash"),
];

/// Returns the type of a key, as `TYPE` returns it, or `None` for a name that this program does not write.
fn expected_type(name: &str) -> Option<&'static str> {
    let found = KEY_TYPES.iter().find(|(start, end, _)| name.starts_with(start) && name.ends_with(end));
    found.map(|(_, _, expected)| *expected)
}

/// Returns the keys of a pipeline's commands, each once.
pub(super) fn pipeline_keys(pipeline: &Pipeline) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = pipeline.cmd_iter().filter_map(|command| Some(first_key(command)?.to_vec())).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl RedisClientInner {
    /// Replaces a `WRONGTYPE` error by one that names the key, if it is one of `keys`.
    pub(super) async fn name_wrong_key(&self, error: RedisClientError, keys: Vec<Vec<u8>>) -> RedisClientError {
        if !error.is_wrong_type() {
            return error;
        }
        for key in keys {
            let Ok(key) = String::from_utf8(key) else { continue };
            let name = key.strip_prefix(&*self.settings.prefix).and_then(|rest| rest.strip_prefix(':'));
            let Some(expected) = name.and_then(expected_type) else { continue };
            let command = cmd("TYPE").arg(&key).take();
            let operation = RedisOperation::Command(&command);
            let reply = self.run_operation(operation, ConnectionClass::SharedCommands, RetryPolicy::Idempotent).await;
            if let Ok(found) = reply.and_then(parse_reply::<String>)
                && found != expected
                && found != "none"
            {
                return RedisClientError::WrongKeyType { key, found, expected };
            }
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_written_has_a_type() {
        for (name, expected) in [
            ("index:{role/acme/user}", "zset"),
            ("connection:{abc=}:removed", "string"),
            ("log:{acme/room:a}:entries", "stream"),
            ("log:{acme/room:a}:ids", "hash"),
            ("log:epoch:{17}", "string"),
            ("{cluster}:connections:1-ab", "hash"),
            ("{cluster}:leases", "zset"),
        ] {
            assert_eq!(expected_type(name), Some(expected), "{name}");
        }
        assert_eq!(expected_type("session:1"), None);
    }
}
