//! Tests of revocations: requests, closed connections, and rejected tokens.

use super::*;
use crate::ports::CloseReason;

/// Default leeway, in seconds.
const LEEWAY: i64 = 60;

async fn revoke(fixture: &Fixture, body: &Value) -> ApiResponse {
    let request = Request::post("/v1/revocations").header(API_KEY_HEADER, API_KEY);
    fixture.send(request, body.to_string().as_bytes()).await
}

async fn status_with(fixture: &Fixture, token: &str) -> StatusCode {
    let request = Request::get("/v1/status").header("authorization", format!("Bearer {token}"));
    fixture.send(request, b"").await.status
}

/// A token of the admin `root`.
fn issued_at(iat: Option<i64>) -> String {
    let claims = JwtClaims {
        sub: UserId::parse("root").unwrap().to_string(),
        role: Role::Admin,
        tenant: TenantId::parse("acme").unwrap().to_string(),
        exp: Some(NOW.unix_seconds() + 3_600),
        iat,
        iss: None,
        aud: None,
        channels: None,
    };
    mint_hs256(SECRET, &claims).unwrap()
}

#[tokio::test]
async fn a_revocation_closes_the_connections_of_a_user_and_rejects_older_tokens() {
    let fixture = Fixture::new();
    let root = fixture.connect("r=", "root", Role::Admin, &[]).await;
    let bob = fixture.connect("b=", "bob", Role::User, &[]).await;
    let now = NOW.unix_seconds();
    assert_eq!(status_with(&fixture, &issued_at(Some(now))).await, 200);
    let revoked = revoke(&fixture, &json!({"user": "root", "expiresIn": 3_600})).await.ok();
    assert_eq!(revoked, json!({"closed": 1, "expiresAt": NOW.0 + 3_600_000}));
    assert_eq!(fixture.delivery.close_reason(&root), Some(CloseReason::Kicked));
    assert_eq!(fixture.delivery.close_reason(&bob), None);
    for (iat, status) in [(Some(now - 60), 401), (Some(now), 401), (None, 401), (Some(now + LEEWAY), 401)] {
        assert_eq!(status_with(&fixture, &issued_at(iat)).await, status, "{iat:?}");
    }
    revoke(&fixture, &json!({"user": "root", "issuedBefore": now})).await.ok();
    for (iat, status) in [(now - 1, 401), (now, 200), (now + LEEWAY, 200), (now + LEEWAY + 1, 401)] {
        assert_eq!(status_with(&fixture, &issued_at(Some(iat))).await, status, "{iat}");
    }
    assert_eq!(fixture.call("DELETE", "/v1/revocations?user=root").await.status, 204);
    assert_eq!(status_with(&fixture, &issued_at(Some(now))).await, 200);
    assert_eq!(fixture.call("DELETE", "/v1/revocations?user=root").await.problem(), "not-found");
}

#[tokio::test]
async fn a_revocation_states_one_subject_and_a_lifetime() {
    let fixture = Fixture::new();
    for (body, pointer) in [
        (json!({}), "#/user"),
        (json!([]), "#"),
        (json!({"user": ""}), "#/user"),
        (json!({"user": "root", "token": ""}), "#/token"),
        (json!({"token": "t1"}), "#/user"),
        (json!({"users": "root"}), "#"),
        (json!({"user": "root", "expiresIn": 0}), "#/expiresIn"),
        (json!({"user": "root", "expiresIn": 31_622_401}), "#/expiresIn"),
        (json!({"user": "root", "token": "t1", "issuedBefore": 1}), "#/issuedBefore"),
        (json!({"user": "root", "issuedBefore": NOW.0}), "#/issuedBefore"),
        (json!({"user": "root", "issuedBefore": NOW.unix_seconds() + LEEWAY + 2}), "#/issuedBefore"),
    ] {
        let rejected = revoke(&fixture, &body).await;
        assert_eq!((rejected.status.as_u16(), rejected.problem()), (422, "invalid"), "{body}");
        assert_eq!(rejected.body["errors"][0]["pointer"], pointer, "{body}");
    }
    for path in ["/v1/revocations", "/v1/revocations?user=a&token=b", "/v1/revocations?token="] {
        assert_eq!(fixture.call("DELETE", path).await.status, 422, "{path}");
    }
}

#[tokio::test]
async fn a_revocation_of_one_token_closes_the_connections_of_its_user() {
    let fixture = Fixture::new();
    let root = fixture.connect("r=", "root", Role::Admin, &[]).await;
    assert_eq!(revoke(&fixture, &json!({"user": "root", "token": "a b"})).await.ok()["closed"], 1);
    assert_eq!(fixture.delivery.close_reason(&root), Some(CloseReason::Kicked));
    let token = |jti: Value| {
        let expiry = NOW.unix_seconds() + 3_600;
        mint_hs256(SECRET, &json!({"sub": "root", "role": "admin", "tenant": "acme", "exp": expiry, "jti": jti}))
            .unwrap()
    };
    assert_eq!(status_with(&fixture, &token(json!("a b"))).await, 401);
    assert_eq!(status_with(&fixture, &token(json!("other"))).await, 200);
    assert_eq!(fixture.call("DELETE", "/v1/revocations?token=a%20b").await.status, 204);
    assert_eq!(status_with(&fixture, &token(json!("a b"))).await, 200);
}

#[tokio::test]
async fn a_user_is_named_by_id_or_by_subject() {
    let fixture = Fixture::new();
    for name in ["f:8c1d:alice", "f%3A8c1d%3Aalice"] {
        fixture.connect("a=", "f%3A8c1d%3Aalice", Role::User, &[]).await;
        assert_eq!(revoke(&fixture, &json!({"user": name})).await.ok()["closed"], 1, "{name}");
    }
    assert_eq!(fixture.call("DELETE", "/v1/revocations?user=f:8c1d:alice").await.status, 204);
    assert_eq!(fixture.call("DELETE", "/v1/revocations?user=f%253A8c1d%253Aalice").await.status, 404);
}

#[tokio::test]
async fn a_revocation_lasts_as_long_as_the_tokens_by_default() {
    let fixture = Fixture::new();
    let until = revoke(&fixture, &json!({"user": "root"})).await.ok()["expiresAt"].as_i64().unwrap();
    assert_eq!(until, NOW.0 + 366 * 86_400_000);
}
