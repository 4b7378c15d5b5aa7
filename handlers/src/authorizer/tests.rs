//! Tests of accepted tokens, rejected tokens and their reason codes.

mod asymmetric;

use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerRequestTypeRequest as Request;
use serde_json::{Value, json};

use super::*;
use crate::id::{TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::ports::BoxError;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Default leeway of [`TokenSettings`], in seconds.
const LEEWAY: i64 = 60;
const ARN: &str = "arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/prod/$connect";

fn settings() -> TokenSettings {
    TokenSettings::new(KeySet::default().with_secret(SECRET).unwrap())
}

fn claims() -> JwtClaims {
    JwtClaims {
        sub: "alice".to_owned(),
        role: Role::Admin,
        tenant: "acme".to_owned(),
        exp: Some(NOW.unix_seconds() + 600),
        iat: Some(NOW.unix_seconds()),
        iss: None,
        aud: None,
        channels: None,
    }
}

/// Returns a token with any header and claims, signed with HS256.
fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    signed_text(&header.to_string(), &claims.to_string(), secret)
}

fn signed_text(header: &str, claims: &str, secret: &[u8]) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn token(claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET)
}

async fn rejection_code(settings: TokenSettings, token: &str) -> String {
    TokenVerifier::new(settings).verify(token, NOW).await.expect_err("the token was accepted").reason_code().to_owned()
}

async fn verified(settings: TokenSettings, token: &str) -> Identity {
    TokenVerifier::new(settings).verify(token, NOW).await.expect("the token was rejected")
}

#[tokio::test]
async fn a_minted_token_identifies_its_bearer() {
    let identity = verified(settings(), &mint_hs256(SECRET, &claims()).unwrap()).await;
    assert_eq!((identity.user.as_str(), identity.tenant.as_str()), ("alice", "acme"));
    assert_eq!((identity.role, identity.expires_at), (Role::Admin, claims().exp.map(|exp| exp + LEEWAY)));
}

#[tokio::test]
async fn role_and_tenant_have_defaults() {
    let identity = verified(settings(), &token(&json!({"sub": "bob", "exp": 1_800_000_600.75}))).await;
    assert_eq!((identity.role, identity.tenant), (Role::User, TenantId::default_tenant()));
    assert_eq!(identity.expires_at, Some(1_800_000_600 + LEEWAY));
}

#[tokio::test]
async fn leeway_applies_to_the_given_time() {
    let strict = || TokenSettings { leeway: Duration::from_secs(5), ..settings() };
    let now = NOW.unix_seconds();
    assert_eq!(rejection_code(strict(), &token(&json!({"sub": "a", "exp": now - 5}))).await, "expired");
    assert_eq!(
        rejection_code(strict(), &token(&json!({"sub": "a", "exp": now + 9, "nbf": now + 6}))).await,
        "not_yet_valid"
    );
    assert_eq!(
        rejection_code(strict(), &token(&json!({"sub": "a", "exp": now + 9, "iat": now + 6}))).await,
        "not_yet_valid"
    );
    let claims = json!({"sub": "a", "exp": now - 4, "nbf": now + 5, "iat": now + 5});
    let identity = verified(strict(), &token(&claims)).await;
    // The identity expires when the same token would be rejected.
    assert_eq!(identity.expires_at, Some(now + 1));
    assert_eq!(rejection_code(strict(), &token(&json!({"sub": "a", "exp": i64::MIN}))).await, "expired");
}

#[tokio::test]
async fn every_accepted_token_id_can_be_revoked() {
    let exp = NOW.unix_seconds() + 60;
    let with = |jti: Value| token(&json!({"sub": "a", "exp": exp, "jti": jti}));
    for (jti, id) in [(json!("j1"), "j1"), (json!("a b"), "a%20b"), (json!("é"), "%C3%A9"), (json!(5), "5")] {
        let issue = TokenVerifier::new(settings()).verify_token(&with(jti), NOW).await.unwrap().issue;
        assert_eq!(issue.token.unwrap().as_str(), id);
    }
    let long = TokenVerifier::new(settings()).verify_token(&with(json!("x".repeat(200))), NOW).await.unwrap();
    assert!(long.issue.token.unwrap().as_str().starts_with("%sha256-"));
    for jti in [json!(""), json!(["x"]), json!({}), json!(1.5), json!(true)] {
        assert_eq!(rejection_code(settings(), &with(jti)).await, "jti");
    }
}

#[tokio::test]
async fn exp_is_required_unless_the_settings_make_it_optional() {
    let token_without_exp = token(&json!({"sub": "a"}));
    assert_eq!(rejection_code(settings(), &token_without_exp).await, "exp");
    let lenient = TokenSettings { expiry: ExpiryPolicy::Optional, ..settings() };
    assert_eq!(verified(lenient, &token_without_exp).await.expires_at, None);
}

#[tokio::test]
async fn a_token_that_is_valid_for_too_long_is_rejected() {
    let day = 24 * 60 * 60;
    let limited = || TokenSettings { max_lifetime: Some(Duration::from_secs(day)), ..settings() };
    let last = NOW.unix_seconds() + i64::try_from(day).unwrap() + LEEWAY;
    verified(limited(), &token(&json!({"sub": "a", "exp": last}))).await;
    for exp in [json!(last + 1), json!(i64::MAX), json!(1e308)] {
        assert_eq!(rejection_code(limited(), &token(&json!({"sub": "a", "exp": exp}))).await, "lifetime", "{exp}");
        verified(settings(), &token(&json!({"sub": "a", "exp": exp}))).await;
    }
}

#[tokio::test]
async fn foreign_issuers_and_audiences_are_rejected() {
    let exp = NOW.unix_seconds() + 60;
    let strict = || TokenSettings {
        issuers: vec!["https://old.example".to_owned(), "https://id.example".to_owned()],
        audiences: vec!["twinway".to_owned(), "chat".to_owned()],
        ..settings()
    };
    let with = |iss: &str, aud: Value| token(&json!({"sub": "a", "exp": exp, "iss": iss, "aud": aud}));
    verified(strict(), &with("https://id.example", json!("twinway"))).await;
    verified(strict(), &with("https://id.example", json!(["other", "twinway"]))).await;
    assert_eq!(rejection_code(strict(), &with("https://evil.example", json!("twinway"))).await, "issuer");
    assert_eq!(rejection_code(strict(), &with("https://id.example", json!(["other"]))).await, "audience");
    assert_eq!(rejection_code(strict(), &token(&json!({"sub": "a", "exp": exp}))).await, "issuer");
    assert_eq!(rejection_code(strict(), &with("https://id.example", json!(7))).await, "audience");
    let cognito = |more: Value| {
        let mut claims = json!({"sub": "a", "exp": exp, "iss": "https://old.example", "client_id": "chat"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        token(&claims)
    };
    verified(strict(), &cognito(json!({}))).await;
    assert_eq!(rejection_code(strict(), &cognito(json!({"client_id": "other"}))).await, "audience");
    // `client_id` never replaces an `aud` for another audience.
    assert_eq!(rejection_code(strict(), &cognito(json!({"aud": "other"}))).await, "audience");
}

#[tokio::test]
async fn the_error_names_an_invalid_claim() {
    let exp = NOW.unix_seconds() + 60;
    for (claims, claim) in [
        (json!({"exp": exp}), "sub"),
        (json!({"exp": exp, "sub": ""}), "sub"),
        (json!({"exp": exp, "sub": null}), "sub"),
        (json!({"exp": exp, "sub": ["a"]}), "sub"),
        (json!({"exp": exp, "sub": 7.5}), "sub"),
        (json!({"exp": exp, "sub": "a", "role": 7}), "role"),
        (json!({"exp": exp, "sub": "a", "role": ["admin", 7]}), "role"),
        (json!({"exp": exp, "sub": "a", "tenant": ""}), "tenant"),
        (json!({"exp": exp, "sub": "a", "tenant": {}}), "tenant"),
        (json!({"exp": "soon", "sub": "a"}), "exp"),
        (json!({"exp": exp, "sub": "a", "nbf": [1]}), "nbf"),
        (json!(["sub", "a"]), "malformed"),
    ] {
        assert_eq!(rejection_code(settings(), &token(&claims)).await, claim, "{claims}");
    }
}

#[tokio::test]
async fn text_that_is_not_a_token_is_malformed() {
    let long = format!("{}.a.b", "a".repeat(MAX_TOKEN_BYTES));
    let critical = json!({"alg": "HS256", "crit": ["exp"]});
    let critical = signed(&critical, &json!({"sub": "a", "exp": 9_000_000_000_i64}), SECRET);
    let unsigned = signed(&json!({"alg": "none"}), &json!({"sub": "a"}), SECRET);
    for token in ["", "a", "a.b", "a.b.c", "....", "e30.e30.", &long, &critical] {
        assert_eq!(rejection_code(settings(), token).await, "malformed", "{token}");
    }
    assert_eq!(rejection_code(settings(), &unsigned).await, "algorithm");
    let repeated = r#"{"sub":"alice","exp":9000000000,"sub":"admin"}"#;
    assert_eq!(rejection_code(settings(), &signed_text(r#"{"alg":"HS256"}"#, repeated, SECRET)).await, "malformed");
}

#[tokio::test]
async fn every_configured_secret_verifies_and_no_other_does() {
    let (older, foreign) = (*b"older-secret-of-32-bytes-1234567", *b"foreign-secret-of-32-bytes-12345");
    let rotating = || TokenSettings::new(settings().keys.with_secret(&older).unwrap());
    verified(rotating(), &mint_hs256(SECRET, &claims()).unwrap()).await;
    verified(rotating(), &mint_hs256(&older, &claims()).unwrap()).await;
    assert_eq!(rejection_code(rotating(), &mint_hs256(&foreign, &claims()).unwrap()).await, "signature");
}

#[test]
fn short_secrets_are_rejected_by_issuer_and_verifier() {
    assert!(matches!(KeySet::default().with_secret(&SECRET[1..]), Err(KeySetError::ShortSecret)));
    for weak in [vec![b'a'; 64], b"changemechangemechangemechangeme".to_vec(), b"01".repeat(32)] {
        assert!(matches!(KeySet::default().with_secret(&weak), Err(KeySetError::WeakSecret)));
    }
    assert!(matches!(mint_hs256(&SECRET[1..], &claims()), Err(MintError::ShortSecret)));
}

fn request(headers: &Value, query: &Value) -> Request {
    let event = json!({
        "type": "REQUEST", "methodArn": ARN, "headers": headers, "queryStringParameters": query,
        "requestContext": {"routeKey": "$connect", "connectionId": "abcDEF-_1234567="},
    });
    serde_json::from_value(event).unwrap()
}

fn authorizer() -> Authorizer {
    Authorizer { verifier: Arc::new(TokenVerifier::new(settings())) }
}

#[tokio::test]
async fn the_token_is_found_in_all_three_places() {
    let token = mint_hs256(SECRET, &claims()).unwrap();
    for event in [
        request(&json!({"authorization": format!("bearer {token}")}), &json!({})),
        request(&json!({"Sec-WebSocket-Protocol": format!("twinway.v1,bearer.{token}")}), &json!({})),
        request(&json!({"Sec-WebSocket-Protocol": format!("bearer.{token} , twinway.v1")}), &json!(null)),
        request(&json!({"Authorization": "Basic YTpi"}), &json!({"token": token})),
    ] {
        let response = authorizer().authorize(event, NOW).await.unwrap();
        assert_eq!(response.principal_id.as_deref(), Some("alice"));
    }
}

#[tokio::test]
async fn the_authorization_header_takes_precedence() {
    let event =
        request(&json!({"Authorization": "Bearer x"}), &json!({"token": mint_hs256(SECRET, &claims()).unwrap()}));
    assert!(matches!(authorizer().authorize(event, NOW).await, Err(AuthorizerError::Unauthorized)));
}

#[tokio::test]
async fn the_policy_allows_the_resource_and_carries_the_identity() {
    let token = mint_hs256(SECRET, &claims()).unwrap();
    let response = authorizer().authorize(request(&json!({}), &json!({"token": token})), NOW).await.unwrap();
    let response = serde_json::to_value(response).unwrap();
    let statement = json!([{"Action": ["execute-api:Invoke"], "Effect": "Allow", "Resource": [ARN]}]);
    assert_eq!(response["policyDocument"], json!({"Version": "2012-10-17", "Statement": statement}));
    let (expires_at, issued_at) = ((1_800_000_600 + LEEWAY).to_string(), NOW.unix_seconds().to_string());
    let context = json!({"userId": "alice", "role": "admin", "tenant": "acme", "exp": expires_at, "iat": issued_at});
    assert_eq!(response["context"], context);
    let context = serde_json::from_value(response["context"].clone()).unwrap();
    assert_eq!(Identity::from_context(&context).map(|identity| identity.user), Ok(UserId::parse("alice").unwrap()));
}

#[tokio::test]
async fn api_gateway_reads_401_from_the_text_and_500_from_any_other() {
    for query in [json!({}), json!({"token": ""}), json!({"token": "a.b.c"})] {
        let error = authorizer().authorize(request(&json!({}), &query), NOW).await.unwrap_err();
        assert_eq!(error.to_string(), "Unauthorized");
    }
    let settings = TokenSettings { source: Some(Arc::new(UnavailableSource)), ..TokenSettings::new(KeySet::default()) };
    let authorizer = Authorizer { verifier: Arc::new(TokenVerifier::new(settings)) };
    let token = mint_hs256(SECRET, &claims()).unwrap();
    let error = authorizer.authorize(request(&json!({}), &json!({"token": token})), NOW).await.unwrap_err();
    assert!(matches!(error, AuthorizerError::KeysUnavailable(_)));
    assert_ne!(error.to_string(), "Unauthorized");
}

/// A source whose provider is unreachable.
struct UnavailableSource;

#[async_trait::async_trait]
impl KeySource for UnavailableSource {
    async fn find_keys(&self, _: Option<&str>, _: Algorithm) -> Result<Vec<Arc<VerificationKey>>, KeySourceError> {
        Err(KeySourceError::Unavailable(BoxError::from("connection refused")))
    }

    async fn refresh_keys(&self, _: Option<&str>, _: Algorithm) -> Vec<Arc<VerificationKey>> {
        Vec::new()
    }
}
