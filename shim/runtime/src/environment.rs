//! Environment variables of a function's processes (Lambda developer guide, `configuration-envvars`).
//!
//! A process has only the variables that Lambda sets and those of the definition. It inherits no variables of this
//! process, so that functions do not get the server's secrets.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::Timestamp;

use crate::definition::{DEFAULT_SEARCH_PATH, FunctionDefinition};

/// Version of an unpublished function.
const UNPUBLISHED_VERSION: &str = "$LATEST";

/// Facts of one sandbox that its process receives as variables.
#[derive(Debug, Clone)]
pub(crate) struct SandboxFacts {
    /// Address of the Runtime API.
    pub api: SocketAddr,
    /// Start in milliseconds since 1970.
    pub started_ms: u64,
    /// 32 hexadecimal digits that name the log stream.
    pub log_stream_id: String,
    /// Bearer token of the metadata endpoint.
    pub metadata_token: String,
}

impl SandboxFacts {
    /// Returns the name of the log stream: `2026/11/30/[$LATEST]…`.
    fn log_stream(&self) -> String {
        let started = i64::try_from(self.started_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let day = started.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y/%m/%d");
        format!("{day}/[{UNPUBLISHED_VERSION}]{}", self.log_stream_id)
    }
}

/// Returns the environment of a process of the function.
pub(crate) fn environment_variables(definition: &FunctionDefinition, facts: &SandboxFacts) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = [
        ("AWS_LAMBDA_LOG_FORMAT", "Text".to_owned()),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    variables.extend(definition.environment.clone());
    for (name, directories) in search_paths(definition) {
        let own = definition.environment.get(name).map(|value| translated_paths(definition, value));
        // A function that sets `PATH` or `LD_LIBRARY_PATH` replaces the default, but not the directories of its layers.
        let added = if own.is_some() { program_paths(definition, name) } else { directories };
        let all: Vec<String> = own.into_iter().flatten().chain(added).collect();
        variables.insert(name.to_owned(), all.join(":"));
    }
    variables.extend(reserved_variables(definition, facts).map(|(name, value)| (name.to_owned(), value)));
    if definition.limits.concurrency > 1 {
        variables.insert("AWS_LAMBDA_MAX_CONCURRENCY".to_owned(), definition.limits.concurrency.to_string());
    }
    if let Some(environment) = &definition.program.platform.execution_environment {
        variables.insert("AWS_EXECUTION_ENV".to_owned(), environment.clone());
    }
    variables
}

/// Returns the search path variables with their default directories.
fn search_paths(definition: &FunctionDefinition) -> BTreeMap<&'static str, Vec<String>> {
    let mut paths = definition.program.platform.paths.clone();
    if !paths.contains_key("PATH") {
        paths.insert("PATH", vec![DEFAULT_SEARCH_PATH.to_owned()]);
    }
    paths.insert("LD_LIBRARY_PATH", library_directories(definition));
    paths
}

fn program_paths(definition: &FunctionDefinition, name: &str) -> Vec<String> {
    definition.program.platform.paths.get(name).cloned().unwrap_or_default()
}

/// Returns the directories of a configured path; one in `/opt` is preceded by that of the function's layers.
fn translated_paths(definition: &FunctionDefinition, value: &str) -> Vec<String> {
    let layers = definition.program.platform.layer_root.as_ref();
    let translated = |directory: &str| {
        let own = layers.zip(directory.strip_prefix("/opt/")).map(|(root, rest)| root.join(rest));
        let own = own.map(|path| path.to_string_lossy().into_owned());
        own.into_iter().chain([directory.to_owned()]).collect::<Vec<_>>()
    };
    value.split(':').flat_map(translated).collect()
}

/// Returns the default of `LD_LIBRARY_PATH`: Lambda's directories, with the runtime directory that is the task root here.
fn library_directories(definition: &FunctionDefinition) -> Vec<String> {
    let root = definition.program.task_root.to_string_lossy();
    let further =
        definition.library_path.iter().flat_map(|path| path.split(':')).filter(|directory| !directory.is_empty());
    let mut own = vec!["/lib64".to_owned(), "/usr/lib64".to_owned(), root.to_string(), format!("{root}/lib")];
    own.extend(program_paths(definition, "LD_LIBRARY_PATH"));
    if !own.iter().any(|directory| directory == "/opt/lib") {
        own.push("/opt/lib".to_owned());
    }
    own.into_iter().chain(further.map(str::to_owned)).collect()
}

fn reserved_variables(definition: &FunctionDefinition, facts: &SandboxFacts) -> [(&'static str, String); 14] {
    let root = definition.program.task_root.to_string_lossy().into_owned();
    [
        ("_HANDLER", definition.program.handler.clone()),
        ("AWS_REGION", definition.region.clone()),
        ("AWS_DEFAULT_REGION", definition.region.clone()),
        ("AWS_LAMBDA_FUNCTION_NAME", definition.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", UNPUBLISHED_VERSION.to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", definition.memory_mib.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", initialization_type(definition).to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", definition.name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", facts.log_stream()),
        ("AWS_LAMBDA_METADATA_API", facts.api.to_string()),
        ("AWS_LAMBDA_METADATA_TOKEN", facts.metadata_token.clone()),
        ("AWS_LAMBDA_RUNTIME_API", facts.api.to_string()),
        ("LAMBDA_RUNTIME_DIR", root.clone()),
        ("LAMBDA_TASK_ROOT", root),
    ]
}

const fn initialization_type(definition: &FunctionDefinition) -> &'static str {
    let limits = &definition.limits;
    match (limits.concurrency, limits.min_processes) {
        (2.., _) => "lambda-managed-instances",
        (_, 1..) => "provisioned-concurrency",
        _ => "on-demand",
    }
}
