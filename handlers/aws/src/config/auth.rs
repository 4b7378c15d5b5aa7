//! Environment variables of the verification of callers: signing secrets, key sets, claims and API keys.

use std::path::PathBuf;

use handlers::api::ApiKeys;
use handlers::authorizer::{ClaimMapping, KeySet, TokenSettings};
use handlers::config_value::{parse_duration, parse_leeway};
use handlers::id::{TenantId, UserId};
use http::Uri;
use jwks::{FetchSettings, ProxySettings, check_proxy};
use tls_client::{ClientCertificateFiles, ServerName, TlsFiles, TlsMaterial};

use super::{
    AUTH_API_KEYS, AUTH_API_KEYS_ARN, AUTH_AUDIENCE, AUTH_CA_FILE, AUTH_CLIENT_CERT_FILE, AUTH_CLIENT_KEY_FILE,
    AUTH_ISSUER, AUTH_JWKS, AUTH_JWKS_URL, AUTH_LEEWAY, AUTH_MAX_LIFETIME, AUTH_PREVIOUS_SECRETS, AUTH_SECRET,
    AUTH_SECRET_ARN, AUTH_SERVER_NAME, DEFAULT_LEEWAY, DEFAULT_MAX_LIFETIME, EnvironmentReader, VerifierConfig,
};

impl EnvironmentReader<'_> {
    pub(super) fn verifier_config(&mut self) -> Option<VerifierConfig> {
        let jwks_url = self.jwks_url();
        let fetch = self.fetch_settings();
        let secret_arns = self.secret_arns(AUTH_SECRET_ARN);
        let api_keys_arn = self.api_keys_arn();
        let keys = self.key_set();
        let leeway = self.duration_or(AUTH_LEEWAY, DEFAULT_LEEWAY, parse_leeway);
        let api_keys = self.api_keys();
        let max_lifetime = self.duration_or(AUTH_MAX_LIFETIME, DEFAULT_MAX_LIFETIME, parse_duration);
        let (issuers, audiences, claims) = (self.list(AUTH_ISSUER), self.audiences(), self.claims());
        let tokens = TokenSettings {
            issuers,
            audiences: audiences?,
            claims: claims?,
            leeway: leeway?,
            max_lifetime: Some(max_lifetime?),
            ..TokenSettings::new(keys?)
        };
        Some(VerifierConfig {
            tokens,
            jwks_url: jwks_url?,
            fetch: fetch?,
            secret_arns: secret_arns?,
            api_keys: api_keys?,
            api_keys_arn: api_keys_arn?,
        })
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.optional_text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Returns the accepted audiences; empty for any. An identity provider signs tokens of many applications with the
    /// same keys, so its key set requires an audience.
    fn audiences(&mut self) -> Option<Vec<String>> {
        let audiences = self.list(AUTH_AUDIENCE);
        if audiences.is_empty() && self.optional_text(AUTH_JWKS_URL).is_some() {
            let problem = format_args!(
                "is required with {AUTH_JWKS_URL}: without it the tokens of every application of this identity provider \
                 would be accepted; set the audience of your tokens, or * to accept any"
            );
            return self.record_error(AUTH_AUDIENCE, problem);
        }
        Some(if audiences == ["*"] { Vec::new() } else { audiences })
    }

    fn claims(&mut self) -> Option<ClaimMapping> {
        let mut claims = ClaimMapping::default();
        let mut valid = true;
        for key in &ClaimMapping::KEYS {
            let values = self.list(key.env);
            if let Some(Err(rule)) = (!values.is_empty()).then(|| claims.set(key, &values)) {
                valid = self.record_error(key.env, rule).unwrap_or(false);
            }
        }
        valid.then_some(claims)
    }

    fn jwks_url(&mut self) -> Option<Option<Uri>> {
        let Some(text) = self.optional_text(AUTH_JWKS_URL) else { return Some(None) };
        if self.optional_text(AUTH_JWKS).is_some() {
            return self.record_error(AUTH_JWKS_URL, format_args!("and {AUTH_JWKS} exclude each other: set only one"));
        }
        match text.parse::<Uri>() {
            Ok(uri) if jwks::check_address(&uri).is_ok() => Some(Some(uri)),
            _ => self.record_error(AUTH_JWKS_URL, "must be an https:// URL (http:// for loopback only)"),
        }
    }

    fn fetch_settings(&mut self) -> Option<FetchSettings> {
        let file = |reader: &Self, name: &str| reader.optional_text(name).map(PathBuf::from);
        let ca_file = file(self, AUTH_CA_FILE);
        let client = (file(self, AUTH_CLIENT_CERT_FILE), file(self, AUTH_CLIENT_KEY_FILE));
        let client_certificate = match client {
            (Some(certificate), Some(key)) => Some(ClientCertificateFiles { certificate, key }),
            (None, None) => None,
            _ => {
                let problem = format_args!("and {AUTH_CLIENT_KEY_FILE} must be set together");
                return self.record_error(AUTH_CLIENT_CERT_FILE, problem);
            }
        };
        let authorities = TlsFiles { ca_file, client_certificate: None }.load();
        let client = TlsFiles { ca_file: None, client_certificate }.load();
        let authorities =
            authorities.map_err(|error| self.record_error::<()>(AUTH_CA_FILE, format_args!("cannot be used: {error}")));
        let client = client
            .map_err(|error| self.record_error::<()>(AUTH_CLIENT_CERT_FILE, format_args!("cannot be used: {error}")));
        let tls = TlsMaterial { authorities: authorities.ok()?.authorities, client: client.ok()?.client };
        let server_name = self.optional_text(AUTH_SERVER_NAME);
        if server_name.as_deref().is_some_and(|name| ServerName::try_from(name).is_err()) {
            return self.record_error(AUTH_SERVER_NAME, "must be a host name or an address");
        }
        Some(FetchSettings { tls, server_name, proxy: self.proxy()? })
    }

    /// Reads the variables that other programs use for proxies, in upper or lower case.
    fn proxy(&mut self) -> Option<Option<ProxySettings>> {
        let either = |reader: &Self, name: &str| {
            reader.optional_text(name).or_else(|| reader.optional_text(&name.to_lowercase()))
        };
        let Some(address) = either(self, "HTTPS_PROXY") else { return Some(None) };
        if let Err(rule) = check_proxy(&address) {
            return self.record_error("HTTPS_PROXY", rule);
        }
        Some(Some(ProxySettings { address, exceptions: either(self, "NO_PROXY").unwrap_or_default() }))
    }

    fn key_set(&mut self) -> Option<KeySet> {
        let mut keys = KeySet::default();
        let mut valid = true;
        let previous = self.optional_text(AUTH_PREVIOUS_SECRETS).unwrap_or_default();
        let previous = previous.split(',').map(str::trim).filter(|secret| !secret.is_empty());
        let secrets = self.optional_text(AUTH_SECRET).into_iter().map(|secret| (AUTH_SECRET, secret));
        for (name, secret) in secrets.chain(previous.map(|secret| (AUTH_PREVIOUS_SECRETS, secret.to_owned()))) {
            match keys.clone().with_secret(secret.as_bytes()) {
                Ok(more) => keys = more,
                Err(error) => valid = self.record_error::<()>(name, format_args!("is invalid: {error}")).is_some(),
            }
        }
        if let Some(document) = self.optional_text(AUTH_JWKS) {
            match KeySet::from_jwks(&document) {
                Ok(more) => keys = keys.merge(more),
                Err(error) => valid = self.record_error::<()>(AUTH_JWKS, format_args!("is invalid: {error}")).is_some(),
            }
        }
        let other_sources = [AUTH_JWKS_URL, AUTH_SECRET_ARN];
        if valid && keys.is_empty() && other_sources.iter().all(|name| self.optional_text(name).is_none()) {
            let problem = format_args!(
                "is not set, and neither are {AUTH_SECRET_ARN}, {AUTH_JWKS} and {AUTH_JWKS_URL}: no client could connect"
            );
            return self.record_error(AUTH_SECRET, problem);
        }
        valid.then_some(keys)
    }

    fn api_keys(&mut self) -> Option<ApiKeys> {
        let text = self.optional_text(AUTH_API_KEYS).unwrap_or_default();
        parse_api_keys(&text).map_or_else(|rule| self.record_error(AUTH_API_KEYS, rule), Some)
    }

    fn api_keys_arn(&mut self) -> Option<Option<String>> {
        let mut arns = self.secret_arns(AUTH_API_KEYS_ARN)?;
        if arns.len() > 1 || (!arns.is_empty() && self.optional_text(AUTH_API_KEYS).is_some()) {
            return self.record_error(
                AUTH_API_KEYS_ARN,
                format_args!("must be a single ARN, and {AUTH_API_KEYS} must not be set"),
            );
        }
        Some(arns.pop())
    }

    fn secret_arns(&mut self, name: &str) -> Option<Vec<String>> {
        let text = self.optional_text(name).unwrap_or_default();
        let arns = text.split(',').map(str::trim).filter(|arn| !arn.is_empty());
        let arns: Vec<String> = arns.map(str::to_owned).collect();
        if arns.iter().all(|arn| arn.starts_with("arn:") && arn.contains(":secretsmanager:")) {
            return Some(arns);
        }
        self.record_error(
            name,
            "must be ARNs of Secrets Manager: arn:aws:secretsmanager:{region}:{account}:secret:{name}",
        )
    }
}

/// Parses API keys of backends, `name:tenant:key` separated by commas or newlines; an error names the entry's number
/// and the broken rule, never the key.
pub(crate) fn parse_api_keys(text: &str) -> Result<ApiKeys, String> {
    let entries = text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.enumerate().try_fold(ApiKeys::default(), |keys, (index, entry)| {
        add_api_key(keys, entry).map_err(|rule| format!("entry {}: {rule}", index + 1))
    })
}

fn add_api_key(keys: ApiKeys, entry: &str) -> Result<ApiKeys, String> {
    let mut parts = entry.splitn(3, ':');
    let (Some(name), Some(tenant), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("must be name:tenant:key".to_owned());
    };
    let name = UserId::parse(name).map_err(|error| error.to_string())?;
    let tenant = TenantId::parse(tenant).map_err(|error| error.to_string())?;
    keys.with_key(key, tenant, name).map_err(|error| error.to_string())
}
