//! The probe handlers (package `probes`) as run by the suite: in this process, or as a Lambda executable that
//! requests its directives from this process.
//!
//! In both modes the events are recorded here, in one [`LocalEnvironment`] per
//! API.

pub mod directive_server;
pub mod executable;
mod functions;
mod local_environment;

pub use self::functions::ProbeFunctions;
pub use self::local_environment::LocalEnvironment;
