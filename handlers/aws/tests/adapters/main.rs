//! Tests of the AWS adapters and functions against an emulator of DynamoDB and stubs of the other services.
//!
//! The tests start the emulator (`tests::dynamodb`). Without it, tests that need it print a message and are skipped.

#![expect(clippy::unwrap_used, reason = "a failing set-up fails its test")]

mod broadcasts;
mod counts;
mod faults;
mod functions;
mod gateway;
mod log;
mod presence;
mod retries;
mod secrets;
mod stores;
mod stub;
mod support;
