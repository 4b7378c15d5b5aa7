//! How often the API may be used, with which keys, and whose signatures hold. No key or document is part of a mistake.

use std::collections::BTreeMap;

use gateway::quotas::Rate;

use super::super::values::{self, Parsed};
use super::super::{ApiConfig, KeySource, Management, PerSecond, RateConfig, ServerConfig, ThrottleConfig, Value};
use super::Reader;
use crate::access::{ClientKeyConfig, Credentials};
use crate::secret::Secret;

/// Shortest API key of a client: API Gateway's own bound (API Gateway API reference, `CreateApiKey`).
const CLIENT_KEY_BYTES: usize = 20;

impl Reader<'_> {
    pub(super) fn throttle(&mut self) -> Option<ThrottleConfig> {
        let requests = self.rate("throttle.rate", "throttle.burst");
        let connections = self.rate("throttle.connect_rate", "throttle.connect_burst");
        let routes = self.optional("throttle.routes", route_rates);
        Some(ThrottleConfig { requests: requests?, connections: connections?, routes: routes?.unwrap_or_default() })
    }

    /// Reports settings that would lock everybody out.
    pub(super) fn check_access(&mut self, server: Option<&ServerConfig>, api: Option<&ApiConfig>) {
        if api.is_some_and(|api| api.key_required && api.keys.is_empty()) {
            self.mistake(
                "api.key_required: no client can connect without a key in api.keys; set TWINWAY_API_KEYS_FILE",
            );
        }
        let signed = server.is_some_and(|server| server.management == Management::Iam);
        if signed && self.layers.value("iam.credentials").is_none() {
            self.mistake(
                "server.management is iam: nobody can call @connections without iam.credentials; set \
                 TWINWAY_IAM_CREDENTIALS_FILE",
            );
        }
    }

    fn rate(&mut self, rate: &'static str, burst: &'static str) -> Option<RateConfig> {
        let per_second = self.optional(rate, per_second);
        let burst = self.optional(burst, values::count);
        Some(RateConfig { per_second: per_second?, burst: burst? })
    }

    pub(super) fn iam(&mut self) -> Option<Credentials> {
        let credentials = self.optional("iam.credentials", |value| Credentials::parse(&values::text(value)?));
        Some(credentials?.unwrap_or_default())
    }

    /// Whether clients need a key, where it is read from, and which keys there are.
    pub(super) fn client_keys(&mut self) -> (Option<bool>, Option<KeySource>, Option<Vec<ClientKeyConfig>>) {
        let required = self.read("api.key_required", values::flag);
        let source = self.read("api.key_source", |value| {
            values::choice(value, &[("header", KeySource::Header), ("authorizer", KeySource::Authorizer)])
        });
        let keys = self.optional("api.keys", client_keys);
        (required, source, keys.map(Option::unwrap_or_default))
    }
}

fn per_second(value: &Value) -> Parsed<PerSecond> {
    match values::text(value)?.trim() {
        "off" => Ok(PerSecond::Off),
        _ => values::count(value).map(PerSecond::AtMost).map_err(|rule| format!("{rule}, or off")),
    }
}

fn route_rates(value: &Value) -> Parsed<BTreeMap<String, Rate>> {
    let rate = |text: &str| {
        let (per_second, burst) = text.split_once('/')?;
        Some(Rate { per_second: per_second.trim().parse().ok()?, burst: burst.trim().parse().ok()? })
    };
    let rates = values::table(value)?.into_iter().map(|(route, text)| match rate(&text) {
        Some(rate) => Ok((route, rate)),
        None => Err("must be routes with their rate and burst, such as chat=100/200".to_owned()),
    });
    rates.collect()
}

fn client_keys(value: &Value) -> Parsed<Vec<ClientKeyConfig>> {
    let keys = values::list(value)?;
    let keys = keys.iter().enumerate();
    keys.map(|(index, item)| {
        client_key(item).ok_or_else(|| {
            format!(
                "entry {}: must be id:key, with a key of at least {CLIENT_KEY_BYTES} letters, digits, '-' and '_'",
                index + 1
            )
        })
    })
    .collect()
}

fn client_key(item: &str) -> Option<ClientKeyConfig> {
    let (id, key) = item.split_once(':')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let valid = !id.is_empty() && key.len() >= CLIENT_KEY_BYTES && key.bytes().all(plain);
    valid.then(|| ClientKeyConfig { id: id.to_owned(), key: Secret::new(key) })
}
