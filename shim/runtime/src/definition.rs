//! What makes up a function, and the environment that its processes see.
//!
//! Invariant: a process sees the variables that Lambda sets, those that the definition names, and nothing else of this
//! process's environment, so that no secret of the server reaches a function by accident. Memory is told to the function
//! as on Lambda and not enforced: that needs a cgroup, which is the container's affair.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::program::Program;

/// The version that an unpublished function has.
const UNPUBLISHED_VERSION: &str = "$LATEST";

/// A function.
#[derive(Clone)]
pub struct FunctionDefinition {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// What is run.
    pub program: Program,
    /// The region in its ARN, and `AWS_REGION`.
    pub region: String,
    /// The account in its ARN: 12 digits.
    pub account_id: String,
    /// What it is told about its memory, in MiB.
    pub memory_mib: u32,
    /// Further variables. They win over those of Lambda that are not reserved.
    pub environment: BTreeMap<String, String>,
    /// How much of everything it may have.
    pub limits: FunctionLimits,
}

/// How much of everything a function may have.
#[derive(Debug, Clone)]
pub struct FunctionLimits {
    /// How long one invocation may take once its process has it.
    pub timeout: Duration,
    /// How long a process may take from its start to its first `/next`. Lambda gives 10 s.
    pub init_timeout: Duration,
    /// How long a process may be idle before it is stopped.
    pub idle_timeout: Duration,
    /// Processes that are always there.
    pub min_processes: usize,
    /// Most processes at a time; at least 1.
    pub max_processes: usize,
    /// Most invocations of one process at a time: 1 as on Lambda, more as on Lambda Managed Instances.
    pub concurrency: usize,
    /// Most invocations that wait while all processes are busy; beyond it callers are throttled.
    pub queue_capacity: usize,
}

impl FunctionDefinition {
    /// The function's ARN.
    #[must_use]
    pub fn function_arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:function:{}", self.region, self.account_id, self.name)
    }

    /// Everything that a process of the function sees, given where its Runtime API is (Lambda developer guide,
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

/// Shows no values of the environment: they may be secrets.
impl std::fmt::Debug for FunctionDefinition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Definition");
        shown.field("name", &self.name).field("program", &self.program).field("limits", &self.limits);
        shown.field("environment", &self.environment.keys()).finish_non_exhaustive()
    }
}
