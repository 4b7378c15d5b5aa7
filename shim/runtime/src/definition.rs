//! Definition of a function and the environment variables of its processes.
//!
//! A process has only the variables that Lambda sets and those of the definition. It inherits no variables of this
//! process, so that functions do not get the server's secrets. The function receives its memory size as on Lambda, but
//! the limit is not enforced: that needs a cgroup, which the container provides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::program::Program;

/// Version of an unpublished function.
const UNPUBLISHED_VERSION: &str = "$LATEST";

/// Definition of a function.
#[derive(Clone)]
pub struct FunctionDefinition {
    /// Name: letters, digits, `-` and `_`.
    pub name: String,
    pub program: Program,
    /// Region in the ARN, and `AWS_REGION`.
    pub region: String,
    /// Account id in the ARN: 12 digits.
    pub account_id: String,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE` in MiB; not enforced.
    pub memory_mib: u32,
    /// Further variables. They override Lambda's variables that are not reserved.
    pub environment: BTreeMap<String, String>,
    pub limits: FunctionLimits,
}

/// Limits of a function.
#[derive(Debug, Clone)]
pub struct FunctionLimits {
    /// Timeout of one invocation, from its delivery to a process.
    pub timeout: Duration,
    /// Timeout from the start of a process to its first `/next`. Lambda: 10 s.
    pub init_timeout: Duration,
    /// Idle time after which a process is stopped.
    pub idle_timeout: Duration,
    /// Processes that run permanently.
    pub min_processes: usize,
    /// Maximum concurrent processes; at least 1.
    pub max_processes: usize,
    /// Maximum concurrent invocations of one process: 1 as on Lambda, more as on Lambda Managed Instances.
    pub concurrency: usize,
    /// Maximum invocations that wait while all processes are busy; further ones are throttled.
    pub queue_capacity: usize,
}

impl FunctionDefinition {
    /// Returns the function's ARN.
    #[must_use]
    pub fn function_arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:function:{}", self.region, self.account_id, self.name)
    }

    /// Returns the environment of a process whose Runtime API is at `api` (Lambda developer guide,
    /// `configuration-envvars`).
    pub(crate) fn environment_variables(&self, api: SocketAddr) -> BTreeMap<String, String> {
        let mut variables: BTreeMap<String, String> =
            [("LANG", "en_US.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin"), ("TZ", ":UTC")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        variables.extend(self.environment.clone());
        variables.extend(self.reserved_variables(api).map(|(name, value)| (name.to_owned(), value)));
        if self.limits.concurrency > 1 {
            variables.insert("AWS_LAMBDA_MAX_CONCURRENCY".to_owned(), self.limits.concurrency.to_string());
        }
        variables
    }

    fn reserved_variables(&self, api: SocketAddr) -> [(&'static str, String); 13] {
        let provisioned = self.limits.min_processes > 0;
        let root = self.program.task_root.to_string_lossy().into_owned();
        [
            ("_HANDLER", self.program.handler.clone()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_DEFAULT_REGION", self.region.clone()),
            ("AWS_LAMBDA_FUNCTION_NAME", self.name.clone()),
            ("AWS_LAMBDA_FUNCTION_VERSION", UNPUBLISHED_VERSION.to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.memory_mib.to_string()),
            (
                "AWS_LAMBDA_INITIALIZATION_TYPE",
                if provisioned { "provisioned-concurrency" } else { "on-demand" }.to_owned(),
            ),
            ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", self.name)),
            ("AWS_LAMBDA_LOG_STREAM_NAME", format!("twinway/{}", api.port())),
            ("AWS_LAMBDA_RUNTIME_API", api.to_string()),
            ("LAMBDA_RUNTIME_DIR", root.clone()),
            ("LAMBDA_TASK_ROOT", root),
            ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned()),
        ]
    }
}

/// Shows no values of the environment, because they may be secrets.
impl std::fmt::Debug for FunctionDefinition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("FunctionDefinition");
        shown.field("name", &self.name).field("program", &self.program).field("limits", &self.limits);
        shown.field("environment", &self.environment.keys()).finish_non_exhaustive()
    }
}
