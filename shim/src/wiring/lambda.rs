//! Lambda executables behind an API server: which program answers what, and what its processes see.
//!
//! Delivery is theirs: they post through `@connections`, as on AWS. So there is no application, no delivery, no log
//! and no store here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use gateway::api::{Api, ApiDefinition};
use gateway::route::{RouteKey, RouteResponse};
use handlers::ports::Clock;
use runtime_api::{Definition, Function, Limits, Program};
use system_clock::{SystemClock, current_time};
use tokio_util::task::TaskTracker;

use super::{SINGLE_NODE, Wired, access, definition};
use crate::config::{Config, FunctionsConfig, Management, MessageResponse};
use crate::connection::{ConnectionIds, ConnectionLifecycle};
use crate::embedded::SigningSecret;
use crate::functions::{ApiIntegration, Lambda};
use crate::metrics::Metrics;
use crate::running::Background;
use crate::server::http_api::{HttpApi, LambdaApi};
use crate::server::{ApiServer, ApiServerParts};

/// The variable that AWS SDKs take the address of `@connections` from, unless the code names one.
const MANAGEMENT_ENDPOINT: &str = "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI";

/// Wires an API whose functions are Lambda executables. It must be called within a tokio runtime.
///
/// # Errors
/// Which function cannot be run and why, in words for the operator.
pub fn lambda(config: &Config) -> anyhow::Result<Wired> {
    let functions = functions(config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let api = adapted(definition(&config.api, &config.throttle), &functions, config.functions.message_response);
    let http_api = functions.api.clone().map(|function| {
        let (account_id, api_id) = (config.api.account_id.clone(), config.api.id.clone());
        Arc::new(HttpApi::Lambda(LambdaApi { function, clock: clock.clone(), account_id, api_id }))
    });
    let api = Api::new(api).context("the API's definition is not valid")?;
    let parts = ApiServerParts {
        access: access(&api, config),
        integration: ApiIntegration { api: Arc::new(api), functions: Arc::new(functions.clone()), clock },
        ids: ConnectionIds::random(SINGLE_NODE).context("the system's random source does not answer")?,
        lifecycle: ConnectionLifecycle::plain(TaskTracker::new()),
        remote: None,
        metrics: Metrics::new(),
    };
    let server = ApiServer::new(parts, &config.server, &config.session);
    // Nothing here verifies a token; but whoever configured a secret for the functions wants tokens of it.
    let secret = config.auth.secret.clone().map(|secret| SigningSecret { secret, new: false });
    let (functions, background) = (Some(functions), Background::default());
    Ok(Wired { server, http_api, secret, data_dir: None, functions, background })
}

/// Only what has a function is part of the API.
fn adapted(mut api: ApiDefinition, functions: &Lambda, message_response: MessageResponse) -> ApiDefinition {
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

fn functions(config: &Config) -> anyhow::Result<Lambda> {
    let functions = Lambda {
        authorizer: function(config, "authorizer")?,
        connect: function(config, "connect")?,
        message: function(config, "message")?,
        disconnect: function(config, "disconnect")?,
        api: function(config, "api")?,
    };
    ensure!(
        functions.message.is_some(),
        "there is no function 'message': functions.directory needs a sub-directory of that name with a 'bootstrap', or \
         functions.message a command line"
    );
    Ok(functions)
}

fn function(config: &Config, name: &'static str) -> anyhow::Result<Option<Arc<Function>>> {
    let settings = &config.functions;
    let Some(program) = program(settings, name).with_context(|| format!("the function '{name}' cannot be run"))? else {
        return Ok(None);
    };
    let program = match settings.handlers.get(name) {
        Some(handler) => program.with_handler(handler),
        None => program,
    };
    tracing::info!(function.name = name, function.program = %program.executable().display(), "a Lambda function answers");
    let definition = Definition {
        name: format!("{}-{name}", config.api.id),
        program,
        region: config.api.region.clone(),
        account_id: config.api.account_id.clone(),
        memory_mib: settings.memory_mib,
        environment: environment(config),
        limits: limits(settings),
    };
    let clock = Arc::new(|| u64::try_from(current_time().0).unwrap_or(0));
    Ok(Some(Arc::new(Function::start(definition, clock))))
}

/// The program that the configuration names: a command line before a sub-directory.
fn program(settings: &FunctionsConfig, name: &str) -> anyhow::Result<Option<Program>> {
    let own = settings.directory.as_ref().map(|directory| directory.join(name)).filter(|own| own.is_dir());
    let Some(line) = settings.commands.get(name) else {
        return Ok(own.as_deref().map(Program::bootstrap).transpose()?);
    };
    if let [path] = line.as_slice()
        && Path::new(path).exists()
    {
        return Ok(Some(Program::bootstrap(Path::new(path))?));
    }
    let root = own.or_else(|| settings.directory.clone()).unwrap_or_else(|| PathBuf::from("."));
    let path = settings.inherited.0.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    Ok(Some(Program::command(line, &root, path)?))
}

/// What the operator set, over what is passed on from this process's environment.
fn environment(config: &Config) -> BTreeMap<String, String> {
    let mut variables = config.functions.inherited.0.clone();
    let listen = config.server.listen;
    if config.server.management != Management::Off && listen.port() != 0 {
        let host = if listen.ip().is_unspecified() { "127.0.0.1".to_owned() } else { listen.ip().to_string() };
        let address = format!("http://{host}:{}/{}", listen.port(), config.api.stage);
        variables.entry(MANAGEMENT_ENDPOINT.to_owned()).or_insert(address);
    }
    variables.extend(config.functions.environment.0.clone());
    variables
}

const fn limits(settings: &FunctionsConfig) -> Limits {
    Limits {
        timeout: settings.timeout,
        init_timeout: settings.init_timeout,
        idle_timeout: settings.idle_timeout,
        min_processes: settings.min_processes,
        max_processes: settings.max_processes,
        concurrency: settings.concurrency,
        queue: settings.queue,
    }
}
