//! The probes as a Lambda executable, run by the server's own supervisor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use runtime_api::{DEFAULT_SEARCH_PATH, FunctionDefinition, FunctionLimits, LambdaFunction, Program};
use shim::functions::LambdaFunctions;

/// Maximum number of processes: enough for all concurrent messages of a case.
const PROCESSES: usize = 32;

/// Starts one function for all routes, the executable `program`, as many Lambda applications do. Its environment
/// determines the source of directives (`probes::function`).
///
/// # Errors
/// The program cannot be executed.
pub fn lambda<const N: usize>(program: &Path, environment: [(&str, String); N]) -> anyhow::Result<LambdaFunctions> {
    let environment: BTreeMap<_, _> = environment.map(|(name, value)| (name.to_owned(), value)).into();
    let definition = FunctionDefinition {
        name: "probe".to_owned(),
        program: Program::from_bootstrap(program, DEFAULT_SEARCH_PATH)?,
        partition: "aws".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "123456789012".to_owned(),
        memory_mib: 128,
        environment,
        availability_zone_id: None,
        library_path: None,
        user: None,
        supervisor: None,
        limits: FunctionLimits {
            timeout: Duration::from_secs(29),
            init_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            min_processes: 1,
            max_processes: PROCESSES,
            concurrency: 1,
            queue_capacity: 256,
        },
    };
    let clock = Arc::new(|| u64::try_from(system_clock::current_time().0).unwrap_or(0));
    Ok(LambdaFunctions::single(Arc::new(LambdaFunction::start(definition, clock))))
}

/// Returns the path of a binary of the same build as this executable.
///
/// # Errors
/// The binary is not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let executable = std::env::current_exe().context("the executable has no path")?;
    // Tests are in target/{profile}/deps, binaries in target/{profile}.
    let candidates = executable.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    let found = candidates.into_iter().find(|path| Path::is_file(path));
    found.with_context(|| format!("the binary '{name}' is not built: cargo build -p tests --bin {name}"))
}
