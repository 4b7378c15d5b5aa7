//! Secrets that functions read from Secrets Manager: rotation, revocation, outage, and the number of reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use bytes::Bytes;
use handlers::api::API_KEY_HEADER;
use handlers::authorizer::{JwtClaims, KeySet, KeySourceError, TokenError, TokenSettings, TokenVerifier, mint_hs256};
use handlers::identity::Role;
use handlers::memory::ManualClock;
use handlers::ports::{Clock, Timestamp};
use handlers_aws::backend_api::BackendApi;
use handlers_aws::secrets::{MIN_READ_INTERVAL, SECRET_TTL, SecretError, SecretKeys};
use handlers_aws::wiring;
use http::{Request, StatusCode};

use crate::counts::Recorder;
use crate::faults::FailingDynamo;
use crate::support::{Database, database, lambda_clock, sdk};

const FIRST: &str = "the-first-secret-of-these-tests-is-long";
const SECOND: &str = "the-second-secret-of-these-tests-is-long";
const THIRD: &str = "the-third-secret-of-these-tests-is-long";
const DENIED: &str = r#"{"__type":"AccessDeniedException","Message":"User: arn:aws:sts::123456789012:assumed-role/authorizer/authorizer is not authorized to perform: secretsmanager:GetSecretValue"}"#;
const UNAVAILABLE: &str = r#"{"__type":"InternalServiceError","message":"An error occurred on the server side."}"#;

fn token(secret: &str, now: Timestamp) -> String {
    let claims = JwtClaims {
        sub: "alice".to_owned(),
        role: Role::User,
        tenant: "default".to_owned(),
        exp: Some(now.unix_seconds() + 100_000),
        iat: None,
        iss: None,
        aud: None,
        channels: None,
    };
    mint_hs256(secret.as_bytes(), &claims).unwrap()
}

/// One secret in the emulator, and a verifier of the tokens signed with it.
struct World {
    client: Client,
    arn: String,
    recorder: Recorder,
    clock: Arc<ManualClock>,
    verifier: TokenVerifier,
}

impl World {
    async fn new(database: &Database) -> Self {
        let (client, recorder, clock) = (Client::new(&database.sdk), Recorder::default(), lambda_clock());
        let arn = create(&client, FIRST).await;
        let config = aws_sdk_secretsmanager::config::Builder::from(&database.sdk).interceptor(recorder.clone());
        let verifier = verifier(Client::from_conf(config.build()), &arn, &clock);
        Self { client, arn, recorder, clock, verifier }
    }

    async fn accepts_token(&self, secret: &str) -> bool {
        let now = self.clock.now();
        match self.verifier.verify(&token(secret, now), now).await {
            Ok(_) => true,
            Err(TokenError::Signature) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn rotate(&self, secret: &str) {
        self.client.put_secret_value().secret_id(&self.arn).secret_string(secret).send().await.unwrap();
    }

    /// Returns the number of values read since the last call.
    fn reads(&self) -> u32 {
        self.recorder.take().values().sum()
    }
}

async fn create(client: &Client, value: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("secret-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let created = client.create_secret().name(name).secret_string(value).send().await.unwrap();
    created.arn().unwrap().to_owned()
}

fn verifier(client: Client, arn: &str, clock: &Arc<ManualClock>) -> TokenVerifier {
    let source = Arc::new(SecretKeys::new(client, vec![arn.to_owned()], None, clock.clone()));
    TokenVerifier::new(TokenSettings { source: Some(source), ..TokenSettings::new(KeySet::default()) })
}

#[tokio::test]
async fn the_first_token_reads_the_secret_and_later_ones_use_the_cache() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    assert_eq!(world.reads(), 0, "no read before the first token");
    for _ in 0..3 {
        assert!(world.accepts_token(FIRST).await);
    }
    assert_eq!(world.reads(), 2, "the current value and the previous one, once");
    world.clock.advance(SECRET_TTL);
    assert!(world.accepts_token(FIRST).await);
    assert_eq!(world.reads(), 2, "read again after the TTL");
}

#[tokio::test]
async fn a_rotation_rejects_no_token_and_the_second_one_rejects_old_tokens() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    assert!(world.accepts_token(FIRST).await);
    world.rotate(SECOND).await;
    world.clock.advance(MIN_READ_INTERVAL);
    assert!(world.accepts_token(SECOND).await, "an unknown signature triggers a read");
    assert!(world.accepts_token(FIRST).await, "the previous secret is still valid");
    world.rotate(THIRD).await;
    world.clock.advance(SECRET_TTL);
    assert!(world.accepts_token(THIRD).await && world.accepts_token(SECOND).await);
    assert!(!world.accepts_token(FIRST).await, "after two rotations it is not");
}

#[tokio::test]
async fn invalid_tokens_cause_at_most_one_read_per_interval() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    assert!(world.accepts_token(FIRST).await);
    world.reads();
    world.clock.advance(MIN_READ_INTERVAL);
    for _ in 0..20 {
        assert!(!world.accepts_token(THIRD).await);
    }
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn an_outage_keeps_cached_secrets_and_rejects_tokens_without_them() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    let failing = FailingDynamo::start(500, UNAVAILABLE, u32::MAX).await;
    let unavailable = verifier(Client::new(&sdk(&failing.stub.endpoint()).await), &world.arn, &world.clock);
    let now = world.clock.now();
    let rejected = unavailable.verify(&token(FIRST, now), now).await;
    assert!(matches!(rejected, Err(TokenError::KeysUnavailable(KeySourceError::Unavailable(_)))), "{rejected:?}");

    assert!(world.accepts_token(FIRST).await);
    world.client.delete_secret().secret_id(&world.arn).force_delete_without_recovery(true).send().await.unwrap();
    world.clock.advance(SECRET_TTL);
    assert!(world.accepts_token(FIRST).await, "cached secrets remain valid");
    world.clock.advance(Duration::from_secs(1));
    world.reads();
    assert!(world.accepts_token(FIRST).await);
    assert_eq!(world.reads(), 0, "during an outage, not every token triggers a read");
}

#[tokio::test]
async fn a_denied_read_names_the_permission_and_the_secret() {
    let failing = FailingDynamo::start(400, DENIED, u32::MAX).await;
    let clock = lambda_clock();
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:signing-AbCdEf";
    let verifier = verifier(Client::new(&sdk(&failing.stub.endpoint()).await), arn, &clock);
    let now = clock.now();
    let Err(TokenError::KeysUnavailable(KeySourceError::Unavailable(error))) =
        verifier.verify(&token(FIRST, now), now).await
    else {
        panic!("a denied read does not decide about a token")
    };
    let expected =
        format!("access to secret '{arn}' denied: the function's role needs 'secretsmanager:GetSecretValue' on it");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn an_invalid_secret_is_reported_without_its_value() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    world.rotate("hush").await;
    let now = world.clock.now();
    let Err(TokenError::KeysUnavailable(KeySourceError::Unavailable(error))) =
        world.verifier.verify(&token(FIRST, now), now).await
    else {
        panic!("a short secret verifies nothing")
    };
    let text = format!("{error} {error:?}");
    assert!(text.contains("32 bytes") && !text.contains("hush") && !text.contains(FIRST), "{text}");
}

#[tokio::test]
async fn api_keys_are_added_and_revoked_with_their_secret() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    let (old, new) = ("old-key-of-20-characters", "new-key-of-20-characters");
    let arn = create(&world.client, &format!("billing:default:{old}")).await;
    let config = database.app_config("http://127.0.0.1:1/prod".to_owned()).await;
    let management = wiring::management_client(&database.sdk, &config.management_endpoint);
    let app = Arc::new(wiring::build_app(&database.client, management, &config, world.clock.clone()));
    let verifier = Arc::new(TokenVerifier::new(TokenSettings::new(KeySet::default())));
    let api = BackendApi::with_secret_keys(app.clone(), verifier.clone(), world.client.clone(), arn.clone());
    let call = async |key: &str| {
        let request = Request::get("/v1/status").header(API_KEY_HEADER, key).body(Bytes::new()).unwrap();
        api.handle_request(request).await.unwrap().status()
    };
    assert_eq!(call(old).await, StatusCode::OK);
    assert_eq!(call(new).await, StatusCode::UNAUTHORIZED);
    let updated = format!("billing:default:{new}");
    world.client.put_secret_value().secret_id(&arn).secret_string(updated).send().await.unwrap();
    world.clock.advance(MIN_READ_INTERVAL);
    assert_eq!(call(new).await, StatusCode::OK, "a new key works immediately");
    assert_eq!(call(old).await, StatusCode::UNAUTHORIZED, "a removed key is rejected");

    let failing = FailingDynamo::start(500, UNAVAILABLE, u32::MAX).await;
    let client = Client::new(&sdk(&failing.stub.endpoint()).await);
    let unavailable = BackendApi::with_secret_keys(app, verifier, client, arn);
    let request = |name: &str| Request::get("/v1/status").header(name, new).body(Bytes::new()).unwrap();
    let failed = unavailable.handle_request(request(API_KEY_HEADER)).await;
    assert!(matches!(failed, Err(SecretError::Timeout | SecretError::ReadFailed { .. })), "{failed:?}");
    let other = unavailable.handle_request(request("x-other")).await.unwrap();
    assert_eq!(other.status(), StatusCode::UNAUTHORIZED, "a request without a key does not wait for the keys");
}
