//! Plan of an application that a template describes: its routes select their functions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use gateway::api::{ApiDefinition, ApiKeySource, AuthorizationType, RouteDefinition};
use gateway::quotas::RateLimit;
use gateway::route::{RouteIntegration, RouteKey, RouteResponse};
use runtime_api::{FunctionCode, FunctionSpec, ManagedSettings, Program, default_cache_directory, resolve_program};
use templates::{
    Application, Authorization, CodeLocation, FunctionResource, HttpApiResource, HttpPayload, Integration,
    RouteResource, Throttle, WebSocketApiResource,
};

use super::function_plan::{FunctionPlan, PlannedFunction, PlannedHttpRoute};
use super::{base_definition, route_ordering};
use crate::config::{Config, ConfigError};
use crate::server::http_api::route_table::{DEFAULT_STAGE, PayloadFormat};

/// API key selection expression that reads the key from the authorizer's response.
const AUTHORIZER_KEY: &str = "$context.authorizer.usageIdentifierKey";

/// Returns the plan of `application`. Only functions that a route or an authorizer invokes are started.
///
/// # Errors
/// An integration that is not supported, or a function whose program cannot be executed.
pub(super) fn plan_application(config: &Config, application: &Application) -> anyhow::Result<FunctionPlan> {
    let mut api = base_definition(&config.api, &config.throttle);
    let mut authorizer = None;
    if let Some(resource) = &application.websocket_api {
        authorizer = apply_api(&mut api, resource, config)?;
    }
    let http_routes: Vec<_> = application.http_apis.iter().flat_map(http_routes).collect();
    let invoked = api.routes.iter().map(|route| route.integration.target_name());
    let invoked = invoked.chain(authorizer.as_deref()).chain(http_routes.iter().map(|route| route.function.as_str()));
    let mut functions = BTreeMap::new();
    for id in invoked {
        if !functions.contains_key(id) {
            let resource = application.functions.get(id).with_context(|| format!("function '{id}' is not defined"))?;
            functions.insert(id.to_owned(), plan_function(config, id, resource)?);
        }
    }
    let owns_all_paths = application.http_apis.iter().any(|api| api.stage == DEFAULT_STAGE);
    Ok(FunctionPlan { api, authorizer, functions, http_routes, owns_all_paths })
}

/// Applies a WebSocket API to the definition; returns the id of the authorizer's function.
fn apply_api(
    api: &mut ApiDefinition,
    resource: &WebSocketApiResource,
    config: &Config,
) -> Result<Option<String>, ConfigError> {
    api.routes = resource.routes.iter().map(|route| route_definition(route, config)).collect::<Result<_, _>>()?;
    api.selection.clone_from(&resource.route_selection_expression);
    let own_variables = std::mem::take(&mut api.stage_variables);
    api.stage_variables = resource.stage.variables.clone();
    api.stage_variables.extend(own_variables);
    let settings = &mut api.settings;
    settings.base_paths.extend(resource.base_paths.iter().cloned());
    settings.default_rate = resource.stage.default_throttle.map(rate_limit);
    for (key, throttle) in &resource.stage.route_throttles {
        settings.rates.entry(key.clone()).or_insert_with(|| rate_limit(*throttle));
    }
    if resource.api_key_selection_expression.as_deref() == Some(AUTHORIZER_KEY) {
        settings.key_source = ApiKeySource::Authorizer;
    }
    for route in &resource.routes {
        if let Some(model) = &route.request_model {
            settings.models.insert(route.key.clone(), model.clone());
        }
    }
    let connect = resource.routes.iter().find(|route| route.key == RouteKey::CONNECT);
    Ok(connect.and_then(|connect| apply_connect(api, connect)))
}

/// Applies the access control of `$connect`; returns the id of the authorizer's function.
fn apply_connect(api: &mut ApiDefinition, connect: &RouteResource) -> Option<String> {
    api.api_key_required |= connect.api_key_required;
    api.settings.required_parameters = connect.required_parameters.iter().map(|name| single_value_name(name)).collect();
    match &connect.authorization {
        Authorization::None => None,
        Authorization::Iam => {
            api.settings.authorization = AuthorizationType::Iam;
            None
        }
        Authorization::Custom { function, identity_sources } => {
            api.authorizer = Some(identity_sources.clone());
            Some(function.clone())
        }
    }
}

/// Returns the name of a required parameter; all values of a repeated one are the same parameter.
fn single_value_name(parameter: &str) -> String {
    parameter.replacen(".multivalueheader.", ".header.", 1).replacen(".multivaluequerystring.", ".querystring.", 1)
}

fn route_definition(route: &RouteResource, config: &Config) -> Result<RouteDefinition, ConfigError> {
    Ok(RouteDefinition {
        key: route.key.clone(),
        integration: route_integration(route)?,
        response: if route.two_way { RouteResponse::TwoWay } else { RouteResponse::OneWay },
        ordering: route_ordering(&config.api),
    })
}

fn route_integration(route: &RouteResource) -> Result<RouteIntegration, ConfigError> {
    let kind = match &route.integration {
        Integration::Lambda { function, timeout } => {
            return Ok(RouteIntegration::Lambda { function: function.clone(), timeout: Some(*timeout) });
        }
        Integration::HttpProxy { .. } => "HTTP_PROXY",
        Integration::Mock { .. } => "MOCK",
        _ => "of an unknown type",
    };
    let error = format!(
        "route {:?} (line {}): integrations {kind} are not supported; use a Lambda function (AWS_PROXY)",
        route.key, route.location.line
    );
    Err(ConfigError { errors: vec![error] })
}

/// Returns the limit of a throttle. Fractions of a request per second are rounded up.
fn rate_limit(throttle: Throttle) -> RateLimit {
    // The cast saturates.
    let per_second = throttle.rate.ceil() as u32;
    RateLimit { per_second, burst: throttle.burst }
}

fn http_routes(api: &HttpApiResource) -> impl Iterator<Item = PlannedHttpRoute> {
    api.routes.iter().map(|route| PlannedHttpRoute {
        stage: api.stage.clone(),
        method: route.method.clone(),
        path: route.path.clone(),
        payload: match route.payload {
            HttpPayload::V1 => PayloadFormat::V1,
            HttpPayload::V2 => PayloadFormat::V2,
        },
        function: route.function.clone(),
        key: None,
    })
}

fn plan_function(config: &Config, id: &str, resource: &FunctionResource) -> anyhow::Result<PlannedFunction> {
    let program = function_program(config, resource).with_context(|| format!("starting function '{id}' failed"))?;
    let default = config.functions.max_processes;
    Ok(PlannedFunction {
        name: resource.name.clone(),
        code_directory: code_directory(resource, &program),
        program,
        environment: resource.environment.clone(),
        timeout: resource.timeout.max(Duration::from_millis(1)),
        memory_mib: resource.memory_mib,
        max_processes: resource.reserved_concurrency.unwrap_or(default).max(1),
    })
}

/// Returns the program of a function: its command line, or that of its runtime.
fn function_program(config: &Config, resource: &FunctionResource) -> anyhow::Result<Program> {
    let path = resource.environment.get("PATH").map_or_else(|| config.functions.search_path(), String::as_str);
    let code = match &resource.code {
        CodeLocation::Command { line, directory } => {
            let program = Program::from_command(line, directory, path)?;
            return Ok(if resource.handler.is_empty() { program } else { program.with_handler(&resource.handler) });
        }
        CodeLocation::Missing { path, remedy } => {
            let text = format!("function {}: {} does not exist; run '{remedy}'", resource.name, path.display());
            return Err(ConfigError { errors: vec![text] }.into());
        }
        CodeLocation::Directory(path) => FunctionCode::Directory(path.clone()),
        CodeLocation::Archive(path) => FunctionCode::Archive(path.clone()),
        CodeLocation::Inline(text) => FunctionCode::Inline(text.clone()),
    };
    let spec = FunctionSpec {
        runtime: resource.runtime.clone(),
        handler: resource.handler.clone(),
        code,
        layers: resource.layers.clone(),
        environment: resource.environment.clone(),
    };
    let settings = ManagedSettings {
        cache_directory: default_cache_directory(),
        search_path: path.to_owned(),
        user: config.functions.user,
    };
    let resolved = resolve_program(&spec, &settings)?;
    for warning in &resolved.warnings {
        tracing::warn!(function.name = resource.name, warning, "function differs from Lambda");
    }
    Ok(resolved.program)
}

/// Returns the directory whose changes concern the function.
fn code_directory(resource: &FunctionResource, program: &Program) -> PathBuf {
    match &resource.code {
        CodeLocation::Directory(path) => path.clone(),
        _ => program.task_root().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gateway::api::WebSocketApi;
    use gateway::route::RouteOrdering;
    use templates::read_routes_file;

    use super::*;
    use crate::config::MessageOrdering;

    const TEXT: &str = r#"
        [api]
        stage = "live"
        selection = "$request.body.type"
        stage_variables = { table = "a", shared = "template" }
        base_paths = ["v1"]
        throttle = { rate = 0.5, burst = 2 }
        [authorizer]
        function = "auth"
        identity_sources = ["route.request.header.Authorization"]
        [routes]
        "$connect" = { function = "chat", required_parameters = ["querystring.room"] }
        "$default" = "chat"
        send = { function = "chat", two_way = true, timeout = "2s", throttle = { rate = 3, burst = 4 } }
        [http_routes]
        "GET /rooms/{id}" = "rooms"
        [functions.auth]
        command = ["true"]
        [functions.chat]
        command = ["true", "chat.handler"]
        concurrency = 3
        [functions.rooms]
        command = ["true"]
        [functions.unused]
        command = ["no-such-program"]
    "#;

    fn plan(change: impl FnOnce(&mut Config)) -> anyhow::Result<FunctionPlan> {
        let mut config = Config::for_tests();
        config.api.stage_variables.insert("shared".to_owned(), "configured".to_owned());
        config.set_application(read_routes_file(Path::new("/tmp/twinway.routes.toml"), TEXT)?)?;
        change(&mut config);
        let application = config.application.clone().context("the application is set")?;
        plan_application(&config, &application)
    }

    #[test]
    fn a_template_becomes_a_valid_api() {
        let plan = plan(|config| config.api.ordering = MessageOrdering::Concurrent).unwrap();
        assert_eq!((plan.authorizer.as_deref(), plan.api.stage.as_str()), (Some("auth"), "live"));
        assert_eq!(plan.api.stage_variables["shared"], "configured");
        let api = WebSocketApi::new(plan.api).unwrap();
        let send = api.route_for(r#"{"type":"send"}"#).unwrap();
        assert_eq!((send.response, send.ordering), (RouteResponse::TwoWay, RouteOrdering::Concurrent));
        assert_eq!(send.timeout, Duration::from_secs(2));
        assert_eq!(send.rate, Some(RateLimit { per_second: 3, burst: 4 }));
        let fallback = api.route_for("hello").unwrap();
        assert_eq!((fallback.response, fallback.rate.map(|rate| rate.per_second)), (RouteResponse::OneWay, Some(1)));
        assert!(api.match_path("/v1").is_some() && api.required_parameters.len() == 1);
    }

    #[test]
    fn only_invoked_functions_are_planned() {
        let plan = plan(|_| {}).unwrap();
        assert_eq!(plan.functions.keys().collect::<Vec<_>>(), ["auth", "chat", "rooms"]);
        assert_eq!(plan.functions["chat"].max_processes, 3);
        assert!(plan.owns_all_paths && plan.http_routes.len() == 1);
    }

    #[test]
    fn a_configured_stage_overrides_that_of_the_template() {
        let mut config = Config::for_tests();
        (config.api.is_stage_set, config.api.stage) = (true, "mine".to_owned());
        config.set_application(read_routes_file(Path::new("/tmp/a.toml"), TEXT).unwrap()).unwrap();
        assert_eq!(config.api.stage, "mine");
    }
}
