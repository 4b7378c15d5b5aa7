//! The probe handlers of the conformance suite: they record every event they get and answer as the client told them to.
//!
//! ```text
//! in the suite's process   Probe over memory
//! with PROBE_DESK          function ── the event's bytes ──▶ desk: Probe over memory ──▶ what to do
//! with PROBE_TABLE         function: Probe over a DynamoDB table and the stage's own @connections
//! ```
//! A client tells them at connect in `?probe={"connect":…,"authorizer":…,"disconnect":…}` and per message in
//! `{"action":…,"answer":{…}}`; see [`directive`]. Invariant: a probe decides by the JSON of the event alone, so the same
//! logic can stand behind any gateway. What differs from place to place is behind [`ProbeEnvironment`].

pub mod directive;
pub mod directive_client;
pub mod event;
pub mod function;
pub mod names;
mod probe;
#[cfg(feature = "stage")]
pub mod stage;

pub use self::probe::{ManagementCall, ManagementResponse, Probe, ProbeEnvironment};
