//! Migrations between real stores: the archive contract, all pairs, interruptions, damage, and the command line.

#![expect(clippy::unwrap_used, reason = "a failing set-up fails its test")]

mod command;
mod contracts;
mod pairs;
mod worlds;
