//! Verification keys from an identity provider's JWK set, fetched over HTTPS.
//!
//! Invariants: one fetch at a time however many connections wait for it; a set that was good stays in use while the
//! provider is away; a token with an invented key id cannot make more than one request in [`REFETCH_INTERVAL`]. Redirects
//! are not followed. Nothing here runs by itself: whoever needs a key drives the fetch, within [`FETCH_TIMEOUT`].

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use handlers::authorizer::{Algorithm, KeySet, KeySetError, KeySource, KeySourceError, VerificationKey};
use handlers::ports::{BoxError, Clock, Timestamp};
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;

/// How long one fetch may take, from the name look-up to the last byte: a connecting client waits for it.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest document that is read. Real ones have a few kilobytes.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Least time between two fetches while there is a set to work with: a provider that rotated is noticed this late at
/// most, and one that is away costs one connection in this time a wait.
pub const REFETCH_INTERVAL: Duration = Duration::from_secs(30);
/// Least time between two fetches while there is none: nobody can connect, so a quick recovery counts more.
pub const FIRST_FETCH_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Shortest and longest time for which a provider may have its set kept.
pub const CACHE_LIFETIME_RANGE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(6 * 60 * 60));
/// How long a set is kept whose provider does not say.
pub const DEFAULT_CACHE_LIFETIME: Duration = Duration::from_secs(10 * 60);

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;
type FetchFuture = BoxFuture<'static, Result<Arc<KeySet>, FetchError>>;
type SharedFetch = Shared<FetchFuture>;

/// The address cannot be fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksAddressError {
    /// Keys that anybody on the way could replace.
    #[error("a JWK set is fetched from https://, or from http:// on the loopback interface")]
    Insecure,
    /// Not an absolute URL.
    #[error("the address of a JWK set is an absolute URL")]
    NotAbsolute,
}

/// Why a fetch brought no keys. Clonable, because everybody who waited is told.
#[derive(Debug, Clone, thiserror::Error)]
enum FetchError {
    #[error("no answer within {FETCH_TIMEOUT:?}")]
    Timeout,
    #[error("no connection, or it broke")]
    Transport(#[source] Arc<hyper_util::client::legacy::Error>),
    #[error("the provider answered {0}")]
    Status(StatusCode),
    #[error("the document broke off or is larger than {MAX_DOCUMENT_BYTES} bytes")]
    Body(#[source] Arc<dyn std::error::Error + Send + Sync>),
    #[error("the document is not a usable JWK set")]
    Keys(#[source] Arc<KeySetError>),
    #[error("the last fetch failed moments ago")]
    RetryTooSoon,
}

/// A [`KeySource`] behind an `https://…/jwks.json`.
pub struct HttpJwks {
    provider: Arc<KeyProvider>,
}

struct KeyProvider {
    address: Uri,
    client: HttpClient,
    clock: Arc<dyn Clock>,
    state: Mutex<KeyCacheState>,
}

#[derive(Default)]
struct KeyCacheState {
    /// The last set that was good.
    keys: Option<Arc<KeySet>>,
    /// Until when it needs no refresh.
    fresh_until: Timestamp,
    /// When the last fetch ended, however it ended.
    fetched_at: Option<Timestamp>,
    /// The fetch under way. Weak: when everybody who waited has given up, it is gone.
    pending_fetch: Option<WeakShared<FetchFuture>>,
}

impl HttpJwks {
    /// A source that fetches from `address` when it is first asked. `clock` decides freshness; only a few seconds of
    /// accuracy are needed of it.
    ///
    /// # Errors
    /// [`JwksAddressError`] when the address is not `https://`, nor `http://` on the loopback interface.
    pub fn new(address: Uri, clock: Arc<dyn Clock>) -> Result<Self, JwksAddressError> {
        check_address(&address)?;
        let provider = Arc::from(rustls::crypto::aws_lc_rs::default_provider());
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(provider)
            .expect("aws-lc-rs has the cipher suites of TLS 1.2 and 1.3")
            .https_or_http()
            .enable_http1()
            .build();
        // A set is fetched minutes apart: an idle connection would only be found closed.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { provider: Arc::new(KeyProvider { address, client, clock, state: Mutex::default() }) })
    }
}

impl fmt::Debug for HttpJwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpJwks").field("host", &self.provider.address.host()).finish_non_exhaustive()
    }
}

/// Whether keys may be fetched from `address`.
///
/// # Errors
/// [`JwksAddressError`] when it is not `https://`, nor `http://` on the loopback interface.
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
        let kept = self.provider.cached_keys();
        let found = matching_keys(kept.keys.as_deref(), id, algorithm);
        if kept.fresh && !found.is_empty() {
            return Ok(found);
        }
        match (KeyProvider::fetch_keys(&self.provider).await, kept.keys) {
            (Ok(keys), _) => Ok(matching_keys(Some(&keys), id, algorithm)),
            (Err(_), Some(_)) => Ok(found),
            (Err(error), None) => Err(KeySourceError::Unavailable(BoxError::from(error))),
        }
    }

    /// A provider gives a new key a new id, and a new id is looked for at once.
    async fn refresh_keys(&self, _: Option<&str>, _: Algorithm) -> Vec<Arc<VerificationKey>> {
        Vec::new()
    }
}

fn matching_keys(keys: Option<&KeySet>, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<VerificationKey>> {
    keys.map(|keys| keys.candidate_keys(id, algorithm).cloned().collect()).unwrap_or_default()
}

/// What is known without asking the provider.
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

    /// Joins the fetch under way or starts one; refuses while the pause after the last one lasts.
    async fn fetch_keys(provider: &Arc<Self>) -> Result<Arc<KeySet>, FetchError> {
        Self::shared_fetch(provider)?.await
    }

    fn shared_fetch(provider: &Arc<Self>) -> Result<SharedFetch, FetchError> {
        let now = provider.clock.now();
        let mut state = provider.state.lock();
        if let Some(flight) = state.pending_fetch.as_ref().and_then(WeakShared::upgrade) {
            return Ok(flight);
        }
        if state.is_too_soon(now) {
            return state.keys.clone().map_or(Err(FetchError::RetryTooSoon), |keys| Ok(ready_fetch(keys)));
        }
        let flight = Self::run_fetch(Arc::downgrade(provider)).boxed().shared();
        state.pending_fetch = flight.downgrade();
        Ok(flight)
    }

    async fn run_fetch(provider: Weak<Self>) -> Result<Arc<KeySet>, FetchError> {
        let Some(provider) = provider.upgrade() else { return Err(FetchError::RetryTooSoon) };
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, provider.request_key_set()).await;
        provider.complete_fetch(fetched.unwrap_or(Err(FetchError::Timeout)))
    }

    async fn request_key_set(&self) -> Result<(KeySet, Duration), FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.address.clone();
        let json = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json);
        let response = self.client.request(request).await.map_err(|error| FetchError::Transport(Arc::new(error)))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let kept = cache_lifetime(response.headers());
        let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect().await;
        let body = body.map_err(|error| FetchError::Body(Arc::from(error)))?.to_bytes();
        let keys = KeySet::from_jwks(&String::from_utf8_lossy(&body));
        Ok((keys.map_err(|error| FetchError::Keys(Arc::new(error)))?, kept))
    }

    /// Takes over what a fetch brought and ends the flight.
    fn complete_fetch(&self, fetched: Result<(KeySet, Duration), FetchError>) -> Result<Arc<KeySet>, FetchError> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.pending_fetch = None;
        state.fetched_at = Some(now);
        match fetched {
            Ok((keys, kept)) => {
                tracing::debug!(jwks.keys = keys.len(), "verification keys fetched");
                let keys = Arc::new(keys);
                state.keys = Some(Arc::clone(&keys));
                state.fresh_until = now.plus(kept);
                Ok(keys)
            }
            Err(error) => {
                let kept = state.keys.is_some();
                tracing::warn!(error = %errors::chain(&error), jwks.kept = kept, "no verification keys");
                Err(error)
            }
        }
    }
}

impl KeyCacheState {
    /// Whether the last fetch is too recent for another. A clock that was set back ends the pause.
    fn is_too_soon(&self, now: Timestamp) -> bool {
        let pause = if self.keys.is_some() { REFETCH_INTERVAL } else { FIRST_FETCH_RETRY_INTERVAL };
        self.fetched_at.is_some_and(|fetched_at| fetched_at <= now && now < fetched_at.plus(pause))
    }
}

fn ready_fetch(keys: Arc<KeySet>) -> SharedFetch {
    std::future::ready(Ok(keys)).boxed().shared()
}

/// `max-age` within [`CACHE_LIFETIME_RANGE`] (RFC 9111, section 5.2.2.1); what must not be stored is kept for the least time.
fn cache_lifetime(headers: &HeaderMap) -> Duration {
    let (least, most) = CACHE_LIFETIME_RANGE;
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    for directive in directives.flat_map(|value| value.split(',')).map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return least;
        }
        if name.eq_ignore_ascii_case("max-age")
            && let Ok(seconds) = value.trim_matches('"').parse()
        {
            return Duration::from_secs(seconds).clamp(least, most);
        }
    }
    DEFAULT_CACHE_LIFETIME
}

#[cfg(test)]
mod tests;
