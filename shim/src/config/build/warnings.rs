//! Warnings and notices about valid settings: without effect, unsafe in combination, or weak.

use std::os::unix::fs::PermissionsExt as _;

use ipnet::IpNet;

use super::super::keys::KEYS;
use super::super::{Config, ConfigSources, DeploymentMode, JwksSource, LogStorage, ManagementAccess, VariableSource};
use crate::access::client_address::TrustedProxies;

/// Permission bit of a file that every user can read.
const READABLE_BY_ALL: u32 = 0o004;

/// Returns all warnings; each names its key. `config` is `None` if the configuration is invalid.
pub(super) fn setting_warnings(
    config: Option<&Config>,
    sources: &ConfigSources,
    mode: DeploymentMode,
    variables: &dyn VariableSource,
) -> Vec<String> {
    let mut warnings = Vec::new();
    // Volumes of Kubernetes have the mode 0644 by default, and only the container can see them.
    if mode != DeploymentMode::Kubernetes {
        warnings.extend(sources.value_files().filter_map(readable_file_warning));
    }
    let unused = unused_value_warnings(sources, mode, variables);
    let of_config = |config| weak_setting_warnings(config, mode).into_iter().chain(token_warnings(config));
    let unsafe_settings = config.map(unsafe_setting_warnings).unwrap_or_default();
    let of_functions = config.and_then(|config| config.functions.user_warning());
    let texts = config.map(of_config).into_iter().flatten().chain(unused).chain(unsafe_settings).chain(of_functions);
    warnings.extend(texts.map(str::to_owned));
    warnings
}

/// Returns the notice of `twinway config check` about a public listener that accepts web pages of any site.
pub(super) fn origin_notice(config: &Config) -> Option<&'static str> {
    let is_public = !config.server.listen.ip().to_canonical().is_loopback();
    (config.server.origins.is_none() && is_public).then_some(
        "server.origins is not set: web pages of any site may connect, as with API Gateway; set server.origins to \
         restrict this",
    )
}

/// Returns a warning for each connection to another machine without encryption, and for writes that a failover loses.
fn weak_setting_warnings(config: &Config, mode: DeploymentMode) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    let mut warn = |condition: bool, text: &'static str| warnings.extend(condition.then_some(text));
    let redis = config.redis.as_ref().filter(|_| mode == DeploymentMode::Kubernetes);
    warn(
        redis.is_some_and(crate::redis::RedisSettings::is_unencrypted),
        "redis.url: passwords and messages travel to another machine without encryption; use rediss:// unless the \
         network is trusted",
    );
    let postgres = config.postgres.as_ref().filter(|_| config.storage.log == LogStorage::Postgres);
    warn(
        postgres.is_some_and(crate::postgres::PostgresSettings::is_unverified),
        "postgres.url: sslmode permits reading the password on the network between this machine and the server; use \
         sslmode=verify-full unless the network is trusted",
    );
    warn(
        redis.is_some_and(crate::redis::RedisSettings::loses_messages_at_failover),
        "redis.wait_replicas is 0: a failover of Redis loses acknowledged messages; remove the setting, so that writes \
         wait for one replica",
    );
    warnings
}

/// Returns a warning for each setting that accepts tokens of other applications, or gives a role by accident.
fn token_warnings(config: &Config) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    let mut warn = |condition: bool, text: &'static str| warnings.extend(condition.then_some(text));
    warn(
        matches!(config.auth.jwks, Some(JwksSource::Url(_))) && config.auth.audiences.is_empty(),
        "auth.audience is *: whoever has a token for any application of the identity provider can log in here, with \
         the user id and role of that token; set it to the audience of your tokens",
    );
    warn(
        config.auth.claims.has_ambiguous_roles(),
        "auth.admin_roles, auth.service_roles and auth.user_roles share a value, or one of them contains the name of \
         another role: users with it have the role with the most permissions; give each role its own values",
    );
    warn(
        matches!(config.auth.jwks, Some(JwksSource::Document(_))) && config.auth.audiences.is_empty(),
        "auth.audience is not set, so tokens for every application of the identity provider are accepted; set it to \
         the audience of your tokens",
    );
    warnings
}

/// Returns a warning for each unsafe combination.
fn unsafe_setting_warnings(config: &Config) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    let server = &config.server;
    let is_remote = !server.listen.ip().to_canonical().is_loopback() || server.proxies.is_used();
    if server.management == ManagementAccess::Open && is_remote {
        warnings.push(
            "server.management is open: every client that can connect to server.listen can post to, describe and close \
             every connection; use iam, or keep the port in a network of trusted machines",
        );
    }
    match &server.proxies.trusted {
        TrustedProxies::Networks(networks) if IpNet::aggregate(networks).iter().any(is_public_range) => warnings.push(
            "server.trusted_proxies contains a large part of all addresses, so clients with one of them can choose \
             their address; list the networks of the proxies, or set their number",
        ),
        TrustedProxies::Hops(1..) if server.proxies.requires_proxy_protocol => warnings.push(
            "server.trusted_proxies counts only proxies that append to server.forwarded_header, not the balancer that \
             sends the PROXY header: without an HTTP proxy in front of that balancer clients can choose their address; \
             list the networks of the balancer instead",
        ),
        _ => {}
    }
    warnings
}

/// Returns whether a network is larger than any that is reserved for private use: 10.0.0.0/8, fc00::/7.
fn is_public_range(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 7,
    }
}

/// Returns a warning for each value that is set but has no effect.
fn unused_value_warnings(
    sources: &ConfigSources,
    mode: DeploymentMode,
    variables: &dyn VariableSource,
) -> Vec<&'static str> {
    let mut unused = Vec::new();
    if mode == DeploymentMode::Embedded && sources.find_value("redis.url").is_some() {
        unused.push("REDIS_URL is set but unused: embedded mode stores all state in its data directory");
    }
    let log = sources.find_value("storage.log").map(|(value, _)| value.to_string());
    if sources.find_value("postgres.url").is_some() && log.as_deref() != Some("postgres") {
        unused.push(
            "DATABASE_URL is set but unused: messages are stored in PostgreSQL only when storage.log is postgres",
        );
    }
    // Not a configuration key, but pod templates that are shared with other programs often set it.
    if variables.read_variable("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|text| !text.is_empty()) {
        unused.push("OTEL_EXPORTER_OTLP_ENDPOINT is set but unused: this build exports no traces");
    }
    unused
}

/// Returns a warning if every user of the machine can read the file of a secret.
fn readable_file_warning((path, file): (&'static str, &str)) -> Option<String> {
    let is_secret = KEYS.iter().any(|key| key.path == path && key.secret);
    let mode = std::fs::metadata(file).ok()?.permissions().mode();
    (is_secret && mode & READABLE_BY_ALL != 0).then(|| {
        format!(
            "{path}: every user of this machine can read the file {file} (mode {:04o}); run chmod 600 {file}",
            mode & 0o7777
        )
    })
}
