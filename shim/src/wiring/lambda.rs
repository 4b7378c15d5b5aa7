//! Assembly of an API whose functions are Lambda executables: their programs, environment and limits.
//!
//! The functions deliver messages themselves through `@connections`, as on AWS. There is no messaging application, no
//! delivery, no message log and no connection store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use gateway::api::{ApiDefinition, WebSocketApi, aws_partition};
use gateway::route::{RouteKey, RouteResponse};
use handlers::ports::Clock;
use runtime_api::{FunctionDefinition, FunctionLimits, FunctionUser, LambdaFunction, Program};
use system_clock::{SystemClock, current_time};
use tokio_util::task::TaskTracker;

use super::function_endpoint::{FunctionEndpoint, server_config};
use super::function_environment::FunctionEnvironment;
use super::{SINGLE_NODE, ServerAssembly, access_control, api_definition};
use crate::access::AccessControl;
use crate::config::{Config, ConfigError, FunctionsConfig, MessageResponse};
use crate::connection::{ConnectionIds, ConnectionLifecycle};
use crate::embedded::SigningSecret;
use crate::functions::{ApiIntegration, LambdaFunctions};
use crate::metrics::ShimMetrics;
use crate::running::Background;
use crate::server::http_api::{HttpApi, LambdaApi};
use crate::server::management::CallerCheck;
use crate::server::{ApiServer, ApiServerParts, traffic_routes};

/// Assembles the server of an API whose functions are Lambda executables. Must be called within a tokio runtime.
///
/// # Errors
/// A user that functions cannot have, a program that cannot be started, or an invalid API definition. The text is meant
/// for the operator.
pub fn assemble_lambda(config: &Config) -> anyhow::Result<ServerAssembly> {
    let FunctionEnvironment { variables, credentials } = FunctionEnvironment::from_config(config)?;
    let endpoint = FunctionEndpoint::open(config)?;
    let functions = start_functions(config, &variables, endpoint.as_ref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let api = restrict_to_functions(
        api_definition(&config.api, &config.throttle),
        &functions,
        config.functions.message_response,
    );
    let http_api = functions.http_api.clone().map(|function| {
        let (account_id, api_id) = (config.api.account_id.clone(), config.api.id.clone());
        Arc::new(HttpApi::Lambda(LambdaApi { function, clock: clock.clone(), account_id, api_id }))
    });
    let api = WebSocketApi::new(api).context("invalid API definition")?;
    let parts = ApiServerParts {
        access: AccessControl { credentials, ..access_control(&api, config) },
        integration: ApiIntegration { api: Arc::new(api), functions: Arc::new(functions.clone()), clock },
        ids: ConnectionIds::with_random_seed(SINGLE_NODE)
            .context("reading random bytes from the operating system failed")?,
        lifecycle: ConnectionLifecycle::plain(TaskTracker::new()),
        remote: None,
        metrics: ShimMetrics::new(),
    };
    let server = ApiServer::new(parts, &server_config(config), &config.session);
    let (endpoint_proxy, endpoint_files) = match endpoint {
        Some(endpoint) => {
            let routes = traffic_routes(&server, CallerCheck::FunctionSignature, http_api.clone());
            (Some((endpoint.proxy, routes)), Some(endpoint.variables.files))
        }
        None => (None, None),
    };
    let (functions, background) = (Some(functions), Background { endpoint_proxy, ..Background::default() });
    Ok(ServerAssembly {
        server,
        http_api,
        // The server verifies no tokens here, but its authorizer function may, with the configured secret.
        signing_secret: config.auth.secret.clone().map(|secret| SigningSecret { secret, is_new: false }),
        data_dir_lock: None,
        lambda_functions: functions,
        endpoint_files,
        background,
    })
}

/// Removes the authorizer and the lifecycle routes that have no function, and sets the response of `$default`.
fn restrict_to_functions(
    mut api: ApiDefinition,
    functions: &LambdaFunctions,
    message_response: MessageResponse,
) -> ApiDefinition {
    api.authorizer = functions.authorizer.as_ref().map(|_| Vec::new());
    api.routes.retain(|route| match route.key.as_str() {
        RouteKey::CONNECT => functions.connect.is_some(),
        RouteKey::DISCONNECT => functions.disconnect.is_some(),
        _ => true,
    });
    for route in api.routes.iter_mut().filter(|route| route.key == RouteKey::DEFAULT) {
        route.response = match message_response {
            MessageResponse::TwoWay => RouteResponse::TwoWay,
            MessageResponse::OneWay => RouteResponse::OneWay,
        };
    }
    api
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

fn start_functions(
    config: &Config,
    variables: &BTreeMap<String, String>,
    endpoint: Option<&FunctionEndpoint>,
) -> anyhow::Result<LambdaFunctions> {
    check_function_user(config.functions.user)?;
    Ok(LambdaFunctions {
        authorizer: start_function(config, "authorizer", variables, endpoint)?,
        connect: start_function(config, "connect", variables, endpoint)?,
        message: start_function(config, "message", variables, endpoint)?,
        disconnect: start_function(config, "disconnect", variables, endpoint)?,
        http_api: start_function(config, "api", variables, endpoint)?,
    })
}

fn start_function(
    config: &Config,
    name: &'static str,
    variables: &BTreeMap<String, String>,
    endpoint: Option<&FunctionEndpoint>,
) -> anyhow::Result<Option<Arc<LambdaFunction>>> {
    let settings = &config.functions;
    let Some(program) = find_program(settings, name).with_context(|| format!("starting function '{name}' failed"))?
    else {
        return Ok(None);
    };
    let program = match settings.handlers.get(name) {
        Some(handler) => program.with_handler(handler),
        None => program,
    };
    tracing::info!(function.name = name, function.program = %program.executable().display(), "Lambda function configured");
    let mut environment = variables.clone();
    if let Some(endpoint) = endpoint {
        endpoint.variables.apply(&mut environment, program.executable());
    }
    let definition = FunctionDefinition {
        name: format!("{}-{name}", config.api.id),
        program,
        partition: aws_partition(&config.api.region).to_owned(),
        region: config.api.region.clone(),
        account_id: config.api.account_id.clone(),
        memory_mib: settings.memory_mib,
        availability_zone_id: None,
        environment,
        library_path: settings.library_path.clone(),
        user: settings.user,
        supervisor: settings.supervisor.clone(),
        limits: function_limits(settings),
    };
    let clock = Arc::new(|| u64::try_from(current_time().0).unwrap_or(0));
    Ok(Some(Arc::new(LambdaFunction::start(definition, clock))))
}

/// Returns the configured program; a command line takes precedence over a subdirectory.
fn find_program(settings: &FunctionsConfig, name: &str) -> anyhow::Result<Option<Program>> {
    let search_path = settings.search_path();
    let own = settings.directory.as_ref().map(|directory| directory.join(name)).filter(|own| own.is_dir());
    let Some(line) = settings.commands.get(name) else {
        return Ok(own.map(|own| Program::from_bootstrap(&own, search_path)).transpose()?);
    };
    if let [path] = line.as_slice()
        && Path::new(path).exists()
    {
        return Ok(Some(Program::from_bootstrap(Path::new(path), search_path)?));
    }
    let root = own.or_else(|| settings.directory.clone()).unwrap_or_else(|| PathBuf::from("."));
    Ok(Some(Program::from_command(line, &root, search_path)?))
}

const fn function_limits(settings: &FunctionsConfig) -> FunctionLimits {
    FunctionLimits {
        timeout: settings.timeout,
        init_timeout: settings.init_timeout,
        idle_timeout: settings.idle_timeout,
        min_processes: settings.min_processes,
        max_processes: settings.max_processes,
        concurrency: settings.concurrency,
        queue_capacity: settings.queue_capacity,
    }
}
