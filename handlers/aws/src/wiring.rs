//! Assembly of the functions from their environment: SDK clients, adapters, application.
//!
//! Assembly makes no network call. The first call that needs them fetches credentials and opens connections, so a
//! starting function requests its first event (`/next`) without delay.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use handlers::app::{AccessRules, MessagingApp};
use handlers::authorizer::{Authorizer, KeySource, TokenSettings, TokenVerifier};
use handlers::ports::{Clock, UnlimitedBudget};
use jwks::HttpJwks;
use system_clock::SystemClock;

use crate::backend_api::BackendApi;
use crate::config::{self, AppConfig, EnvironmentVariables, VerifierConfig};
use crate::connections::DynamoConnections;
use crate::delivery::{ApiGatewayDelivery, DeliveryLimits};
use crate::log::DynamoLog;
use crate::retries::dynamo_client;
use crate::revocations::DynamoRevocations;
use crate::secrets::SecretKeys;

/// Maximum attempts of one SDK call; with backoff, a throttled call ends before the adapters' timeout of 8 seconds.
const MAX_SDK_ATTEMPTS: u32 = 5;
const INITIAL_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// A connection to a service of the same region takes one or two milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of one attempt; retrying is faster than waiting for a hanging call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of a call with all its attempts.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// Returns the SDK configuration of the functions (retries, timeouts) without region and credentials.
#[must_use]
pub fn sdk_loader() -> ConfigLoader {
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_SDK_ATTEMPTS)
        .with_initial_backoff(INITIAL_BACKOFF)
        .with_max_backoff(MAX_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts)
}

/// Loads the configuration of all SDK clients from the standard environment (`AWS_REGION`, `AWS_ENDPOINT_URL*`,
/// credentials).
pub async fn load_sdk_config() -> SdkConfig {
    Box::pin(sdk_loader().load()).await
}

/// Creates the client of the `@connections` API at `endpoint`.
#[must_use]
pub fn management_client(sdk: &SdkConfig, endpoint: &str) -> aws_sdk_apigatewaymanagement::Client {
    let config = aws_sdk_apigatewaymanagement::config::Builder::from(sdk).endpoint_url(endpoint).build();
    aws_sdk_apigatewaymanagement::Client::from_conf(config)
}

/// Builds the application over adapters of these clients.
#[must_use]
pub fn build_app(
    dynamo: &aws_sdk_dynamodb::Client,
    management: aws_sdk_apigatewaymanagement::Client,
    config: &AppConfig,
    clock: Arc<dyn Clock>,
) -> MessagingApp {
    let connections = Arc::new(DynamoConnections::new(dynamo.clone(), &config.connections_table, clock.clone()));
    MessagingApp {
        connections: connections.clone(),
        log: Arc::new(DynamoLog::new(dynamo.clone(), &config.messages_table, config.retention, clock.clone())),
        delivery: Arc::new(ApiGatewayDelivery::new(management, connections, DeliveryLimits::FOR_LAMBDA)),
        clock,
        access: AccessRules {
            budget: Arc::new(UnlimitedBudget),
            revocations: Arc::new(DynamoRevocations::new(dynamo.clone(), &config.connections_table)),
            presence_names: config.presence_names,
        },
        limits: config.limits,
    }
}

/// Builds the application of the functions `connect`, `disconnect` and `message`.
///
/// # Errors
/// [`EnvironmentError`](config::EnvironmentError) with every missing or invalid variable.
pub async fn app_from_environment(environment: &EnvironmentVariables) -> anyhow::Result<MessagingApp> {
    let app_config = config::read_app_config(environment)?;
    aws_app(&load_sdk_config().await, &app_config)
}

/// Builds the `authorizer` function.
///
/// # Errors
/// [`EnvironmentError`](config::EnvironmentError) with every missing or invalid variable; an invalid key set URL.
pub async fn authorizer_from_environment(
    environment: &EnvironmentVariables,
) -> anyhow::Result<(Authorizer, Arc<dyn Clock>)> {
    let (verifier_config, clock) =
        (config::read_verifier_config(environment)?, Arc::new(SystemClock) as Arc<dyn Clock>);
    // Without secrets to read, the function does not load the SDK.
    let secrets =
        if verifier_config.secret_arns.is_empty() { None } else { Some(secrets_client(&load_sdk_config().await)) };
    Ok((Authorizer { verifier: Arc::new(token_verifier(&verifier_config, secrets, &clock)?) }, clock))
}

/// Builds the `api` function.
///
/// # Errors
/// [`EnvironmentError`](config::EnvironmentError) with every missing or invalid variable; an invalid key set URL.
pub async fn api_from_environment(environment: &EnvironmentVariables) -> anyhow::Result<BackendApi> {
    let (app_config, verifier_config) = config::read_app_and_verifier_config(environment)?;
    let sdk = load_sdk_config().await;
    let (app, client) = (Arc::new(aws_app(&sdk, &app_config)?), secrets_client(&sdk));
    let verifier = Arc::new(token_verifier(&verifier_config, Some(client.clone()), &app.clock)?);
    Ok(match verifier_config.api_keys_arn {
        Some(arn) => BackendApi::with_secret_keys(app, verifier, client, arn),
        None => BackendApi::new(app, verifier, verifier_config.api_keys),
    })
}

/// Builds the token verifier. The first token that needs keys triggers fetching them; they stay cached in the process.
fn token_verifier(
    config: &VerifierConfig,
    secrets: Option<aws_sdk_secretsmanager::Client>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<TokenVerifier> {
    if let Some(skipped) = config.tokens.keys.describe_skipped_keys() {
        tracing::warn!(jwks.skipped = skipped, "keys of TWINWAY_AUTH_JWKS skipped");
    }
    let provider = config.jwks_url.clone();
    let provider = provider.map(|url| HttpJwks::with_settings(url, config.fetch.clone(), clock.clone())).transpose()?;
    let source = match secrets.filter(|_| !config.secret_arns.is_empty()) {
        Some(client) => {
            let keys = SecretKeys::new(client, config.secret_arns.clone(), provider, clock.clone());
            Some(Arc::new(keys) as Arc<dyn KeySource>)
        }
        None => provider.map(|provider| Arc::new(provider) as Arc<dyn KeySource>),
    };
    Ok(TokenVerifier::new(TokenSettings { source, ..config.tokens.clone() }))
}

/// Creates the client of Secrets Manager.
fn secrets_client(sdk: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(sdk)
}

fn aws_app(sdk: &SdkConfig, config: &AppConfig) -> anyhow::Result<MessagingApp> {
    let dynamo = dynamo_client(sdk);
    Ok(build_app(&dynamo, management_client(sdk, &config.management_endpoint), config, Arc::new(SystemClock)))
}

/// Opens the message log in `table`, in the account, region and endpoint of the SDK's environment; for migrations.
pub async fn open_message_log(table: &str, retention: Duration) -> DynamoLog {
    let dynamo = dynamo_client(&load_sdk_config().await);
    DynamoLog::new(dynamo, table, retention, Arc::new(SystemClock))
}
