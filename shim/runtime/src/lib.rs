//! The Lambda Runtime API: runs unmodified Lambda executables and feeds them events.
//!
//! ```text
//! Function::invoke ── queue ──┬── sandbox: process ◀─ /next ── endpoint on a loopback port of its own
//!                             └── sandbox: process ─ /response ▶ …
//! ```
//! A [`LambdaFunction`] is what Lambda calls one: a program, an environment, limits. It runs one process per concurrent
//! invocation, starts them when they are needed and replaces those that crash, hang or are idle for long. Invariant: every
//! invocation gets exactly one outcome, whatever becomes of its process. What an event means is none of this crate's
//! business: bytes in, bytes out.

mod definition;
mod endpoint;
mod function;
mod ids;
mod invocation;
mod output;
mod pool;
mod process;
mod program;
mod shared;

pub use self::definition::{FunctionDefinition, FunctionLimits};
pub use self::function::LambdaFunction;
pub use self::invocation::{InvocationResult, InvokeError};
pub use self::program::{Program, ProgramError};
