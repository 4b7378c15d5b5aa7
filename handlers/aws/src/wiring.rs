//! From a function's environment to its part of the application: clients once, adapters over them, handlers over those.
//!
//! Invariant: nothing is asked of the network here. Credentials are fetched, and connections opened, by the first call that
//! needs them; a function that is only started says `/next` first.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use handlers::app::MessagingApp;
use handlers::authorizer::{Authorizer, KeySource, TokenSettings, TokenVerifier};
use handlers::ports::Clock;
use jwks::HttpJwks;
use system_clock::SystemClock;

use crate::backend_api::BackendApi;
use crate::config::{self, AppConfig, EnvironmentLookup, VerifierConfig};
use crate::connections::DynamoConnections;
use crate::delivery::{ApiGatewayDelivery, DeliveryLimits};
use crate::log::DynamoLog;
use crate::secrets::SecretKeys;

/// How often the SDK tries a call, the first time included: with its backoff of up to a second in between a throttled call
/// ends well inside the adapters' deadline.
const MAX_ATTEMPTS: u32 = 5;
/// Where the SDK's backoff begins.
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// A service of the same region is connected to in a millisecond or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// One attempt; a call that hangs is better made anew.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// All attempts together.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// How the SDK's clients of a function behave, before it is known where and as whom.
#[must_use]
pub fn sdk_loader() -> ConfigLoader {
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(INITIAL_BACKOFF)
        .with_max_backoff(MAX_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts)
}

/// What the clients share, from the SDK's standard environment (`AWS_REGION`, `AWS_ENDPOINT_URL*`, credentials).
pub async fn load_sdk_config() -> SdkConfig {
    Box::pin(sdk_loader().load()).await
}

/// The client of `@connections`.
#[must_use]
pub fn management_client(sdk: &SdkConfig, endpoint: &str) -> aws_sdk_apigatewaymanagement::Client {
    let config = aws_sdk_apigatewaymanagement::config::Builder::from(sdk).endpoint_url(endpoint).build();
    aws_sdk_apigatewaymanagement::Client::from_conf(config)
}

/// The application over adapters of these clients.
#[must_use]
pub fn build_app(
    dynamo: &aws_sdk_dynamodb::Client,
    management: aws_sdk_apigatewaymanagement::Client,
    stores: &AppConfig,
    clock: Arc<dyn Clock>,
) -> MessagingApp {
    let connections = Arc::new(DynamoConnections::new(dynamo.clone(), &stores.connections_table, clock.clone()));
    MessagingApp {
        connections: connections.clone(),
        log: Arc::new(DynamoLog::new(dynamo.clone(), &stores.messages_table, stores.retention, clock.clone())),
        delivery: Arc::new(ApiGatewayDelivery::new(management, connections, DeliveryLimits::FOR_LAMBDA)),
        clock,
        limits: stores.limits,
    }
}

/// What `connect`, `disconnect` and `message` run.
///
/// # Errors
/// Every mistake of the environment, in one text.
pub async fn app_from_environment(source: EnvironmentLookup<'_>) -> anyhow::Result<MessagingApp> {
    let stores = config::read_app_config(source)?;
    aws_app(&load_sdk_config().await, &stores)
}

/// What `authorizer` runs.
///
/// # Errors
/// Every mistake of the environment, in one text.
pub async fn authorizer_from_environment(
    source: EnvironmentLookup<'_>,
) -> anyhow::Result<(Authorizer, Arc<dyn Clock>)> {
    let (auth, clock) = (config::read_verifier_config(source)?, Arc::new(SystemClock) as Arc<dyn Clock>);
    // Without a secret to read the function knows no SDK.
    let secrets = if auth.secret_arns.is_empty() { None } else { Some(secrets_client(&load_sdk_config().await)) };
    Ok((Authorizer { verifier: Arc::new(token_verifier(&auth, secrets, &clock)?) }, clock))
}

/// What `api` runs.
///
/// # Errors
/// Every mistake of the environment, in one text.
pub async fn api_from_environment(source: EnvironmentLookup<'_>) -> anyhow::Result<BackendApi> {
    let (stores, auth) = config::read_app_and_verifier_config(source)?;
    let sdk = load_sdk_config().await;
    let (app, client) = (Arc::new(aws_app(&sdk, &stores)?), secrets_client(&sdk));
    let verifier = Arc::new(token_verifier(&auth, Some(client.clone()), &app.clock)?);
    Ok(match auth.api_keys_arn {
        Some(arn) => BackendApi::with_secret_keys(app, verifier, client, arn),
        None => BackendApi::new(app, verifier, auth.api_keys),
    })
}

/// Keys are fetched by the first token that needs them and kept while the sandbox lives; a start fetches nothing.
fn token_verifier(
    auth: &VerifierConfig,
    secrets: Option<aws_sdk_secretsmanager::Client>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<TokenVerifier> {
    let provider = auth.jwks_url.clone().map(|url| HttpJwks::new(url, clock.clone())).transpose()?;
    let source = match secrets.filter(|_| !auth.secret_arns.is_empty()) {
        Some(client) => {
            let keys = SecretKeys::new(client, auth.secret_arns.clone(), provider, clock.clone());
            Some(Arc::new(keys) as Arc<dyn KeySource>)
        }
        None => provider.map(|provider| Arc::new(provider) as Arc<dyn KeySource>),
    };
    Ok(TokenVerifier::new(TokenSettings { source, ..auth.tokens.clone() }))
}

/// The client of Secrets Manager.
fn secrets_client(sdk: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(sdk)
}

fn aws_app(sdk: &SdkConfig, stores: &AppConfig) -> anyhow::Result<MessagingApp> {
    let dynamo = aws_sdk_dynamodb::Client::new(sdk);
    Ok(build_app(&dynamo, management_client(sdk, &stores.management_endpoint), stores, Arc::new(SystemClock)))
}

/// The message log in `table` of the account, region and endpoint that the SDK's environment names, for whoever moves logs.
pub async fn open_message_log(table: &str, retention: Duration) -> DynamoLog {
    let dynamo = aws_sdk_dynamodb::Client::new(&load_sdk_config().await);
    DynamoLog::new(dynamo, table, retention, Arc::new(SystemClock))
}
