//! From a function's environment to its part of the application: clients once, adapters over them, handlers over those.
//!
//! Invariant: nothing is asked of the network here. Credentials are fetched, and connections opened, by the first call that
//! needs them; a function that is only started says `/next` first.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use handlers::app::App;
use handlers::authorizer::{Authorizer, KeySource, TokenSettings, TokenVerifier};
use handlers::ports::Clock;
use jwks::HttpJwks;
use system_clock::SystemClock;

use crate::backends::BackendApi;
use crate::config::{self, Auth, Source, Stores};
use crate::connections::DynamoConnections;
use crate::delivery::{Limits, PostToConnections};
use crate::log::DynamoLog;
use crate::secrets::SecretKeys;

/// How often the SDK tries a call, the first time included: with its backoff of up to a second in between a throttled call
/// ends well inside the adapters' deadline.
const ATTEMPTS: u32 = 5;
/// Where the SDK's backoff begins.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// A service of the same region is connected to in a millisecond or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// One attempt; a call that hangs is better made anew.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// All attempts together.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// How the SDK's clients of a function behave, before it is known where and as whom.
#[must_use]
pub fn loader() -> ConfigLoader {
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(LONGEST_BACKOFF);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts)
}

/// What the clients share, from the SDK's standard environment (`AWS_REGION`, `AWS_ENDPOINT_URL*`, credentials).
pub async fn sdk() -> SdkConfig {
    Box::pin(loader().load()).await
}

/// The client of `@connections`.
#[must_use]
pub fn management(sdk: &SdkConfig, endpoint: &str) -> aws_sdk_apigatewaymanagement::Client {
    let config = aws_sdk_apigatewaymanagement::config::Builder::from(sdk).endpoint_url(endpoint).build();
    aws_sdk_apigatewaymanagement::Client::from_conf(config)
}

/// The application over adapters of these clients.
#[must_use]
pub fn application(
    dynamo: &aws_sdk_dynamodb::Client,
    management: aws_sdk_apigatewaymanagement::Client,
    stores: &Stores,
    clock: Arc<dyn Clock>,
) -> App {
    let connections = Arc::new(DynamoConnections::new(dynamo.clone(), &stores.connections_table, clock.clone()));
    App {
        connections: connections.clone(),
        log: Arc::new(DynamoLog::new(dynamo.clone(), &stores.messages_table, stores.retention, clock.clone())),
        delivery: Arc::new(PostToConnections::new(management, connections, Limits::FUNCTION)),
        clock,
        limits: stores.limits,
    }
}

/// What `connect`, `disconnect` and `message` run.
///
/// # Errors
/// Every mistake of the environment, in one text.
pub async fn app(source: Source<'_>) -> anyhow::Result<App> {
    let stores = config::stores(source)?;
    on_aws(&sdk().await, &stores)
}

/// What `authorizer` runs.
///
/// # Errors
/// Every mistake of the environment, in one text.
pub async fn authorizer(source: Source<'_>) -> anyhow::Result<(Authorizer, Arc<dyn Clock>)> {
    let (auth, clock) = (config::auth(source)?, Arc::new(SystemClock) as Arc<dyn Clock>);
    // Without a secret to read the function knows no SDK.
    let secrets = if auth.secret_arns.is_empty() { None } else { Some(secrets(&sdk().await)) };
    Ok((Authorizer { verifier: Arc::new(verifier(&auth, secrets, &clock)?) }, clock))
}

/// What `api` runs.
///
/// # Errors
/// Every mistake of the environment, in one text.
pub async fn api(source: Source<'_>) -> anyhow::Result<BackendApi> {
    let (stores, auth) = config::stores_and_auth(source)?;
    let sdk = sdk().await;
    let (app, client) = (Arc::new(on_aws(&sdk, &stores)?), secrets(&sdk));
    let verifier = Arc::new(verifier(&auth, Some(client.clone()), &app.clock)?);
    Ok(match auth.api_keys_arn {
        Some(arn) => BackendApi::with_secret(app, verifier, client, arn),
        None => BackendApi::new(app, verifier, auth.api_keys),
    })
}

/// Keys are fetched by the first token that needs them and kept while the sandbox lives; a start fetches nothing.
fn verifier(
    auth: &Auth,
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
fn secrets(sdk: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(sdk)
}

fn on_aws(sdk: &SdkConfig, stores: &Stores) -> anyhow::Result<App> {
    let dynamo = aws_sdk_dynamodb::Client::new(sdk);
    Ok(application(&dynamo, management(sdk, &stores.management_endpoint), stores, Arc::new(SystemClock)))
}

/// The message log in `table` of the account, region and endpoint that the SDK's environment names, for whoever moves logs.
pub async fn message_log(table: &str, retention: Duration) -> DynamoLog {
    let dynamo = aws_sdk_dynamodb::Client::new(&sdk().await);
    DynamoLog::new(dynamo, table, retention, Arc::new(SystemClock))
}
