//! Tests of revocations: requests, closed connections, and rejected tokens.

use super::*;
use crate::ports::CloseReason;

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
    for (iat, status) in [(Some(now - 60), 401), (Some(now), 401), (None, 401), (Some(now + 1), 200)] {
        assert_eq!(status_with(&fixture, &issued_at(iat)).await, status, "{iat:?}");
    }
    assert_eq!(fixture.call("DELETE", "/v1/revocations?user=root").await.status, 204);
    assert_eq!(status_with(&fixture, &issued_at(Some(now))).await, 200);
    assert_eq!(fixture.call("DELETE", "/v1/revocations?user=root").await.problem(), "not-found");
}

#[tokio::test]
async fn a_revocation_states_one_subject_and_a_lifetime() {
    let fixture = Fixture::new();
    for (body, pointer) in [
        (json!({}), "#"),
        (json!([]), "#"),
        (json!({"user": ""}), "#"),
        (json!({"users": "root"}), "#"),
        (json!({"user": "root", "expiresIn": 0}), "#/expiresIn"),
        (json!({"user": "root", "expiresIn": 31_622_401}), "#/expiresIn"),
        (json!({"token": "t1", "issuedBefore": 1}), "#/issuedBefore"),
    ] {
        let rejected = revoke(&fixture, &body).await;
        assert_eq!((rejected.status.as_u16(), rejected.problem()), (422, "invalid"), "{body}");
        assert_eq!(rejected.body["errors"][0]["pointer"], pointer, "{body}");
    }
    for path in ["/v1/revocations", "/v1/revocations?user=a&token=b", "/v1/revocations?token=a%20b"] {
        assert_eq!(fixture.call("DELETE", path).await.status, 422, "{path}");
    }
    assert_eq!(revoke(&fixture, &json!({"token": "t1"})).await.ok()["closed"], 0);
}
