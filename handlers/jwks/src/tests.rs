//! Tests of the key source against an HTTP server on a free port, with a manual clock.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::*;

/// The public key of RFC 8037, appendix A.2.
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

#[derive(Default)]
struct ManualClock(AtomicI64);

impl ManualClock {
    fn advance(&self, duration: Duration) {
        self.0.fetch_add(i64::try_from(duration.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000 + self.0.load(Ordering::Relaxed))
    }

    fn fresh_id(&self) -> String {
        unreachable!("a key source generates no ids")
    }
}

/// Response of the provider.
#[derive(Clone)]
struct ProviderResponse {
    status: StatusCode,
    cache_control: &'static str,
    body: Bytes,
}

impl ProviderResponse {
    fn keys(ids: &[&str]) -> Self {
        let keys: Vec<_> = ids
            .iter()
            .map(|id| serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id, "x": PUBLIC}))
            .collect();
        let body = serde_json::json!({ "keys": keys }).to_string().into();
        Self { status: StatusCode::OK, cache_control: "public, max-age=600", body }
    }

    fn status(status: StatusCode) -> Self {
        Self { status, cache_control: "", body: Bytes::new() }
    }
}

/// A key source with a test identity provider.
struct Fixture {
    source: Arc<HttpJwks>,
    clock: Arc<ManualClock>,
    response: Arc<Mutex<ProviderResponse>>,
    requests: Arc<AtomicUsize>,
    /// Each request is answered when it acquires a permit.
    gate: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Fixture {
    async fn start(response: ProviderResponse) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address: Uri = format!("http://{}/jwks.json", listener.local_addr().unwrap()).parse().unwrap();
        let clock = Arc::new(ManualClock::default());
        let source = Arc::new(HttpJwks::new(address, Arc::clone(&clock) as Arc<dyn Clock>).unwrap());
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let fixture = Self {
            source,
            clock,
            response: Arc::new(Mutex::new(response)),
            requests: Arc::default(),
            gate,
            tasks: TaskTracker::new(),
        };
        fixture.serve(listener);
        fixture
    }

    fn serve(&self, listener: TcpListener) {
        let (response, requests) = (Arc::clone(&self.response), Arc::clone(&self.requests));
        let (gate, tasks) = (Arc::clone(&self.gate), self.tasks.clone());
        self.tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (response, requests, gate) = (Arc::clone(&response), Arc::clone(&requests), Arc::clone(&gate));
                let service = service_fn(move |_: Request<Incoming>| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let (response, gate) = (Arc::clone(&response), Arc::clone(&gate));
                    async move {
                        let _permit = gate.acquire().await.expect("the gate is never closed");
                        let ProviderResponse { status, cache_control, body } = response.lock().clone();
                        let response = Response::builder()
                            .status(status)
                            .header(header::CACHE_CONTROL, cache_control)
                            .body(Full::new(body))
                            .expect("the parts are valid");
                        Ok::<_, Infallible>(response)
                    }
                });
                let _connection = tasks.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    }

    fn response(&self, response: ProviderResponse) {
        *self.response.lock() = response;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    async fn found_keys(&self, id: &str) -> Result<usize, KeySourceError> {
        self.source.find_keys(Some(id), Algorithm::EdDSA).await.map(|keys| keys.len())
    }

    /// Waits until the provider has received `count` requests.
    async fn wait_for_requests(&self, count: usize) {
        while self.requests() < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_set_is_fetched_once_until_its_lifetime_ends() {
    let fixture = Fixture::start(ProviderResponse::keys(&["a"])).await;
    for _ in 0..3 {
        assert_eq!(fixture.found_keys("a").await.unwrap(), 1);
    }
    fixture.clock.advance(Duration::from_secs(599));
    assert_eq!(fixture.found_keys("a").await.unwrap(), 1);
    assert_eq!(fixture.requests(), 1);
    fixture.response(ProviderResponse::keys(&["b"]));
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.found_keys("a").await.unwrap(), 0);
    assert_eq!((fixture.found_keys("b").await.unwrap(), fixture.requests()), (1, 2));
}

#[tokio::test]
async fn unknown_key_ids_cause_one_request_per_interval() {
    let fixture = Fixture::start(ProviderResponse::keys(&["a"])).await;
    assert_eq!(fixture.found_keys("a").await.unwrap(), 1);
    fixture.response(ProviderResponse::keys(&["a", "b"]));
    for _ in 0..20 {
        assert_eq!(fixture.found_keys("b").await.unwrap(), 0);
    }
    assert_eq!(fixture.requests(), 1);
    fixture.clock.advance(REFETCH_INTERVAL);
    assert_eq!(fixture.found_keys("b").await.unwrap(), 1);
    for _ in 0..20 {
        assert_eq!(fixture.found_keys("invented").await.unwrap(), 0);
    }
    assert_eq!(fixture.requests(), 2);
}

/// Signatures of forged tokens match no key either, so they cause one request per interval.
#[tokio::test]
async fn a_key_that_was_replaced_under_the_same_id_is_found_after_one_refresh() {
    let fixture = Fixture::start(ProviderResponse::keys(&["a"])).await;
    assert_eq!(fixture.found_keys("a").await.unwrap(), 1);
    let refreshed = async || fixture.source.refresh_keys(Some("a"), Algorithm::EdDSA).await.len();
    for _ in 0..20 {
        assert_eq!(refreshed().await, 0, "the set that was just fetched");
    }
    assert_eq!(fixture.requests(), 1);
    fixture.response(ProviderResponse::keys(&["a", "b"]));
    fixture.clock.advance(REFETCH_INTERVAL);
    assert_eq!((refreshed().await, fixture.requests()), (1, 2));
    assert_eq!((refreshed().await, fixture.requests()), (0, 2));
    fixture.response(ProviderResponse::status(StatusCode::INTERNAL_SERVER_ERROR));
    fixture.clock.advance(REFETCH_INTERVAL);
    assert_eq!((refreshed().await, fixture.found_keys("a").await.unwrap()), (0, 1), "the last valid set stays");
}

#[tokio::test]
async fn keys_with_the_same_id_are_all_found() {
    let fixture = Fixture::start(ProviderResponse::keys(&["a", "a"])).await;
    assert_eq!(fixture.found_keys("a").await.unwrap(), 2);
}

#[tokio::test]
async fn the_last_valid_set_stays_while_the_provider_is_unavailable() {
    let fixture = Fixture::start(ProviderResponse::keys(&["a"])).await;
    assert_eq!(fixture.found_keys("a").await.unwrap(), 1);
    fixture.response(ProviderResponse::status(StatusCode::INTERNAL_SERVER_ERROR));
    fixture.clock.advance(Duration::from_secs(24 * 60 * 60));
    for _ in 0..5 {
        assert_eq!(fixture.found_keys("a").await.unwrap(), 1);
    }
    assert_eq!(fixture.requests(), 2);
    fixture.response(ProviderResponse::keys(&["b"]));
    fixture.clock.advance(REFETCH_INTERVAL);
    assert_eq!((fixture.found_keys("b").await.unwrap(), fixture.requests()), (1, 3));
}

#[tokio::test]
async fn without_a_cached_set_the_keys_are_unavailable_until_the_provider_recovers() {
    let fixture = Fixture::start(ProviderResponse::status(StatusCode::NOT_FOUND)).await;
    for _ in 0..5 {
        assert!(matches!(fixture.found_keys("a").await, Err(KeySourceError::Unavailable(_))));
    }
    assert_eq!(fixture.requests(), 1);
    fixture.response(ProviderResponse::keys(&["a"]));
    fixture.clock.advance(FIRST_FETCH_RETRY_INTERVAL);
    assert_eq!((fixture.found_keys("a").await.unwrap(), fixture.requests()), (1, 2));
}

#[tokio::test]
async fn concurrent_callers_share_one_fetch() {
    let fixture = Fixture::start(ProviderResponse::keys(&["a"])).await;
    let found = join_all((0..50).map(|_| fixture.found_keys("a"))).await;
    assert!(found.into_iter().all(|found| found.unwrap() == 1));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn a_fetch_that_all_callers_dropped_is_restarted() {
    let fixture = Fixture::start(ProviderResponse::keys(&["a"])).await;
    fixture.gate.forget_permits(Semaphore::MAX_PERMITS);
    tokio::select! {
        _ = fixture.found_keys("a") => panic!("answered through a closed gate"),
        () = fixture.wait_for_requests(1) => {}
    }
    fixture.gate.add_permits(10);
    assert_eq!((fixture.found_keys("a").await.unwrap(), fixture.requests()), (1, 2));
}

#[tokio::test]
async fn a_response_other_than_a_jwk_set_is_rejected() {
    let mut large = ProviderResponse::keys(&["a"]);
    large.body = [large.body.as_ref(), &vec![b' '; MAX_DOCUMENT_BYTES]].concat().into();
    let html = ProviderResponse { body: Bytes::from_static(b"<html>"), ..ProviderResponse::keys(&[]) };
    let moved = ProviderResponse { status: StatusCode::FOUND, ..ProviderResponse::keys(&["a"]) };
    for response in [large, html, moved, ProviderResponse::keys(&[])] {
        let fixture = Fixture::start(response).await;
        assert!(matches!(fixture.found_keys("a").await, Err(KeySourceError::Unavailable(_))));
        assert_eq!(fixture.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_provider_times_out_after_five_seconds() {
    let fixture = Fixture::start(ProviderResponse::keys(&["a"])).await;
    fixture.gate.forget_permits(Semaphore::MAX_PERMITS);
    let before = tokio::time::Instant::now();
    let error = fixture.found_keys("a").await.unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "fetching the JWK set timed out after 5s");
    assert_eq!(before.elapsed().as_secs(), FETCH_TIMEOUT.as_secs());
}

#[test]
fn only_https_and_loopback_urls_are_accepted() {
    let check = |address: &str| check_address(&address.parse().unwrap());
    for address in ["https://id.example/jwks", "http://localhost:8/jwks", "http://127.0.0.1/k", "http://[::1]:9/"] {
        assert_eq!(check(address), Ok(()), "{address}");
    }
    for address in ["http://id.example/jwks", "http://localhost.example/", "ftp://id.example/"] {
        assert_eq!(check(address), Err(JwksAddressError::Insecure), "{address}");
    }
    assert_eq!(check("/jwks.json"), Err(JwksAddressError::NotAbsolute));
}

#[test]
fn max_age_is_clamped() {
    let lifetime =
        |value: &'static str| cache_lifetime(&HeaderMap::from_iter([(CACHE_CONTROL, value.parse().unwrap())]));
    assert_eq!(lifetime("public, Max-Age=3600"), Duration::from_secs(3_600));
    assert_eq!(lifetime("max-age=\"300\""), Duration::from_secs(300));
    assert_eq!((lifetime("max-age=0"), lifetime("max-age=99999999")), CACHE_LIFETIME_RANGE);
    assert_eq!(lifetime("no-store, max-age=3600"), CACHE_LIFETIME_RANGE.0);
    assert_eq!(
        (lifetime("max-age=soon"), cache_lifetime(&HeaderMap::new())),
        (DEFAULT_CACHE_LIFETIME, DEFAULT_CACHE_LIFETIME)
    );
}
