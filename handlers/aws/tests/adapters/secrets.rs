//! Secrets that functions read from Secrets Manager: rotations, revocations, outages, and how often it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use bytes::Bytes;
use handlers::api::API_KEY_HEADER;
use handlers::authorizer::{JwtClaims, KeySet, KeySourceError, TokenError, TokenSettings, TokenVerifier, mint_hs256};
use handlers::id::{TenantId, UserId};
use handlers::identity::Role;
use handlers::memory::ManualClock;
use handlers::ports::{Clock, Timestamp};
use handlers_aws::backend_api::BackendApi;
use handlers_aws::secrets::{MIN_READ_INTERVAL, SECRET_TTL, SecretError, SecretKeys};
use handlers_aws::wiring;
use http::{Request, StatusCode};

use crate::counts::Recorder;
use crate::faults::Failing;
use crate::support::{Database, database, lambda_clock, sdk};

const FIRST: &str = "the-first-secret-of-these-tests-is-long";
const SECOND: &str = "the-second-secret-of-these-tests-is-long";
const THIRD: &str = "the-third-secret-of-these-tests-is-long";
const DENIED: &str = r#"{"__type":"AccessDeniedException","Message":"User: arn:aws:sts::123456789012:assumed-role/authorizer/authorizer is not authorized to perform: secretsmanager:GetSecretValue"}"#;
const AWAY: &str = r#"{"__type":"InternalServiceError","message":"An error occurred on the server side."}"#;

fn token(secret: &str, now: Timestamp) -> String {
    let claims = JwtClaims {
        sub: UserId::parse("alice").unwrap(),
        role: Role::User,
        tenant: TenantId::default_tenant(),
        exp: Some(now.unix_seconds() + 100_000),
        iat: None,
        iss: None,
        aud: None,
    };
    mint_hs256(secret.as_bytes(), &claims).unwrap()
}

/// One secret in the emulator, and a verifier of the tokens that it signs.
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

    async fn accepts(&self, secret: &str) -> bool {
        let now = self.clock.now();
        match self.verifier.verify(&token(secret, now), now).await {
            Ok(_) => true,
            Err(TokenError::Signature) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn change(&self, secret: &str) {
        self.client.put_secret_value().secret_id(&self.arn).secret_string(secret).send().await.unwrap();
    }

    /// How many values were asked for since the last look.
    fn reads(&self) -> u32 {
        self.recorder.take().values().sum()
    }
}

async fn create(client: &Client, value: &str) -> String {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    let name = format!("secret-{}", DRAWN.fetch_add(1, Ordering::Relaxed));
    let created = client.create_secret().name(name).secret_string(value).send().await.unwrap();
    created.arn().unwrap().to_owned()
}

fn verifier(client: Client, arn: &str, clock: &Arc<ManualClock>) -> TokenVerifier {
    let source = Arc::new(SecretKeys::new(client, vec![arn.to_owned()], None, clock.clone()));
    TokenVerifier::new(TokenSettings { source: Some(source), ..TokenSettings::new(KeySet::default()) })
}

#[tokio::test]
async fn a_secret_is_read_by_the_first_token_and_kept() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    assert_eq!(world.reads(), 0, "nothing is read before a token comes");
    for _ in 0..3 {
        assert!(world.accepts(FIRST).await);
    }
    assert_eq!(world.reads(), 2, "the current value and the previous one, once");
    world.clock.advance(SECRET_TTL);
    assert!(world.accepts(FIRST).await);
    assert_eq!(world.reads(), 2, "and once more when they have become old");
}

#[tokio::test]
async fn a_rotation_refuses_nobody_and_the_one_after_it_ends_the_old_tokens() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    assert!(world.accepts(FIRST).await);
    world.change(SECOND).await;
    world.clock.advance(MIN_READ_INTERVAL);
    assert!(world.accepts(SECOND).await, "a token that is not known yet is a reason to look");
    assert!(world.accepts(FIRST).await, "the secret before is still good");
    world.change(THIRD).await;
    world.clock.advance(SECRET_TTL);
    assert!(world.accepts(THIRD).await && world.accepts(SECOND).await);
    assert!(!world.accepts(FIRST).await, "two changes later it is not");
}

#[tokio::test]
async fn tokens_that_are_not_good_cannot_buy_more_than_a_read_in_a_while() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    assert!(world.accepts(FIRST).await);
    world.reads();
    world.clock.advance(MIN_READ_INTERVAL);
    for _ in 0..20 {
        assert!(!world.accepts(THIRD).await);
    }
    assert_eq!(world.reads(), 2);
}

#[tokio::test]
async fn an_outage_keeps_what_was_read_and_lets_nobody_in_without_it() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    let failing = Failing::start(500, AWAY, u32::MAX).await;
    let away = verifier(Client::new(&sdk(&failing.stub.endpoint()).await), &world.arn, &world.clock);
    let now = world.clock.now();
    let refused = away.verify(&token(FIRST, now), now).await;
    assert!(matches!(refused, Err(TokenError::KeysUnavailable(KeySourceError::Unavailable(_)))), "{refused:?}");

    assert!(world.accepts(FIRST).await);
    world.client.delete_secret().secret_id(&world.arn).force_delete_without_recovery(true).send().await.unwrap();
    world.clock.advance(SECRET_TTL);
    assert!(world.accepts(FIRST).await, "what was good stays in use");
    world.clock.advance(Duration::from_secs(1));
    world.reads();
    assert!(world.accepts(FIRST).await);
    assert_eq!(world.reads(), 0, "an outage costs no wait a token");
}

#[tokio::test]
async fn a_denied_read_names_the_right_and_the_secret() {
    let failing = Failing::start(400, DENIED, u32::MAX).await;
    let clock = lambda_clock();
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:signing-AbCdEf";
    let verifier = verifier(Client::new(&sdk(&failing.stub.endpoint()).await), arn, &clock);
    let now = clock.now();
    let Err(TokenError::KeysUnavailable(KeySourceError::Unavailable(error))) =
        verifier.verify(&token(FIRST, now), now).await
    else {
        panic!("a denied read is no verdict on a token")
    };
    let expected =
        format!("reading '{arn}' is denied: the function's role needs 'secretsmanager:GetSecretValue' on it");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_value_that_cannot_be_a_secret_is_told_without_it() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    world.change("hush").await;
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
async fn keys_of_backends_come_and_go_with_their_secret() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    let (old, new) = ("old-key-of-20-characters", "new-key-of-20-characters");
    let arn = create(&world.client, &format!("billing:default:{old}")).await;
    let stores = database.stores("http://127.0.0.1:1/prod".to_owned()).await;
    let management = wiring::management_client(&database.sdk, &stores.management_endpoint);
    let app = Arc::new(wiring::build_app(&database.client, management, &stores, world.clock.clone()));
    let verifier = Arc::new(TokenVerifier::new(TokenSettings::new(KeySet::default())));
    let api = BackendApi::with_secret_keys(app.clone(), verifier.clone(), world.client.clone(), arn.clone());
    let call = async |key: &str| {
        let request = Request::get("/v1/status").header(API_KEY_HEADER, key).body(Bytes::new()).unwrap();
        api.handle_request(request).await.unwrap().status()
    };
    assert_eq!(call(old).await, StatusCode::OK);
    assert_eq!(call(new).await, StatusCode::UNAUTHORIZED);
    let both = format!("billing:default:{new}");
    world.client.put_secret_value().secret_id(&arn).secret_string(both).send().await.unwrap();
    world.clock.advance(MIN_READ_INTERVAL);
    assert_eq!(call(new).await, StatusCode::OK, "a new key works at once");
    assert_eq!(call(old).await, StatusCode::UNAUTHORIZED, "a key that was taken out is none");

    let failing = Failing::start(500, AWAY, u32::MAX).await;
    let client = Client::new(&sdk(&failing.stub.endpoint()).await);
    let away = BackendApi::with_secret_keys(app, verifier, client, arn);
    let request = |name: &str| Request::get("/v1/status").header(name, new).body(Bytes::new()).unwrap();
    let failed = away.handle_request(request(API_KEY_HEADER)).await;
    assert!(matches!(failed, Err(SecretError::Timeout | SecretError::ReadFailed { .. })), "{failed:?}");
    let other = away.handle_request(request("x-other")).await.unwrap();
    assert_eq!(other.status(), StatusCode::UNAUTHORIZED, "who brings no key need not wait for the keys");
}
