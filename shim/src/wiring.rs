//! From a configuration to a messaging application behind an endpoint: which adapter serves which port.
//!
//! This is the one place that knows all adapters. It opens files and makes secrets; it binds no port.

mod lambda;

use std::sync::Arc;

use anyhow::Context as _;
use gateway::api::{Api, ApiDefinition, ApiSettings, RouteDefinition};
use gateway::quotas::Quotas;
use gateway::route::{Ordering, RouteKey, RouteResponse};
use handlers::api::ApiKeys;
use handlers::app::App;
use handlers::authorizer::{Authorizer, KeySet, KeySource, TokenSettings, TokenVerifier};
use handlers::memory::{MemoryConnections, MemoryLog, Retention};
use handlers::ports::{Clock, MessageLog};
use tokio_util::task::TaskTracker;

use crate::access::{Access, ClientKeys};
use crate::clock::SystemClock;
use crate::config::{self, Config, FunctionSource, Jwks, LogStorage, Profile};
use crate::embedded::{DataDirLock, FileLog, SigningSecret, signing_secret};
use crate::endpoint::{Endpoint, Ids};
use crate::functions::{Lambda, Messaging};
use crate::hub::Hub;
use crate::jwks::HttpJwks;
use crate::metrics::Metrics;
use crate::server::http_api::HttpApi;

pub use self::lambda::lambda;

/// The node that connection ids carry where there is only one.
const SINGLE_NODE: u16 = 1;

/// Most bytes of bodies that one channel keeps where messages live in memory.
const MEMORY_CHANNEL_BYTES: usize = 16 * 1024 * 1024;

/// Everything that a messaging server is made of.
pub struct Wired {
    /// Its WebSocket API.
    pub endpoint: Arc<Endpoint>,
    /// Its HTTP API, if it has one.
    pub http_api: Option<Arc<HttpApi>>,
    /// What signs its tokens, when that is a secret of its own.
    pub secret: Option<SigningSecret>,
    /// The data directory, while this lives.
    pub data_dir: Option<DataDirLock>,
    /// The Lambda executables behind it, to be stopped at the end.
    pub functions: Option<Lambda>,
}

/// Wires what the configuration asks for.
///
/// # Errors
/// Whatever keeps it from serving, in words for the operator.
pub fn wire(config: &Config) -> anyhow::Result<Wired> {
    match config.functions.source {
        FunctionSource::Embedded => embedded(config),
        FunctionSource::Lambda => lambda(config),
    }
}

/// Wires the embedded mode: connections in memory, messages in one file (or in memory), local delivery.
///
/// # Errors
/// What is wrong with the data directory, a key, or the API's definition, in words for the operator.
pub fn embedded(config: &Config) -> anyhow::Result<Wired> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new().context("the system's random source does not answer")?);
    let mut metrics = Metrics::new();
    let (log, data_dir) = open_log(config, &clock, &mut metrics)?;
    let secret = signing_secret(config)?;
    let verifier = Arc::new(TokenVerifier::new(token_settings(config, secret.as_ref(), &clock)?));

    let tasks = TaskTracker::new();
    let hub = Hub::new(log.clone(), tasks.clone(), metrics.delivery.clone());
    let app = Arc::new(App {
        connections: Arc::new(MemoryConnections::new(clock.clone())),
        log,
        delivery: Arc::new(hub.clone()),
        clock: clock.clone(),
    });
    let authorizer = Arc::new(Authorizer { verifier: verifier.clone() });
    let api = Api::new(definition(&config.api, &config.throttle)).context("the API's definition is not valid")?;
    let endpoint = Endpoint {
        access: access(&api, config),
        api: Arc::new(api),
        functions: Arc::new(Messaging::new(app.clone(), authorizer)),
        hub,
        sessions: config.session.clone(),
        clock,
        ids: Ids::random(SINGLE_NODE).context("the system's random source does not answer")?,
        tasks,
        metrics: Arc::new(metrics),
        domain_name: config.server.domain_name.as_deref().map(Arc::from),
        trust_forwarded_for: config.server.trust_forwarded_for,
        handshake_timeout: config.server.handshake_timeout,
    };
    let http_api = Arc::new(HttpApi::new(app, verifier, api_keys(config)?));
    Ok(Wired { endpoint: Arc::new(endpoint), http_api: Some(http_api), secret, data_dir, functions: None })
}

fn open_log(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &mut Metrics,
) -> anyhow::Result<(Arc<dyn MessageLog>, Option<DataDirLock>)> {
    match config.storage.log {
        LogStorage::Memory => {
            let entries = usize::try_from(config.storage.retention_entries).unwrap_or(usize::MAX);
            let retention = Retention { entries, bytes: MEMORY_CHANNEL_BYTES };
            let epoch = handlers::channel::Epoch(clock.fresh_id().into());
            Ok((Arc::new(MemoryLog::new(epoch, retention)), None))
        }
        LogStorage::File => {
            let lock = DataDirLock::take(&config.storage.data_dir)?;
            let log = FileLog::open(&config.storage, clock.clone())?;
            log.metrics().register(metrics.registry());
            Ok((Arc::new(log), Some(lock)))
        }
    }
}

/// The messaging application as a WebSocket API: lifecycle routes, and one two-way route for all messages
/// (`docs/adr/0001-two-way-message-route.md`).
#[must_use]
pub fn definition(config: &config::ApiConfig, throttle: &config::ThrottleConfig) -> ApiDefinition {
    let route = |key: &str, response| RouteDefinition {
        key: key.to_owned(),
        response,
        ordering: match config.ordering {
            config::Ordering::Connection => Ordering::Connection,
            config::Ordering::Concurrent => Ordering::Concurrent,
        },
    };
    ApiDefinition {
        id: config.id.clone(),
        region: config.region.clone(),
        account_id: config.account_id.clone(),
        stage: config.stage.clone(),
        stage_variables: config.stage_variables.clone(),
        routes: vec![
            route(RouteKey::CONNECT, RouteResponse::OneWay),
            route(RouteKey::DISCONNECT, RouteResponse::OneWay),
            route(RouteKey::DEFAULT, RouteResponse::TwoWay),
        ],
        selection: "$request.body.action".to_owned(),
        authorizer: Some(Vec::new()),
        api_key_required: config.key_required,
        quotas: quotas(config.profile, throttle),
        settings: ApiSettings { key_source: config.key_source, rates: throttle.routes.clone(), ..Default::default() },
    }
}

/// The quotas of the profile, with the rates that the configuration sets in their place.
fn quotas(profile: Profile, throttle: &config::ThrottleConfig) -> Quotas {
    let quotas = match profile {
        Profile::Aws => Quotas::aws(),
        Profile::Open => Quotas::open(),
    };
    Quotas {
        request_rate: throttle.requests.over(quotas.request_rate),
        connect_rate: throttle.connections.over(quotas.connect_rate),
        ..quotas
    }
}

/// What decides about requests: the API's rates, and the keys and callers that the configuration names.
fn access(api: &Api, config: &Config) -> Access {
    let keys = ClientKeys::new(config.api.keys.clone());
    Access { keys, credentials: config.iam.clone(), ..Access::new(api) }
}

fn token_settings(
    config: &Config,
    secret: Option<&SigningSecret>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<TokenSettings> {
    let auth = &config.auth;
    let mut keys = KeySet::default();
    for secret in secret.map(|signing| &signing.secret).into_iter().chain(&auth.previous_secrets) {
        keys = keys.with_secret(secret.expose().as_bytes()).context("a signing secret is not usable")?;
    }
    let mut source: Option<Arc<dyn KeySource>> = None;
    match &auth.jwks {
        None => {}
        Some(Jwks::Document(text)) => {
            keys = keys.merge(KeySet::from_jwks(text).context("the JWKS document is not usable")?);
        }
        Some(Jwks::Url(url)) => {
            let address = url.parse().context("the JWKS address is not a URL")?;
            source = Some(Arc::new(HttpJwks::new(address, clock.clone()).context("the JWKS address is refused")?));
        }
    }
    Ok(TokenSettings {
        source,
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
        leeway: auth.leeway,
        ..TokenSettings::new(keys)
    })
}

fn api_keys(config: &Config) -> anyhow::Result<ApiKeys> {
    config.auth.api_keys.iter().try_fold(ApiKeys::default(), |keys, entry| {
        keys.with(entry.key.expose(), entry.tenant.clone(), entry.name.clone())
            .with_context(|| format!("the API key of '{}' is refused", entry.name))
    })
}
