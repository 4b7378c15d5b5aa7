//! Verification keys from an identity provider's JWK set, fetched over HTTPS.
//!
//! All callers that need keys share one fetch. The last valid set stays in use while the provider is unavailable.
//! Tokens with invented key ids or wrong signatures cause at most one request per [`REFETCH_INTERVAL`]. Redirects are
//! not followed. There is no background task: the callers poll the fetch, which takes at most [`FETCH_TIMEOUT`].
//! Private authorities, a client certificate and a proxy are [`FetchSettings`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use handlers::authorizer::{KeySet, TokenSettings, TokenVerifier};
//! use handlers::memory::ManualClock;
//! use handlers::ports::Timestamp;
//! use jwks::HttpJwks;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Processes use `SystemClock` of the package `system-clock`.
//! let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
//! let source = HttpJwks::new("https://id.example/.well-known/jwks.json".parse()?, clock)?;
//! let mut settings = TokenSettings::new(KeySet::default());
//! settings.source = Some(Arc::new(source));
//! settings.issuers = vec!["https://id.example".to_owned()];
//! let verifier = TokenVerifier::new(settings);
//! # let _ = verifier;
//! # Ok(())
//! # }
//! ```

mod client;

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use handlers::authorizer::{Algorithm, KeySet, KeySetError, KeySource, KeySourceError, VerificationKey};
use handlers::ports::{BoxError, Clock, Timestamp};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use tls_client::ConnectFailure;

use self::client::KeySetClient;
pub use self::client::{FetchSettings, ProxySettings, check_proxy};

/// Timeout of one fetch, from name resolution to the last byte. A connecting client waits for it.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of the document. JWK sets of identity providers have a few kilobytes.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Minimum interval between two fetches while a set is cached: the maximum delay until rotated keys are found, and the
/// rate of requests to an unavailable provider.
pub const REFETCH_INTERVAL: Duration = Duration::from_secs(30);
/// Minimum interval between two fetches while no set is cached. It is short because no client can connect until a fetch
/// succeeds.
pub const FIRST_FETCH_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Lower and upper bound of `max-age`.
pub const CACHE_LIFETIME_RANGE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(6 * 60 * 60));
/// Cache lifetime of a set whose response has no `max-age`.
pub const DEFAULT_CACHE_LIFETIME: Duration = Duration::from_secs(10 * 60);

type FetchFuture = BoxFuture<'static, Result<Arc<KeySet>, FetchError>>;
type SharedFetch = Shared<FetchFuture>;

/// An invalid URL of a JWK set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksAddressError {
    /// The URL is not secure: an attacker on the network could replace the keys.
    #[error("the JWK set URL must be https:// (http:// for loopback only)")]
    Insecure,
    /// The URL is not absolute.
    #[error("the JWK set URL must be absolute")]
    NotAbsolute,
}

/// A failed fetch. It is `Clone` because all callers of a shared fetch receive it.
#[derive(Debug, Clone, thiserror::Error)]
enum FetchError {
    #[error("fetching the JWK set timed out after {FETCH_TIMEOUT:?}")]
    Timeout,
    #[error("connection to the identity provider failed")]
    Transport(#[source] Arc<hyper_util::client::legacy::Error>),
    #[error("the identity provider returned status {0}")]
    Status(StatusCode),
    #[error("the JWK set is truncated or larger than {MAX_DOCUMENT_BYTES} bytes")]
    Body(#[source] Arc<dyn std::error::Error + Send + Sync>),
    #[error("invalid JWK set")]
    Keys(#[source] Arc<KeySetError>),
    #[error("the last fetch failed; the retry interval has not elapsed")]
    RetryTooSoon,
}

/// A [`KeySource`] that reads a JWK set from a URL such as `https://id.example/.well-known/jwks.json`.
pub struct HttpJwks {
    provider: Arc<KeyProvider>,
}

struct KeyProvider {
    address: Uri,
    settings: FetchSettings,
    /// Created by the first fetch, because reading the authorities of the system takes milliseconds.
    client: OnceLock<KeySetClient>,
    clock: Arc<dyn Clock>,
    state: Mutex<KeyCacheState>,
}

#[derive(Default)]
struct KeyCacheState {
    /// Last valid set.
    keys: Option<Arc<KeySet>>,
    /// Time until which the set needs no refresh.
    fresh_until: Timestamp,
    /// End of the last fetch, successful or not.
    fetched_at: Option<Timestamp>,
    /// Description of the skipped keys that was logged last.
    logged_skipped: Option<String>,
    /// Fetch in progress. The reference is weak: the fetch is dropped once all callers have given up.
    pending_fetch: Option<WeakShared<FetchFuture>>,
}

impl HttpJwks {
    /// Creates a source that fetches from `address` when the first key is requested. `clock` determines freshness; an
    /// accuracy of a few seconds suffices.
    ///
    /// # Errors
    /// [`JwksAddressError`] if the URL is neither `https://` nor `http://` with a loopback host.
    pub fn new(address: Uri, clock: Arc<dyn Clock>) -> Result<Self, JwksAddressError> {
        Self::with_settings(address, FetchSettings::default(), clock)
    }

    /// Creates a source like [`new`](Self::new) that uses these authorities, client certificate and proxy.
    ///
    /// # Errors
    /// [`JwksAddressError`] if the URL is neither `https://` nor `http://` with a loopback host.
    pub fn with_settings(
        address: Uri,
        settings: FetchSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JwksAddressError> {
        check_address(&address)?;
        let (client, state) = (OnceLock::new(), Mutex::default());
        Ok(Self { provider: Arc::new(KeyProvider { address, settings, client, clock, state }) })
    }
}

impl fmt::Debug for HttpJwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpJwks").field("host", &self.provider.address.host()).finish_non_exhaustive()
    }
}

/// Checks that keys may be fetched from `address`.
///
/// # Errors
/// [`JwksAddressError`] if the URL is neither `https://` nor `http://` with a loopback host.
pub fn check_address(address: &Uri) -> Result<(), JwksAddressError> {
    let host = address.host().ok_or(JwksAddressError::NotAbsolute)?;
    let loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match address.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if loopback => Ok(()),
        _ => Err(JwksAddressError::Insecure),
    }
}

#[async_trait]
impl KeySource for HttpJwks {
    async fn find_keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<VerificationKey>>, KeySourceError> {
        let cached = self.provider.cached_keys();
        let found = matching_keys(cached.keys.as_deref(), id, algorithm);
        if cached.fresh && !found.is_empty() {
            return Ok(found);
        }
        match (KeyProvider::fetch_keys(&self.provider).await, cached.keys) {
            (Ok(keys), _) => Ok(matching_keys(Some(&keys), id, algorithm)),
            (Err(_), Some(_)) => Ok(found),
            (Err(error), None) => Err(KeySourceError::Unavailable(BoxError::from(error))),
        }
    }

    /// Fetches the set again: a provider may replace a key without an id, or keep the id. Returns nothing if the set is
    /// the one of [`find_keys`](KeySource::find_keys), as for a forged token within [`REFETCH_INTERVAL`] of a fetch.
    async fn refresh_keys(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<VerificationKey>> {
        let cached = self.provider.cached_keys().keys;
        match KeyProvider::fetch_keys(&self.provider).await {
            Ok(keys) if cached.is_none_or(|cached| !Arc::ptr_eq(&cached, &keys)) => {
                matching_keys(Some(&keys), id, algorithm)
            }
            Ok(_) | Err(_) => Vec::new(),
        }
    }
}

fn matching_keys(keys: Option<&KeySet>, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<VerificationKey>> {
    keys.map(|keys| keys.candidate_keys(id, algorithm).cloned().collect()).unwrap_or_default()
}

/// Cached keys and their freshness.
struct CachedKeys {
    keys: Option<Arc<KeySet>>,
    fresh: bool,
}

impl KeyProvider {
    fn cached_keys(&self) -> CachedKeys {
        let now = self.clock.now();
        let state = self.state.lock();
        CachedKeys { keys: state.keys.clone(), fresh: now < state.fresh_until }
    }

    /// Joins the fetch in progress or starts one. Fails during the interval after the last fetch if no set is cached.
    async fn fetch_keys(provider: &Arc<Self>) -> Result<Arc<KeySet>, FetchError> {
        Self::shared_fetch(provider)?.await
    }

    fn shared_fetch(provider: &Arc<Self>) -> Result<SharedFetch, FetchError> {
        let now = provider.clock.now();
        let mut state = provider.state.lock();
        if let Some(fetch) = state.pending_fetch.as_ref().and_then(WeakShared::upgrade) {
            return Ok(fetch);
        }
        if state.is_too_soon(now) {
            return state.keys.clone().map_or(Err(FetchError::RetryTooSoon), |keys| Ok(ready_fetch(keys)));
        }
        let fetch = Self::run_fetch(Arc::downgrade(provider)).boxed().shared();
        state.pending_fetch = fetch.downgrade();
        Ok(fetch)
    }

    async fn run_fetch(provider: Weak<Self>) -> Result<Arc<KeySet>, FetchError> {
        let Some(provider) = provider.upgrade() else { return Err(FetchError::RetryTooSoon) };
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, provider.request_key_set()).await;
        provider.complete_fetch(fetched.unwrap_or(Err(FetchError::Timeout)))
    }

    async fn request_key_set(&self) -> Result<(KeySet, Duration), FetchError> {
        let client = self.client.get_or_init(|| KeySetClient::new(&self.address, &self.settings));
        let response = client.request(&self.address).await.map_err(|error| FetchError::Transport(Arc::new(error)))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let lifetime = cache_lifetime(response.headers());
        let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect().await;
        let body = body.map_err(|error| FetchError::Body(Arc::from(error)))?.to_bytes();
        let keys = KeySet::from_jwks(&String::from_utf8_lossy(&body));
        Ok((keys.map_err(|error| FetchError::Keys(Arc::new(error)))?, lifetime))
    }

    /// Stores the result of a fetch and ends it.
    fn complete_fetch(&self, fetched: Result<(KeySet, Duration), FetchError>) -> Result<Arc<KeySet>, FetchError> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.pending_fetch = None;
        state.fetched_at = Some(now);
        match fetched {
            Ok((keys, lifetime)) => {
                tracing::debug!(jwks.keys = keys.len(), "verification keys fetched");
                state.log_skipped_keys(&keys);
                let keys = Arc::new(keys);
                state.keys = Some(Arc::clone(&keys));
                state.fresh_until = now.plus(lifetime);
                Ok(keys)
            }
            Err(error) => {
                let cached = state.keys.is_some();
                let failure = ConnectFailure::of(&error).map(ConnectFailure::code);
                tracing::warn!(
                    error = %errors::chain(&error),
                    jwks.failure = failure,
                    jwks.cached = cached,
                    "fetching verification keys failed"
                );
                Err(error)
            }
        }
    }
}

impl KeyCacheState {
    /// Logs the keys that verify no token, when they are not the same as after the fetch before.
    fn log_skipped_keys(&mut self, keys: &KeySet) {
        let skipped = keys.describe_skipped_keys();
        if let Some(skipped) = skipped.as_deref().filter(|_| skipped != self.logged_skipped) {
            tracing::warn!(jwks.skipped = skipped, "keys of the JWK set skipped");
        }
        self.logged_skipped = skipped;
    }

    /// Returns whether the last fetch is too recent for another one. A clock that was set back ends the interval.
    fn is_too_soon(&self, now: Timestamp) -> bool {
        let interval = if self.keys.is_some() { REFETCH_INTERVAL } else { FIRST_FETCH_RETRY_INTERVAL };
        self.fetched_at.is_some_and(|fetched_at| fetched_at <= now && now < fetched_at.plus(interval))
    }
}

fn ready_fetch(keys: Arc<KeySet>) -> SharedFetch {
    std::future::ready(Ok(keys)).boxed().shared()
}

/// Returns `max-age` within [`CACHE_LIFETIME_RANGE`] (RFC 9111, section 5.2.2.1). Responses with `no-store` or
/// `no-cache` are cached for the minimum.
fn cache_lifetime(headers: &HeaderMap) -> Duration {
    let (min, max) = CACHE_LIFETIME_RANGE;
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    for directive in directives.flat_map(|value| value.split(',')).map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return min;
        }
        if name.eq_ignore_ascii_case("max-age")
            && let Ok(seconds) = value.trim_matches('"').parse()
        {
            return Duration::from_secs(seconds).clamp(min, max);
        }
    }
    DEFAULT_CACHE_LIFETIME
}

#[cfg(test)]
mod tests;
