//! The probe handlers (package `probes`) as the suite runs them: in this process, or as a Lambda executable that asks it.
//!
//! Invariant: either way the events are recorded here, in one [`LocalEnvironment`] an API.

pub mod directive_server;
pub mod executable;
mod functions;
mod local_environment;

pub use self::functions::ProbeFunctions;
pub use self::local_environment::LocalEnvironment;
