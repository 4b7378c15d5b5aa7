//! The probe handlers (package `probes`) as the suite runs them: in this process, or as a Lambda executable that asks it.
//!
//! Invariant: either way the events are recorded here, in one [`Here`] an API.

pub mod desk;
pub mod executable;
mod functions;
mod here;

pub use self::functions::Functional;
pub use self::here::Here;
