//! Plan of a server whose functions are Lambda executables: the API, the program and the limits of each function, and the
//! HTTP routes. Two sources build plans: a template, and the five names of `functions.*`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gateway::api::{ApiDefinition, aws_partition};
use gateway::route::RouteIntegration;
use runtime_api::{FunctionDefinition, FunctionLimits, LambdaFunction, Program};
use system_clock::current_time;

use super::function_endpoint::FunctionEndpoint;
use crate::config::Config;
use crate::functions::{LambdaFunctions, WatchedDirectory, WatchedFunction};
use crate::server::http_api::route_table::{HttpRoute, PayloadFormat};

/// A function before its start.
pub(super) struct PlannedFunction {
    /// `AWS_LAMBDA_FUNCTION_NAME`.
    pub name: String,
    pub program: Program,
    /// Directory of the code, for development.
    pub code_directory: PathBuf,
    /// Variables of this function; they override those of all functions, except the configured ones.
    pub environment: BTreeMap<String, String>,
    pub timeout: Duration,
    pub memory_mib: u32,
    pub max_processes: usize,
}

/// An HTTP route before its function has started.
pub(super) struct PlannedHttpRoute {
    pub stage: String,
    /// HTTP method, or `ANY`.
    pub method: String,
    pub path: String,
    pub payload: PayloadFormat,
    /// Id of the function.
    pub function: String,
    /// Route key of events, where it differs from method and path.
    pub key: Option<&'static str>,
}

/// Plan of a server. Functions are referred to by their ids.
pub(super) struct FunctionPlan {
    pub api: ApiDefinition,
    /// Function of the authorizer.
    pub authorizer: Option<String>,
    pub functions: BTreeMap<String, PlannedFunction>,
    pub http_routes: Vec<PlannedHttpRoute>,
    /// Whether an HTTP API has the whole path space.
    pub owns_all_paths: bool,
}

/// Started functions and the routes of their HTTP APIs.
pub(super) struct StartedFunctions {
    pub functions: LambdaFunctions,
    pub http_routes: Vec<HttpRoute>,
    /// Directories of the functions' code.
    pub directories: Vec<WatchedDirectory>,
}

impl FunctionPlan {
    /// Starts the functions with the `variables` of all functions.
    ///
    /// # Errors
    /// A route refers to a function that the plan does not have.
    pub(super) fn start(
        &self,
        config: &Config,
        variables: &BTreeMap<String, String>,
        endpoint: Option<&FunctionEndpoint>,
    ) -> anyhow::Result<StartedFunctions> {
        let started: BTreeMap<&str, Arc<LambdaFunction>> = self
            .functions
            .iter()
            .map(|(id, function)| (id.as_str(), Arc::new(start_function(config, function, variables, endpoint))))
            .collect();
        let find = |id: &str| started.get(id).cloned().with_context(|| format!("function '{id}' is not defined"));
        let mut functions = LambdaFunctions::default();
        for route in &self.api.routes {
            let RouteIntegration::Lambda { function, .. } = &route.integration;
            functions = functions.with_route(&route.key, find(function)?);
        }
        if let Some(authorizer) = &self.authorizer {
            functions = functions.with_authorizer(find(authorizer)?);
        }
        let mut http_routes = Vec::with_capacity(self.http_routes.len());
        for route in &self.http_routes {
            let function = find(&route.function)?;
            functions = functions.with_function(function.clone());
            let started = HttpRoute::new(&route.stage, &route.method, &route.path, route.payload, function);
            http_routes.push(match route.key {
                Some(key) => started.with_key(key),
                None => started,
            });
        }
        Ok(StartedFunctions { functions, http_routes, directories: self.code_directories(&started) })
    }
}

impl FunctionPlan {
    /// Returns the directories of the functions' code, each once.
    fn code_directories(&self, started: &BTreeMap<&str, Arc<LambdaFunction>>) -> Vec<WatchedDirectory> {
        let mut directories: BTreeMap<PathBuf, Vec<WatchedFunction>> = BTreeMap::new();
        for (id, function) in &self.functions {
            if let Some(started) = started.get(id.as_str()) {
                let watched = WatchedFunction { function: started.clone(), program: function.program.clone() };
                directories.entry(function.code_directory.clone()).or_default().push(watched);
            }
        }
        directories.into_iter().map(|(path, functions)| WatchedDirectory { path, functions }).collect()
    }
}

fn start_function(
    config: &Config,
    function: &PlannedFunction,
    variables: &BTreeMap<String, String>,
    endpoint: Option<&FunctionEndpoint>,
) -> LambdaFunction {
    let settings = &config.functions;
    tracing::info!(
        function.name = function.name,
        function.program = %function.program.executable().display(),
        "Lambda function configured"
    );
    let mut environment = function_variables(config, function, variables);
    if let Some(endpoint) = endpoint {
        endpoint.variables.apply(&mut environment, function.program.executable());
    }
    let definition = FunctionDefinition {
        name: function.name.clone(),
        program: function.program.clone(),
        partition: aws_partition(&config.api.region).to_owned(),
        region: config.api.region.clone(),
        account_id: config.api.account_id.clone(),
        memory_mib: function.memory_mib,
        availability_zone_id: None,
        environment,
        library_path: settings.library_path.clone(),
        user: settings.user,
        supervisor: settings.supervisor.clone(),
        limits: FunctionLimits {
            timeout: function.timeout,
            init_timeout: settings.init_timeout,
            idle_timeout: settings.idle_timeout,
            min_processes: settings.min_processes.min(function.max_processes),
            max_processes: function.max_processes,
            concurrency: settings.concurrency,
            queue_capacity: settings.queue_capacity,
        },
    };
    let clock = Arc::new(|| u64::try_from(current_time().0).unwrap_or(0));
    LambdaFunction::start(definition, clock)
}

/// Returns the variables of a function: those of all functions, its own, and the configured ones, of which later ones
/// override earlier ones.
fn function_variables(
    config: &Config,
    function: &PlannedFunction,
    variables: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut merged = variables.clone();
    if function.environment.contains_key("AWS_ACCESS_KEY_ID") {
        // The session token of other credentials would invalidate the function's own.
        merged.remove("AWS_SESSION_TOKEN");
    }
    merged.extend(function.environment.clone());
    merged.extend(config.functions.environment.0.clone());
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FunctionVariables;

    #[test]
    fn configured_variables_override_those_of_the_function() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let mut config = Config::for_tests();
        config.functions.environment = FunctionVariables(map(&[("TABLE", "operator")]));
        let function = PlannedFunction {
            name: "f".to_owned(),
            program: Program::from_command(&["true".to_owned()], std::path::Path::new("/"), "/usr/bin:/bin").unwrap(),
            code_directory: PathBuf::from("/"),
            environment: map(&[("TABLE", "template"), ("OWN", "1"), ("AWS_ACCESS_KEY_ID", "own")]),
            timeout: Duration::from_secs(1),
            memory_mib: 128,
            max_processes: 1,
        };
        let all = map(&[("AWS_ACCESS_KEY_ID", "server"), ("AWS_SESSION_TOKEN", "server"), ("HOME", "/")]);
        let expected = map(&[("AWS_ACCESS_KEY_ID", "own"), ("HOME", "/"), ("OWN", "1"), ("TABLE", "operator")]);
        assert_eq!(function_variables(&config, &function, &all), expected);
    }
}
