//! Reader of rate limits, API keys of clients and IAM credentials. Error texts contain no part of a key or document.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use gateway::quotas::RateLimit;

use super::super::values::{self, ParseResult};
use super::super::{
    ApiConfig, ApiKeySource, ConfigValue, FunctionCredentials, ManagementAccess, PerSecond, RateConfig, ThrottleConfig,
};
use super::ConfigReader;
use crate::access::{ClientKeyConfig, IamCredentials};
use crate::secret::Secret;

/// Minimum length of a client's API key, as in API Gateway (API Gateway API reference, `CreateApiKey`).
const MIN_CLIENT_KEY_BYTES: usize = 20;

impl ConfigReader<'_> {
    pub(super) fn read_throttle(&mut self) -> Option<ThrottleConfig> {
        let requests = self.read_rate("throttle.rate", "throttle.burst");
        let connections = self.read_rate("throttle.connect_rate", "throttle.connect_burst");
        let connection_messages = self.read_rate("throttle.connection_rate", "throttle.connection_burst");
        let user_requests = self.read_rate("throttle.user_rate", "throttle.user_burst");
        let user_connections = self.read_rate("throttle.user_connect_rate", "throttle.user_connect_burst");
        let address_rejections = self.read_rate("throttle.address_rate", "throttle.address_burst");
        let actions = self.read_rate("throttle.action_rate", "throttle.action_burst");
        let user_actions = self.read_rate("throttle.user_action_rate", "throttle.user_action_burst");
        let routes = self.read_optional("throttle.routes", parse_route_rates);
        Some(ThrottleConfig {
            requests: requests?,
            connections: connections?,
            connection_messages: connection_messages?,
            user_requests: user_requests?,
            user_connections: user_connections?,
            address_rejections: address_rejections?,
            actions: actions?,
            user_actions: user_actions?,
            routes: routes?.unwrap_or_default(),
        })
    }

    /// Rejects settings that would reject every client.
    pub(super) fn check_access(&mut self, api: Option<&ApiConfig>) {
        if api.is_some_and(|api| api.key_required && api.keys.is_empty()) {
            self.add_error(
                "api.key_required: no client can connect without a key in api.keys; set TWINWAY_API_KEYS_FILE",
            );
        }
    }

    pub(super) fn read_function_credentials(&mut self) -> Option<FunctionCredentials> {
        self.read_required("iam.function_credentials", |value| {
            values::parse_choice(value, &[("auto", FunctionCredentials::Auto), ("off", FunctionCredentials::Off)])
        })
    }

    fn read_rate(&mut self, rate: &'static str, burst: &'static str) -> Option<RateConfig> {
        let per_second = self.read_optional(rate, parse_per_second);
        let burst = self.read_optional(burst, values::parse_count);
        Some(RateConfig { per_second: per_second?, burst: burst? })
    }

    pub(super) fn read_iam_credentials(&mut self) -> Option<IamCredentials> {
        let credentials =
            self.read_optional("iam.credentials", |value| IamCredentials::parse(&values::parse_text(value)?));
        Some(credentials?.unwrap_or_default())
    }

    /// Reads `api.key_required`, `api.key_source` and `api.keys`.
    pub(super) fn read_client_keys(&mut self) -> (Option<bool>, Option<ApiKeySource>, Option<Vec<ClientKeyConfig>>) {
        let required = self.read_required("api.key_required", values::parse_bool);
        let source = self.read_required("api.key_source", |value| {
            values::parse_choice(value, &[("header", ApiKeySource::Header), ("authorizer", ApiKeySource::Authorizer)])
        });
        let keys = self.read_optional("api.keys", parse_client_keys);
        (required, source, keys.map(Option::unwrap_or_default))
    }
}

pub(super) fn parse_management_access(value: &ConfigValue) -> ParseResult<ManagementAccess> {
    if values::parse_text(value)? == "loopback" {
        return Err(
            "is no longer supported, because a proxy on the same machine makes every client local; remove the \
                    setting: unsigned calls of local processes have the listener server.management_listen"
                .to_owned(),
        );
    }
    let words = [("iam", ManagementAccess::Iam), ("open", ManagementAccess::Open), ("off", ManagementAccess::Off)];
    values::parse_choice(value, &words)
}

/// Parses the address of the listener of unsigned calls; `None` for `off`.
pub(super) fn parse_loopback_listener(value: &ConfigValue) -> ParseResult<Option<SocketAddr>> {
    const RULE: &str = "a loopback address with a port, such as 127.0.0.1:8082, or off";
    if values::parse_text(value)? == "off" {
        return Ok(None);
    }
    let address: SocketAddr = values::parse_from_str(value, RULE)?;
    if address.ip().to_canonical().is_loopback() {
        Ok(Some(address))
    } else {
        Err(format!("must be {RULE}; callers on other machines sign their calls (server.management = iam)"))
    }
}

fn parse_per_second(value: &ConfigValue) -> ParseResult<PerSecond> {
    match values::parse_text(value)?.trim() {
        "off" => Ok(PerSecond::Unlimited),
        _ => values::parse_count(value).map(PerSecond::Limited).map_err(|rule| format!("{rule}, or off")),
    }
}

fn parse_route_rates(value: &ConfigValue) -> ParseResult<BTreeMap<String, RateLimit>> {
    let rate = |text: &str| {
        let (per_second, burst) = text.split_once('/')?;
        Some(RateLimit { per_second: per_second.trim().parse().ok()?, burst: burst.trim().parse().ok()? })
    };
    let rates = values::parse_table(value)?.into_iter().map(|(route, text)| match rate(&text) {
        Some(rate) => Ok((route, rate)),
        None => Err("must be pairs route=rate/burst, such as chat=100/200".to_owned()),
    });
    rates.collect()
}

fn parse_client_keys(value: &ConfigValue) -> ParseResult<Vec<ClientKeyConfig>> {
    let keys = values::parse_list(value)?;
    let keys = keys.iter().enumerate();
    keys.map(|(index, item)| {
        parse_client_key(item).ok_or_else(|| {
            format!(
                "entry {}: must be id:key, with a key of at least {MIN_CLIENT_KEY_BYTES} letters, digits, '-' and '_'",
                index + 1
            )
        })
    })
    .collect()
}

fn parse_client_key(item: &str) -> Option<ClientKeyConfig> {
    let (id, key) = item.split_once(':')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let valid = !id.is_empty() && key.len() >= MIN_CLIENT_KEY_BYTES && key.bytes().all(plain);
    valid.then(|| ClientKeyConfig { id: id.to_owned(), key: Secret::new(key) })
}
