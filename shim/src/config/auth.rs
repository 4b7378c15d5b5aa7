//! Settings of the verification of tokens and API keys.

use std::fmt;
use std::time::Duration;

use handlers::authorizer::ClaimMapping;
use handlers::channel_policy::PresenceNames;
use handlers::id::{TenantId, UserId};
use tls_client::TlsFiles;

use crate::secret::Secret;

/// Source of the JSON Web Key Set that verifies asymmetric tokens. `Debug` shows no document, which may contain
/// symmetric keys.
#[derive(Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// An `https://` URL (`http://` for loopback), fetched and refreshed.
    Url(String),
    /// A JWKS document from the configuration or a file.
    Document(String),
}

impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.debug_tuple("Url").field(url).finish(),
            Self::Document(_) => f.debug_tuple("Document").finish_non_exhaustive(),
        }
    }
}

/// Source and connection settings of the key set of an identity provider.
#[derive(Debug, Clone, Default)]
pub struct KeyFetchConfig {
    /// Trusted authorities and client certificate.
    pub tls: TlsFiles,
    /// Name in the provider's certificate, if it is not the host of the URL.
    pub server_name: Option<String>,
    /// Address of a proxy, which may contain a password.
    pub proxy: Option<Secret>,
    /// Hosts that are reached without the proxy.
    pub proxy_exceptions: String,
}

/// A key that a backend presents as `X-Api-Key`.
#[derive(Debug, Clone)]
pub struct ApiKeyConfig {
    /// Name of the service; the sender of its messages.
    pub name: UserId,
    /// Tenant that the service may push to.
    pub tenant: TenantId,
    pub key: Secret,
}

/// Verification of tokens and API keys.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Configured HS256 secret. `None` in embedded mode means the one in the data directory
    /// ([`signing_secret`](crate::embedded::secret::signing_secret)).
    pub secret: Option<Secret>,
    /// Previous secrets whose tokens are still accepted.
    pub previous_secrets: Vec<Secret>,
    /// Keys of asymmetric tokens.
    pub jwks: Option<JwksSource>,
    /// Accepted issuers; empty accepts any.
    pub issuers: Vec<String>,
    /// Accepted audiences; empty accepts any.
    pub audiences: Vec<String>,
    /// Claims of user, role, tenant and granted channels.
    pub claims: ClaimMapping,
    /// Longest accepted time until a token expires.
    pub max_lifetime: Duration,
    /// Authorities, client certificate and proxy for fetching the key set.
    pub fetch: KeyFetchConfig,
    /// Accepted clock difference between issuer and server.
    pub leeway: Duration,
    /// Channels whose readers users may list by name.
    pub presence_names: PresenceNames,
    /// API keys of backends.
    pub api_keys: Vec<ApiKeyConfig>,
}
