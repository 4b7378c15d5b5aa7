//! Probe handlers of the conformance suite: they record every event and return the results that the client requests.
//!
//! ```text
//! in the suite's process        Probe in memory
//! with PROBE_DIRECTIVE_SERVER   function ── bytes of the event ──▶ directive server: Probe in memory ──▶ instruction
//! with PROBE_TABLE              function: Probe with a DynamoDB table and the stage's @connections
//! ```
//! A client sends directives at connect in `?probe={"connect":…,"authorizer":…,"disconnect":…}` and per message in
//! `{"action":…,"answer":{…}}`; see [`directive`]. A probe's result depends only on the JSON of the events, so the same
//! logic works with any gateway. [`ProbeEnvironment`] contains the parts that depend on the environment.

pub mod directive;
pub mod directive_client;
pub mod event;
pub mod function;
pub mod names;
mod probe;
#[cfg(feature = "stage")]
pub mod stage;

pub use self::probe::{ManagementCall, ManagementResponse, Probe, ProbeEnvironment};
