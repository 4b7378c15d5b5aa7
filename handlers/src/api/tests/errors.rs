//! Tests of rejected requests: status and problem document.

use async_trait::async_trait;

use super::*;
use crate::audience::Audience;
use crate::channel::Position;
use crate::id::ConnectionId;
use crate::limits;
use crate::ports::{
    AppendOutcome, AppendRequest, CloseReason, Delivery, DeliveryError, DeliveryOutcome, LogError, LogRange, LogSlice,
    MessageLog, OutgoingFrame, ResumeOutcome,
};

async fn get_status_as_bearer(fixture: &Fixture, token: &str) -> ApiResponse {
    fixture.send(Request::get("/v1/status").header("authorization", format!("Bearer {token}")), b"").await
}

#[tokio::test]
async fn callers_are_services_and_admins() {
    let fixture = Fixture::new();
    let exp = NOW.unix_seconds() + 60;
    for role in [Role::Service, Role::Admin] {
        assert_eq!(get_status_as_bearer(&fixture, &token(role, exp)).await.ok()["tenant"], "acme");
    }
    let rejected = get_status_as_bearer(&fixture, &token(Role::User, exp)).await;
    assert_eq!((rejected.status.as_u16(), rejected.problem()), (403, "forbidden"));
    assert!(rejected.headers["www-authenticate"].to_str().unwrap().contains("insufficient_scope"));
}

#[tokio::test]
async fn missing_and_invalid_credentials_are_challenged() {
    let fixture = Fixture::new();
    let status = || Request::get("/v1/status");
    let wrong_key = || status().header(API_KEY_HEADER, "key-0123456789abcdeF");
    let short_key = || status().header(API_KEY_HEADER, &API_KEY[..API_KEY.len() - 1]);
    for request in [status(), wrong_key(), short_key(), status().header("authorization", "Basic YTpi")] {
        let rejected = fixture.send(request, b"").await;
        assert_eq!((rejected.status.as_u16(), rejected.problem()), (401, "unauthorized"));
        assert_eq!(rejected.headers["www-authenticate"], "Bearer realm=\"twinway\"");
    }
    let expired = get_status_as_bearer(&fixture, &token(Role::Service, NOW.unix_seconds() - 61)).await;
    assert_eq!(expired.headers["www-authenticate"], "Bearer realm=\"twinway\", error=\"invalid_token\"");
    assert_eq!(fixture.send(Request::get("/v1/nothing"), b"").await.problem(), "unauthorized");
}

#[test]
fn api_keys_are_long_and_stay_secret() {
    let (tenant, name) = (TenantId::default_tenant(), UserId::parse("ci").unwrap());
    assert!(
        ApiKeys::default()
            .with_key(&"0123456789abcdefghijk"[..MIN_API_KEY_BYTES - 1], tenant.clone(), name.clone())
            .is_err()
    );
    assert!(ApiKeys::default().with_key(&"k".repeat(MIN_API_KEY_BYTES), tenant.clone(), name.clone()).is_err());
    let keys = ApiKeys::default().with_key(API_KEY, tenant, name).unwrap();
    assert_eq!(format!("{keys:?}"), "[\"ci\"]");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_rejected() {
    let fixture = Fixture::new();
    assert_eq!(fixture.call("GET", "/v1/room").await.problem(), "not-found");
    let rejected = fixture.call("POST", "/v1/rooms").await;
    assert_eq!((rejected.status.as_u16(), rejected.problem()), (405, "method-not-allowed"));
    assert_eq!(rejected.headers["allow"], "GET");
}

#[tokio::test]
async fn only_json_of_a_limited_size_is_accepted() {
    let fixture = Fixture::new();
    let plain = Request::post("/v1/messages").header(API_KEY_HEADER, API_KEY);
    assert_eq!(fixture.send(plain, b"{}").await.problem(), "unsupported-media-type");
    let as_type = |media_type: &str| {
        Request::post("/v1/messages").header(API_KEY_HEADER, API_KEY).header("content-type", media_type)
    };
    for (media_type, problem) in [
        ("text/plain", "unsupported-media-type"),
        ("application/jsonp", "unsupported-media-type"),
        ("Application/JSON; charset=utf-8", "invalid"),
        ("application/vnd.example+json", "invalid"),
    ] {
        assert_eq!(fixture.send(as_type(media_type), b"{}").await.problem(), problem, "{media_type}");
    }
    for (coding, problem) in [("gzip", "unsupported-media-type"), ("Identity", "invalid")] {
        let request = push_request().header("content-encoding", coding);
        assert_eq!(fixture.send(request, b"{}").await.problem(), problem, "{coding}");
    }
    let large = fixture.send(push_request(), &vec![b' '; MAX_PUSH_BYTES + 1]).await;
    assert_eq!((large.status.as_u16(), large.problem()), (413, "too-large"));
    for body in [&b""[..], b"{", b"{\"a\":}", b"\xff", b"{} {}"] {
        let rejected = fixture.send(push_request(), body).await;
        assert_eq!((rejected.status.as_u16(), rejected.problem()), (400, "malformed"), "{body:?}");
    }
}

#[tokio::test]
async fn every_error_of_a_batch_is_located_and_nothing_is_written() {
    let fixture = Fixture::new();
    let large = "x".repeat(limits::MAX_BODY_BYTES);
    let batch = json!({"messages": [
        {"audience": "everyone", "body": 1},
        {"audience": {"channel": "lobby"}, "body": large},
        {"audience": {"role": "root"}, "ephemeral": "yes"},
        {"body": null, "a/b~c d": 1},
        7,
    ], "dry": true});
    let rejected = fixture.push(&batch).await;
    assert_eq!((rejected.status.as_u16(), rejected.problem()), (422, "invalid"));
    let pointers: Vec<_> =
        rejected.body["errors"].as_array().unwrap().iter().map(|one| one["pointer"].as_str().unwrap()).collect();
    let expected = [
        "#/dry",
        "#/messages/1/audience",
        "#/messages/1/body",
        "#/messages/2/audience",
        "#/messages/2/body",
        "#/messages/2/ephemeral",
        "#/messages/3/audience",
        "#/messages/3/a~1b~0c%20d",
        "#/messages/4",
    ];
    assert_eq!(pointers, expected);
    assert_eq!(fixture.call("GET", "/v1/channels/everyone/history").await.ok()["head"], 0);
}

#[tokio::test]
async fn errors_have_their_location() {
    let fixture = Fixture::new();
    let one = json!({"audience": "everyone", "body": 1});
    let many = vec![one.clone(); limits::Limits::default().push_messages + 1];
    for (body, pointer) in [
        (json!([]), "#"),
        (json!({"messages": []}), "#/messages"),
        (json!({"messages": many}), "#/messages"),
        (json!({"messages": {}}), "#/messages"),
        (json!({"audience": {"user": "a", "role": "user"}, "body": 1}), "#/audience"),
        (json!({"audience": "nobody", "body": 1}), "#/audience"),
        (json!({"audience": {"user": ""}, "body": 1}), "#/audience"),
    ] {
        let rejected = fixture.push(&body).await;
        assert_eq!(
            (rejected.problem(), &rejected.body["errors"][0]["pointer"]),
            ("invalid", &json!(pointer)),
            "{body}"
        );
    }
}

/// The ids of a push are derived from the key, so a key that is replaced by another text would make different requests
/// duplicates of each other.
#[tokio::test]
async fn an_idempotency_key_that_cannot_be_an_id_is_400_and_nothing_is_written() {
    let fixture = Fixture::new();
    let one = json!({"audience": "everyone", "body": 1});
    let batch = json!({"messages": [one]});
    let keys: [&[u8]; 6] = [b"", b"  ", b"\"\"", b"a b", "bestell\u{fc}ng-1".as_bytes(), b"\xff"];
    for (key, body) in keys.into_iter().flat_map(|key| [(key, &one), (key, &batch)]) {
        let rejected = fixture.send(push_request().header("idempotency-key", key), body.to_string().as_bytes()).await;
        assert_eq!((rejected.status.as_u16(), rejected.problem()), (400, "malformed"), "{key:?}");
        assert_eq!(rejected.body["errors"][0]["header"], "Idempotency-Key", "{key:?}");
    }
    let twice = push_request().header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(fixture.send(twice, batch.to_string().as_bytes()).await.status, 400);
    assert_eq!(fixture.call("GET", "/v1/channels/everyone/history").await.ok()["head"], 0);
}

#[tokio::test]
async fn an_idempotency_key_leaves_room_for_the_index_in_a_batch() {
    let fixture = Fixture::new();
    let one = json!({"audience": "everyone", "body": 1});
    let key = "k".repeat(limits::MAX_MESSAGE_ID_BYTES);
    fixture.push_keyed(&key, &one).await.ok();
    let rejected = fixture.push_keyed(&key, &json!({"messages": [one]})).await;
    assert_eq!((rejected.status.as_u16(), &rejected.body["errors"][0]["header"]), (400, &json!("Idempotency-Key")));
    fixture.push_keyed(&key[2..], &json!({"messages": [one]})).await.ok();
}

#[tokio::test]
async fn query_parameters_are_validated() {
    let fixture = Fixture::new();
    for (path, parameter) in [
        ("connections?limit=0", "limit"),
        ("connections?limit=501", "limit"),
        ("connections?usr=alice", "usr"),
        ("connections?user=a&user=b", "user"),
        ("connections?user=", "user"),
        ("connections?role=root", "role"),
        ("connections?channel=lobby", "channel"),
        ("connections?user=a&role=admin", "user"),
        ("rooms?after=%00nonsense", "after"),
        ("channels/everyone/history?before=1&after=2", "after"),
        ("channels/everyone/history?before=-1", "before"),
        ("channels/everyone/history?limit=101", "limit"),
    ] {
        let rejected = fixture.call("GET", &format!("/v1/{path}")).await;
        assert_eq!((rejected.status.as_u16(), rejected.problem()), (422, "invalid"), "{path}");
        assert_eq!(rejected.body["errors"][0]["parameter"], parameter, "{path}");
    }
    assert_eq!(fixture.call("GET", "/v1/channels/lobby/history").await.problem(), "not-found");
}

/// A log that fails every call with the same error.
struct FailingLog(fn() -> LogError);

#[async_trait]
impl MessageLog for FailingLog {
    async fn append(&self, _: AppendRequest) -> Result<AppendOutcome, LogError> {
        Err((self.0)())
    }

    async fn read(&self, _: &Channel, _: LogRange, _: usize, _: usize) -> Result<LogSlice, LogError> {
        Err((self.0)())
    }

    async fn heads(&self, _: &[Channel]) -> Result<Vec<Position>, LogError> {
        Err((self.0)())
    }
}

struct UnavailableDelivery;

fn unavailable<T>() -> Result<T, DeliveryError> {
    Err(DeliveryError::Unavailable("no route".into()))
}

#[async_trait]
impl Delivery for UnavailableDelivery {
    async fn deliver(&self, _: &Audience, _: OutgoingFrame) -> Result<DeliveryOutcome, DeliveryError> {
        unavailable()
    }

    async fn pause_channels(&self, _: &ConnectionId, _: &[Channel]) -> Result<DeliveryOutcome, DeliveryError> {
        unavailable()
    }

    async fn resume_channel(
        &self,
        _: &ConnectionId,
        _: &Channel,
        _: &Position,
    ) -> Result<ResumeOutcome, DeliveryError> {
        unavailable()
    }

    async fn detach_channels(&self, _: &ConnectionId, _: &[Channel]) -> Result<DeliveryOutcome, DeliveryError> {
        unavailable()
    }

    async fn close_connection(&self, _: &ConnectionId, _: CloseReason) -> Result<DeliveryOutcome, DeliveryError> {
        unavailable()
    }
}

#[tokio::test]
async fn a_failing_log_is_503_507_or_500_without_adapter_details() {
    for (error, status, problem) in [
        ((|| LogError::Unavailable("10.0.0.7 refused".into())) as fn() -> LogError, 503, "unavailable"),
        (|| LogError::Full("10.0.0.7 is full".into()), 507, "storage-full"),
        (|| LogError::Backend { adapter: "x", source: "10.0.0.7 is odd".into() }, 500, "internal"),
    ] {
        let mut fixture = Fixture::new();
        fixture.api = api(MessagingApp { log: Arc::new(FailingLog(error)), ..MessagingApp::clone(&fixture.api.app) });
        let one = json!({"audience": "everyone", "body": 1});
        let batch = json!({"messages": [one, one]});
        for rejected in [
            fixture.push(&one).await,
            fixture.push(&batch).await,
            fixture.call("GET", "/v1/channels/everyone/history").await,
        ] {
            assert_eq!((rejected.status.as_u16(), rejected.problem()), (status, problem));
            assert_eq!(rejected.headers.contains_key("retry-after"), status == 503);
            assert!(!rejected.body.to_string().contains("10.0.0.7"), "{rejected:?}");
        }
    }
}

#[tokio::test]
async fn a_logged_message_is_accepted_while_delivery_is_unavailable() {
    let mut fixture = Fixture::new();
    fixture.connect("a=", "alice", Role::User, &[]).await;
    fixture.api =
        api(MessagingApp { delivery: Arc::new(UnavailableDelivery), ..MessagingApp::clone(&fixture.api.app) });
    let pushed = fixture.push(&json!({"audience": {"user": "alice"}, "body": 1})).await.ok();
    assert_eq!((&pushed["offset"], &pushed["delivery"]), (&json!(1), &json!("deferred")));
    let unlogged = fixture.push(&json!({"audience": {"role": "user"}, "body": 1})).await;
    assert_eq!((unlogged.status.as_u16(), unlogged.problem()), (503, "unavailable"));
    assert_eq!(fixture.call("DELETE", "/v1/connections/a%3D").await.status, 503);
}
