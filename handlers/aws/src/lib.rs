//! The messaging application on AWS: DynamoDB and `@connections` behind the ports, and what the five functions share.
//!
//! Invariant: nothing here decides anything about messages; that is `handlers`. Clients are made once per process and
//! shared by every event. The AWS SDK is known to this crate alone.

pub mod backend_api;
pub mod config;
pub mod connections;
pub mod delivery;
mod dynamo;
pub mod function;
pub mod log;
pub mod secrets;
pub mod tables;
pub mod wiring;
