//! Reader of the section `auth`: secrets, key sets and API keys of backends. Error texts contain no part of them.

use std::net::IpAddr;

use handlers::api::check_api_key;
use handlers::authorizer::{ClaimMapping, KeySet, MIN_SECRET_BYTES, SECRET_COMMAND, check_secret};
use handlers::channel_policy::PresenceNames;
use handlers::id::{TenantId, UserId};

use super::super::values::{self, ParseResult};
use super::super::{
    ApiKeyConfig, AuthConfig, ConfigValue, DeploymentMode, FunctionSource, FunctionsConfig, JwksSource,
};
use super::ConfigReader;
use crate::secret::Secret;

impl ConfigReader<'_> {
    /// `functions` decides whether this process verifies tokens.
    pub(super) fn read_auth(
        &mut self,
        mode: DeploymentMode,
        functions: Option<&FunctionsConfig>,
    ) -> Option<AuthConfig> {
        let secret = self.read_optional("auth.secret", parse_secret);
        let previous_secrets = self.read_optional("auth.previous_secrets", parse_secrets);
        let jwks_url = self.read_optional("auth.jwks_url", parse_jwks_url);
        let jwks_document = self.read_optional("auth.jwks", parse_jwks_document);
        let issuers = self.read_optional("auth.issuer", values::parse_list);
        let audiences = self.read_optional("auth.audience", values::parse_list);
        let claims = self.read_claim_mapping();
        let max_lifetime = self.read_required("auth.max_lifetime", values::parse_positive_duration);
        let is_fetched = self.sources.find_value("auth.jwks_url").is_some();
        let fetch = self.read_key_fetch(is_fetched);
        let leeway = self.read_required("auth.leeway", values::parse_leeway);
        let presence_names =
            self.read_required("auth.presence_names", |value| PresenceNames::parse(&values::parse_text(value)?));
        let api_keys = self.read_optional("auth.api_keys", parse_api_keys);
        let (secret, jwks_url, jwks_document) = (secret?, jwks_url?, jwks_document?);
        let audiences = audiences?.unwrap_or_default();
        if jwks_url.is_some() && jwks_document.is_some() {
            self.add_error("auth.jwks_url and auth.jwks are mutually exclusive; set one");
        }
        let jwks = jwks_url.map(JwksSource::Url).or(jwks_document.map(JwksSource::Document));
        let is_used = functions.is_none_or(|functions| functions.source == FunctionSource::Embedded);
        let needs_keys = is_used && mode != DeploymentMode::Embedded;
        self.check_verification(needs_keys, secret.as_ref(), jwks.as_ref(), &audiences);
        Some(AuthConfig {
            secret,
            previous_secrets: previous_secrets?.unwrap_or_default(),
            jwks,
            issuers: issuers?.unwrap_or_default(),
            audiences: if audiences == ["*"] { Vec::new() } else { audiences },
            claims: claims?,
            max_lifetime: max_lifetime?,
            fetch: fetch?,
            leeway: leeway?,
            presence_names: presence_names?,
            api_keys: api_keys?.unwrap_or_default(),
        })
    }

    /// Rejects settings that would accept no token, or those of other applications.
    fn check_verification(
        &mut self,
        needs_keys: bool,
        secret: Option<&Secret>,
        jwks: Option<&JwksSource>,
        audiences: &[String],
    ) {
        if matches!(jwks, Some(JwksSource::Url(_))) && audiences.is_empty() {
            self.add_error(
                "auth.audience: required with auth.jwks_url, because without it the tokens of every application of this \
                 identity provider would be accepted; set TWINWAY_AUTH_AUDIENCE to the audience of your tokens, or to * \
                 to accept any",
            );
        }
        if needs_keys && secret.is_none() && jwks.is_none() {
            self.add_error(
                "auth.secret: required outside embedded mode, unless JSON Web Keys are configured; set \
                 TWINWAY_AUTH_SECRET_FILE, or TWINWAY_AUTH_JWKS_URL for tokens of an identity provider",
            );
        }
    }

    fn read_claim_mapping(&mut self) -> Option<ClaimMapping> {
        let mut claims = ClaimMapping::default();
        let mut valid = true;
        for key in &ClaimMapping::KEYS {
            let setting = self.read_optional(key.path, |value| {
                let values = values::parse_list(value)?;
                ClaimMapping::default().set(key, &values).map(|()| values)
            });
            match setting {
                Some(Some(values)) => valid &= claims.set(key, &values).is_ok(),
                Some(None) => {}
                None => valid = false,
            }
        }
        valid.then_some(claims)
    }
}

fn parse_secret(value: &ConfigValue) -> ParseResult<Secret> {
    let rule = format!(
        "at least {MIN_SECRET_BYTES} bytes long (RFC 7518, section 3.2), and not a few characters repeated; \
         {SECRET_COMMAND} generates one"
    );
    values::parse_text_where(value, |text| check_secret(text.as_bytes()).is_ok(), &rule).map(|text| Secret::new(&text))
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

/// Parses a document that has at least one key that can verify tokens.
fn parse_jwks_document(value: &ConfigValue) -> ParseResult<String> {
    let text = values::parse_text(value)?;
    KeySet::from_jwks(&text).map(|_| text).map_err(|error| errors::chain(&error).to_string())
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
    check_api_key(key).map_err(|error| error.to_string())?;
    let name = UserId::parse(name).map_err(|error| error.to_string())?;
    let tenant = TenantId::parse(tenant).map_err(|error| error.to_string())?;
    Ok(ApiKeyConfig { name, tenant, key: Secret::new(key) })
}
