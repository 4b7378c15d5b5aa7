//! Reader of the section `redis`.

use super::super::ConfigValue;
use super::super::values::{self, ParseResult};
use super::ConfigReader;
use super::sections::is_identifier;
use super::tls::REDIS_TLS;
use crate::redis::{RedisSettings, RedisTopology};
use crate::secret::Secret;

impl ConfigReader<'_> {
    /// Returns `Some(None)` if no address is set.
    pub(super) fn read_redis(&mut self) -> Option<Option<RedisSettings>> {
        let urls = self.read_optional("redis.url", parse_redis_urls);
        let topology = self.read_required("redis.topology", parse_topology);
        let sentinel_master = self.read_required("redis.sentinel_master", values::parse_text);
        let username = self.read_optional("redis.username", values::parse_text);
        let password =
            self.read_optional("redis.password", |value| values::parse_text(value).map(|text| Secret::new(&text)));
        let is_encrypted = urls.as_ref().is_some_and(|urls| urls.iter().flatten().any(uses_tls));
        let tls = self.read_tls(&REDIS_TLS, is_encrypted);
        let prefix = self.read_required("redis.prefix", parse_prefix);
        let pool_size = self.read_required("redis.pool_size", values::parse_count);
        let connect_timeout = self.read_required("redis.connect_timeout", values::parse_duration_value);
        let response_timeout = self.read_required("redis.response_timeout", values::parse_duration_value);
        let wait_replicas =
            self.read_optional("redis.wait_replicas", |value| values::parse_from_str(value, "a whole number"));
        let topology = topology?;
        let settings = RedisSettings {
            urls: urls?.unwrap_or_default(),
            topology,
            sentinel_master: sentinel_master?,
            username: username?,
            password: password?,
            tls: tls?,
            prefix: prefix?,
            pool_size: pool_size?,
            connect_timeout: connect_timeout?,
            response_timeout: response_timeout?,
            wait_replicas: wait_replicas?.unwrap_or_else(|| topology.default_wait_replicas()),
        };
        if settings.topology == RedisTopology::Single && settings.urls.len() > 1 {
            self.add_error("redis.url has several addresses; this requires redis.topology cluster or sentinel");
        }
        Some((!settings.urls.is_empty()).then_some(settings))
    }
}

fn parse_topology(value: &ConfigValue) -> ParseResult<RedisTopology> {
    let words = [RedisTopology::Single, RedisTopology::Cluster, RedisTopology::Sentinel];
    values::parse_choice(value, &words.map(|topology| (topology.as_str(), topology)))
}

fn parse_prefix(value: &ConfigValue) -> ParseResult<String> {
    let valid = |text: &str| is_identifier(text, 64, "-_.");
    values::parse_text_where(value, valid, "1 to 64 letters, digits, '-', '_' and '.'")
}

fn uses_tls(url: &Secret) -> bool {
    url.expose().starts_with("rediss://")
}

fn parse_redis_urls(value: &ConfigValue) -> ParseResult<Vec<Secret>> {
    let urls = values::parse_list(value)?;
    let is_address = |url: &String| url.starts_with("redis://") || url.starts_with("rediss://");
    if urls.is_empty() || !urls.iter().all(is_address) {
        return Err(
            "must be an address such as redis://host:6379/0, or rediss:// with TLS, or a comma-separated list of \
                    addresses"
                .to_owned(),
        );
    }
    for (index, url) in urls.iter().enumerate() {
        RedisSettings::check_address(url)
            .map_err(|error| format!("address {}: {error}; it looks like redis://host:6379/0", index + 1))?;
    }
    Ok(urls.iter().map(|url| Secret::new(url)).collect())
}
