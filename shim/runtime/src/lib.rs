//! Server of the Lambda Runtime API: runs unmodified Lambda executables and sends them events.
//!
//! ```text
//! LambdaFunction::invoke ── queue ──┬── sandbox: process ◀─ /next ── endpoint on its own loopback port
//!                                   └── sandbox: process ─ /response ▶ …
//! ```
//! A [`LambdaFunction`] corresponds to a function in Lambda: a program, an environment and limits. It runs one process
//! per concurrent invocation, starts processes on demand, and replaces those that crash, time out or stay idle. Every
//! invocation gets exactly one result, even if its process ends. Events and results are opaque bytes.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use runtime_api::{DEFAULT_SEARCH_PATH, FunctionDefinition, FunctionLimits, LambdaFunction, Program};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let definition = FunctionDefinition {
//!     name: "echo".to_owned(),
//!     program: Program::from_bootstrap(Path::new("functions/message"), DEFAULT_SEARCH_PATH)?,
//!     partition: "aws".to_owned(),
//!     region: "eu-central-1".to_owned(),
//!     account_id: "123456789012".to_owned(),
//!     memory_mib: 128,
//!     availability_zone_id: None,
//!     environment: Default::default(),
//!     library_path: None,
//!     user: None,
//!     supervisor: None,
//!     limits: FunctionLimits {
//!         timeout: Duration::from_secs(29),
//!         init_timeout: Duration::from_secs(10),
//!         idle_timeout: Duration::from_secs(300),
//!         min_processes: 0,
//!         max_processes: 4,
//!         concurrency: 1,
//!         queue_capacity: 64,
//!     },
//! };
//! // Wall-clock time in milliseconds since 1970, for the deadlines that the function receives.
//! let function = LambdaFunction::start(definition, Arc::new(|| 1_795_000_000_000));
//! let result = function.invoke(r#"{"body": "hello"}"#.into()).await?;
//! println!("{}", String::from_utf8_lossy(&result));
//! function.stop().await;
//! # Ok(())
//! # }
//! ```

mod definition;
mod endpoint;
mod environment;
mod extension_process;
mod function;
mod function_process;
mod ids;
mod invocation;
mod managed;
mod output;
mod pool;
mod process;
mod program;
mod shared;
mod supervisor;

pub use self::definition::{
    DEFAULT_SEARCH_PATH, FunctionDefinition, FunctionLimits, FunctionUser, SupervisorCommand, is_reserved_variable,
};
pub use self::endpoint::connection_uid;
pub use self::function::LambdaFunction;
pub use self::invocation::{InvocationResult, InvokeError};
pub use self::managed::{
    FunctionCode, FunctionSpec, ManagedRuntimeError, ManagedSettings, ResolvedProgram, default_cache_directory,
    resolve_program,
};
pub use self::program::{Program, ProgramError};
pub use self::supervisor::run_supervisor;
