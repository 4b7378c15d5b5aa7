//! Definition of a function.
//!
//! The function receives its memory size as on Lambda, but the limit is not enforced: that needs a cgroup, which the
//! container provides.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::program::Program;

/// `PATH` of a function whose definition has none.
pub const DEFAULT_SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/opt/bin";

/// Variables that Lambda sets and that no configuration may override, without those of credentials (Lambda developer
/// guide, `configuration-envvars`, "Reserved environment variables").
const RESERVED_VARIABLES: [&str; 17] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_METADATA_API",
    "AWS_LAMBDA_METADATA_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// Returns whether Lambda sets the variable `name` and rejects functions that configure it. Variables of credentials
/// are not among them: this server has no execution role to take them from.
#[must_use]
pub fn is_reserved_variable(name: &str) -> bool {
    RESERVED_VARIABLES.contains(&name)
}

/// Definition of a function.
#[derive(Clone)]
pub struct FunctionDefinition {
    /// Name: letters, digits, `-` and `_`.
    pub name: String,
    pub program: Program,
    /// Partition in the ARN, such as `aws`.
    pub partition: String,
    /// Region in the ARN, and `AWS_REGION`.
    pub region: String,
    /// Account id in the ARN: 12 digits.
    pub account_id: String,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE` in MiB; not enforced.
    pub memory_mib: u32,
    /// Zone of the metadata endpoint, such as `use1-az1`; `None` for `local`.
    pub availability_zone_id: Option<String>,
    /// Further variables. They override Lambda's variables that are not reserved; search paths are extended by those of
    /// the program.
    pub environment: BTreeMap<String, String>,
    /// Directories that `LD_LIBRARY_PATH` contains after those of Lambda, separated by colons.
    pub library_path: Option<String>,
    /// User of the processes; `None` for that of this process.
    pub user: Option<FunctionUser>,
    /// Supervisor of each process. Without one, descendants that leave the process group outlive the process, and all
    /// of them a killed server.
    pub supervisor: Option<SupervisorCommand>,
    pub limits: FunctionLimits,
}

/// Command line of the helper process that supervises one function process: an executable that calls
/// [`crate::run_supervisor`] with the arguments after these.
#[derive(Debug, Clone)]
pub struct SupervisorCommand {
    pub executable: PathBuf,
    pub arguments: Vec<OsString>,
    /// Soft limit of open files (`RLIMIT_NOFILE`) of the function's processes, at most the hard limit; `None` for that
    /// of this process. A server raises its own, but programs that call `select` fail with descriptors above 1,023.
    pub open_files: Option<u64>,
}

/// User and group of a function's processes, without supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionUser {
    pub uid: u32,
    pub gid: u32,
}

impl FunctionUser {
    /// Sets the user of a command, which needs the privilege to change it. The standard library drops the
    /// supplementary groups when it changes the user as root.
    pub(crate) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
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
        format!("arn:{}:lambda:{}:{}:function:{}", self.partition, self.region, self.account_id, self.name)
    }

    /// Returns the user id of the function's processes.
    pub(crate) fn process_uid(&self) -> u32 {
        self.user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
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
