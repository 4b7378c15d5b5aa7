//! Warnings about valid settings that are unsafe in combination.

use std::collections::BTreeSet;

use super::super::{Config, ManagementAccess};
use crate::access::client_address::TrustedProxies;

/// Minimum number of distinct bytes of a signing secret. Random ones have more, also in hexadecimal digits.
const MIN_DISTINCT_SECRET_BYTES: usize = 10;

/// Returns a warning for each unsafe combination.
pub(super) fn unsafe_setting_warnings(config: &Config) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    let server = &config.server;
    let is_remote = !server.listen.ip().to_canonical().is_loopback() || server.proxies.is_used();
    if server.management == ManagementAccess::Open && is_remote {
        warnings.push(
            "server.management is open: every client that can connect to server.listen can post to, describe and close \
             every connection; use iam, or keep the port in a network of trusted machines",
        );
    }
    if let TrustedProxies::Networks(networks) = &server.proxies.trusted
        && networks.iter().any(|network| network.prefix_len() == 0)
    {
        warnings.push(
            "server.trusted_proxies contains all addresses, so clients can choose their address; list the networks of \
             the proxies, or set their number",
        );
    }
    let secrets = config.auth.secret.iter().chain(&config.auth.previous_secrets);
    if secrets.into_iter().any(|secret| is_repetitive(secret.expose())) {
        warnings.push(
            "auth.secret or one of auth.previous_secrets has few different characters, so it may be guessed; generate \
             it: openssl rand -hex 32",
        );
    }
    warnings
}

fn is_repetitive(secret: &str) -> bool {
    secret.bytes().collect::<BTreeSet<_>>().len() < MIN_DISTINCT_SECRET_BYTES
}
