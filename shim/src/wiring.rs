//! From a configuration to a messaging application behind an endpoint: which adapter serves which port.
//!
//! Each mode has a file that chooses the adapters; what all modes have in common is here. This is the one place that knows
//! all adapters. It opens files, makes secrets and reaches Redis; it binds no port.

mod embedded;
mod kubernetes;
mod lambda;
mod postgres;

use std::sync::Arc;

use anyhow::Context as _;
use gateway::api::{Api, ApiDefinition, ApiSettings, RouteDefinition};
use gateway::quotas::Quotas;
use gateway::route::{Ordering, RouteKey, RouteResponse};
use handlers::api::ApiKeys;
use handlers::app::App;
use handlers::authorizer::{Authorizer, KeySet, KeySource, TokenSettings, TokenVerifier};
use handlers::ports::{Clock, ConnectionStore, Delivery, MessageLog};
use jwks::HttpJwks;
use tokio_util::task::TaskTracker;

pub use self::embedded::embedded;
pub use self::kubernetes::kubernetes;
pub use self::lambda::lambda;

use crate::access::{Access, ClientKeys};
use crate::cluster::Registry;
use crate::config::{self, Config, FunctionSource, Jwks, Mode, Profile};
use crate::embedded::{DataDirLock, SigningSecret, signing_secret};
use crate::endpoint::{Endpoint, Ids};
use crate::functions::{Lambda, Messaging};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::postgres::Postgres;
use crate::running::Pods;
use crate::server::http_api::HttpApi;

/// The node that connection ids carry where there is only one.
const SINGLE_NODE: u16 = 1;

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
    /// Its ties to other pods, where there are any.
    pub pods: Option<Pods>,
    /// The way to its messages, when they are in PostgreSQL.
    pub postgres: Option<Postgres>,
}

/// Wires the mode that is configured.
///
/// # Errors
/// What is missing or wrong, in words for the operator.
pub async fn wire(config: &Config) -> anyhow::Result<Wired> {
    config.servable()?;
    match (config.mode, config.functions.source) {
        (Mode::Kubernetes, FunctionSource::Embedded) => kubernetes(config).await,
        (Mode::Embedded | Mode::Aws, FunctionSource::Embedded) => embedded(config).await,
        (_, FunctionSource::Lambda) => lambda(config),
    }
}

/// What the modes choose differently.
struct Adapters {
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    tasks: TaskTracker,
    connections: Arc<dyn ConnectionStore>,
    log: Arc<dyn MessageLog>,
    hub: Hub,
    delivery: Arc<dyn Delivery>,
    registry: Option<Registry>,
    node: u16,
}

/// The messaging application over these adapters.
fn assemble(config: &Config, adapters: Adapters) -> anyhow::Result<Wired> {
    let Adapters { clock, metrics, tasks, connections, log, hub, delivery, registry, node } = adapters;
    let secret = signing_secret(config)?;
    let verifier = Arc::new(TokenVerifier::new(token_settings(config, secret.as_ref(), &clock)?));
    let app = Arc::new(App { connections, log, delivery, clock: clock.clone(), limits: config.limits });
    let authorizer = Arc::new(Authorizer { verifier: verifier.clone() });
    let api = Api::new(definition(&config.api, &config.throttle)).context("the API's definition is not valid")?;
    let endpoint = Endpoint {
        access: access(&api, config),
        api: Arc::new(api),
        functions: Arc::new(Messaging::new(app.clone(), authorizer)),
        hub,
        registry,
        sessions: config.session.clone(),
        clock,
        ids: Ids::random(node).context("the system's random source does not answer")?,
        tasks,
        metrics: Arc::new(metrics),
        domain_name: config.server.domain_name.as_deref().map(Arc::from),
        trust_forwarded_for: config.server.trust_forwarded_for,
        handshake_timeout: config.server.handshake_timeout,
    };
    let http_api = Arc::new(HttpApi::new(app, verifier, api_keys(config)?));
    let (endpoint, http_api) = (Arc::new(endpoint), Some(http_api));
    Ok(Wired { endpoint, http_api, secret, data_dir: None, functions: None, pods: None, postgres: None })
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
