//! Composition of a server from its configuration: the adapters of each port, by deployment mode.
//!
//! Each mode has a module that chooses the adapters; this file has the steps that are common to all modes. No other
//! module knows all adapters. Assembly opens files, creates secrets and connects to Redis and PostgreSQL. The only port that
//! it binds is that of the endpoint proxy, because functions receive its address when they start.

mod application_plan;
mod embedded;
mod endpoint_files;
mod endpoint_variables;
mod function_endpoint;
mod function_environment;
mod function_plan;
mod java_trust_store;
mod kubernetes;
mod lambda;
mod postgres;
mod shorthand_plan;

use std::sync::Arc;

use anyhow::Context as _;
use gateway::api::{ApiDefinition, ApiSettings, RouteDefinition, WebSocketApi};
use gateway::quotas::Quotas;
use gateway::route::{RouteKey, RouteOrdering, RouteResponse};
use handlers::api::ApiKeys;
use handlers::app::MessagingApp;
use handlers::authorizer::{Authorizer, KeySet, KeySource, TokenSettings, TokenVerifier};
use handlers::ports::Clock;
use jwks::{FetchSettings, HttpJwks, ProxySettings};

pub use self::embedded::assemble_embedded;
pub use self::endpoint_files::EndpointFiles;
pub use self::kubernetes::{assemble_function_pod, assemble_kubernetes};
pub use self::lambda::assemble_lambda;

use crate::access::{AccessControl, AddressBudgets, ClientKeys, RequestThrottle};
use crate::config::{self, Config, DeploymentMode, FunctionSource, JwksSource, QuotaProfile};
use crate::connection::{ConnectionIds, ConnectionLifecycle, RemoteConnections};
use crate::embedded::{DataDirLock, SigningSecret, signing_secret};
use crate::functions::{ApiIntegration, CodeWatch, LambdaFunctions, MessagingFunctions};
use crate::hub::{ActionBudgets, ActionLimits, ChannelDelivery};
use crate::metrics::ShimMetrics;
use crate::running::Background;
use crate::server::http_api::HttpApi;
use crate::server::{ApiServer, ApiServerParts};

/// Node id in connection ids outside a cluster.
const SINGLE_NODE: u16 = 1;

/// Components of a server, ready to listen.
pub struct ServerAssembly {
    /// WebSocket API and `@connections`.
    pub server: ApiServer,
    /// HTTP API under `/v1`, if there is one.
    pub http_api: Option<Arc<HttpApi>>,
    /// The server's own signing secret; `None` when an identity provider signs the tokens.
    pub signing_secret: Option<SigningSecret>,
    /// Exclusive lock on the data directory, held for the life of the process.
    pub data_dir_lock: Option<DataDirLock>,
    /// Lambda executables, to be stopped after the drain.
    pub lambda_functions: Option<LambdaFunctions>,
    /// Files that function processes read, held until they have stopped.
    pub endpoint_files: Option<EndpointFiles>,
    /// Watch of the functions' code, for development.
    pub code_watch: Option<CodeWatch>,
    /// Components with background tasks.
    pub background: Background,
}

/// Assembles the server of the configured mode.
///
/// # Errors
/// A missing or invalid setting, or a store or function that is unavailable. The text is meant for the operator.
pub async fn assemble_server(config: &Config) -> anyhow::Result<ServerAssembly> {
    config.check_servable()?;
    match (config.mode, config.functions.source) {
        (DeploymentMode::Kubernetes, FunctionSource::Embedded) => assemble_kubernetes(config).await,
        (DeploymentMode::Embedded | DeploymentMode::Aws, FunctionSource::Embedded) => assemble_embedded(config).await,
        (DeploymentMode::Kubernetes, FunctionSource::Lambda) => assemble_function_pod(config).await,
        (DeploymentMode::Embedded | DeploymentMode::Aws, FunctionSource::Lambda) => assemble_lambda(config).await,
    }
}

/// Components that differ between modes.
struct ModeAdapters {
    /// The messaging application with its adapters.
    app: MessagingApp,
    /// Delivery to this process's connections.
    delivery: ChannelDelivery,
    /// Components that are notified when a connection opens and closes.
    lifecycle: ConnectionLifecycle,
    /// Access to the connections of other pods; `None` outside a cluster.
    remote: Option<Arc<dyn RemoteConnections>>,
    metrics: ShimMetrics,
    node_id: u16,
}

/// Assembles the server of the messaging application from the mode's adapters.
fn assemble_messaging(config: &Config, adapters: ModeAdapters) -> anyhow::Result<ServerAssembly> {
    let ModeAdapters { app, delivery, lifecycle, remote, metrics, node_id } = adapters;
    let app = Arc::new(app);
    let secret = signing_secret(config)?;
    let verifier = Arc::new(TokenVerifier::new(token_settings(config, secret.as_ref(), &app.clock)?));
    let authorizer = Arc::new(Authorizer { verifier: verifier.clone() });
    let api = WebSocketApi::new(api_definition(&config.api, &config.throttle)).context("invalid API definition")?;
    let parts = ApiServerParts {
        access: access_control(&api, config),
        integration: ApiIntegration {
            api: Arc::new(api),
            functions: Arc::new(MessagingFunctions::new(app.clone(), authorizer)),
            clock: app.clock.clone(),
        },
        ids: ConnectionIds::with_random_seed(node_id)
            .context("reading random bytes from the operating system failed")?,
        lifecycle,
        remote,
        metrics,
    };
    let http_api = Arc::new(HttpApi::new(app, verifier, api_keys(config)?));
    let server = ApiServer::new(parts, &config.server, &config.session);
    let background = Background { delivery: Some(delivery), ..Background::default() };
    Ok(ServerAssembly {
        server,
        http_api: Some(http_api),
        signing_secret: secret,
        data_dir_lock: None,
        lambda_functions: None,
        endpoint_files: None,
        code_watch: None,
        background,
    })
}

/// Returns the API definition of the messaging application: the lifecycle routes, and one two-way route for all
/// messages (`docs/adr/0001-two-way-message-route.md`).
#[must_use]
pub fn api_definition(config: &config::ApiConfig, throttle: &config::ThrottleConfig) -> ApiDefinition {
    let ordering = route_ordering(config);
    let message = RouteDefinition {
        response: RouteResponse::TwoWay,
        ordering,
        ..RouteDefinition::lambda(RouteKey::DEFAULT, "message")
    };
    let connect = RouteDefinition::lambda(RouteKey::CONNECT, "connect");
    let disconnect = RouteDefinition::lambda(RouteKey::DISCONNECT, "disconnect");
    let base = base_definition(config, throttle);
    ApiDefinition { routes: vec![connect, disconnect, message], authorizer: Some(Vec::new()), ..base }
}

/// Returns an API definition with the configured settings and without routes.
fn base_definition(config: &config::ApiConfig, throttle: &config::ThrottleConfig) -> ApiDefinition {
    ApiDefinition {
        id: config.id.clone(),
        region: config.region.clone(),
        account_id: config.account_id.clone(),
        stage: config.stage.clone(),
        stage_variables: config.stage_variables.clone(),
        routes: Vec::new(),
        selection: "$request.body.action".to_owned(),
        authorizer: None,
        api_key_required: config.key_required,
        quotas: effective_quotas(config.profile, throttle),
        settings: ApiSettings {
            key_source: config.key_source,
            rates: throttle.routes.clone(),
            base_paths: config.base_paths.clone(),
            ..Default::default()
        },
    }
}

/// Returns the order in which the messages of a connection are handled.
const fn route_ordering(config: &config::ApiConfig) -> RouteOrdering {
    match config.ordering {
        config::MessageOrdering::Connection => RouteOrdering::Connection,
        config::MessageOrdering::Concurrent => RouteOrdering::Concurrent,
    }
}

/// Returns the quotas of the profile with the configured rates.
fn effective_quotas(profile: QuotaProfile, throttle: &config::ThrottleConfig) -> Quotas {
    let quotas = match profile {
        QuotaProfile::Aws => Quotas::aws_profile(),
        QuotaProfile::Open => Quotas::open_profile(),
    };
    Quotas {
        request_rate: throttle.requests.or_profile_rate(quotas.request_rate),
        connect_rate: throttle.connections.or_profile_rate(quotas.connect_rate),
        ..quotas
    }
}

/// Returns the budgets of the connections for actions of the messaging application.
fn action_budgets(config: &Config, delivery: &ChannelDelivery) -> Arc<ActionBudgets> {
    let limits = ActionLimits {
        connection: config.throttle.actions.or_profile_rate(None),
        user: config.throttle.user_actions.or_profile_rate(None),
    };
    Arc::new(ActionBudgets::new(delivery.clone(), limits))
}

/// Returns the access control: the API's rate limits, and the configured client keys and signing callers.
fn access_control(api: &WebSocketApi, config: &Config) -> AccessControl {
    let keys = ClientKeys::new(config.api.keys.clone());
    let rates = &config.throttle;
    AccessControl {
        throttle: Arc::new(
            RequestThrottle::new(api).with_connection_rate(rates.connection_messages.or_profile_rate(None)),
        ),
        rejections: Arc::new(AddressBudgets::new(rates.address_rejections.or_profile_rate(None))),
        keys,
        credentials: config.iam.clone(),
    }
}

fn token_settings(
    config: &Config,
    secret: Option<&SigningSecret>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<TokenSettings> {
    let auth = &config.auth;
    let mut keys = KeySet::default();
    for secret in secret.map(|signing| &signing.secret).into_iter().chain(&auth.previous_secrets) {
        keys = keys.with_secret(secret.expose().as_bytes()).context("invalid signing secret")?;
    }
    let mut source: Option<Arc<dyn KeySource>> = None;
    match &auth.jwks {
        None => {}
        Some(JwksSource::Document(text)) => {
            keys = keys.merge(KeySet::from_jwks(text).context("invalid JWKS document")?);
            if let Some(skipped) = keys.describe_skipped_keys() {
                tracing::warn!(jwks.skipped = skipped, "keys of auth.jwks skipped");
            }
        }
        Some(JwksSource::Url(url)) => {
            let address = url.parse().context("invalid JWKS URL")?;
            let settings = fetch_settings(&auth.fetch)?;
            let provider = HttpJwks::with_settings(address, settings, clock.clone());
            source = Some(Arc::new(provider.context("JWKS URL rejected")?));
        }
    }
    Ok(TokenSettings {
        source,
        issuers: auth.issuers.clone(),
        audiences: auth.audiences.clone(),
        claims: auth.claims.clone(),
        leeway: auth.leeway,
        max_lifetime: Some(auth.max_lifetime),
        ..TokenSettings::new(keys)
    })
}

fn fetch_settings(config: &config::KeyFetchConfig) -> anyhow::Result<FetchSettings> {
    let proxy = config.proxy.as_ref().map(|address| ProxySettings {
        address: address.expose().to_owned(),
        exceptions: config.proxy_exceptions.clone(),
    });
    let tls = config.tls.load().context("auth.ca_file, auth.client_cert_file or auth.client_key_file")?;
    Ok(FetchSettings { tls, server_name: config.server_name.clone(), proxy })
}

fn api_keys(config: &Config) -> anyhow::Result<ApiKeys> {
    config.auth.api_keys.iter().try_fold(ApiKeys::default(), |keys, entry| {
        keys.with_key(entry.key.expose(), entry.tenant.clone(), entry.name.clone())
            .with_context(|| format!("API key '{}' rejected", entry.name))
    })
}
