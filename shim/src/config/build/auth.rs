//! Reader of the section `auth`: secrets, key sets and API keys of backends. Error texts contain no part of them.

use std::net::IpAddr;

use handlers::authorizer::MIN_SECRET_BYTES;
use handlers::id::{TenantId, UserId};

use super::super::values::{self, ParseResult};
use super::super::{ApiKeyConfig, AuthConfig, ConfigValue, DeploymentMode, JwksSource};
use super::ConfigReader;
use crate::secret::Secret;

/// Minimum length of a backend's API key in bytes: 128 bits if it is random.
const MIN_API_KEY_BYTES: usize = 16;

impl ConfigReader<'_> {
    pub(super) fn read_auth(&mut self, mode: DeploymentMode) -> Option<AuthConfig> {
        let secret = self.read_optional("auth.secret", parse_secret);
        let previous_secrets = self.read_optional("auth.previous_secrets", parse_secrets);
        let jwks_url = self.read_optional("auth.jwks_url", parse_jwks_url);
        let jwks_document = self.read_optional("auth.jwks", parse_jwks_document);
        let issuer = self.read_optional("auth.issuer", values::parse_text);
        let audience = self.read_optional("auth.audience", values::parse_text);
        let leeway = self.read_required("auth.leeway", values::parse_duration_value);
        let api_keys = self.read_optional("auth.api_keys", parse_api_keys);
        let (secret, jwks_url, jwks_document) = (secret?, jwks_url?, jwks_document?);
        if jwks_url.is_some() && jwks_document.is_some() {
            self.add_error("auth.jwks_url and auth.jwks are mutually exclusive; set one");
        }
        let jwks = jwks_url.map(JwksSource::Url).or(jwks_document.map(JwksSource::Document));
        if mode != DeploymentMode::Embedded && secret.is_none() && jwks.is_none() {
            self.add_error(
                "auth.secret: required outside embedded mode, unless JSON Web Keys are configured; set \
                 TWINWAY_AUTH_SECRET_FILE, or TWINWAY_AUTH_JWKS_URL for tokens of an identity provider",
            );
        }
        Some(AuthConfig {
            secret,
            previous_secrets: previous_secrets?.unwrap_or_default(),
            jwks,
            issuer: issuer?,
            audience: audience?,
            leeway: leeway?,
            api_keys: api_keys?.unwrap_or_default(),
        })
    }
}

fn parse_secret(value: &ConfigValue) -> ParseResult<Secret> {
    let rule = format!(
        "at least {MIN_SECRET_BYTES} bytes long (RFC 7518, section 3.2); `openssl rand -base64 32` generates one"
    );
    values::parse_text_where(value, |text| text.len() >= MIN_SECRET_BYTES, &rule).map(|text| Secret::new(&text))
}

fn parse_secrets(value: &ConfigValue) -> ParseResult<Vec<Secret>> {
    values::parse_list(value)?.into_iter().map(|item| parse_secret(&ConfigValue::Text(item))).collect()
}

/// Parses a URL that is encrypted or on loopback, because a forged key set would accept forged tokens.
fn parse_jwks_url(value: &ConfigValue) -> ParseResult<String> {
    let allowed = |text: &str| {
        text.parse::<http::Uri>().is_ok_and(|uri| match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => true,
            (Some("http"), Some(host)) => {
                let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
                host == "localhost" || address.is_ok_and(|address| address.is_loopback())
            }
            _ => false,
        })
    };
    values::parse_text_where(value, allowed, "an https:// address (http:// only for loopback)")
}

fn parse_jwks_document(value: &ConfigValue) -> ParseResult<String> {
    let has_keys =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok_and(|document| document["keys"].is_array());
    values::parse_text_where(value, has_keys, "a JSON Web Key Set: {\"keys\": [...]} (RFC 7517, section 5)")
}

fn parse_api_keys(value: &ConfigValue) -> ParseResult<Vec<ApiKeyConfig>> {
    let keys = values::parse_list(value)?;
    keys.iter()
        .enumerate()
        .map(|(index, item)| parse_api_key(item).map_err(|rule| format!("entry {}: {rule}", index + 1)))
        .collect()
}

fn parse_api_key(item: &str) -> ParseResult<ApiKeyConfig> {
    let mut parts = item.splitn(3, ':');
    let (Some(name), Some(tenant), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("must be name:tenant:key".to_owned());
    };
    if key.len() < MIN_API_KEY_BYTES {
        return Err(format!("the key must have at least {MIN_API_KEY_BYTES} bytes"));
    }
    let name = UserId::parse(name).map_err(|error| error.to_string())?;
    let tenant = TenantId::parse(tenant).map_err(|error| error.to_string())?;
    Ok(ApiKeyConfig { name, tenant, key: Secret::new(key) })
}
