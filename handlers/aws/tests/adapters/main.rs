//! The adapters and functions of AWS against an emulator of DynamoDB and stubs of what cannot be emulated.
//!
//! The emulator is started by the tests (`tests::dynamodb`). Where it cannot be installed the tests that need it say so.

#![expect(clippy::unwrap_used, reason = "a set-up that fails fails its test")]

mod broadcasts;
mod counts;
mod faults;
mod functions;
mod gateway;
mod log;
mod presence;
mod secrets;
mod stores;
mod stub;
mod support;
