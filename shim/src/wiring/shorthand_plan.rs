//! Plan of the five functions of `functions.*`: authorizer, `$connect`, `$default`, `$disconnect`, and the HTTP API under
//! `/v1`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gateway::api::{ApiDefinition, RouteDefinition};
use gateway::route::{RouteKey, RouteResponse};
use runtime_api::Program;

use super::function_plan::{FunctionPlan, PlannedFunction, PlannedHttpRoute};
use super::{base_definition, route_ordering};
use crate::config::{Config, FunctionsConfig, MessageResponse};
use crate::server::http_api::route_table::{DEFAULT_STAGE, PayloadFormat};

/// Functions of routes, by name.
const ROUTES: [(&str, &str); 3] =
    [(RouteKey::CONNECT, "connect"), (RouteKey::DISCONNECT, "disconnect"), (RouteKey::DEFAULT, "message")];
/// Paths of the HTTP API.
const HTTP_PATHS: [&str; 2] = ["/v1", "/v1/{proxy+}"];

/// Returns the plan of the configured functions. Routes and the authorizer without a function do not exist.
///
/// # Errors
/// A program that cannot be executed.
pub(super) fn plan_shorthand(config: &Config) -> anyhow::Result<FunctionPlan> {
    let mut functions = BTreeMap::new();
    for name in ["authorizer", "connect", "message", "disconnect", "api"] {
        if let Some(function) = plan_function(config, name)? {
            functions.insert(name.to_owned(), function);
        }
    }
    let mut api = base_definition(&config.api, &config.throttle);
    let defined = ROUTES.into_iter().filter(|(_, name)| functions.contains_key(*name));
    api.routes = defined.map(|(key, name)| route_definition(config, key, name)).collect();
    let authorizer = functions.contains_key("authorizer").then(|| "authorizer".to_owned());
    let api = ApiDefinition { authorizer: authorizer.as_ref().map(|_| Vec::new()), ..api };
    let http_routes = if functions.contains_key("api") { HTTP_PATHS.map(http_route).into() } else { Vec::new() };
    Ok(FunctionPlan { api, authorizer, functions, http_routes, owns_all_paths: false })
}

fn route_definition(config: &Config, key: &str, name: &str) -> RouteDefinition {
    let response = match config.functions.message_response {
        MessageResponse::TwoWay if key == RouteKey::DEFAULT => RouteResponse::TwoWay,
        MessageResponse::TwoWay | MessageResponse::OneWay => RouteResponse::OneWay,
    };
    RouteDefinition { response, ordering: route_ordering(&config.api), ..RouteDefinition::lambda(key, name) }
}

fn http_route(path: &str) -> PlannedHttpRoute {
    PlannedHttpRoute {
        stage: DEFAULT_STAGE.to_owned(),
        method: "ANY".to_owned(),
        path: path.to_owned(),
        payload: PayloadFormat::V2,
        function: "api".to_owned(),
        key: Some("$default"),
    }
}

fn plan_function(config: &Config, name: &'static str) -> anyhow::Result<Option<PlannedFunction>> {
    let settings = &config.functions;
    let found = find_program(settings, name).with_context(|| format!("starting function '{name}' failed"))?;
    Ok(found.map(|program| PlannedFunction {
        code_directory: program.task_root().to_owned(),
        name: format!("{}-{name}", config.api.id),
        program: match settings.handlers.get(name) {
            Some(handler) => program.with_handler(handler),
            None => program,
        },
        environment: BTreeMap::new(),
        timeout: settings.timeout,
        memory_mib: settings.memory_mib,
        max_processes: settings.max_processes,
    }))
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
