//! The key source against a real HTTP server on a free port, with a clock that only moves when a test moves it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use futures_util::future::join_all;
use http::{Response, header};
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
        unreachable!("a key source makes no ids")
    }
}

/// What the provider answers with.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    cache_control: &'static str,
    body: Bytes,
}

impl Answer {
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

/// An identity provider under the test's control.
struct Fixture {
    source: Arc<HttpJwks>,
    clock: Arc<ManualClock>,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
    /// A request is answered once it gets a permit.
    gate: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Fixture {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address: Uri = format!("http://{}/jwks.json", listener.local_addr().unwrap()).parse().unwrap();
        let clock = Arc::new(ManualClock::default());
        let source = Arc::new(HttpJwks::new(address, Arc::clone(&clock) as Arc<dyn Clock>).unwrap());
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let fixture = Self {
            source,
            clock,
            answer: Arc::new(Mutex::new(answer)),
            requests: Arc::default(),
            gate,
            tasks: TaskTracker::new(),
        };
        fixture.serve(listener);
        fixture
    }

    fn serve(&self, listener: TcpListener) {
        let (answer, requests) = (Arc::clone(&self.answer), Arc::clone(&self.requests));
        let (gate, tasks) = (Arc::clone(&self.gate), self.tasks.clone());
        self.tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, requests, gate) = (Arc::clone(&answer), Arc::clone(&requests), Arc::clone(&gate));
                let service = service_fn(move |_: Request<Incoming>| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let (answer, gate) = (Arc::clone(&answer), Arc::clone(&gate));
                    async move {
                        let _permit = gate.acquire().await.expect("the gate is never closed");
                        let Answer { status, cache_control, body } = answer.lock().clone();
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

    fn answer(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    async fn found(&self, id: &str) -> Result<usize, KeySourceError> {
        self.source.find_keys(Some(id), Algorithm::EdDSA).await.map(|keys| keys.len())
    }

    /// Waits until the provider has seen `count` requests.
    async fn seen(&self, count: usize) {
        while self.requests() < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_set_is_fetched_once_and_again_when_its_time_is_over() {
    let fixture = Fixture::start(Answer::keys(&["a"])).await;
    for _ in 0..3 {
        assert_eq!(fixture.found("a").await.unwrap(), 1);
    }
    fixture.clock.advance(Duration::from_secs(599));
    assert_eq!(fixture.found("a").await.unwrap(), 1);
    assert_eq!(fixture.requests(), 1);
    fixture.answer(Answer::keys(&["b"]));
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.found("a").await.unwrap(), 0);
    assert_eq!((fixture.found("b").await.unwrap(), fixture.requests()), (1, 2));
}

#[tokio::test]
async fn an_unknown_key_id_refreshes_at_most_once_in_the_pause() {
    let fixture = Fixture::start(Answer::keys(&["a"])).await;
    assert_eq!(fixture.found("a").await.unwrap(), 1);
    fixture.answer(Answer::keys(&["a", "b"]));
    for _ in 0..20 {
        assert_eq!(fixture.found("b").await.unwrap(), 0);
    }
    assert_eq!(fixture.requests(), 1);
    fixture.clock.advance(REFETCH_INTERVAL);
    assert_eq!(fixture.found("b").await.unwrap(), 1);
    for _ in 0..20 {
        assert_eq!(fixture.found("invented").await.unwrap(), 0);
    }
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn the_last_good_set_stays_while_the_provider_is_away() {
    let fixture = Fixture::start(Answer::keys(&["a"])).await;
    assert_eq!(fixture.found("a").await.unwrap(), 1);
    fixture.answer(Answer::status(StatusCode::INTERNAL_SERVER_ERROR));
    fixture.clock.advance(Duration::from_secs(24 * 60 * 60));
    for _ in 0..5 {
        assert_eq!(fixture.found("a").await.unwrap(), 1);
    }
    assert_eq!(fixture.requests(), 2);
    fixture.answer(Answer::keys(&["b"]));
    fixture.clock.advance(REFETCH_INTERVAL);
    assert_eq!((fixture.found("b").await.unwrap(), fixture.requests()), (1, 3));
}

#[tokio::test]
async fn without_any_set_the_keys_are_unavailable_until_the_provider_is_back() {
    let fixture = Fixture::start(Answer::status(StatusCode::NOT_FOUND)).await;
    for _ in 0..5 {
        assert!(matches!(fixture.found("a").await, Err(KeySourceError::Unavailable(_))));
    }
    assert_eq!(fixture.requests(), 1);
    fixture.answer(Answer::keys(&["a"]));
    fixture.clock.advance(FIRST_FETCH_RETRY_INTERVAL);
    assert_eq!((fixture.found("a").await.unwrap(), fixture.requests()), (1, 2));
}

#[tokio::test]
async fn everybody_waits_for_the_same_fetch() {
    let fixture = Fixture::start(Answer::keys(&["a"])).await;
    let found = join_all((0..50).map(|_| fixture.found("a"))).await;
    assert!(found.into_iter().all(|found| found.unwrap() == 1));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn a_fetch_that_everybody_gave_up_is_started_anew() {
    let fixture = Fixture::start(Answer::keys(&["a"])).await;
    fixture.gate.forget_permits(Semaphore::MAX_PERMITS);
    tokio::select! {
        _ = fixture.found("a") => panic!("answered through a closed gate"),
        () = fixture.seen(1) => {}
    }
    fixture.gate.add_permits(10);
    assert_eq!((fixture.found("a").await.unwrap(), fixture.requests()), (1, 2));
}

#[tokio::test]
async fn what_is_no_set_of_keys_is_refused() {
    let mut large = Answer::keys(&["a"]);
    large.body = [large.body.as_ref(), &vec![b' '; MAX_DOCUMENT_BYTES]].concat().into();
    let html = Answer { body: Bytes::from_static(b"<html>"), ..Answer::keys(&[]) };
    let moved = Answer { status: StatusCode::FOUND, ..Answer::keys(&["a"]) };
    for answer in [large, html, moved, Answer::keys(&[])] {
        let fixture = Fixture::start(answer).await;
        assert!(matches!(fixture.found("a").await, Err(KeySourceError::Unavailable(_))));
        assert_eq!(fixture.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_costs_five_seconds() {
    let fixture = Fixture::start(Answer::keys(&["a"])).await;
    fixture.gate.forget_permits(Semaphore::MAX_PERMITS);
    let before = tokio::time::Instant::now();
    let error = fixture.found("a").await.unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no answer within 5s");
    assert_eq!(before.elapsed().as_secs(), FETCH_TIMEOUT.as_secs());
}

#[test]
fn keys_come_over_https_or_from_this_machine() {
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
fn max_age_is_kept_within_bounds() {
    let kept = |value: &'static str| cache_lifetime(&HeaderMap::from_iter([(CACHE_CONTROL, value.parse().unwrap())]));
    assert_eq!(kept("public, Max-Age=3600"), Duration::from_secs(3_600));
    assert_eq!(kept("max-age=\"300\""), Duration::from_secs(300));
    assert_eq!((kept("max-age=0"), kept("max-age=99999999")), CACHE_LIFETIME_RANGE);
    assert_eq!(kept("no-store, max-age=3600"), CACHE_LIFETIME_RANGE.0);
    assert_eq!(
        (kept("max-age=soon"), cache_lifetime(&HeaderMap::new())),
        (DEFAULT_CACHE_LIFETIME, DEFAULT_CACHE_LIFETIME)
    );
}
