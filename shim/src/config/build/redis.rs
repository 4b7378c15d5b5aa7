//! The section of Redis.

use std::path::PathBuf;

use super::super::Value;
use super::super::values::{self, Parsed};
use super::Reader;
use super::sections::word;
use crate::redis::{RedisSettings, Topology};
use crate::secret::Secret;

impl Reader<'_> {
    /// `Some(None)` when no address is given.
    pub(super) fn redis(&mut self) -> Option<Option<RedisSettings>> {
        let urls = self.optional("redis.url", urls);
        let topology = self.read("redis.topology", |value| {
            let words = [Topology::Single, Topology::Cluster, Topology::Sentinel];
            values::choice(value, &words.map(|topology| (topology.as_str(), topology)))
        });
        let sentinel_master = self.read("redis.sentinel_master", values::text);
        let username = self.optional("redis.username", values::text);
        let password = self.optional("redis.password", |value| values::text(value).map(|text| Secret::new(&text)));
        let ca_file = self.optional("redis.ca_file", |value| values::text(value).map(PathBuf::from));
        let prefix = self.read("redis.prefix", |value| {
            values::text_where(value, |text| word(text, 64, "-_."), "1 to 64 letters, digits, '-', '_' and '.'")
        });
        let pool_size = self.read("redis.pool_size", values::count);
        let connect_timeout = self.read("redis.connect_timeout", values::duration);
        let response_timeout = self.read("redis.response_timeout", values::duration);
        let wait_replicas = self.read("redis.wait_replicas", |value| values::parsed(value, "a whole number"));
        let settings = RedisSettings {
            urls: urls?.unwrap_or_default(),
            topology: topology?,
            sentinel_master: sentinel_master?,
            username: username?,
            password: password?,
            ca_file: ca_file?,
            prefix: prefix?,
            pool_size: pool_size?,
            connect_timeout: connect_timeout?,
            response_timeout: response_timeout?,
            wait_replicas: wait_replicas?,
        };
        if settings.topology == Topology::Single && settings.urls.len() > 1 {
            self.mistake("redis.url has several addresses; that is for redis.topology cluster and sentinel");
        }
        Some((!settings.urls.is_empty()).then_some(settings))
    }
}

fn urls(value: &Value) -> Parsed<Vec<Secret>> {
    let urls = values::list(value)?;
    let is_address = |url: &String| url.starts_with("redis://") || url.starts_with("rediss://");
    if urls.is_empty() || !urls.iter().all(is_address) {
        return Err("must be an address such as redis://host:6379/0, or several with commas between".to_owned());
    }
    Ok(urls.iter().map(|url| Secret::new(url)).collect())
}
