//! Where the handlers are: in this process, or Lambda executables beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::VariableSource;

/// The functions that an API can have, in the order of a connection's life.
pub const FUNCTION_NAMES: [&str; 5] = ["authorizer", "connect", "message", "disconnect", "api"];

/// What functions get of this process's environment, beside everything that begins with `AWS_` and is not the runtime's.
const INHERITED_VARIABLES: [&str; 8] =
    ["HOME", "LANG", "LD_LIBRARY_PATH", "NODE_EXTRA_CA_CERTS", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR"];

/// What answers events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionSource {
    /// The messaging application in this process.
    Embedded,
    /// Lambda executables.
    Lambda,
}

/// Whether a client gets what the message function answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageResponse {
    /// Yes: the route has a route response.
    TwoWay,
    /// No: functions post to connections.
    OneWay,
}

/// Variables whose values are not shown: some are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvironmentVariables(pub BTreeMap<String, String>);

/// The handlers.
#[derive(Debug, Clone)]
pub struct FunctionsConfig {
    /// What answers events.
    pub source: FunctionSource,
    /// A sub-directory per function, each with a `bootstrap`.
    pub directory: Option<PathBuf>,
    /// Command lines by function; they go before the directory.
    pub commands: BTreeMap<&'static str, Vec<String>>,
    /// `_HANDLER` by function.
    pub handlers: BTreeMap<String, String>,
    /// What the operator sets for all functions.
    pub environment: EnvironmentVariables,
    /// What is passed on from this process's environment.
    pub inherited_environment: EnvironmentVariables,
    /// Whether a client gets what the message function answers.
    pub message_response: MessageResponse,
    /// How long an invocation may take.
    pub timeout: Duration,
    /// How long a process may take to start.
    pub init_timeout: Duration,
    /// How long a process may be idle.
    pub idle_timeout: Duration,
    /// What functions are told about their memory.
    pub memory_mib: u32,
    /// Processes per function that are always there.
    pub min_processes: usize,
    /// Most processes per function.
    pub max_processes: usize,
    /// Most invocations of one process at a time.
    pub concurrency: usize,
    /// Most invocations per function that wait while all processes are busy.
    pub queue_capacity: usize,
}

/// What functions get of an environment.
pub(super) fn inherited_variables(strings: &dyn VariableSource) -> EnvironmentVariables {
    let passed = |name: &String| {
        INHERITED_VARIABLES.contains(&name.as_str()) || (name.starts_with("AWS_") && !name.starts_with("AWS_LAMBDA_"))
    };
    let names = strings.variable_names().into_iter().filter(passed);
    EnvironmentVariables(names.filter_map(|name| strings.read_variable(&name).map(|text| (name, text))).collect())
}

impl fmt::Debug for EnvironmentVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
