//! Who may connect: secrets, key sets and API keys, none of which is ever part of a mistake's text.

use std::net::IpAddr;

use handlers::authorizer::SECRET_BYTES;
use handlers::id::{TenantId, UserId};

use super::super::values::{self, Parsed};
use super::super::{ApiKeyConfig, AuthConfig, Jwks, Mode, Value};
use super::Reader;
use crate::secret::Secret;

/// Shortest API key that is taken, in bytes: 128 bits when it is random.
const API_KEY_BYTES: usize = 16;

impl Reader<'_> {
    pub(super) fn auth(&mut self, mode: Mode) -> Option<AuthConfig> {
        let secret = self.optional("auth.secret", secret);
        let previous_secrets = self.optional("auth.previous_secrets", secrets);
        let jwks_url = self.optional("auth.jwks_url", jwks_url);
        let jwks_document = self.optional("auth.jwks", jwks_document);
        let issuer = self.optional("auth.issuer", values::text);
        let audience = self.optional("auth.audience", values::text);
        let leeway = self.read("auth.leeway", values::duration);
        let api_keys = self.optional("auth.api_keys", api_keys);
        let (secret, jwks_url, jwks_document) = (secret?, jwks_url?, jwks_document?);
        if jwks_url.is_some() && jwks_document.is_some() {
            self.mistake("auth.jwks_url and auth.jwks exclude each other; keep one");
        }
        let jwks = jwks_url.map(Jwks::Url).or(jwks_document.map(Jwks::Document));
        if mode != Mode::Embedded && secret.is_none() && jwks.is_none() {
            self.mistake(
                "auth.secret: outside embedded mode nobody can connect without a secret; set TWINWAY_AUTH_SECRET_FILE, \
                 or TWINWAY_AUTH_JWKS_URL for tokens of an identity provider",
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

fn secret(value: &Value) -> Parsed<Secret> {
    let rule =
        format!("at least {SECRET_BYTES} bytes long (RFC 7518, section 3.2); `openssl rand -base64 32` makes one");
    values::text_where(value, |text| text.len() >= SECRET_BYTES, &rule).map(|text| Secret::new(&text))
}

fn secrets(value: &Value) -> Parsed<Vec<Secret>> {
    values::list(value)?.into_iter().map(|item| secret(&Value::Text(item))).collect()
}

/// Keys decide who may connect, so they come encrypted, except from the same machine.
fn jwks_url(value: &Value) -> Parsed<String> {
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
    values::text_where(value, allowed, "an https:// address (http:// only for loopback)")
}

fn jwks_document(value: &Value) -> Parsed<String> {
    let has_keys =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok_and(|document| document["keys"].is_array());
    values::text_where(value, has_keys, "a JSON Web Key Set: {\"keys\": [...]} (RFC 7517, section 5)")
}

fn api_keys(value: &Value) -> Parsed<Vec<ApiKeyConfig>> {
    let keys = values::list(value)?;
    keys.iter()
        .enumerate()
        .map(|(index, item)| api_key(item).map_err(|rule| format!("entry {}: {rule}", index + 1)))
        .collect()
}

fn api_key(item: &str) -> Parsed<ApiKeyConfig> {
    let mut parts = item.splitn(3, ':');
    let (Some(name), Some(tenant), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("must be name:tenant:key".to_owned());
    };
    if key.len() < API_KEY_BYTES {
        return Err(format!("the key must have at least {API_KEY_BYTES} bytes"));
    }
    let name = UserId::parse(name).map_err(|error| error.to_string())?;
    let tenant = TenantId::parse(tenant).map_err(|error| error.to_string())?;
    Ok(ApiKeyConfig { name, tenant, key: Secret::new(key) })
}
