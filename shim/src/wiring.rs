//! From a configuration to a messaging application behind an API server: which adapter serves which port.
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
use handlers::ports::Clock;
use jwks::HttpJwks;

pub use self::embedded::embedded;
pub use self::kubernetes::kubernetes;
pub use self::lambda::lambda;

use crate::access::{Access, ClientKeys};
use crate::config::{self, Config, FunctionSource, Jwks, Mode, Profile};
use crate::connection::{ConnectionIds, ConnectionLifecycle, RemoteConnections};
use crate::embedded::{DataDirLock, SigningSecret, signing_secret};
use crate::functions::{ApiIntegration, Lambda, Messaging};
use crate::hub::ChannelDelivery;
use crate::metrics::Metrics;
use crate::running::Background;
use crate::server::http_api::HttpApi;
use crate::server::{ApiServer, ApiServerParts};

/// The node that connection ids carry where there is only one.
const SINGLE_NODE: u16 = 1;

/// Everything that a messaging server is made of.
pub struct Wired {
    /// Its WebSocket API.
    pub server: ApiServer,
    /// Its HTTP API, if it has one.
    pub http_api: Option<Arc<HttpApi>>,
    /// What signs its tokens, when that is a secret of its own.
    pub secret: Option<SigningSecret>,
    /// The data directory, while this lives.
    pub data_dir: Option<DataDirLock>,
    /// The Lambda executables behind it, to be stopped at the end.
    pub functions: Option<Lambda>,
    /// What runs behind its listeners.
    pub background: Background,
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
    /// The application over its ports.
    app: App,
    /// The delivery to this process's connections.
    delivery: ChannelDelivery,
    /// Who takes part when a connection opens and ends.
    lifecycle: ConnectionLifecycle,
    /// The connections of other pods.
    remote: Option<Arc<dyn RemoteConnections>>,
    metrics: Metrics,
    node: u16,
}

/// The messaging application over these adapters.
fn assemble(config: &Config, adapters: Adapters) -> anyhow::Result<Wired> {
    let Adapters { app, delivery, lifecycle, remote, metrics, node } = adapters;
    let app = Arc::new(app);
    let secret = signing_secret(config)?;
    let verifier = Arc::new(TokenVerifier::new(token_settings(config, secret.as_ref(), &app.clock)?));
    let authorizer = Arc::new(Authorizer { verifier: verifier.clone() });
    let api = Api::new(definition(&config.api, &config.throttle)).context("the API's definition is not valid")?;
    let parts = ApiServerParts {
        access: access(&api, config),
        integration: ApiIntegration {
            api: Arc::new(api),
            functions: Arc::new(Messaging::new(app.clone(), authorizer)),
            clock: app.clock.clone(),
        },
        ids: ConnectionIds::random(node).context("the system's random source does not answer")?,
        lifecycle,
        remote,
        metrics,
    };
    let http_api = Arc::new(HttpApi::new(app, verifier, api_keys(config)?));
    let server = ApiServer::new(parts, &config.server, &config.session);
    let background = Background { delivery: Some(delivery), ..Background::default() };
    Ok(Wired { server, http_api: Some(http_api), secret, data_dir: None, functions: None, background })
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
