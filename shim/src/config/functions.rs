//! Configuration of the handlers: the built-in messaging application, or Lambda executables.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use runtime_api::{DEFAULT_SEARCH_PATH, FunctionUser, SupervisorCommand, is_reserved_variable};

use super::VariableSource;

/// Names of the functions that an API can have, in the order of a connection's life cycle.
pub const FUNCTION_NAMES: [&str; 5] = ["authorizer", "connect", "message", "disconnect", "api"];

/// Environment variables that functions inherit, in addition to all `AWS_*` variables except those that Lambda sets.
const INHERITED_VARIABLES: [&str; 7] =
    ["HOME", "LANG", "NODE_EXTRA_CA_CERTS", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR"];

/// Handlers of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionSource {
    /// The messaging application of this process.
    Embedded,
    /// Lambda executables.
    Lambda,
}

/// Handling of the message function's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageResponse {
    /// Sent to the client, as by an API Gateway route with a route response.
    TwoWay,
    /// Discarded, as by a route without one; functions reply through `@connections`.
    OneWay,
}

/// Environment variables. `Debug` shows their names only, since values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FunctionVariables(pub BTreeMap<String, String>);

/// Source, processes and timeouts of the functions.
#[derive(Debug, Clone)]
pub struct FunctionsConfig {
    pub source: FunctionSource,
    /// Template of the application, `api.template`.
    pub template: Option<PathBuf>,
    /// Parameters of the template. `Debug` shows their names only.
    pub parameters: FunctionVariables,
    /// Directory with a subdirectory per function, each with a `bootstrap`.
    pub directory: Option<PathBuf>,
    /// Command lines by function; they override the directory.
    pub commands: BTreeMap<&'static str, Vec<String>>,
    /// `_HANDLER` by function.
    pub handlers: BTreeMap<String, String>,
    /// Configured variables of all functions.
    pub environment: FunctionVariables,
    /// Variables inherited from this process.
    pub inherited_environment: FunctionVariables,
    /// Variables of this process that a template may read with `${env:NAME}`: all but those of the server's own keys.
    pub template_environment: FunctionVariables,
    /// `LD_LIBRARY_PATH` of this process, which functions search after Lambda's directories.
    pub library_path: Option<String>,
    /// User of the processes; `None` for that of this process.
    pub user: Option<FunctionUser>,
    /// Whether functions reach their API under its own host names.
    pub endpoint_proxy: bool,
    /// Supervisor of the processes; set by the executable, not a key.
    pub supervisor: Option<SupervisorCommand>,
    /// Whether a change of a function's code replaces its processes; set by `twinway dev`, not a key.
    pub watches_code: bool,
    /// Handling of the response of the function `message`; routes of a template have their own.
    pub message_response: MessageResponse,
    /// Invocation timeout.
    pub timeout: Duration,
    /// Timeout from the start of a process until it requests its first event.
    pub init_timeout: Duration,
    /// Idle time after which a process is stopped.
    pub idle_timeout: Duration,
    /// Memory size reported to functions, in MiB; not enforced.
    pub memory_mib: u32,
    /// Minimum number of processes per function.
    pub min_processes: usize,
    /// Maximum number of processes per function.
    pub max_processes: usize,
    /// Maximum number of concurrent invocations per process.
    pub concurrency: usize,
    /// Maximum number of queued invocations per function while all its processes are busy.
    pub queue_capacity: usize,
}

impl FunctionsConfig {
    /// Returns whether a command line or a subdirectory is configured for the Lambda function `name`.
    #[must_use]
    pub fn has_lambda(&self, name: &str) -> bool {
        self.commands.contains_key(name)
            || self.directory.as_ref().is_some_and(|directory| directory.join(name).is_dir())
    }

    /// Returns the `PATH` of the functions.
    #[must_use]
    pub fn search_path(&self) -> &str {
        let path = self.environment.0.get("PATH").or_else(|| self.inherited_environment.0.get("PATH"));
        path.map_or(DEFAULT_SEARCH_PATH, String::as_str)
    }

    /// Checks that the route `$default` of Lambda functions has one. The text of the error is meant for the operator.
    pub(super) fn check_message_function(&self) -> Result<(), String> {
        if self.source == FunctionSource::Embedded || self.template.is_some() || self.has_lambda("message") {
            return Ok(());
        }
        let searched = match self.directory.as_deref() {
            Some(directory) if directory.is_dir() => format!(" in {}", directory.display()),
            Some(directory) => format!(": functions.directory ({}) is not a directory", directory.display()),
            None => String::new(),
        };
        Err(format!(
            "the function 'message' is missing{searched}: create a subdirectory 'message' with a 'bootstrap' in \
             functions.directory, or set functions.message to a command line"
        ))
    }

    /// Returns a warning if functions run as root with the user id of this process, or if there are none to run as
    /// another user.
    pub(super) fn user_warning(&self) -> Option<&'static str> {
        if self.source == FunctionSource::Embedded && self.user.is_some() {
            return Some(
                "functions.user is set but unused: the built-in messaging application runs in the server's process; run \
                 the server as that user, or configure functions",
            );
        }
        let as_root =
            self.source == FunctionSource::Lambda && self.user.is_none() && rustix::process::geteuid().is_root();
        as_root.then_some(
            "functions run as root, as the server does, so they can read the server's memory and files; set \
             functions.user to another user, such as 65534:65534, or run the server as another user",
        )
    }
}

/// Selects the variables that functions inherit.
pub(super) fn inherited_variables(variables: &dyn VariableSource) -> FunctionVariables {
    let inherited = |name: &String| {
        let is_lambdas_own = name.starts_with("AWS_LAMBDA_") || is_reserved_variable(name);
        INHERITED_VARIABLES.contains(&name.as_str()) || (name.starts_with("AWS_") && !is_lambdas_own)
    };
    let names = variables.variable_names().into_iter().filter(inherited);
    FunctionVariables(names.filter_map(|name| variables.read_variable(&name).map(|text| (name, text))).collect())
}

/// Selects the variables that a template may read. Those of the server's own keys can be secrets.
pub(super) fn template_variables(variables: &dyn VariableSource) -> FunctionVariables {
    let names = variables.variable_names().into_iter().filter(|name| !is_server_variable(name));
    FunctionVariables(names.filter_map(|name| variables.read_variable(&name).map(|text| (name, text))).collect())
}

/// Returns whether a variable belongs to the server's configuration.
fn is_server_variable(name: &str) -> bool {
    name.starts_with("TWINWAY_") || ["DATABASE_URL", "REDIS_URL"].iter().any(|prefix| name.starts_with(prefix))
}

impl fmt::Debug for FunctionVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
