//! Assembly of an API whose functions are Lambda executables: those of a template, or the five of `functions.*`.
//!
//! The functions deliver messages themselves through `@connections`, as on AWS. There is no messaging application, no
//! delivery, no message log and no connection store.

use std::sync::Arc;

use anyhow::Context as _;
use gateway::api::{ApiDefinition, WebSocketApi};
use handlers::ports::Clock;
use runtime_api::FunctionUser;
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use super::application_plan::plan_application;
use super::endpoint_files::EndpointFiles;
use super::function_endpoint::{FunctionEndpoint, server_config};
use super::function_environment::FunctionEnvironment;
use super::function_plan::{FunctionPlan, StartedFunctions};
use super::shorthand_plan::plan_shorthand;
use super::{SINGLE_NODE, ServerAssembly, access_control};
use crate::access::AccessControl;
use crate::config::{Config, ConfigError};
use crate::connection::{ConnectionIds, ConnectionLifecycle, RemoteConnections};
use crate::embedded::SigningSecret;
use crate::functions::{ApiIntegration, CodeWatch};
use crate::metrics::ShimMetrics;
use crate::running::Background;
use crate::server::endpoint_proxy::EndpointProxy;
use crate::server::http_api::route_table::RouteTable;
use crate::server::http_api::{HttpApi, LambdaApi};
use crate::server::listener::BoxedRoutes;
use crate::server::management::CallerCheck;
use crate::server::{ApiServer, ApiServerParts, traffic_routes};

/// Components that differ between one process and a cluster of pods.
pub(super) struct FunctionAdapters {
    pub lifecycle: ConnectionLifecycle,
    /// Access to the connections of other pods; `None` outside a cluster.
    pub remote: Option<Arc<dyn RemoteConnections>>,
    pub metrics: ShimMetrics,
    pub node_id: u16,
}

/// A validated API with the plan of its functions, of which none has started.
pub(super) struct PreparedFunctions {
    plan: FunctionPlan,
    api: WebSocketApi,
}

/// Assembles the server of an API whose functions are Lambda executables, in a single process. Must be called within a
/// tokio runtime.
///
/// # Errors
/// A user that functions cannot have, a program that cannot be started, or an invalid API definition. The text is meant
/// for the operator.
pub async fn assemble_lambda(config: &Config) -> anyhow::Result<ServerAssembly> {
    let adapters = FunctionAdapters {
        lifecycle: ConnectionLifecycle::plain(TaskTracker::new()),
        remote: None,
        metrics: ShimMetrics::new(),
        node_id: SINGLE_NODE,
    };
    assemble_prepared(config, prepare_functions(config).await?, adapters)
}

/// Validates the API and finds the programs of its functions, which may take seconds: archives are extracted, and the
/// versions of interpreters are read.
pub(super) async fn prepare_functions(config: &Config) -> anyhow::Result<PreparedFunctions> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || plan_functions(&config)).await.context("planning the functions failed")?
}

fn plan_functions(config: &Config) -> anyhow::Result<PreparedFunctions> {
    check_function_user(config.functions.user)?;
    let plan = match &config.application {
        Some(application) => plan_application(config, application)?,
        None => plan_shorthand(config)?,
    };
    let api = build_api(plan.api.clone())?;
    Ok(PreparedFunctions { plan, api })
}

/// Starts the functions and assembles their server.
pub(super) fn assemble_prepared(
    config: &Config,
    PreparedFunctions { plan, api }: PreparedFunctions,
    adapters: FunctionAdapters,
) -> anyhow::Result<ServerAssembly> {
    let FunctionEnvironment { variables, credentials } = FunctionEnvironment::from_config(config)?;
    let endpoint = FunctionEndpoint::open(config)?;
    let StartedFunctions { functions, http_routes, directories } = plan.start(config, &variables, endpoint.as_ref())?;
    let code_watch = config.functions.watches_code.then(|| CodeWatch::start(directories)).transpose();
    let code_watch = code_watch.context("watching the code of the functions failed")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let http_api = (!http_routes.is_empty()).then(|| {
        Arc::new(HttpApi::Lambda(LambdaApi {
            routes: RouteTable::new(http_routes),
            owns_all_paths: plan.owns_all_paths,
            clock: clock.clone(),
            account_id: config.api.account_id.clone(),
            api_id: config.api.id.clone(),
        }))
    });
    let FunctionAdapters { lifecycle, remote, metrics, node_id } = adapters;
    let parts = ApiServerParts {
        access: AccessControl { credentials, ..access_control(&api, config) },
        integration: ApiIntegration { api: Arc::new(api), functions: Arc::new(functions.clone()), clock },
        ids: ConnectionIds::with_random_seed(node_id)
            .context("reading random bytes from the operating system failed")?,
        lifecycle,
        remote,
        metrics,
    };
    let server = ApiServer::new(parts, &server_config(config), &config.session);
    let (endpoint_proxy, endpoint_files) = serve_endpoint(endpoint, &server, http_api.as_ref());
    Ok(ServerAssembly {
        server,
        http_api,
        // The server verifies no tokens here, but its authorizer function may, with the configured secret.
        signing_secret: config.auth.secret.clone().map(|secret| SigningSecret { secret, is_new: false }),
        data_dir_lock: None,
        lambda_functions: Some(functions),
        endpoint_files,
        code_watch,
        background: Background { endpoint_proxy, ..Background::default() },
    })
}

/// Returns the endpoint proxy with its routes, and the files of function processes.
fn serve_endpoint(
    endpoint: Option<FunctionEndpoint>,
    server: &ApiServer,
    http_api: Option<&Arc<HttpApi>>,
) -> (Option<(EndpointProxy, BoxedRoutes)>, Option<EndpointFiles>) {
    let Some(FunctionEndpoint { proxy, variables }) = endpoint else { return (None, None) };
    let routes = traffic_routes(server, CallerCheck::FunctionSignature, http_api.cloned());
    (Some((proxy, routes)), Some(variables.files))
}

/// Validates the definition. Its errors are the operator's to correct.
fn build_api(definition: ApiDefinition) -> Result<WebSocketApi, ConfigError> {
    WebSocketApi::new(definition).map_err(|error| ConfigError {
        errors: error.0.iter().map(|error| format!("invalid API definition: {error}")).collect(),
    })
}

/// Checks that this process may run functions as the configured user.
fn check_function_user(user: Option<FunctionUser>) -> Result<(), ConfigError> {
    if user.is_none() || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let error = "functions.user is set, but only a server that runs as root can change the user of its functions; run it \
                 as root, or unset functions.user and run it as the user of the functions";
    Err(ConfigError { errors: vec![error.to_owned()] })
}
