//! Moving logs between real stores: the archives' contract, all pairs, interruptions, damage, and the command line.

#![expect(clippy::unwrap_used, reason = "a set-up that fails fails its test")]

mod command;
mod contracts;
mod pairs;
mod worlds;
